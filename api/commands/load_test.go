package commands

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// A boundary is loaded while others go on appending to it: nothing is lost between what
// was read and what is followed, nothing counts twice.
func TestLoadWhileOthersAppend(t *testing.T) {
	t.Parallel()
	memory := eventstore.NewMemory()
	other := newTester(t, memory)
	other.namespace("acme")
	for range 5 {
		other.submit("acme")
	}
	log := &troubled{Log: memory}
	x := newTester(t, log)
	reads := 0
	log.read = func(domain.Boundary, eventstore.Record) error {
		if reads++; reads == 3 { // in the midst of the load, which ends at five
			for range 5 {
				other.submit("acme")
			}
			eventually(t, "the follower", func() bool { return x.Position() == last(t, memory) })
		}
		return nil
	}
	var version uint64
	see := func(c *domain.Claims) uint64 { version = c.Version(); return version }
	if err := x.ViewClaims(t.Context(), "acme", see); err != nil || version != 10 {
		t.Errorf("loaded up to version %d: %v", version, err)
	}
	x.submit("acme")
	if err := x.ViewClaims(t.Context(), "acme", see); err != nil || version != 11 {
		t.Errorf("it is at version %d: %v", version, err)
	}
}

// Many callers share one load.
func TestOneLoadForAll(t *testing.T) {
	t.Parallel()
	memory := eventstore.NewMemory()
	other := newTester(t, memory)
	other.namespace("acme")
	other.submit("acme")
	log := &troubled{Log: memory}
	var reads atomic.Int64
	log.read = func(domain.Boundary, eventstore.Record) error { reads.Add(1); return nil }
	x := newTester(t, log)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if err := x.ViewClaims(t.Context(), "acme", func(*domain.Claims) uint64 { return 0 }); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if reads.Load() != 1 {
		t.Errorf("one commit was read %d times", reads.Load())
	}
}

func TestALoadThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	memory := eventstore.NewMemory()
	other := newTester(t, memory)
	other.namespace("acme")
	id := other.submit("acme")
	log := &troubled{Log: memory}
	x := newTester(t, log)
	trouble := fmt.Errorf("%w: for now", eventstore.ErrUnavailable)
	log.read = func(domain.Boundary, eventstore.Record) error { return trouble }
	_, _, err := x.claim("acme", domain.Approve{ClaimID: id})
	wantCode(t, "approve without a log", err, domain.CodeServiceUnavailable)
	if !errors.Is(err, trouble) {
		t.Errorf("%v hides its cause", err)
	}
	err = x.ViewClaims(t.Context(), "acme", func(*domain.Claims) uint64 { return 0 })
	wantCode(t, "a query without a log", err, domain.CodeServiceUnavailable)
	log.read = nil
	if _, _, err := x.claim("acme", domain.Approve{ClaimID: id}); err != nil {
		t.Errorf("approve when the log is back: %v", err)
	}
}

// A namespace whose record makes no sense is refused, and the others go on.
func TestClaimsThatCannotBeFolded(t *testing.T) {
	t.Parallel()
	memory := eventstore.NewMemory()
	x := newTester(t, memory)
	x.namespace("acme")
	x.namespace("globex")
	id := x.submit("acme")
	inject(t, memory, domain.ClaimsOf("acme"), 7, domain.ClaimRevoked{ClaimID: id})
	if err := x.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, _, err := x.claim("acme", domain.Approve{ClaimID: id})
		wantCode(t, "approve", err, domain.CodeServiceUnavailable)
		err = x.ViewClaims(t.Context(), "acme", func(*domain.Claims) uint64 { t.Error("a state was shown"); return 0 })
		wantCode(t, "a query", err, domain.CodeServiceUnavailable)
	}
	x.submit("globex")
}

// A registry that makes no sense must not go on to authorize: keys and owners are in it.
// The process stops to follow, and what it knows grows too old to be used.
func TestARegistryThatCannotBeFolded(t *testing.T) {
	t.Parallel()
	memory := eventstore.NewMemory()
	x := newTester(t, memory)
	x.namespace("acme")
	inject(t, memory, domain.RegistryOf("acme"), 9, domain.NamespaceDeactivated{})
	select {
	case err := <-x.stopped:
		if err == nil || domain.ErrorCode(err) != domain.CodeServiceUnavailable {
			t.Errorf("it stopped to follow with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it goes on following")
	}
	x.ahead.Store(int64(time.Hour))
	if x.Age() < time.Hour {
		t.Errorf("its knowledge counts as %v old", x.Age())
	}
	fresh := NewExecutor(x.Config)
	wantCode(t, "load", fresh.Load(t.Context()), domain.CodeServiceUnavailable)
}

// inject records a commit of a version that cannot be next.
func inject(t *testing.T, memory *eventstore.Memory, b domain.Boundary, version uint64, p domain.Payload) {
	t.Helper()
	c := domain.NewCommit(newID(), b, time.Now(), domain.Actor{Kind: domain.ActorOperator}, domain.CommandRef{Name: "x"}, nil, []domain.Payload{p})
	c.Version = version
	stored, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	memory.Inject(b, stored)
}

// What follows while the first load ends is lost to nobody.
func TestFollowingWhileALoadEnds(t *testing.T) {
	t.Parallel()
	memory := eventstore.NewMemory()
	x := newTester(t, memory)
	x.namespace("acme")
	x.submit("acme")
	x.submit("acme")
	var records []eventstore.Record
	if err := memory.Read(t.Context(), domain.ClaimsOf("acme"), 0, func(r eventstore.Record) error {
		records = append(records, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for i := range 20_000 {
		b := newBoundary(domain.ClaimsOf("acme"), &first{memory}, domain.NewClaims("acme"))
		go b.load(t.Context(), nil)
		for b.at().Version == 0 {
			runtime.Gosched()
		}
		b.follow(records[1])
		<-b.loaded
		if b.at().Version != 2 {
			t.Fatalf("round %d: a commit was lost", i)
		}
	}
}

// first is a log that ends with a boundary's first commit for those who load it.
type first struct{ eventstore.Log }

func (l *first) Read(ctx context.Context, b domain.Boundary, after uint64, f func(eventstore.Record) error) error {
	stop := errors.New("stop")
	err := l.Log.Read(ctx, b, after, func(r eventstore.Record) error {
		if r.Commit.Version > 1 {
			return stop
		}
		return f(r)
	})
	if err == stop {
		return nil
	}
	return err
}
