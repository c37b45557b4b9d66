package commands

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// After a long stop more may be overdue than one commit may expire: the next command
// expires all of it first, in as many commits as it takes.
func TestSweep(t *testing.T) {
	t.Parallel()
	const overdue = 2*domain.MaxExpiriesPerCommit + 7
	memory := eventstore.NewMemory()
	x := newTester(t, memory)
	x.namespace("acme")
	x.must("acme", domain.ChangePolicy{MaxPending: new(overdue), PendingExpiryHours: new(1)})
	for range overdue {
		x.submit("acme")
	}
	before := last(t, memory)
	x.ahead.Store(int64(2 * time.Hour))
	a, r, err := x.claim("acme", submission("acme"))
	if err != nil || a.Status != domain.StatusPending {
		t.Fatalf("submit: %+v, %v", a, err)
	}
	var sizes []int
	for p := before + 1; p <= r.Position; p++ {
		rec, err := memory.At(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, len(rec.Commit.Events))
		clock := rec.Commit.Actor.Kind == domain.ActorClock
		if clock != (p < r.Position) {
			t.Errorf("the commit at %d was made by %s", p, rec.Commit.Actor.Kind)
		}
	}
	// What is left over after the sweep goes with the command's own event.
	if !slices.Equal(sizes, []int{domain.MaxExpiriesPerCommit, domain.MaxExpiriesPerCommit, 8}) {
		t.Errorf("commits of %v events", sizes)
	}
	if _, _, err := x.claim("acme", domain.ExpireOverdue{}); err != nil || last(t, memory) != r.Position {
		t.Errorf("the clock found more: %v", err)
	}
}

// Times do not go backwards within a boundary, whatever the machine's clock does.
func TestTheClockGoesBack(t *testing.T) {
	t.Parallel()
	memory := eventstore.NewMemory()
	x := newTester(t, memory)
	x.ahead.Store(int64(time.Hour))
	x.namespace("acme")
	_, first, err := x.claim("acme", submission("acme"))
	if err != nil {
		t.Fatal(err)
	}
	x.ahead.Store(0)
	_, second, err := x.claim("acme", submission("acme"))
	if err != nil || second.Time.Before(first.Time) {
		t.Errorf("%v follows %v: %v", second.Time, first.Time, err)
	}
	x.must("acme", domain.DeactivateNamespace{})
}

func TestPositionAndAge(t *testing.T) {
	t.Parallel()
	memory := eventstore.NewMemory()
	log := &troubled{Log: memory}
	var mu sync.Mutex
	held := false
	release := sync.NewCond(&mu)
	log.follow = func(eventstore.Record) {
		mu.Lock()
		defer mu.Unlock()
		for held {
			release.Wait()
		}
	}
	hold := func(h bool) { mu.Lock(); held = h; release.Broadcast(); mu.Unlock() }
	x, other := newTester(t, log), newTester(t, memory)
	other.namespace("acme")
	if err := x.Sync(t.Context()); err != nil || x.Position() != last(t, memory) {
		t.Fatalf("at %d after Sync: %v", x.Position(), err)
	}
	eventually(t, "news of the log's end", func() bool { return x.Age() < time.Second })

	hold(true)
	at := x.Position()
	other.submit("acme")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := x.WaitFor(ctx, at+1)
	wantCode(t, "a wait in vain", err, domain.CodeStaleRead)
	if want := fmt.Sprintf("STALE_READ: This node is at position %d, 1 behind the position %d that was asked for.", at, at+1); err.Error() != want {
		t.Errorf("it says %q", err)
	}
	wantCode(t, "a Sync in vain", x.Sync(ctx), domain.CodeServiceUnavailable) // nobody asked for a position
	x.ahead.Store(int64(time.Minute))
	if x.Age() < time.Minute {
		t.Errorf("cut off for a minute, the age is %v", x.Age())
	}
	hold(false)
	if err := x.WaitFor(t.Context(), at+1); err != nil {
		t.Error(err)
	}
	eventually(t, "news of the log's end", func() bool { return x.Age() < time.Second })

	log.last = func() error { return eventstore.ErrUnavailable }
	wantCode(t, "a Sync without a log", x.Sync(t.Context()), domain.CodeServiceUnavailable)
}

// A command's own commit is known here before it was followed, and an answer that
// appends nothing names the state that it rests on.
func TestPositionsOfResults(t *testing.T) {
	t.Parallel()
	memory := eventstore.NewMemory()
	x := newTester(t, memory)
	x.namespace("acme")
	sub := submission("acme")
	_, r, err := x.claim("acme", sub)
	if err != nil || !r.Appended || r.Position != last(t, memory) || x.Heads("acme") != r.Position {
		t.Fatalf("%+v, %v; the head is %d", r, err, x.Heads("acme"))
	}
	again := sub
	again.Nonce, again.SignatureNonce = "another nonce", "another"
	a, same, err := x.claim("acme", again)
	if err != nil || same.Appended || same.Position < r.Position || a.ClaimID != sub.ClaimID || a.Created {
		t.Errorf("asked again: %+v %+v %v", a, same, err)
	}
	_, refused, err := x.claim("acme", domain.Revoke{ClaimID: sub.ClaimID})
	if domain.ErrorCode(err) != domain.CodeConflict || refused.Position < r.Position {
		t.Errorf("a refusal: %+v %v", refused, err)
	}
	if last(t, memory) != r.Position {
		t.Error("something was appended")
	}
}
