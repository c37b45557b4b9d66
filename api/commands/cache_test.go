package commands

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

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

// However many small ones it takes to make room for a large one, they go at once.
func TestManySmallGoForALargeOne(t *testing.T) {
	t.Parallel()
	log, c := eventstore.NewMemory(), newClaimsCache(100*boundarySize)
	for i := range 100 {
		c.get(fmt.Sprint("small-", i), log)
	}
	for i := range 3 {
		large, _ := c.get(fmt.Sprint("large-", i), log)
		gone := c.weigh(large, 89*boundarySize)
		if c.Bytes() > 100*boundarySize {
			t.Errorf("%d boundaries went for large-%d, and what is left takes %d of %d", len(gone), i, c.Bytes(), 100*boundarySize)
		}
		if _, held := c.Peek(fmt.Sprint("large-", i)); !held {
			t.Errorf("large-%d made room for itself and is not held", i)
		}
	}
}

// What claims in memory are counted with is about what they take, whether a namespace has
// one or many, and whatever callers choose to be remembered by.
func TestClaimsTakeWhatTheyAreCountedWith(t *testing.T) {
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // what finalizers held
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for name, test := range map[string]struct{ namespaces, claims, longer int }{
		"one claim each":  {1000, 1, 0},
		"ten claims each": {100, 10, 0},
		"large":           {1, 2000, 0},
		"long nonces":     {1, 2000, domain.MaxNonce - 22},
	} {
		before := heap()
		c, log, now := newClaimsCache(math.MaxInt64), eventstore.NewMemory(), time.Now()
		for n := range test.namespaces {
			h, _ := c.get(fmt.Sprintf("namespace-%06d", n), log)
			for i := range test.claims {
				id := fmt.Sprintf("%04d%022d", n, i)
				nonce := strings.Repeat("n", test.longer) + id[4:]
				commit := domain.NewCommit(id, h.id, now, domain.Actor{Kind: domain.ActorClock}, domain.CommandRef{
					Name: "claim.submit", Caller: "service_key:" + id, Key: "key-" + nonce, Answer: []byte(fmt.Sprintf("%0180d", i)),
				}, &domain.Basis{Limits: domain.Limits{MaxPending: test.claims}}, []domain.Payload{domain.ClaimSubmitted{
					ClaimID: "claim_" + id, ServiceID: fmt.Sprintf("%036d", n), Service: "openai", PublicKey: fmt.Sprintf("ed25519:%044d", i),
					Nonce: nonce, Signer: h.id.Namespace, SignatureNonce: nonce, ExpiresAt: new(now.Add(time.Hour)),
				}})
				commit.Version = h.state.Version() + 1
				if err := h.state.Apply(commit); err != nil {
					t.Fatal(err)
				}
			}
			c.weigh(h, h.state.Size())
		}
		if counted, taken := c.Bytes(), heap()-before; float64(taken) > 1.3*float64(counted) || float64(taken) < 0.7*float64(counted) {
			t.Errorf("%s: %d KiB are taken, and %d KiB counted", name, taken>>10, counted>>10)
		}
		runtime.KeepAlive(c)
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
