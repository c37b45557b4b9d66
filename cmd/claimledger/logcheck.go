package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections/pgdb"
)

type logCommands struct {
	Check      logCheckCommand   `cmd:"" help:"Read the whole log through and compare it with what is known of it. Example: claimledger log check"`
	AcceptLoss acceptLossCommand `cmd:"" help:"Go on with a log that lost commits of which no copy is left. Example: claimledger log accept-loss"`
	Show       logShowCommand    `cmd:"" help:"Tell in words who did what. Example: claimledger log show --namespace acme"`
}

type logCheckCommand struct {
	placeSettings
	JSON bool `help:"Print JSON."`
}

// Help is shown below the flags.
func (logCheckCommand) Help() string {
	return `Reads every commit and checks that none is missing, altered or out of order; that the log still has the commit that
the mark in the data directory names; with --database-url also those that the read models and the webhook relay were built up
to. It changes nothing, and works beside a running ledger and without one. Exits 0 when the log is whole and 1 when it is not.

When it is not: save the log's directory as it is before anything else. On a cluster, stop the server that lost data, clear its
store and let it catch up from the others. On one node, put the newest backup of the data directory's nats/ in its place. To go on
without what no copy has: claimledger log accept-loss. A wrong --database-url shows in the same way.

Example: claimledger log check --data-dir /var/lib/claimledger`
}

// logReport is what was found.
type logReport struct {
	Whole    bool   `json:"whole"`
	Commits  uint64 `json:"commits"` // read without a fault
	Position string `json:"broken_at,omitempty"`
	Found    string `json:"found,omitempty"`
}

func (c *logCheckCommand) Run(w *world) (err error) {
	logger := quiet(c.logger(w.stderr))
	stream, closeLog, err := c.joinLog(w.ctx, logger)
	var config *eventstore.ConfigError
	if errors.As(err, &config) {
		return c.report(w, logReport{Found: config.Error()})
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	watch := c.watch(stream, slog.New(slog.DiscardHandler)) // what it finds is reported below
	if err := watch.Begin(w.ctx); err != nil && watch.Fence.Broken() == nil {
		return err
	}
	if err := c.compareDatabase(w.ctx, watch); err != nil {
		return err
	}
	scrubber := eventstore.NewScrubber(stream, watch.Fence)
	var read uint64
	for {
		// What begins to be wrong at one place may be wrong at an earlier one too.
		end, err := scrubber.Step(w.ctx)
		read = max(read, scrubber.Position())
		var broken *eventstore.BrokenError
		switch {
		case errors.As(eventstore.Broken(err), &broken):
			return c.report(w, logReport{Commits: read, Position: fmt.Sprint(broken.Position), Found: broken.Found})
		case err != nil:
			return err
		case !end:
			continue
		case errors.As(watch.Fence.Broken(), &broken):
			return c.report(w, logReport{Commits: scrubber.Total(), Position: fmt.Sprint(broken.Position), Found: broken.Found})
		}
		return c.report(w, logReport{Whole: true, Commits: scrubber.Total()})
	}
}

// compareDatabase compares the log with what a PostgreSQL that is named knows of it.
func (c *logCheckCommand) compareDatabase(ctx context.Context, watch *eventstore.Watch) error {
	if c.DatabaseURL == "" || watch.Fence.Broken() != nil {
		return nil
	}
	pool, err := pgdb.Open(ctx, c.DatabaseURL, pgdb.Options{MaxConns: 1})
	if err != nil {
		return err
	}
	defer pool.Close()
	watch.Others = func(ctx context.Context) ([]eventstore.Mark, error) { return marks(ctx, pool) }
	if err := watch.Look(ctx); err != nil && watch.Fence.Broken() == nil {
		return err
	}
	return nil
}

func (c *logCheckCommand) report(w *world, r logReport) error {
	if c.JSON {
		if err := json.NewEncoder(w.stdout).Encode(r); err != nil {
			return err
		}
	} else if r.Whole {
		fmt.Fprintf(w.stdout, "The log is whole: %d commits, each in its place.\n", r.Commits)
	} else {
		fmt.Fprintf(w.stdout, "The log is broken.\n  at        position %s\n  found     %s\n  before    %d commits read without a fault\n", r.Position, r.Found, r.Commits)
	}
	if !r.Whole {
		return errors.New("the log is broken; claimledger log check --help says what can be done")
	}
	return nil
}
