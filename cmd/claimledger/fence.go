package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strconv"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections"
	"github.com/claimledger/claimledger/projections/pgdb"
	"github.com/claimledger/claimledger/webhookrelay"
)

// markFile is beside the embedded log's directory, and no part of it: a log that is put
// back from a backup does not bring its own mark along.
func (p placeSettings) markFile() eventstore.MarkFile {
	if !p.embedded() {
		return ""
	}
	return eventstore.MarkFile(filepath.Join(p.DataDir, "log.mark"))
}

func (p placeSettings) watch(stream *eventstore.Stream, logger *slog.Logger) *eventstore.Watch {
	return &eventstore.Watch{Log: stream, Fence: eventstore.NewFence(logger), File: p.markFile(), Logger: logger}
}

// startFence compares the log with the mark of the process before. A log that is broken
// is served as far as that does no harm: its operator must be able to look at it.
func (n *node) startFence(ctx context.Context, stream *eventstore.Stream) error {
	n.watcher = n.watch(stream, n.log)
	n.fence = n.watcher.Fence
	n.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "claimledger_log_broken",
		Help: "1 when the log is not what it was and this process takes no commands: see claimledger status, and do not restart what is left before it is saved.",
	}, func() float64 {
		if n.fence.Broken() != nil {
			return 1
		}
		return 0
	}))
	n.health.add("log integrity", n.has(roleAPI), func(context.Context) error { return integrity(n.fence.Broken()) })
	if err := n.watcher.Begin(ctx); err != nil && n.fence.Broken() == nil {
		return err
	}
	return nil
}

// integrity says in an operator's words that the log is broken.
func integrity(err error) error {
	var broken *eventstore.BrokenError
	if !errors.As(err, &broken) {
		return err
	}
	return &domain.Error{
		Code: domain.CodeServiceUnavailable,
		Message: "The log is broken at position " + strconv.FormatUint(broken.Position, 10) + ": " + broken.Found +
			". No commands are taken and nobody is authorized. Save the log's directory as it is; then run claimledger log check, which says how far the log is good. Where no copy of it is left to put in its place: stop the ledger and run claimledger log accept-loss.",
	}
}

// startWatching goes on comparing: with what PostgreSQL knows, once before any command is
// taken, and then again and again; and with itself, by reading it through. A database that
// is away keeps nobody from giving commands; what it knows is compared when it is back.
func (n *node) startWatching(ctx context.Context, stream *eventstore.Stream, pool *pgxpool.Pool) {
	n.watcher.Others = func(ctx context.Context) ([]eventstore.Mark, error) { return marks(ctx, pool) }
	if err := n.watcher.Step(ctx); err != nil && n.fence.Broken() == nil {
		n.log.Warn("the log could not be compared with what PostgreSQL knows of it yet", "error", err)
	}
	n.work(ctx, "watching the log", func(ctx context.Context) error { n.watcher.Run(ctx); return nil })
	if !n.has(roleAPI) {
		return
	}
	scrubber := eventstore.NewScrubber(stream, n.fence)
	n.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "claimledger_scrub_position",
		Help: "Up to where the log was read through in the pass of now. It need not be watched: what is found is in claimledger_log_broken.",
	}, func() float64 { return float64(scrubber.Position()) }), prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "claimledger_scrub_passes_total",
		Help: "How often this process has read the whole log through without finding anything.",
	}, func() float64 { return float64(scrubber.Passes()) }))
	n.work(n.quit, "reading the log through", func(ctx context.Context) error { scrubber.Run(ctx, n.log); return nil })
}

// marks are what PostgreSQL knows of the log, as far as this process may see it.
func marks(ctx context.Context, pool *pgxpool.Pool) ([]eventstore.Mark, error) {
	var all []eventstore.Mark
	for _, read := range []func(context.Context, *pgxpool.Pool) ([]eventstore.Mark, error){projections.Marks, webhookrelay.Marks} {
		some, err := read(ctx, pool)
		switch {
		case pgdb.Unavailable(err):
			return nil, nil // later
		case pgdb.Forbidden(err):
			continue // this role is not to see it
		case err != nil:
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}
