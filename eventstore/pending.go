package eventstore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/claimledger/claimledger/domain"
)

// Pending is a commit that was handed over to be appended. It is safe for concurrent
// use.
type Pending struct {
	boundary domain.Boundary
	rec      Record // without a position

	once     sync.Once
	done     chan struct{}
	position uint64 // both are set before done is closed
	err      error

	mu    sync.Mutex
	ended bool        // position and err are set
	stop  func() bool // ends the watch over its context
	hooks []func()
}

// Async begins an append that blocks, for a log that is made of another one: append is
// called in a goroutine, after the commit that this one is behind (nil: none) was
// recorded, and is given the head to append to. When ctx ends first, nobody knows.
func Async(ctx context.Context, behind *Pending, after Head, commit *domain.Commit, append func(Head) (Record, error)) *Pending {
	p := newPending(after, commit)
	if behind != nil {
		p = newPendingBehind(behind, commit)
	}
	if !p.open() {
		return p
	}
	stop := context.AfterFunc(ctx, func() { p.end(0, fmt.Errorf("%w: %w", ErrOutcomeUnknown, ctx.Err())) })
	go func() {
		defer stop()
		if behind != nil {
			var err error
			if after, err = behind.outcome(p); err != nil {
				p.end(0, err)
				return
			}
		}
		rec, err := append(after)
		p.end(rec.Position, err)
	}()
	return p
}

// newPending puts the commit after the head. One that can't be recorded has ended.
func newPending(after Head, commit *domain.Commit) *Pending {
	p := &Pending{boundary: commit.Boundary(), done: make(chan struct{})}
	var err error
	if p.rec, err = prepare(after, commit); err != nil {
		p.end(0, err)
	}
	return p
}

// newPendingBehind does the same after a commit that may not have ended.
func newPendingBehind(behind *Pending, commit *domain.Commit) *Pending {
	p := newPending(behind.Head(), commit)
	if p.boundary != behind.boundary {
		p.end(0, fmt.Errorf("commit %s of %s is chained to one of %s", commit.ID, p.boundary, behind.boundary))
	}
	return p
}

// end says how it came out; only the first word counts.
func (p *Pending) end(position uint64, err error) {
	p.once.Do(func() {
		p.position, p.err = position, err
		p.mu.Lock()
		p.ended = true
		stop := p.stop
		p.mu.Unlock()
		if stop != nil {
			stop() // first: a hook may end the context
		}
		for _, hook := range p.hooks {
			hook()
		}
		close(p.done)
	})
}

// watch calls f in a goroutine of its own when ctx ends first.
func (p *Pending) watch(ctx context.Context, f func()) {
	stop := context.AfterFunc(ctx, f)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop = stop
}

// Done is closed when it is known how the append came out.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Wait gives what Append would. It returns at the latest shortly after the append's
// own context has ended.
func (p *Pending) Wait() (Record, error) {
	<-p.done
	if p.err != nil {
		return Record{}, p.err
	}
	return p.record(), nil
}

func (p *Pending) record() Record {
	rec := p.rec
	rec.Position = p.position
	return rec
}

// WhenDone calls f when it is known how the append came out and before anyone who waits
// hears of it, or at once where that is known already.
func (p *Pending) WhenDone(f func()) {
	p.mu.Lock()
	ended := p.ended
	if !ended {
		p.hooks = append(p.hooks, f)
	}
	p.mu.Unlock()
	if ended {
		f()
	}
}

// Commit is the commit as it will be read, with its version; nil for one that can't be
// recorded.
func (p *Pending) Commit() *domain.Commit { return p.rec.Commit }

// Head is the boundary's head once the commit is recorded. Its position is 0 until
// then.
func (p *Pending) Head() Head {
	if p.rec.Commit == nil {
		return Head{}
	}
	head := p.rec.Head()
	if p.recorded() {
		head.Position = p.position
	}
	return head
}

// open reports whether it has not ended.
func (p *Pending) open() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *Pending) recorded() bool { return !p.open() && p.err == nil }

// outcome waits, and gives the head for the commit that follows, or the reason for
// which that one isn't recorded either.
func (p *Pending) outcome(next *Pending) (Head, error) {
	rec, err := p.Wait()
	switch {
	case err == nil:
		return rec.Head(), nil
	case isConflict(err):
		var conflict *ConflictError
		errors.As(err, &conflict)
		return Head{}, &ConflictError{Boundary: next.boundary, Expected: p.Head(), Actual: conflict.Actual}
	default:
		// The error is no part of this one: it may say that the outcome is unknown.
		return Head{}, fmt.Errorf("%w: %w: %v", ErrUnavailable, ErrFell, err)
	}
}

func isConflict(err error) bool {
	var conflict *ConflictError
	return errors.As(err, &conflict)
}
