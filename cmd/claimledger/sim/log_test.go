package sim

import (
	"context"
	"errors"
	"fmt"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// ledger is the one log that all nodes share. What it takes is durable at once; it loses
// something only when its disk does (tear).
type ledger struct {
	memory *eventstore.Memory
	late   []lateAppend
}

// lateAppend is a commit that was sent and may yet arrive. Its expectation guards it.
type lateAppend struct {
	after  eventstore.Head
	commit *domain.Commit
}

// arrive ends the wait of a late commit, and tells whether it was taken.
func (l *ledger) arrive(i int) bool {
	a := l.late[i]
	l.late = append(l.late[:i:i], l.late[i+1:]...)
	_, err := l.memory.Append(context.Background(), a.after, a.commit)
	return err == nil
}

func (l *ledger) last() uint64 {
	n, _ := l.memory.Last(context.Background()) // a Memory has no trouble
	return n
}

// tear drops the commits after a position, as a store does that was damaged.
func (l *ledger) tear(after uint64) error {
	torn := eventstore.NewMemory()
	heads := map[domain.Boundary]eventstore.Head{}
	for position := uint64(1); position <= after; position++ {
		rec, err := l.memory.At(context.Background(), position)
		if err != nil {
			return err
		}
		hash := rec.Hash
		rec, err = torn.Append(context.Background(), heads[rec.Commit.Boundary()], rec.Commit)
		if err != nil {
			return err
		}
		if rec.Hash != hash {
			return fmt.Errorf("the commit at %d is encoded otherwise the second time", position)
		}
		heads[rec.Commit.Boundary()] = rec.Head()
	}
	l.memory = torn
	return nil
}

// connection is the log as one process has it: every call waits at the gate, and ends as
// the simulation says.
type connection struct {
	eventstore.Log // nil: what is not below, nobody here calls

	world *world
	node  *node
	life  int      // of the node; an older one's calls lead to nothing
	feed  chan int // how many commits to hand over next
}

var _ eventstore.Log = (*connection)(nil)

func (c *connection) enter(ctx context.Context, kind string, b domain.Boundary) verdict {
	return c.world.gate.enter(&operation{kind: kind, boundary: b, node: c.node, life: c.life, command: callerOf(ctx)})
}

func (c *connection) memory() *eventstore.Memory { return c.world.ledger.memory }

var errCut = errors.New("the connection was cut")

func (c *connection) Append(ctx context.Context, after eventstore.Head, commit *domain.Commit) (eventstore.Record, error) {
	switch c.enter(ctx, opAppend, commit.Boundary()) {
	case works:
		return c.memory().Append(context.Background(), after, commit)
	case lostApplied:
		_, err := c.memory().Append(context.Background(), after, commit)
		return eventstore.Record{}, errors.Join(eventstore.ErrOutcomeUnknown, err)
	case lostLate:
		c.world.ledger.late = append(c.world.ledger.late, lateAppend{after, commit})
		return eventstore.Record{}, eventstore.ErrOutcomeUnknown
	case lostNothing:
		return eventstore.Record{}, eventstore.ErrOutcomeUnknown
	default:
		return eventstore.Record{}, fmt.Errorf("%w: %w", eventstore.ErrUnavailable, errCut)
	}
}

func (c *connection) Begin(ctx context.Context, after eventstore.Head, commit *domain.Commit) *eventstore.Pending {
	return eventstore.Async(ctx, nil, after, commit, func(after eventstore.Head) (eventstore.Record, error) { return c.Append(ctx, after, commit) })
}

func (c *connection) Chain(ctx context.Context, behind *eventstore.Pending, commit *domain.Commit) *eventstore.Pending {
	return eventstore.Async(ctx, behind, behind.Head(), commit, func(after eventstore.Head) (eventstore.Record, error) { return c.Append(ctx, after, commit) })
}

func (c *connection) Tail(ctx context.Context, b domain.Boundary) (eventstore.Head, error) {
	if c.enter(ctx, opTail, b) != works {
		return eventstore.Head{}, fmt.Errorf("%w: %w", eventstore.ErrUnavailable, errCut)
	}
	return c.memory().Tail(ctx, b)
}

func (c *connection) Last(ctx context.Context) (uint64, error) {
	if c.enter(ctx, opLast, domain.Boundary{}) != works {
		return 0, fmt.Errorf("%w: %w", eventstore.ErrUnavailable, errCut)
	}
	return c.memory().Last(ctx)
}

// Read hands over one half of what it finds when it is let go, and the other when it is
// let go again.
func (c *connection) Read(ctx context.Context, b domain.Boundary, after uint64, f func(eventstore.Record) error) error {
	if c.enter(ctx, opRead, b) != works {
		return fmt.Errorf("%w: %w", eventstore.ErrUnavailable, errCut)
	}
	var found []eventstore.Record
	err := c.memory().Read(context.Background(), b, after, func(r eventstore.Record) error {
		found = append(found, r)
		return nil
	})
	for i, r := range found {
		if err == nil && i > 0 && i == len(found)/2 && c.enter(ctx, opReadOn, b) != works {
			err = fmt.Errorf("%w: %w", eventstore.ErrUnavailable, errCut)
		}
		if err == nil {
			err = f(r)
		}
	}
	return err
}

func (c *connection) ReadAll(ctx context.Context, kind domain.Kind, after uint64, f func(eventstore.Record) error) error {
	if c.enter(ctx, opReadAll, domain.Boundary{}) != works {
		return fmt.Errorf("%w: %w", eventstore.ErrUnavailable, errCut)
	}
	return c.memory().ReadAll(context.Background(), kind, after, f)
}

func (c *connection) At(ctx context.Context, position uint64) (eventstore.Record, error) {
	return c.memory().At(ctx, position)
}

// Follow hands over when the simulation says so.
func (c *connection) Follow(ctx context.Context, after uint64, f func(eventstore.Record) error, caughtUp func(uint64)) error {
	var handed domain.Hash // over last
	if rec, err := c.memory().At(ctx, after); err == nil {
		handed = rec.Hash
	}
	for {
		var n int
		select {
		case <-ctx.Done():
			return ctx.Err()
		case n = <-c.feed:
		}
		last := c.world.ledger.last()
		if last < after {
			return &eventstore.GapError{After: after, Got: fmt.Sprintf("the ledger ends at %d", last)}
		}
		// A server that lost something has been away, and Follow looks when it is back.
		if rec, err := c.memory().At(ctx, after); err == nil && !handed.IsZero() && rec.Hash != handed {
			return &eventstore.BrokenError{Position: after, Found: "another commit than before"}
		}
		for ; n > 0 && after < last; n-- {
			rec, err := c.memory().At(ctx, after+1)
			if err == nil {
				err = f(rec)
			}
			if err != nil {
				return err
			}
			after, handed = after+1, rec.Hash
		}
		if caughtUp != nil && after == last {
			caughtUp(last)
		}
	}
}

// watched is the log as the Watch of a node sees it. Nobody decides on what it asks, so
// it need not wait.
type watched struct{ eventstore.Log }

func (watched) Whole(context.Context) error { return nil }
func (watched) Rewinds() bool               { return false }
