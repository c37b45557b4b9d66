package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/claimledger/claimledger/eventstore"
)

type acceptLossCommand struct {
	Confirm *uint64 `help:"Do it, where the log ends at this position." placeholder:"POSITION"`
	JSON    bool    `help:"Print JSON."`
	placeSettings
}

// Help is shown below the flags.
func (acceptLossCommand) Help() string {
	return `For a ledger that takes no commands because its log lost commits of which no copy is left. Put a copy in place instead where
there is one: claimledger log check --help.

Without --confirm it changes nothing. It reads the log through and says where it ends now, who knows of commits that are not in it
(the mark in the data directory; the read models and the webhook relay; the newest signed head), what it costs to go on without
them, and the command that does it. With that command whatever was derived from lost commits is dropped, to be derived again from
the log as it is, and the mark is set to where the log ends. A store that still counts the lost commits is replaced by one with
those that are left. The former mark, store and signed heads are kept beside, as evidence, and a line in log.accepted in the data
directory says what was accepted. It may be killed at any moment: running it again does the rest.

The ledger must not run. On a cluster all processes must have been stopped, which this command can see of those alone that are
connected to the database; what is to be done about the signed heads there takes NATS's administrator, and it says what.
A log that contradicts itself in the middle is refused: there only a copy helps.

Exits 0 when there is nothing to accept, or nothing any more, and 1 otherwise.

Example: claimledger log accept-loss --data-dir /var/lib/claimledger --confirm 1041`
}

// Run looks at what was lost, and accepts it where that is confirmed.
func (c *acceptLossCommand) Run(w *world) (err error) {
	a, err := c.open(w.ctx, quiet(c.logger(w.stderr)))
	if err != nil {
		return fmt.Errorf("%w; nothing was changed", forPerson(err))
	}
	defer func() { err = errors.Join(err, a.close(context.WithoutCancel(w.ctx))) }()
	r := &lossReport{Compared: a.compared()}
	err = a.look(w.ctx)
	var broken *eventstore.BrokenError
	switch {
	case errors.As(err, &broken):
		r.BrokenAt, r.Found = fmt.Sprint(broken.Position), broken.Found
		return r.end(w, c.JSON, errors.New("the log contradicts itself, and that cannot be accepted; nothing was changed"))
	case err != nil:
		return fmt.Errorf("%w; nothing was changed", err)
	}
	r.tell(a)
	steps := a.steps(time.Now())
	end := a.survey.End.Position
	switch {
	case len(a.contradictions()) == 0:
		return r.end(w, c.JSON, nil)
	case len(steps) == 0:
		return r.end(w, c.JSON, errors.New("what is left to do takes NATS's administrator"))
	case c.Confirm == nil:
		r.propose(a, steps, c.again(end))
		return r.end(w, c.JSON, errors.New("nothing was changed: it takes --confirm"))
	case *c.Confirm != end:
		r.propose(a, steps, "")
		return r.end(w, c.JSON, fmt.Errorf("nothing was changed: the log ends at position %d, and --confirm says %d", end, *c.Confirm))
	}
	for _, s := range steps {
		if err := s.do(w.ctx); err != nil {
			return r.end(w, c.JSON, fmt.Errorf("%s: %w; run this again once that is put right", s.what, forPerson(err)))
		}
		r.Done = append(r.Done, s.what)
	}
	r.Accepted = true
	if len(r.Left) > 0 {
		return r.end(w, c.JSON, errors.New("what is left to do takes NATS's administrator"))
	}
	return r.end(w, c.JSON, nil)
}

// again is the command line that accepts the loss. URLs may hold passwords, which are not
// shown again.
func (c *acceptLossCommand) again(end uint64) string {
	words := []string{"claimledger log accept-loss"}
	add := func(flag, value string) { words = append(words, flag, value) }
	if c.embedded() {
		add("--data-dir", shellWord(c.DataDir))
	} else {
		add("--nats-url", "…")
	}
	if c.NATSCreds != "" {
		add("--nats-creds", shellWord(c.NATSCreds))
	}
	if c.Replicas != 0 {
		add("--replicas", fmt.Sprint(c.Replicas))
	}
	if c.DatabaseURL != "" {
		add("--database-url", "…")
	}
	if c.PostgresBin != "" {
		add("--postgres-bin", shellWord(c.PostgresBin))
	}
	add("--confirm", fmt.Sprint(end))
	return strings.Join(words, " ")
}

// open takes the log and the database for as long as it goes on.
func (c *acceptLossCommand) open(ctx context.Context, logger *slog.Logger) (a *acceptance, err error) {
	a = &acceptance{place: c.placeSettings}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close(context.WithoutCancel(ctx)))
		}
	}()
	if !c.embedded() && c.DatabaseURL == "" {
		return a, usageError{errors.New("--database-url is required with --nats-url: processes on a cluster share one database")}
	}
	if err := a.openLog(ctx, logger); err != nil {
		return a, err
	}
	return a, a.openDatabase(ctx, logger)
}
