package commands

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

const testEvery = 5 // commits between two snapshots

// withSnapshots makes an executor with snapshots on a log that counts what is read of
// claims.
func withSnapshots(t *testing.T, log eventstore.Log, kept Snapshots) (x *tester, read *atomic.Int64) {
	t.Helper()
	read = &atomic.Int64{}
	counted := &troubled{Log: log}
	counted.read = func(b domain.Boundary, _ eventstore.Record) error {
		if b.Kind == domain.KindClaims {
			read.Add(1)
		}
		return nil
	}
	return newTester(t, counted, func(c *Config) { c.Snapshots, c.SnapshotEvery = kept, testEvery }), read
}

// kept waits for the snapshot of a namespace's claims to have a version.
func keptAt(t *testing.T, s Snapshots, namespace string, version uint64) (contents []byte) {
	t.Helper()
	b := domain.ClaimsOf(namespace)
	eventually(t, "the snapshot", func() bool {
		var err error
		if contents, err = s.Load(t.Context(), b.String()); err != nil {
			t.Fatal(err)
		}
		if contents == nil {
			return false
		}
		head, _, err := readSnapshot(b.String(), domain.ClaimsFold, contents)
		return err == nil && head.Version >= version
	})
	return contents
}

func (x *tester) stateOf(namespace string) []byte {
	x.t.Helper()
	var raw []byte
	err := x.ViewClaims(x.t.Context(), namespace, func(s *domain.Claims) uint64 {
		var err error
		if raw, err = s.Snapshot().Encode(); err != nil {
			x.t.Error(err)
		}
		return s.Version()
	})
	if err != nil {
		x.t.Fatal(err)
	}
	return raw
}

func (x *tester) snapshotsThat(operation, outcome string) float64 {
	return testutil.ToFloat64(x.Metrics.snapshots.WithLabelValues(operation, outcome))
}

// What comes after a snapshot is all that is read of the log, and the state is what the
// whole log gives.
func TestLoadFromASnapshot(t *testing.T) {
	t.Parallel()
	memory, kept := eventstore.NewMemory(), &eventstore.MemorySnapshots{}
	first, _ := withSnapshots(t, memory, kept)
	first.namespace("acme")
	for range testEvery {
		first.submit("acme")
	}
	keptAt(t, kept, "acme", testEvery)
	for range 3 {
		first.submit("acme")
	}
	second, read := withSnapshots(t, memory, kept)
	whole, all := withSnapshots(t, memory, nil)
	if got, want := second.stateOf("acme"), whole.stateOf("acme"); !bytes.Equal(got, want) {
		t.Error("the states differ")
	}
	if read.Load() != 3 || all.Load() != testEvery+3 {
		t.Errorf("%d commits were read behind the snapshot, and %d without", read.Load(), all.Load())
	}
	if second.snapshotsThat("load", "used") != 1 {
		t.Error("the snapshot was not counted")
	}
	second.submit("acme")
	second.submit("acme") // with as much new as makes another one
	keptAt(t, kept, "acme", 2*testEvery)
}

// mangled changes what is kept under a name.
func mangled(t *testing.T, kept *eventstore.MemorySnapshots, name string, change func(*snapshot)) {
	t.Helper()
	contents, err := kept.Load(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	var s snapshot
	if err := gob.NewDecoder(bytes.NewReader(contents)).Decode(&s); err != nil {
		t.Fatal(err)
	}
	change(&s)
	var out bytes.Buffer
	if err := gob.NewEncoder(&out).Encode(s); err != nil {
		t.Fatal(err)
	}
	if err := kept.Save(t.Context(), name, out.Bytes()); err != nil {
		t.Fatal(err)
	}
}

// A snapshot that is not of this log, or not what was saved, is worth nothing.
func TestSnapshotsThatAreNotTrusted(t *testing.T) {
	t.Parallel()
	memory := eventstore.NewMemory()
	other := newTester(t, memory)
	other.namespace("globex")
	other.namespace("acme")
	for range testEvery {
		other.submit("globex")
		other.submit("acme")
	}
	tail := func(b domain.Boundary) eventstore.Head {
		head, err := memory.Tail(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		return head
	}
	want := other.stateOf("acme")
	for name, change := range map[string]func(*snapshot){
		"another fold":      func(s *snapshot) { s.Fold++ },
		"another boundary":  func(s *snapshot) { s.Of = domain.ClaimsOf("globex").String() },
		"a damaged state":   func(s *snapshot) { s.State[len(s.State)/2]++ },
		"a short state":     func(s *snapshot) { s.State = s.State[:len(s.State)/2]; s.Sum = domain.HashOf(s.State) },
		"another hash":      func(s *snapshot) { s.Head.Hash[3]++ },
		"another version":   func(s *snapshot) { s.Head.Version-- },
		"past the log":      func(s *snapshot) { s.Head.Position += 1000 },
		"no position":       func(s *snapshot) { s.Head.Position = 0 },
		"another's commit":  func(s *snapshot) { s.Head = tail(domain.ClaimsOf("globex")) },
		"the registry's":    func(s *snapshot) { s.Head = tail(domain.RegistryOf("acme")) },
		"the wrong version": func(s *snapshot) { s.Head = tail(domain.ClaimsOf("acme")) },
	} {
		t.Run(name, func(t *testing.T) {
			kept := &eventstore.MemorySnapshots{}
			maker, _ := withSnapshots(t, memory, kept)
			maker.stateOf("acme")
			keptAt(t, kept, "acme", testEvery)
			if name == "the wrong version" {
				other.submit("acme")
				want = other.stateOf("acme")
			}
			mangled(t, kept, domain.ClaimsOf("acme").String(), change)
			x, read := withSnapshots(t, memory, kept)
			if !bytes.Equal(x.stateOf("acme"), want) || read.Load() < testEvery {
				t.Errorf("it was taken; %d commits were read", read.Load())
			}
			if x.snapshotsThat("load", "ignored") != 1 || x.snapshotsThat("load", "used") != 0 {
				t.Error("it was not counted as ignored")
			}
		})
	}
}

// Whatever is left of a snapshot, it is not taken for one.
func TestTornSnapshots(t *testing.T) {
	t.Parallel()
	memory, kept := eventstore.NewMemory(), &eventstore.MemorySnapshots{}
	x, _ := withSnapshots(t, memory, kept)
	x.namespace("acme")
	for range testEvery {
		x.submit("acme")
	}
	name := domain.ClaimsOf("acme").String()
	contents := keptAt(t, kept, "acme", testEvery)
	for n := range contents {
		if _, _, err := readSnapshot(name, domain.ClaimsFold, contents[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes were taken", n, len(contents))
		}
		damaged := bytes.Clone(contents)
		damaged[n] ^= 0x10
		if head, state, err := readSnapshot(name, domain.ClaimsFold, damaged); err == nil {
			wantHead, wantState, _ := readSnapshot(name, domain.ClaimsFold, contents)
			if head == wantHead && !bytes.Equal(state, wantState) {
				t.Fatalf("with byte %d flipped it is taken for another state", n)
			}
		}
	}
}

// A state that its bytes vouch for, and that the log does not go on from, is given up.
func TestASnapshotThatTheLogDoesNotGoOnFrom(t *testing.T) {
	t.Parallel()
	memory, kept := eventstore.NewMemory(), &eventstore.MemorySnapshots{}
	first, _ := withSnapshots(t, memory, kept)
	first.namespace("acme")
	var ids []string
	for range testEvery {
		ids = append(ids, first.submit("acme"))
	}
	keptAt(t, kept, "acme", testEvery)
	if _, _, err := first.claim("acme", domain.Approve{ClaimID: ids[0]}); err != nil {
		t.Fatal(err)
	}
	want := first.stateOf("acme")

	// The same commits without their claims, as a defect in the program would fold them.
	lying := domain.NewClaims("acme")
	if err := memory.Read(t.Context(), domain.ClaimsOf("acme"), 0, func(r eventstore.Record) error {
		if r.Commit.Version > testEvery {
			return nil
		}
		c := *r.Commit
		c.Events = nil
		return lying.Apply(&c)
	}); err != nil {
		t.Fatal(err)
	}
	mangled(t, kept, domain.ClaimsOf("acme").String(), func(s *snapshot) {
		raw, err := lying.Snapshot().Encode()
		if err != nil {
			t.Fatal(err)
		}
		contents, err := newSnapshot(s.Of, s.Fold, s.Head, raw)
		if err == nil {
			err = gob.NewDecoder(bytes.NewReader(contents)).Decode(s)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	x, read := withSnapshots(t, memory, kept)
	if !bytes.Equal(x.stateOf("acme"), want) || read.Load() != 1+testEvery+1 {
		t.Errorf("%d commits were read", read.Load())
	}
	// What is wrong is replaced at once.
	eventually(t, "another snapshot", func() bool { return x.snapshotsThat("save", "saved") == 1 })
	again, read := withSnapshots(t, memory, kept)
	if !bytes.Equal(again.stateOf("acme"), want) || read.Load() != 0 {
		t.Errorf("then %d commits were read", read.Load())
	}
}

// away is a store that cannot be reached.
type away struct{ asked atomic.Int64 }

func (a *away) Save(context.Context, string, []byte) error { a.asked.Add(1); return errors.New("away") }

func (a *away) Load(context.Context, string) ([]byte, error) { return nil, errors.New("away") }

// Nothing depends on where snapshots are kept, and it is not asked with every commit.
func TestWithoutAPlaceForSnapshots(t *testing.T) {
	t.Parallel()
	memory, kept := eventstore.NewMemory(), &away{}
	x, _ := withSnapshots(t, memory, kept)
	x.namespace("acme")
	for range testEvery {
		x.submit("acme")
	}
	eventually(t, "an attempt", func() bool { return x.snapshotsThat("save", "failed") == 1 })
	for range testEvery - 1 {
		x.submit("acme")
	}
	second, read := withSnapshots(t, memory, kept)
	if second.stateOf("acme"); read.Load() != 2*testEvery-1 {
		t.Errorf("%d commits were read", read.Load())
	}
	if kept.asked.Load() > 2 { // once by each
		t.Errorf("it was tried %d times to save", kept.asked.Load())
	}
}

// A snapshot has what is certain, while commits are on their way that may come to nothing.
func TestSnapshotsOfWhatIsCertain(t *testing.T) {
	t.Parallel()
	log, kept := newSlow(), &eventstore.MemorySnapshots{}
	x := newTester(t, log, func(c *Config) { c.Snapshots, c.SnapshotEvery = kept, testEvery })
	x.namespace("acme")
	for range testEvery - 1 {
		x.submit("acme")
	}
	log.slowly()
	var under []*asked
	for i := range 3 {
		under = append(under, x.ask(submission("acme")))
		x.runsAhead(i + 1)
	}
	log.verdict <- nil // the first is recorded, and makes a snapshot due
	<-under[0].done
	head, raw, err := readSnapshot(domain.ClaimsOf("acme").String(), domain.ClaimsFold, keptAt(t, kept, "acme", testEvery))
	if err != nil || head.Version != testEvery {
		t.Fatalf("%+v, %v", head, err)
	}
	got, err := domain.RestoreClaims("acme", raw)
	if err != nil || got.Len() != testEvery || got.Version() != testEvery {
		t.Errorf("it has %d claims, %v", got.Len(), err)
	}
	for range 2 {
		log.verdict <- nil
	}
	for _, u := range under {
		<-u.done
	}
}
