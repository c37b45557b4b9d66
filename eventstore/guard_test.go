package eventstore_test

import (
	"context"
	"errors"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

// replaceable is a log that loses commits when a test says so, and can be looked after.
type replaceable struct{ eventstore.Log }

func (*replaceable) Whole(context.Context) error { return nil }
func (*replaceable) Rewinds() bool               { return false }

// lose keeps the first commits of a log that fill has filled.
func (l *replaceable) lose(t *testing.T, keep uint64) {
	t.Helper()
	kept, heads := eventstore.NewMemory(), map[domain.Boundary]eventstore.Head{}
	for p := uint64(1); p <= keep; p++ {
		r, err := l.At(t.Context(), p)
		if err == nil {
			r, err = kept.Append(t.Context(), heads[r.Commit.Boundary()], r.Commit)
		}
		if err != nil {
			t.Fatal(err)
		}
		heads[r.Commit.Boundary()] = r.Head()
	}
	l.Log = kept
}

// more appends to a boundary of its own.
func (l *replaceable) more(t *testing.T, log eventstore.Log, n int) {
	t.Helper()
	b := domain.ClaimsOf("globex")
	for range n {
		head, err := log.Tail(t.Context(), b)
		if err == nil {
			_, err = log.Append(t.Context(), head, logtest.Commit(b))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Who goes on from a commit that he knows from elsewhere has to ask for it, and notices
// from then on that it is lost, whatever stands in its place.
func TestGuardKnowsWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	for _, again := range []int{0, 3} {
		log := &replaceable{eventstore.NewMemory()}
		log.more(t, log, 5)
		fence := eventstore.NewFence(logtest.Logger(t))
		guarded := fence.Guard(log)
		if _, err := guarded.At(t.Context(), 5); err != nil {
			t.Fatal(err)
		}
		log.lose(t, 3)
		log.more(t, log, again)
		watch := &eventstore.Watch{Log: log, Fence: fence, Logger: logtest.Logger(t)}
		if err := watch.Step(t.Context()); err == nil || fence.Broken() == nil {
			t.Errorf("with %d commits more nothing was noticed: %v", again, err)
		}
	}
}

var errEnough = errors.New("enough")

// follow hands over so many commits.
func follow(t *testing.T, log eventstore.Log, after uint64, n int) error {
	t.Helper()
	return log.Follow(t.Context(), after, func(eventstore.Record) error {
		if n--; n == 0 {
			return errEnough
		}
		return nil
	}, nil)
}

// Whatever the process knew of what the log lost, and however the log went on, something
// closes the fence.
func TestGuard(t *testing.T) {
	const filled, kept = 9, 6
	read := func(t *testing.T, log eventstore.Log) {
		if err := log.ReadAll(t.Context(), "", 0, func(eventstore.Record) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		know func(t *testing.T, log eventstore.Log)
		// others and own append, in this order, before anybody looks.
		others, own int
	}{
		"read, and nothing since":             {read, 0, 0},
		"read, and one in its place":          {read, 1, 0},
		"read, and others in all places":      {read, filled, 0},
		"read, and its own in its place":      {read, 0, 1},
		"read, and its own in all places":     {read, 0, filled},
		"read, and both":                      {read, 2, filled},
		"appended, and nothing since":         {func(*testing.T, eventstore.Log) {}, 0, 0},
		"appended, and its own in all places": {func(*testing.T, eventstore.Log) {}, 0, filled},
	} {
		t.Run(name, func(t *testing.T) {
			log := &replaceable{eventstore.NewMemory()}
			fence := eventstore.NewFence(logtest.Logger(t))
			watch := &eventstore.Watch{Log: log, Fence: fence, Logger: logtest.Logger(t)}
			guarded := fence.Guard(log)
			fill(t, log, kept)
			if err := watch.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
			log.more(t, guarded, filled-kept)
			c.know(t, guarded)
			log.lose(t, kept)
			log.more(t, log, c.others)
			log.more(t, guarded, c.own)
			err := watch.Step(t.Context())
			if err == nil {
				err = follow(t, guarded, kept, 1)
			}
			if eventstore.Broken(err) == nil && fence.Broken() == nil {
				t.Errorf("nothing was found: %v", err)
			}
		})
	}
}

// A log that loses nothing is never taken for one that did.
func TestGuardOfASoundLog(t *testing.T) {
	log := &replaceable{eventstore.NewMemory()}
	fence := eventstore.NewFence(logtest.Logger(t))
	watch := &eventstore.Watch{Log: log, Fence: fence, Logger: logtest.Logger(t)}
	guarded := fence.Guard(log)
	fill(t, guarded, 5)
	for range 3 {
		log.more(t, log, 2)
		log.more(t, guarded, 2)
		if err := guarded.ReadAll(t.Context(), "", 0, func(eventstore.Record) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if err := follow(t, guarded, 3, 4); !errors.Is(err, errEnough) {
			t.Fatal(err)
		}
		if err := watch.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := fence.Broken(); err != nil {
		t.Error(err)
	}
}
