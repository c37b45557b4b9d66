package eventstore

import (
	"context"
	"fmt"
	"sync"

	"github.com/claimledger/claimledger/domain"
)

// Guard is the log for a process that decides on what it reads there. A log that lost its
// last commits, and goes on with others, contradicts what the process knows: the fence is
// told so by whichever of them comes to light first.
//
// What the process was shown or has appended ahead of its follower is compared when the
// follower gets there; what the follower has passed, Follow itself makes sure of; and that
// the last that is known is still there, a Watch does.
func (f *Fence) Guard(log Log) Log {
	if f == nil {
		return log
	}
	return &guarded{Log: log, fence: f, ahead: map[uint64]domain.Hash{}}
}

type guarded struct {
	Log
	fence *Fence

	mu       sync.Mutex
	followed uint64                 // position
	ahead    map[uint64]domain.Hash // what is known beyond that, by position
}

// Append appends, and closes the fence when another commit is known at the same position.
// What is recorded now is recorded all the same.
func (g *guarded) Append(ctx context.Context, after Head, commit *domain.Commit) (Record, error) {
	return g.Begin(ctx, after, commit).Wait()
}

func (g *guarded) Begin(ctx context.Context, after Head, commit *domain.Commit) *Pending {
	return g.appending(g.Log.Begin(ctx, after, commit))
}

func (g *guarded) Chain(ctx context.Context, behind *Pending, commit *domain.Commit) *Pending {
	return g.appending(g.Log.Chain(ctx, behind, commit))
}

func (g *guarded) appending(p *Pending) *Pending {
	p.WhenDone(func() {
		if p.err == nil {
			g.fence.Close(g.learn(p.record(), false))
		}
	})
	return p
}

func (g *guarded) Read(ctx context.Context, b domain.Boundary, after uint64, f func(Record) error) error {
	return g.Log.Read(ctx, b, after, g.learning(f, false))
}

func (g *guarded) ReadAll(ctx context.Context, kind domain.Kind, after uint64, f func(Record) error) error {
	return g.Log.ReadAll(ctx, kind, after, g.learning(f, false))
}

// At is for those who know a commit from elsewhere and go on from it, without having read
// what led to it: from then on the process knows it.
func (g *guarded) At(ctx context.Context, position uint64) (Record, error) {
	r, err := g.Log.At(ctx, position)
	if err == nil {
		err = g.learn(r, false)
	}
	return r, err
}

func (g *guarded) Follow(ctx context.Context, after uint64, f func(Record) error, caughtUp func(uint64)) error {
	before := g.upTo(after)
	var pause backoff
	for {
		err := checkMark(ctx, g.Log, before)
		if err == nil {
			break
		}
		if asBroken(err) != nil {
			return err
		}
		if !pause.wait(ctx) {
			return ctx.Err()
		}
	}
	return g.Log.Follow(ctx, after, g.learning(f, true), caughtUp)
}

// upTo gives the last commit that is known up to a position, behind which the follower
// begins.
func (g *guarded) upTo(position uint64) (m Mark) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.followed = position
	for p, hash := range g.ahead {
		if p > position {
			continue
		}
		if p > m.Position {
			m = Mark{p, hash, holderSelf}
		}
		delete(g.ahead, p)
	}
	return m
}

func (g *guarded) learning(f func(Record) error, following bool) func(Record) error {
	return func(r Record) error {
		if err := g.learn(r, following); err != nil {
			return err
		}
		return f(r)
	}
}

// learn compares a commit with what is known at its position.
func (g *guarded) learn(r Record, following bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if known, ok := g.ahead[r.Position]; ok && known != r.Hash {
		return &BrokenError{r.Position, fmt.Sprintf("it has another commit there (hash %s) than %s knows (hash %s): "+
			"commits were lost and their positions given to others", r.Hash, holderSelf, known)}
	}
	switch {
	case following:
		delete(g.ahead, r.Position)
		g.followed = max(g.followed, r.Position)
	case r.Position > g.followed:
		g.ahead[r.Position] = r.Hash
	}
	g.fence.learn(r)
	return nil
}
