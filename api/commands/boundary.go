package commands

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// maxWaiting bounds how many commands wait for their turn at one boundary: about what a
// slow disk records in the time that callers have.
const maxWaiting = 4096

// folded is a state that commits are folded into.
type folded interface {
	Apply(*domain.Commit) error
	Version() uint64
	Time() time.Time
}

// boundary holds the state of one boundary in memory and keeps it current.
//
// deciding, a lock that can be waited for with a deadline, serialises the commands of
// this process, so that they don't conflict with each other; it is held while a commit
// is on its way to disk. mu guards the state
// and is held only to look at it or to fold a commit in, so that queries never wait
// for a disk.
type boundary[S folded] struct {
	id  domain.Boundary
	log eventstore.Log

	deciding chan struct{}
	waiting  atomic.Int64 // for deciding
	asking   asking

	loaded chan struct{} // closed when the first load ended, well or not
	mu     sync.RWMutex
	state  S
	head   eventstore.Head
	early  []eventstore.Record // came by following while loading
	err    error               // the state cannot be trusted
}

func newBoundary[S folded](id domain.Boundary, log eventstore.Log, empty S) *boundary[S] {
	b := &boundary[S]{id: id, log: log, state: empty, deciding: make(chan struct{}, 1), loaded: make(chan struct{})}
	b.asking.ask = func(ctx context.Context) (eventstore.Head, error) { return log.Tail(ctx, id) }
	return b
}

// lock waits for the turn to decide, unless too many do; the caller calls unlock when
// err is nil.
func (b *boundary[S]) lock(ctx context.Context) error {
	defer b.waiting.Add(-1)
	if b.waiting.Add(1) > maxWaiting {
		return unavailable("Too many commands are waiting for this namespace; nothing was recorded.", nil)
	}
	select {
	case b.deciding <- struct{}{}:
		return nil
	case <-ctx.Done():
		return unavailable("Too many commands are waiting for this namespace; nothing was recorded.", ctx.Err())
	}
}

func (b *boundary[S]) unlock() { <-b.deciding }

// load reads the boundary from its start. What follow hands over meanwhile waits.
func (b *boundary[S]) load(ctx context.Context) {
	defer close(b.loaded)
	state, head := b.state, eventstore.Head{}
	err := b.log.Read(ctx, b.id, 0, func(r eventstore.Record) (err error) {
		head, err = next(state, head, r)
		return err
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state, b.head, b.err = state, head, err
	for _, r := range b.early {
		b.fold(r)
	}
	b.early = nil
}

// start makes a boundary ready whose commits all come through follow.
func (b *boundary[S]) start() { close(b.loaded) }

// wait waits for the first load.
func (b *boundary[S]) wait(ctx context.Context) error {
	select {
	case <-b.loaded:
	case <-ctx.Done():
		return unavailable("The ledger took too long to load this namespace.", ctx.Err())
	}
	return b.failure()
}

// failure tells why the state cannot be trusted; nil when it can.
func (b *boundary[S]) failure() error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.err
}

// follow takes a commit that was appended by anyone.
func (b *boundary[S]) follow(r eventstore.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.loaded:
		b.fold(r)
	default:
		b.early = append(b.early, r)
	}
}

// fold applies a commit unless the state has it already: a process learns of its own
// commits twice. The caller holds mu.
func (b *boundary[S]) fold(r eventstore.Record) {
	switch {
	case b.err != nil || r.Commit.Version < b.head.Version:
	case r.Commit.Version == b.head.Version:
		if r.Hash != b.head.Hash {
			b.err = corrupt(replaced(b.head, r.Hash))
		}
	default:
		b.head, b.err = next(b.state, b.head, r)
	}
}

// next applies the commit that follows a head. A log that lost commits and gave their
// versions to others goes on in unbroken numbers; that what comes does not follow what is
// known shows in the hashes.
func next[S folded](state S, head eventstore.Head, r eventstore.Record) (eventstore.Head, error) {
	if r.Commit.Version == head.Version+1 && r.Commit.Prev != head.Hash {
		return head, corrupt(replaced(head, r.Commit.Prev))
	}
	if err := state.Apply(r.Commit); err != nil {
		return head, corrupt(err)
	}
	return r.Head(), nil
}

// replaced is for a log that has another commit in the place of one that this process
// knows.
func replaced(known eventstore.Head, found domain.Hash) error {
	return &eventstore.BrokenError{
		Position: known.Position,
		Found:    fmt.Sprintf("it has another commit (hash %s) in the place of one that this process knows (hash %s)", found, known.Hash),
	}
}

// view runs f on the state. f must not keep it.
func (b *boundary[S]) view(f func(S)) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	f(b.state)
}

func (b *boundary[S]) at() eventstore.Head {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.head
}

// catchUp reads what was appended since.
func (b *boundary[S]) catchUp(ctx context.Context) error {
	err := b.log.Read(ctx, b.id, b.at().Position, func(r eventstore.Record) error {
		b.follow(r)
		return nil
	})
	if err != nil {
		return logError(err)
	}
	return b.failure()
}

// current reports whether the head is still the log's last, and catches up where not.
// The state may have moved on by itself meanwhile, which is no proof for what was seen
// in it before.
func (b *boundary[S]) current(ctx context.Context, head eventstore.Head) (bool, error) {
	tail, err := b.asking.tail(ctx)
	if err != nil {
		return false, logError(err)
	}
	switch {
	case tail == head:
		return true, nil
	case tail.Version > head.Version:
		return false, b.catchUp(ctx)
	case tail.Version == head.Version:
		return false, logError(replaced(head, tail.Hash))
	default:
		// It has lost commits, or its leader was deposed and does not know it yet.
		return false, unavailable("The ledger's log shows less than was recorded; nothing was recorded, and nothing can be said for sure.", nil)
	}
}

// corrupt is for a log that this program cannot fold: it must not be decided on.
func corrupt(err error) error {
	return &domain.Error{
		Code:    domain.CodeServiceUnavailable,
		Message: "The record of this namespace cannot be read; its operator has to look at it.",
		Err:     fmt.Errorf("fold: %w", err),
	}
}
