package logtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// follower collects what Follow hands over, and says when it has caught up.
type follower struct {
	stop context.CancelFunc
	done chan struct{} // closed when Follow has returned
	err  error         // what it returned

	mu       sync.Mutex
	records  []eventstore.Record
	failure  error         // a broken promise
	caughtUp uint64        // the last position that was confirmed
	called   int           // how often
	changed  chan struct{} // closed, and replaced, at each confirmation
}

func follow(t *testing.T, log eventstore.Log, after uint64) *follower {
	ctx, cancel := context.WithCancel(deadline(t))
	f := &follower{stop: cancel, done: make(chan struct{}), changed: make(chan struct{})}
	go func() {
		defer close(f.done)
		f.err = log.Follow(ctx, after, func(r eventstore.Record) error { return f.take(after, r) }, f.confirm)
	}()
	t.Cleanup(func() {
		cancel()
		<-f.done
	})
	return f
}

func (f *follower) take(after uint64, r eventstore.Record) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if want := after + uint64(len(f.records)) + 1; r.Position != want {
		return fmt.Errorf("position %d was handed over, want %d", r.Position, want)
	}
	f.records = append(f.records, r)
	return nil
}

func (f *follower) confirm(last uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if last < f.caughtUp {
		f.failure = fmt.Errorf("caught up with %d after %d", last, f.caughtUp)
	}
	if n := len(f.records); n > 0 && last != f.records[n-1].Position {
		f.failure = fmt.Errorf("caught up with %d when the last one handed over was %d", last, f.records[n-1].Position)
	}
	f.caughtUp = last
	f.called++
	close(f.changed)
	f.changed = make(chan struct{})
}

// wait returns what was handed over when the follower has confirmed the position.
func (f *follower) wait(t *testing.T, position uint64) []eventstore.Record {
	t.Helper()
	ctx := deadline(t)
	for {
		f.mu.Lock()
		records, caughtUp, failure, changed := f.records, f.caughtUp, f.failure, f.changed
		called := f.called
		f.mu.Unlock()
		if failure != nil {
			t.Fatal(failure)
		}
		if called > 0 && caughtUp >= position {
			return records
		}
		select {
		case <-changed:
		case <-f.done:
			t.Fatalf("follow ended: %v", f.err)
		case <-ctx.Done():
			t.Fatalf("follow is at %d, not %d, after %v", caughtUp, position, patience)
		}
	}
}

func testFollow(t *testing.T, h *Harness) {
	ctx, b := deadline(t), domain.ClaimsOf(Namespace())
	before, err := h.Log.Last(ctx)
	if err != nil {
		t.Fatal(err)
	}
	early := follow(t, h.Another, before)
	early.wait(t, before)
	records := appendN(t, h.Log, b, eventstore.Head{}, h.Many)
	end := records[len(records)-1].Position
	wantSame(t, "follow while it grows", early.wait(t, end), records)

	middle := records[len(records)/2]
	wantSame(t, "follow from the middle", follow(t, h.Log, middle.Position).wait(t, end), records[len(records)/2+1:])
	atEnd := follow(t, h.Log, end)
	if got := atEnd.wait(t, end); got != nil {
		t.Fatalf("follow from the end gave %d records", len(got))
	}
	more := appendN(t, h.Another, b, records[len(records)-1].Head(), 3)
	wantSame(t, "follow from the end", atEnd.wait(t, more[2].Position), more)
	if before == 0 {
		return
	}
	first := follow(t, h.Log, 0).wait(t, end)[0]
	if first.Position != 1 {
		t.Errorf("follow from the start begins at %d", first.Position)
	}
}

func testFollowStops(t *testing.T, h *Harness) {
	ctx, b := deadline(t), domain.ClaimsOf(Namespace())
	records := appendN(t, h.Log, b, eventstore.Head{}, 5)
	enough := errors.New("enough")
	count := 0
	err := h.Log.Follow(ctx, records[0].Position-1, func(eventstore.Record) error {
		if count++; count == 3 {
			return enough
		}
		return nil
	}, nil)
	if err != enough || count != 3 {
		t.Errorf("follow: %v after %d", err, count)
	}

	f := follow(t, h.Log, records[4].Position)
	f.wait(t, records[4].Position)
	// At the end it goes on confirming, without a commit, in a second at the latest.
	f.mu.Lock()
	called, changed := f.called, f.changed
	f.mu.Unlock()
	start := time.Now()
	select {
	case <-changed:
	case <-ctx.Done():
		t.Fatalf("caught up %d times, then no more", called)
	}
	if took := time.Since(start); took > 2*eventstore.CaughtUpInterval+time.Second {
		t.Errorf("caught up again after %v", took)
	}
	f.stop()
	<-f.done
	if !errors.Is(f.err, context.Canceled) {
		t.Errorf("follow ended with %v, want the context's error", f.err)
	}
}
