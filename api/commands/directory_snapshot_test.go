package commands

import (
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// countingRegistries makes an executor with snapshots on a log that counts what is read of
// registries when all are loaded.
func countingRegistries(t *testing.T, log eventstore.Log, kept Snapshots) (x *tester, read *atomic.Int64) {
	t.Helper()
	read = &atomic.Int64{}
	counted := &troubled{Log: log, readAll: func(r eventstore.Record) {
		if r.Commit.Kind == domain.KindRegistry {
			read.Add(1)
		}
	}}
	return newTester(t, counted, func(c *Config) { c.Snapshots, c.SnapshotEvery = kept, testEvery }), read
}

// populate gives every sort of thing that a directory knows to a namespace.
func populate(x *tester, name string) {
	x.namespace(name) // two commits
	x.must(name,
		domain.CreateServiceKey{KeyID: "k-" + name, ServiceID: name, Prefix: "sk_live_", Hash: domain.HashOf([]byte("k" + name))},
		domain.CreateManagementKey{KeyID: "m-" + name, Name: "m", LastFour: "wxyz", Permissions: domain.Permissions[:1], Grantor: domain.Permissions, Hash: domain.HashOf([]byte("m" + name))},
		domain.CreateService{ServiceID: "gone-" + name, Slug: "gone", Name: "gone"},
		domain.DeleteService{ServiceID: "gone-" + name},
		domain.AddOwner{OwnerID: "second-" + name, Token: register().Token},
		domain.RemoveOwner{OwnerID: "second-" + name},
	)
}

func wantSameDirectory(t *testing.T, got, want *tester, names ...string) {
	t.Helper()
	for _, x := range []*tester{got, want} {
		if err := x.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	g, _ := got.directory.keep(0)
	w, _ := want.directory.keep(0)
	if !reflect.DeepEqual(g, w) {
		t.Errorf("the directory is\n%+v\nnot\n%+v", g, w)
	}
	for _, name := range names {
		d := got.Directory()
		if of, _, _, ok := d.ServiceKey(domain.HashOf([]byte("k" + name))); !ok || of != name {
			t.Errorf("the service key of %s is not known", name)
		}
		if of, _, ok := d.ManagementKey(domain.HashOf([]byte("m" + name))); !ok || of != name {
			t.Errorf("the management key of %s is not known", name)
		}
		if of, ok := d.NamespaceOf("second-" + name); !ok || of != name || !d.Knows("gone-"+name) || d.ServiceExists("gone-"+name) {
			t.Errorf("what there was of %s is not known", name)
		}
	}
}

// keptDirectoryAt waits for the snapshot of the directory to end at a position or later.
func keptDirectoryAt(t *testing.T, s Snapshots, position uint64) {
	t.Helper()
	eventually(t, "the directory's snapshot", func() bool {
		contents, err := s.Load(t.Context(), directoryName)
		if err != nil {
			t.Fatal(err)
		}
		head, _, err := readSnapshot(directoryName, domain.RegistryFold, contents)
		return err == nil && head.Position >= position
	})
}

// All registries come from a snapshot and what is behind it, whatever the ledger holds
// besides.
func TestLoadTheDirectoryFromASnapshot(t *testing.T) {
	t.Parallel()
	memory, kept := eventstore.NewMemory(), &eventstore.MemorySnapshots{}
	first, _ := countingRegistries(t, memory, kept)
	populate(first, "acme")
	populate(first, "globex")
	at := last(t, memory)
	keptDirectoryAt(t, kept, at-testEvery)
	for range 10 {
		first.submit("acme")
	}
	second, read := countingRegistries(t, memory, kept)
	if n := read.Load(); n > testEvery+1 {
		t.Errorf("%d commits of registries were read", n)
	}
	if second.snapshotsThat("load", "used") != 1 {
		t.Error("the snapshot was not used")
	}
	wantSameDirectory(t, second, first, "acme", "globex")

	// It goes on: what is new is known, and kept, and nothing is counted twice.
	populate(second, "initech")
	second.must("acme", domain.DeactivateServiceKey{KeyID: "k-acme", ServiceID: "acme"})
	keptDirectoryAt(t, kept, last(t, memory)-testEvery)
	third, _ := countingRegistries(t, memory, kept)
	wantSameDirectory(t, third, second, "globex", "initech")
	whole, all := countingRegistries(t, memory, nil)
	wantSameDirectory(t, third, whole, "globex", "initech")
	if all.Load() != 3*8+1 {
		t.Errorf("%d commits were read without a snapshot", all.Load())
	}
}

// What follows does not change what is kept meanwhile, at whatever moment it is.
func TestTheDirectoryFromEveryMoment(t *testing.T) {
	t.Parallel()
	memory := eventstore.NewMemory()
	x := newTester(t, memory)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 20 {
			populate(x, fmt.Sprint("ns-", i))
		}
	}()
	whole := func() keptDirectory {
		d := newDirectory(memory)
		if _, _, err := d.load(t.Context(), 0); err != nil {
			t.Error(err)
		}
		all, _ := d.keep(0)
		return all
	}
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		kept, head := x.directory.keep(x.position.Load())
		d, err := kept.restore(memory)
		if err != nil {
			t.Fatal(err)
		}
		if kept.From > head.Position {
			t.Fatalf("it goes on at %d, and ends with %d", kept.From, head.Position)
		}
		if _, _, err := d.load(t.Context(), kept.From); err != nil {
			t.Fatal(err)
		}
		if running {
			continue
		}
		if got, _ := d.keep(0); !reflect.DeepEqual(got, whole()) {
			t.Error("the directory differs from the log's")
		}
	}
}

// A snapshot of the directory that is not of this log, or not what was saved, is worth
// nothing.
func TestDirectoriesThatAreNotTrusted(t *testing.T) {
	t.Parallel()
	memory := eventstore.NewMemory()
	other := newTester(t, memory)
	populate(other, "acme")
	other.submit("acme")
	claims, err := memory.Tail(t.Context(), domain.ClaimsOf("acme"))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*snapshot){
		"another fold":             func(s *snapshot) { s.Fold++ },
		"a damaged state":          func(s *snapshot) { s.State[len(s.State)/2]++ },
		"another hash":             func(s *snapshot) { s.Head.Hash[3]++ },
		"past the log":             func(s *snapshot) { s.Head.Position += 1000 },
		"a commit of another kind": func(s *snapshot) { s.Head = claims },
		"of claims":                func(s *snapshot) { s.Of = domain.ClaimsOf("acme").String() },
	} {
		t.Run(name, func(t *testing.T) {
			kept := &eventstore.MemorySnapshots{}
			countingRegistries(t, memory, kept)
			keptDirectoryAt(t, kept, 1)
			mangled(t, kept, directoryName, change)
			x, read := countingRegistries(t, memory, kept)
			wantSameDirectory(t, x, other, "acme")
			if read.Load() != 8 || x.snapshotsThat("load", "ignored") != 1 {
				t.Errorf("it was taken; %d commits were read", read.Load())
			}
		})
	}
}
