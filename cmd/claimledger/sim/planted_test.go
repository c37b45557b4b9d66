package sim

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// plant is a defect that is put between the parts, to see that it is found. The zero
// plant is none.
type plant struct {
	// log is what the node has instead of its connection; nil: that.
	log func(w *world, n *node, log eventstore.Log) eventstore.Log
	// crashed is called when a node has crashed.
	crashed func(w *world)
	// unfenced nodes never compare the log with anything.
	unfenced bool
}

// altered is a log of which some operations are others.
type altered struct {
	eventstore.Log
	append func(context.Context, eventstore.Head, *domain.Commit) (eventstore.Record, error)
	chain  func(context.Context, *eventstore.Pending, *domain.Commit) *eventstore.Pending
	tail   func(context.Context, domain.Boundary) (eventstore.Head, error)
	read   func(eventstore.Record) eventstore.Record // what a boundary is loaded from
	follow func(eventstore.Record) bool              // whether to hand it over
	seen   func(eventstore.Record)
}

func (l *altered) Append(ctx context.Context, after eventstore.Head, c *domain.Commit) (eventstore.Record, error) {
	if l.append != nil {
		return l.append(ctx, after, c)
	}
	return l.Log.Append(ctx, after, c)
}

func (l *altered) Begin(ctx context.Context, after eventstore.Head, commit *domain.Commit) *eventstore.Pending {
	return eventstore.Async(ctx, nil, after, commit, func(after eventstore.Head) (eventstore.Record, error) { return l.Append(ctx, after, commit) })
}

func (l *altered) Chain(ctx context.Context, behind *eventstore.Pending, commit *domain.Commit) *eventstore.Pending {
	if l.chain != nil {
		return l.chain(ctx, behind, commit)
	}
	return eventstore.Async(ctx, behind, behind.Head(), commit, func(after eventstore.Head) (eventstore.Record, error) { return l.Append(ctx, after, commit) })
}

func (l *altered) Tail(ctx context.Context, b domain.Boundary) (eventstore.Head, error) {
	if l.tail != nil {
		return l.tail(ctx, b)
	}
	return l.Log.Tail(ctx, b)
}

func (l *altered) Read(ctx context.Context, b domain.Boundary, after uint64, f func(eventstore.Record) error) error {
	return l.Log.Read(ctx, b, after, func(r eventstore.Record) error {
		if l.read != nil {
			r = l.read(r)
		}
		if l.seen != nil {
			l.seen(r)
		}
		return f(r)
	})
}

func (l *altered) Follow(ctx context.Context, after uint64, f func(eventstore.Record) error, caughtUp func(uint64)) error {
	return l.Log.Follow(ctx, after, func(r eventstore.Record) error {
		if l.follow != nil && !l.follow(r) {
			return nil
		}
		if l.seen != nil {
			l.seen(r)
		}
		return f(r)
	}, caughtUp)
}

// appending plants another Append.
func appending(f func(w *world, n *node, log eventstore.Log, ctx context.Context, after eventstore.Head, c *domain.Commit) (eventstore.Record, error)) plant {
	return plant{log: func(w *world, n *node, log eventstore.Log) eventstore.Log {
		return &altered{Log: log, append: func(ctx context.Context, after eventstore.Head, c *domain.Commit) (eventstore.Record, error) {
			return f(w, n, log, ctx, after, c)
		}}
	}}
}

// planted are defects that a ledger may have, each in the place where it would be made.
var planted = map[string]plant{
	"appends without an expectation": appending(func(w *world, _ *node, log eventstore.Log, ctx context.Context, _ eventstore.Head, c *domain.Commit) (eventstore.Record, error) {
		head, _ := w.ledger.memory.Tail(ctx, c.Boundary())
		return log.Append(ctx, head, c)
	}),
	"acknowledges before the disk has it": {crashed: func(w *world) {
		_ = w.ledger.tear(w.ledger.last() - 1)
	}},
	"takes another's commit for its own": appending(func(w *world, _ *node, log eventstore.Log, ctx context.Context, after eventstore.Head, c *domain.Commit) (eventstore.Record, error) {
		r, err := log.Append(ctx, after, c)
		var conflict *eventstore.ConflictError
		if errors.As(err, &conflict) { // duplicate: true
			return w.ledger.memory.At(ctx, conflict.Actual.Position)
		}
		return r, err
	}),
	"takes a lost ack for an ack": appending(func(w *world, _ *node, log eventstore.Log, ctx context.Context, after eventstore.Head, c *domain.Commit) (eventstore.Record, error) {
		r, err := log.Append(ctx, after, c)
		if errors.Is(err, eventstore.ErrOutcomeUnknown) {
			c.Version, c.Prev = after.Version+1, after.Hash
			stored, _ := c.Encode()
			return eventstore.Record{Position: w.ledger.last() + 1, Stored: stored, Hash: domain.HashOf(stored), Commit: c}, nil
		}
		return r, err
	}),
	"takes a lost ack for a refusal": appending(func(_ *world, _ *node, log eventstore.Log, ctx context.Context, after eventstore.Head, c *domain.Commit) (eventstore.Record, error) {
		r, err := log.Append(ctx, after, c)
		if errors.Is(err, eventstore.ErrOutcomeUnknown) {
			err = eventstore.ErrUnavailable
		}
		return r, err
	}),
	"sends again behind the new tail": appending(func(w *world, _ *node, log eventstore.Log, ctx context.Context, after eventstore.Head, c *domain.Commit) (eventstore.Record, error) {
		r, err := log.Append(ctx, after, c)
		if errors.Is(err, eventstore.ErrOutcomeUnknown) {
			head, _ := w.ledger.memory.Tail(ctx, c.Boundary())
			again := *c
			return w.ledger.memory.Append(context.Background(), head, &again)
		}
		return r, err
	}),
	"lets the clock go back": appending(func(w *world, n *node, log eventstore.Log, ctx context.Context, after eventstore.Head, c *domain.Commit) (eventstore.Record, error) {
		c.Time = w.clock(n)
		return log.Append(ctx, after, c)
	}),
	"forgets Idempotency-Keys": appending(func(_ *world, _ *node, log eventstore.Log, ctx context.Context, after eventstore.Head, c *domain.Commit) (eventstore.Record, error) {
		c.Command.Key = ""
		return log.Append(ctx, after, c)
	}),
	"records a raw key": appending(func(w *world, _ *node, log eventstore.Log, ctx context.Context, after eventstore.Head, c *domain.Commit) (eventstore.Record, error) {
		if p, ok := c.Events[0].Payload.(domain.ServiceKeyCreated); ok {
			p.Name = w.secrets[len(w.secrets)-1]
			c.Events[0].Payload = p
		}
		return log.Append(ctx, after, c)
	}),
	"forgets nonces over a restart": {log: func(_ *world, _ *node, log eventstore.Log) eventstore.Log {
		return &altered{Log: log, read: func(r eventstore.Record) eventstore.Record {
			forgetful := *r.Commit
			forgetful.Events = nil
			for _, e := range r.Commit.Events {
				if p, ok := e.Payload.(domain.ClaimSubmitted); ok {
					p.Nonce, p.SignatureNonce = "", ""
					e.Payload = p
				}
				forgetful.Events = append(forgetful.Events, e)
			}
			r.Commit = &forgetful
			return r
		}}
	}},
	"refuses on what it knows, without asking": {log: func(w *world, _ *node, log eventstore.Log) eventstore.Log {
		known := map[domain.Boundary]eventstore.Head{}
		l := &altered{Log: log, seen: func(r eventstore.Record) { known[r.Commit.Boundary()] = r.Head() }}
		l.append = func(ctx context.Context, after eventstore.Head, c *domain.Commit) (eventstore.Record, error) {
			r, err := log.Append(ctx, after, c)
			if err == nil {
				l.seen(r)
			}
			return r, err
		}
		l.tail = func(ctx context.Context, b domain.Boundary) (eventstore.Head, error) {
			if head, ok := known[b]; ok {
				return head, nil
			}
			return log.Tail(ctx, b)
		}
		return l
	}},
	"goes on behind a commit that fell": {log: func(w *world, _ *node, log eventstore.Log) eventstore.Log {
		return &altered{Log: log, chain: func(ctx context.Context, behind *eventstore.Pending, c *domain.Commit) *eventstore.Pending {
			return eventstore.Async(ctx, nil, behind.Head(), c, func(eventstore.Head) (eventstore.Record, error) {
				if r, err := behind.Wait(); err == nil {
					return log.Append(ctx, r.Head(), c)
				}
				tail, _ := w.ledger.memory.Tail(ctx, c.Boundary())
				return log.Append(ctx, tail, c)
			})
		}}
	}},
	"shows a commit before the disk has it": {log: func(w *world, _ *node, log eventstore.Log) eventstore.Log {
		return &altered{Log: log, append: func(ctx context.Context, after eventstore.Head, c *domain.Commit) (eventstore.Record, error) {
			go func() { _, _ = log.Append(ctx, after, c) }()
			stored, err := c.Encode()
			return eventstore.Record{Position: w.ledger.last() + 1, Stored: stored, Hash: domain.HashOf(stored), Commit: c}, err
		}}
	}},
	"skips a commit": {log: func(_ *world, _ *node, log eventstore.Log) eventstore.Log {
		return &altered{Log: log, follow: func(r eventstore.Record) bool { return r.Position%7 != 0 }}
	}},
	"does not look whether the log is what it was": {unfenced: true},
}

// mostSeeds is within how many seeds a planted defect is found.
const mostSeeds = 200

// The simulation finds what it is there to find.
func TestPlantedDefectsAreFound(t *testing.T) {
	findAll(t, planted, mostSeeds, func(seed uint64, p plant) outcome { return simulate(t, seed, upTo(*steps), p) })
}

// findAll runs seeds with each of the defects until they show.
func findAll[P any](t *testing.T, defects map[string]P, most uint64, run func(seed uint64, defect P) outcome) {
	for _, name := range sorted(defects) {
		found := ""
		for s := uint64(1); s <= most && found == ""; s++ {
			if o := run(s, defects[name]); o.failed != nil {
				found = fmt.Sprintf("seed %d, step %d: %v", s, o.steps, o.failed)
			}
		}
		if found == "" {
			t.Errorf("%s: not found within %d seeds", name, most)
		} else {
			t.Logf("%s: %s", name, found)
		}
	}
}
