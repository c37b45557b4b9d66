package eventstore

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

const (
	// watchInterval is how often the log is compared with what is known of it: what a
	// kill and a damaged store take together is at most what came in between.
	watchInterval = time.Second
	// lookEvery is every how many times the stream's shape and what others hold are
	// compared too. They change seldom, and each costs the server more.
	lookEvery = 10
	// othersTimeout bounds asking for what others hold. It is no bound for comparing it,
	// which on a cluster takes its time before it says that commits are lost.
	othersTimeout = 2 * time.Second
)

// Watched is a log that can be looked after.
type Watched interface {
	Log
	// Whole asks the log whether it is set up as it has to be; a *BrokenError where it
	// cannot be what it says that it is.
	Whole(context.Context) error
	// Rewinds reports whether the log may seem shorter than it is for a while, as where
	// a leader that was deposed still answers.
	Rewinds() bool
}

// Watch compares the log with what is known of it, and closes the fence where they
// contradict each other: with the place up to which this process has seen it, with the
// mark of the process before, and with what others hold.
type Watch struct {
	Log    Watched
	Fence  *Fence
	File   MarkFile // empty: none is kept
	Logger *slog.Logger
	// Others are the marks that others hold, as far as they can be reached; nil: none.
	Others func(context.Context) ([]Mark, error)

	seen  Mark // by this process
	steps int
}

// Begin compares the log with the mark file, before anything is done with the log.
func (w *Watch) Begin(ctx context.Context) error {
	if err := w.require(ctx, w.Log.Whole); err != nil {
		return err
	}
	if w.File == "" {
		return nil
	}
	mark, err := w.File.Read()
	if err == nil {
		err = w.check(ctx, mark)
	}
	if err == nil {
		w.seen = mark
	}
	return err
}

// require bears with a cluster that contradicts what is known of it for as long as a
// leader that was deposed may go on answering.
func (w *Watch) require(ctx context.Context, check func(context.Context) error) error {
	patience := rewindPatience
	if !w.Log.Rewinds() {
		patience = 0
	}
	return w.Fence.require(ctx, patience, func() error { return check(ctx) })
}

func (w *Watch) check(ctx context.Context, m Mark) error {
	return w.require(ctx, func(ctx context.Context) error { return checkMark(ctx, w.Log, m) })
}

// Step compares once, and moves the mark on. An error means that something could not be
// asked, or that the fence is closed now.
func (w *Watch) Step(ctx context.Context) error {
	if err := w.Fence.Broken(); err != nil {
		return err
	}
	var err error
	if w.steps++; w.steps%lookEvery == 1 {
		err = w.Look(ctx)
	}
	// Whatever kept the others from being asked: what this process has seen goes on.
	return errors.Join(err, w.advance(ctx))
}

// Look compares the log with its own shape and with what others hold.
func (w *Watch) Look(ctx context.Context) error {
	err := w.require(ctx, w.Log.Whole)
	if err != nil || w.Others == nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, othersTimeout)
	marks, err := w.Others(asking)
	cancel()
	if err != nil {
		return err
	}
	for _, m := range marks {
		if err := w.check(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// advance makes the log's last commit the mark, once what was the mark before is still
// there, or what the process has seen since: in this order, because a log that lost
// commits ends somewhere too. Behind a closed fence the mark stays: the next process is to
// find what this one found.
func (w *Watch) advance(ctx context.Context) error {
	if err := w.Fence.Broken(); err != nil {
		return err
	}
	known := w.Fence.last()
	if known.Position < w.seen.Position {
		known = w.seen
	}
	if err := w.check(ctx, known); err != nil {
		return err
	}
	last, err := w.Log.Last(ctx)
	if err != nil || last <= w.seen.Position {
		return err
	}
	var rec Record
	err = w.require(ctx, func(ctx context.Context) (err error) {
		rec, err = w.Log.At(ctx, last)
		return err
	})
	if err != nil {
		return err
	}
	seen := Mark{rec.Position, rec.Hash, holderSelf}
	if w.File != "" {
		if err := w.File.Write(seen); err != nil {
			return err
		}
	}
	w.seen = seen
	return nil
}

// Run watches until ctx ends or the fence is closed. When ctx ends it moves the mark on
// to where the log ends, within a bounded time.
func (w *Watch) Run(ctx context.Context) {
	var last string
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
			defer cancel()
			_ = w.advance(end) // the mark of a second ago does nearly as well
			return
		case <-tick.C:
		}
		err := w.Step(ctx)
		if w.Fence.Broken() != nil {
			return
		}
		switch {
		case err == nil:
			last = ""
		case ctx.Err() == nil && err.Error() != last:
			w.Logger.Warn("the log cannot be compared with what is known of it; trying again", "error", err)
			last = err.Error()
		}
	}
}
