package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections"
	"github.com/claimledger/claimledger/projections/pgdb"
	"github.com/claimledger/claimledger/projections/pgserver"
)

type rebuildCommands struct {
	Run  rebuildCommand     `cmd:"" default:"withargs" help:"Build read models anew from the log and switch to them, or back. What rebuild does unless told otherwise."`
	List rebuildListCommand `cmd:"" help:"List the generations of the read models. Example: claimledger rebuild list"`
	Drop rebuildDropCommand `cmd:"" help:"Drop generations that do not serve. Example: claimledger rebuild drop claims 1"`
}

// Help is shown below the commands.
func (rebuildCommands) Help() string { return rebuildHelp() }

func rebuildHelp() string {
	return `Read models: ` + modelNames() + `.

Each is built from the log in a schema of its own, beside the generation that serves, while everything is served and
written. The two are compared row by row at one position. Where they are of the same version of the model they have to be
equal, or the old one goes on serving and the first differences are shown. Where the program brings another version of the
model, differences are shown and confirmed, on the terminal or with --yes. The switch is one transaction; what served before
is kept, for --rollback, until it is dropped. No webhook is sent again, and nothing is written to the log.

It may be killed at any moment: nothing half-built ever serves, and running it again goes on from where it was. It works
beside a running ledger, without one, and against --nats-url and --database-url, with the database role of the projector.
What serves of another version than a process knows is left alone by that process, which says so in its status.

Example: claimledger rebuild run claims feed, or claimledger rebuild claims feed`
}

func modelNames() string {
	var names []string
	for _, m := range projections.Models() {
		names = append(names, m.Name)
	}
	return strings.Join(names, ", ")
}

type rebuildCommand struct {
	Models   []string `arg:"" optional:"" name:"model" help:"Which read models. Default: all."`
	Rollback bool     `help:"Instead, have the generations serve again that served before."`
	Yes      bool     `help:"Switch to another version of a model without asking, whatever differs."`
	JSON     bool     `help:"Print what happens as JSON, one object a line."`
	placeSettings
}

// Help is shown below the flags.
func (rebuildCommand) Help() string { return rebuildHelp() }

// Run rebuilds, or rolls back.
func (c *rebuildCommand) Run(w *world) (err error) {
	if err := knownModels(c.Models); err != nil {
		return err
	}
	return c.withModels(w, func(ctx context.Context, log eventstore.Log, pool *pgxpool.Pool) error {
		p := newRebuildProgress(w, c.JSON, time.Now)
		defer p.end()
		r := &projections.Rebuild{Log: log, Pool: pool, Tell: p.tell, Confirm: func(d projections.Comparison) bool { return c.confirm(p, d) }}
		if c.Rollback {
			return r.RollBack(ctx, c.Models)
		}
		err := r.Run(ctx, c.Models)
		if different := (*projections.DifferentError)(nil); errors.As(err, &different) && different.Refused {
			err = fmt.Errorf("%w; --yes confirms", err)
		}
		return err
	})
}

func knownModels(names []string) error {
	for _, name := range names {
		known := false
		for _, m := range projections.Models() {
			known = known || m.Name == name
		}
		if !known {
			return usageError{fmt.Errorf("there is no read model %q; there are %s", name, modelNames())}
		}
	}
	return nil
}

// confirm asks whoever sits at the terminal, where somebody does.
func (c *rebuildCommand) confirm(p *rebuildProgress, d projections.Comparison) bool {
	if c.Yes {
		return true
	}
	if c.JSON || !p.terminal || !isTerminal(os.Stdin) {
		return false
	}
	fmt.Fprintf(p.err, "Switch %s to generation %d, of version %d, all the same? [y/N] ", d.Model, d.New, d.NewVersion)
	answer, _ := bufio.NewReader(os.Stdin).ReadString('\n') // no answer is no
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}

// withModels opens the log and the database of a ledger, which may be running.
func (p placeSettings) withModels(w *world, f func(context.Context, eventstore.Log, *pgxpool.Pool) error) (err error) {
	stream, closeLog, err := p.joinLog(w.ctx, quiet(p.logger(w.stderr)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	return p.withDatabase(w, func(ctx context.Context, pool *pgxpool.Pool) error { return f(ctx, stream, pool) })
}

// withDatabase opens the database of a ledger. Where that is the private one it joins the
// ledger that runs, or else starts PostgreSQL for as long as f takes.
func (p placeSettings) withDatabase(w *world, f func(context.Context, *pgxpool.Pool) error) (err error) {
	if !p.embedded() && p.DatabaseURL == "" {
		return usageError{errors.New("--database-url is required with --nats-url: processes on a cluster share one database")}
	}
	url := p.DatabaseURL
	if url == "" {
		var stop func() error
		if url, stop, err = p.joinDatabase(w.ctx, quiet(p.logger(w.stderr))); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	pool, err := pgdb.Open(w.ctx, url, pgdb.Options{ApplicationName: "claimledger operator", MaxConns: operatorConns})
	if err != nil {
		return err
	}
	defer pool.Close()
	return f(w.ctx, pool)
}

// operatorConns bounds the connections of an operator's command, those apart that a
// rebuild takes for each model.
const operatorConns = 4

// joinDatabase gives the URL of the private PostgreSQL.
func (p placeSettings) joinDatabase(ctx context.Context, logger *slog.Logger) (url string, stop func() error, err error) {
	config := pgserver.Config{Dir: p.postgresDir(), BinDir: p.PostgresBin, Logger: logger}
	for giveUp := time.Now().Add(openTimeout); ; {
		url, running, err := pgserver.Running(config.Dir)
		if err == nil && running {
			return url, func() error { return nil }, nil
		}
		if err == nil {
			var server *pgserver.Server
			if server, err = pgserver.Start(ctx, config); err == nil {
				return server.URL(), func() error {
					stopping, done := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
					defer done()
					return server.Stop(stopping)
				}, nil
			}
		}
		// Another process has it on its way up or down.
		if !errors.Is(err, pgserver.ErrInUse) || time.Now().After(giveUp) || sleep(ctx, lockInterval) != nil {
			return "", nil, err
		}
	}
}

type rebuildListCommand struct {
	JSON bool `help:"Print JSON."`
	placeSettings
}

// Help is shown below the flags.
func (rebuildListCommand) Help() string {
	return `States: serves; kept (it served before, and can again: rebuild --rollback); building (a rebuild is at it); unfinished (a
rebuild ended too soon, and the next one goes on with it); different (it was not equal to what it was to replace).`
}

// Run lists.
func (c *rebuildListCommand) Run(w *world) error {
	if err := c.hasLedger(); err != nil {
		return err
	}
	return c.withDatabase(w, func(ctx context.Context, pool *pgxpool.Pool) error {
		all, err := projections.Generations(ctx, pool)
		if err != nil {
			return err
		}
		if c.JSON {
			if all == nil {
				all = []projections.Generation{}
			}
			return json.NewEncoder(w.stdout).Encode(map[string]any{"generations": all})
		}
		table := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "model\tgeneration\tversion\tstate\tposition\tsize\tmade\tserved until")
		for _, g := range all {
			until := "–"
			if g.ServedUntil != nil {
				until = g.ServedUntil.Format(time.RFC3339)
			}
			fmt.Fprintf(table, "%s\t%d\t%d\t%s\t%d\t%s\t%s\t%s\n", g.Model, g.Number, g.Version, g.State, g.Position, size(g.Bytes), g.CreatedAt.Format(time.RFC3339), until)
		}
		return table.Flush()
	})
}

// size is a number of bytes for people.
func size(bytes int64) string {
	if bytes < 10<<20 {
		return fmt.Sprintf("%d KiB", bytes>>10)
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}

type rebuildDropCommand struct {
	Model      string `arg:"" optional:"" help:"Of which read model."`
	Generation int    `arg:"" optional:"" help:"Which generation; rebuild list shows them."`
	All        bool   `help:"All that do not serve and are not being built, of all read models."`
	placeSettings
}

// Help is shown below the flags.
func (rebuildDropCommand) Help() string {
	return "What serves is never dropped. What is dropped can be built again from the log.\n\nExample: claimledger rebuild drop --all"
}

// Run drops.
func (c *rebuildDropCommand) Run(w *world) error {
	if c.All == (c.Model != "") || !c.All && c.Generation < 1 {
		return usageError{errors.New("say which: a read model and the number of a generation, or --all")}
	}
	if c.Model != "" {
		if err := knownModels([]string{c.Model}); err != nil {
			return err
		}
	}
	if err := c.hasLedger(); err != nil {
		return err
	}
	return c.withDatabase(w, func(ctx context.Context, pool *pgxpool.Pool) error {
		if !c.All {
			return drop(w, pool, c.Model, c.Generation)
		}
		all, err := projections.Generations(ctx, pool)
		if err != nil {
			return err
		}
		for _, g := range all {
			if g.State == projections.GenerationServes || g.State == projections.GenerationBuilding {
				continue
			}
			if err := drop(w, pool, g.Model, g.Number); err != nil {
				return err
			}
		}
		return nil
	})
}

func drop(w *world, pool *pgxpool.Pool, model string, number int) error {
	if err := projections.Drop(w.ctx, pool, model, number); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w.stdout, "%s: generation %d is dropped\n", model, number)
	return err
}
