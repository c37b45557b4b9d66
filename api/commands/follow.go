package commands

import (
	"context"
	"sync"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// syncTimeout bounds waiting for the follower to reach the log's end.
const syncTimeout = 2 * time.Second

// Run follows the log until ctx ends, or something is in it that cannot be folded: then
// what this process knows grows old, and nobody is authorized on it for long. A log that
// lost commits closes the fence.
func (x *Executor) Run(ctx context.Context) error {
	saving, stop := context.WithCancel(ctx)
	var saver sync.WaitGroup
	saver.Go(func() { x.saver.run(saving) })
	err := x.follow(ctx)
	x.close(err)
	stop()
	saver.Wait()
	return err
}

// close closes the fence where an error says that the log is broken.
func (x *Executor) close(err error) {
	if x.Fence != nil {
		x.Fence.Close(err)
	}
}

func (x *Executor) follow(ctx context.Context) error {
	return x.Log.Follow(ctx, x.position.Load(), func(r eventstore.Record) error {
		switch r.Commit.Kind {
		case domain.KindRegistry:
			if err := x.directory.follow(r); err != nil {
				return err
			}
			x.registryGrown()
		case domain.KindClaims:
			x.keys.note(r.Commit)
			x.followClaims(r)
		}
		x.advance(r.Position)
		return nil
	}, func(last uint64) {
		x.advance(last)
		x.confirm()
	})
}

func (x *Executor) advance(to uint64) {
	if to > x.position.Load() {
		x.position.Store(to)
		x.moved.signal()
	}
}

func (x *Executor) confirm() { x.confirmed.Store(x.Now().UnixNano()) }

// Position is up to where the states are complete.
func (x *Executor) Position() uint64 { return x.position.Load() }

// Age is how long ago the states were last known to be complete.
func (x *Executor) Age() time.Duration {
	return x.Now().Sub(time.Unix(0, x.confirmed.Load()))
}

// Intact refuses where the log is known not to be what it was.
func (x *Executor) Intact() error {
	if err := x.Fence.Broken(); err != nil {
		return logError(err)
	}
	return nil
}

// WaitFor waits until the states are complete up to a position, or ctx ends.
func (x *Executor) WaitFor(ctx context.Context, position uint64) error {
	for {
		changed := x.moved.wait()
		at := x.position.Load()
		if at >= position {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return domain.Errorf(domain.CodeStaleRead, "This node is at position %d, %d behind the position %d that was asked for.", at, position-at, position)
		}
	}
}

// Sync waits until the states hold everything that is in the log now, so that what
// another node has just answered is known here too. That it takes too long is this
// node's trouble, and not about a position that the caller named.
func (x *Executor) Sync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	last, err := x.Log.Last(ctx)
	if err != nil {
		return logError(err)
	}
	if err := x.WaitFor(ctx, last); err != nil {
		return unavailable("This node is behind the ledger's log and did not catch up in time.", err)
	}
	return nil
}

// broadcast wakes everyone who waits.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

// wait gives a channel that the next signal closes. Take it before looking.
func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *broadcast) signal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}
