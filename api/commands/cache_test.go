package commands

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// holding makes an executor that may hold so many bytes of claims.
func holding(t *testing.T, log eventstore.Log, bytes int64) *tester {
	t.Helper()
	return newTester(t, log, func(c *Config) {
		c.ClaimsMemory, c.Snapshots, c.SnapshotEvery = bytes, &eventstore.MemorySnapshots{}, 2
	})
}

// What takes more than it may makes those go that were used least recently, and the state
// of those is kept.
func TestClaimsGoWhenTheyTakeTooMuch(t *testing.T) {
	t.Parallel()
	memory := eventstore.NewMemory()
	size := newTester(t, memory)
	size.namespace("ns-0")
	size.submit("ns-0")
	if err := size.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	one := size.claims.Bytes()
	x := holding(t, memory, 3*one)
	for i := range 6 {
		name := fmt.Sprint("ns-", i)
		if i > 0 {
			x.namespace(name)
			x.submit(name)
		} else {
			x.stateOf(name)
		}
		if err := x.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		x.stateOf("ns-0") // stays, for it is used
	}
	if bytes := x.claims.Bytes(); bytes > 3*one {
		t.Errorf("%d bytes are held, of %d", bytes, 3*one)
	}
	for i, want := range []bool{true, false, false, false, true, true} {
		if _, held := x.claims.Peek(fmt.Sprint("ns-", i)); held != want {
			t.Errorf("ns-%d is held: %t", i, held)
		}
	}
	keptAt(t, x.Snapshots, "ns-1", 1) // half of what makes a snapshot due is worth one when it goes
	if got, want := x.stateOf("ns-1"), size.stateOf("ns-1"); string(got) != string(want) {
		t.Error("what comes back is another state")
	}
}

// One that alone takes more than all may does its work all the same.
func TestClaimsThatAreTooLarge(t *testing.T) {
	t.Parallel()
	x := holding(t, eventstore.NewMemory(), 1)
	x.namespace("acme")
	x.namespace("globex")
	for range 3 {
		id := x.submit("acme")
		if _, _, err := x.claim("acme", domain.Approve{ClaimID: id}); err != nil {
			t.Fatal(err)
		}
		x.submit("globex")
	}
}

// A boundary is not let go of while somebody is at it: there would be another one in its
// place, which decides beside it.
func TestClaimsInUseStay(t *testing.T) {
	t.Parallel()
	log := newSlow()
	x := holding(t, log, 1)
	x.namespace("acme")
	x.namespace("globex")
	log.slowly()
	var under []*asked
	for i := range 3 {
		under = append(under, x.ask(submission("acme")))
		if i == 0 {
			<-log.arrived
		}
		x.runsAhead(i + 1)
	}
	h, _ := x.claims.Peek("acme")
	for range 3 { // each looks for something to let go of
		x.stateOf("globex")
		g, ok := x.claims.Peek("globex")
		if ok {
			x.grown(g)
		}
	}
	if now, held := x.claims.Peek("acme"); !held || now != h {
		t.Error("it was let go of under three commands")
	}
	for range under {
		log.verdict <- nil
	}
	for _, u := range under {
		if <-u.done; u.err != nil {
			t.Error(u.err)
		}
	}
}

// Many use more namespaces than there is room for, and nobody gets a conflict: in one
// process each namespace has one boundary that decides.
func TestManyUseMoreThanThereIsRoomFor(t *testing.T) {
	t.Parallel()
	const spaces, clients, each = 5, 8, 20
	memory := eventstore.NewMemory()
	x := holding(t, memory, 1)
	for i := range spaces {
		x.namespace(fmt.Sprint("ns-", i))
		x.must(fmt.Sprint("ns-", i), domain.ChangePolicy{MaxPending: new(clients * each)})
	}
	var group sync.WaitGroup
	for c := range clients {
		group.Go(func() {
			for i := range each {
				name := fmt.Sprint("ns-", (c+i)%spaces)
				if _, _, err := x.claim(name, submission(name)); err != nil {
					t.Error(err)
				}
				runtime.Gosched()
			}
		})
	}
	group.Wait()
	total := 0
	for i := range spaces {
		if err := x.ViewClaims(t.Context(), fmt.Sprint("ns-", i), func(s *domain.Claims) uint64 { total += s.Len(); return s.Version() }); err != nil {
			t.Fatal(err)
		}
	}
	if total != clients*each {
		t.Errorf("%d claims are there, of %d", total, clients*each)
	}
}

// waiting is a place for snapshots where saving takes until it is let.
type waiting struct {
	eventstore.MemorySnapshots
	let chan struct{}
}

func (w *waiting) Save(ctx context.Context, name string, contents []byte) error {
	select {
	case <-w.let:
		return w.MemorySnapshots.Save(ctx, name, contents)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// What had to go does not fill the memory while it waits to be saved, however slow that is;
// of what finds no room there the log has everything.
func TestWhatHadToGoDoesNotPileUp(t *testing.T) {
	t.Parallel()
	const spaces = 12
	memory := eventstore.NewMemory()
	first := newTester(t, memory)
	for i := range spaces {
		first.namespace(fmt.Sprint("ns-", i))
		first.submit(fmt.Sprint("ns-", i))
		first.submit(fmt.Sprint("ns-", i))
	}
	held, _ := first.claims.Peek("ns-0")
	one := int64(0)
	held.view(func(s *domain.Claims) { one = s.Size() })

	kept := &waiting{let: make(chan struct{})}
	x := newTester(t, memory, func(c *Config) {
		c.ClaimsMemory, c.Snapshots, c.SnapshotEvery = 2*leavingMemory*one, kept, 4 // two commits are worth it when they go
	})
	for i := range spaces {
		x.stateOf(fmt.Sprint("ns-", i))
		if waiting := x.saver.leaving.Load(); waiting > 2*one {
			t.Fatalf("%d bytes wait, of %d that may", waiting, 2*one)
		}
	}
	eventually(t, "something that had to go", func() bool { return x.saver.leaving.Load() > 0 })
	close(kept.let)
	eventually(t, "all to be saved", func() bool { return x.saver.leaving.Load() == 0 })
	for i := range spaces {
		name := fmt.Sprint("ns-", i)
		if got, want := x.stateOf(name), first.stateOf(name); string(got) != string(want) {
			t.Errorf("%s comes back as another", name)
		}
	}
}

// What goes is saved for less than what stays, but not for a few commits, and not all of
// what is old again and again.
func TestWhatIsWorthASnapshot(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		every            uint64
		claims           int
		staying, leaving uint64
	}{
		{0, 0, DefaultSnapshotEvery, leavingNew}, {0, 1000, DefaultSnapshotEvery, leavingNew},
		{0, 100_000, 100_000 / snapshotShare, 100_000 / leavingShare}, {2, 3, 2, 1}, {2, 1000, 125, leavingNew}, {40, 3, 40, leavingNew},
	} {
		x := &Executor{Config: Config{SnapshotEvery: c.every}}
		if staying, leaving := x.snapshotDue(c.claims), x.leavingDue(c.claims); staying != c.staying || leaving != c.leaving {
			t.Errorf("every %d, of %d claims: %d and %d commits, not %d and %d", c.every, c.claims, staying, leaving, c.staying, c.leaving)
		}
	}
}
