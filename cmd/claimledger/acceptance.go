package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections"
	"github.com/claimledger/claimledger/projections/pgdb"
	"github.com/claimledger/claimledger/projections/pgserver"
	"github.com/claimledger/claimledger/webhookrelay"
)

// acceptance is what it takes to go on with a log that lost commits. Each of its steps
// puts an end to one contradiction, so that those that are left say what is left to do.
type acceptance struct {
	place   placeSettings
	stream  *eventstore.Stream
	server  *eventstore.Embedded // nil: the log is elsewhere
	pool    *pgxpool.Pool        // nil: there is no database
	where   string               // the database is, in an operator's words
	closers []func(context.Context) error

	file, models, relay []eventstore.Mark
	survey              eventstore.Survey
}

func (a *acceptance) onClose(f func(context.Context) error) { a.closers = append(a.closers, f) }

func (a *acceptance) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	var errs []error
	for _, f := range slices.Backward(a.closers) {
		errs = append(errs, f(ctx))
	}
	a.closers = nil
	return errors.Join(errs...)
}

// openLog takes the data directory of an embedded log, so that no ledger and no other
// command can use it meanwhile.
func (a *acceptance) openLog(ctx context.Context, logger *slog.Logger) (err error) {
	if !a.place.embedded() {
		stream, closeLog, err := a.place.openLog(ctx, false, logger)
		if err != nil {
			return err
		}
		a.stream = stream
		a.onClose(func(context.Context) error { return closeLog() })
		return nil
	}
	if _, err := a.place.replicas(); err != nil {
		return err
	}
	if _, err := os.Stat(a.place.natsDir()); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no log in %s", a.place.DataDir)
	}
	a.server, err = a.place.startNATS(true, logger)
	if isLocked(err) {
		return fmt.Errorf("stop the ledger first: %w", err)
	}
	if err != nil {
		return err
	}
	a.onClose(func(context.Context) error { return a.server.Stop() })
	opening, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	a.stream, err = a.server.Open(opening)
	return err
}

// openDatabase opens the database, and makes sure that it is nobody else's as far as that
// can be seen. A private one that was never made has nothing to say.
func (a *acceptance) openDatabase(ctx context.Context, logger *slog.Logger) error {
	url := a.place.DatabaseURL
	if url == "" {
		dir := filepath.Join(a.place.DataDir, postgresDir)
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		server, err := pgserver.Start(ctx, pgserver.Config{Dir: dir, BinDir: a.place.PostgresBin, Logger: logger})
		if err != nil {
			return fmt.Errorf("the private PostgreSQL does not start (what it holds is derived from the log: without %s it is derived anew, and every webhook event sent again): %w", dir, err)
		}
		a.onClose(server.Stop)
		url, a.where = server.URL(), "the private PostgreSQL"
	}
	pool, err := pgdb.Open(ctx, url, pgdb.Options{ApplicationName: "claimledger log accept-loss", MaxConns: 2})
	if err != nil {
		return err
	}
	a.pool = pool
	a.onClose(func(context.Context) error { pool.Close(); return nil })
	if a.where == "" {
		at := pool.Config().ConnConfig
		a.where = fmt.Sprintf("the database %s at %s", at.Database, at.Host)
	}
	return a.awaitNobody(ctx)
}

// awaitNobody waits for the sessions of processes that have just ended.
func (a *acceptance) awaitNobody(ctx context.Context) error {
	for giveUp := time.Now().Add(lockPatience); ; {
		n, err := pgdb.Others(ctx, a.pool)
		if err != nil || n == 0 {
			return err
		}
		if time.Now().After(giveUp) || sleep(ctx, lockInterval) != nil {
			return fmt.Errorf("stop all processes of the ledger first: %d sessions of theirs are in %s", n, a.where)
		}
	}
}

// compared names whoever is asked what he knows of the log.
func (a *acceptance) compared() []string {
	with := []string{eventstore.HeadsHolder}
	if file := a.place.markFile(); file != "" {
		with = append(with, string(file))
	}
	if a.pool != nil {
		with = append(with, "the read models and the webhook relay in "+a.where)
	}
	return with
}

// look reads what is known of the log, and the log. A database that cannot be asked is no
// way to say that nothing is contradicted.
func (a *acceptance) look(ctx context.Context) (err error) {
	if file := a.place.markFile(); file != "" {
		mark, err := file.Read()
		if err != nil {
			return err
		}
		if mark.Position > 0 {
			a.file = []eventstore.Mark{mark}
		}
	}
	if a.pool != nil {
		a.models, err = projections.Marks(ctx, a.pool)
		if err == nil {
			a.relay, err = webhookrelay.Marks(ctx, a.pool)
		}
		if err != nil {
			return a.allowed(err)
		}
	}
	a.survey, err = eventstore.TakeSurvey(ctx, a.stream, slices.Concat(a.file, a.models, a.relay))
	if store := a.survey.Store; err == nil && store != nil && a.server == nil {
		err = &eventstore.BrokenError{Position: a.survey.End.Position + 1, Found: store.Found} // it is not ours to replace
	}
	return err
}

// allowed says what a role of the database that may not do something should be.
func (a *acceptance) allowed(err error) error {
	if pgdb.Forbidden(err) {
		return fmt.Errorf("it takes a --database-url with a role that owns the schemas of read models and relay, or a superuser: %w", err)
	}
	return err
}

// contradictions are all that a look has shown.
func (a *acceptance) contradictions() []eventstore.Contradiction {
	all := slices.Clone(a.survey.Lost)
	for _, c := range []*eventstore.Contradiction{a.survey.Store, a.survey.Heads} {
		if c != nil {
			all = append(all, *c)
		}
	}
	return all
}

// lost are those of the marks that the log contradicts.
func (a *acceptance) lost(marks []eventstore.Mark) (lost []eventstore.Mark) {
	for _, c := range a.survey.Lost {
		if slices.Contains(marks, c.Mark) {
			lost = append(lost, c.Mark)
		}
	}
	return lost
}

// step is a part of accepting a loss.
type step struct {
	what string
	do   func(context.Context) error
}

// steps are what this command can do about what is contradicted. If we crash between two,
// a ledger that starts is still kept from commands by the mark, which comes after what is
// derived and the log's store; the heads keep nobody from anything but signing.
func (a *acceptance) steps(at time.Time) (steps []step) {
	suffix := ".lost-" + at.UTC().Format("20060102T150405Z")
	add := func(do func(context.Context) error, format string, args ...any) {
		steps = append(steps, step{fmt.Sprintf(format, args...), do})
	}
	if lost := a.lost(a.models); lost != nil {
		add(func(ctx context.Context) error { return a.allowed(projections.DropLost(ctx, a.pool, lost)) },
			"drop the read models %s in %s", modelsOf(lost), a.where)
	}
	if a.lost(a.relay) != nil {
		add(func(ctx context.Context) error { return a.allowed(webhookrelay.Drop(ctx, a.pool)) },
			"drop what the webhook relay knows in %s", a.where)
	}
	end := a.survey.End
	if a.survey.Store != nil {
		kept := "log" + suffix
		add(func(ctx context.Context) error { return a.server.Recut(ctx, a.stream, end.Position, kept) },
			"put the log's %d commits, as they are, into a new store, and keep the old one in %s", end.Position, filepath.Join(a.place.natsDir(), kept))
	}
	if file := a.place.markFile(); a.lost(a.file) != nil {
		kept := string(file) + suffix
		add(func(context.Context) error { return file.Give(end, kept) },
			"set the mark to position %d, and keep the one before as %s", end.Position, kept)
	}
	if a.survey.Heads != nil && a.server != nil {
		kept := "heads" + suffix
		add(func(context.Context) error { return a.server.SetHeadsAside(kept) },
			"begin anew to sign heads, and keep those before in %s", filepath.Join(a.place.natsDir(), kept))
	}
	if len(steps) > 0 && a.place.embedded() {
		note := step{"write down in " + a.acceptedFile() + " what was accepted", func(context.Context) error { return a.writeDown(at) }}
		steps = slices.Insert(steps, 0, note) // before anything is done
	}
	return steps
}

// modelsOf names the read models that hold marks.
func modelsOf(marks []eventstore.Mark) string {
	var names []string
	for _, m := range marks {
		names = append(names, strings.TrimPrefix(m.Holder, "the read model "))
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// acceptedFile says, a line each time, what was accepted.
func (a *acceptance) acceptedFile() string { return filepath.Join(a.place.DataDir, "log.accepted") }

// writeDown returns when it is on disk.
func (a *acceptance) writeDown(at time.Time) error {
	line, err := json.Marshal(struct {
		Time time.Time `json:"time"`
		lossFound
	}{at.UTC(), foundBy(a)})
	if err != nil {
		return err
	}
	file, err := os.OpenFile(a.acceptedFile(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(append(line, '\n'))
	return errors.Join(err, file.Sync(), file.Close())
}
