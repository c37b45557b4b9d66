// Package bench measures a ledger against yardsticks: what the parts that it is made of
// can do by themselves on the same machine, in the same minutes. It never touches a
// ledger that it did not start.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/eventstore"
)

// maxDuration leaves time of a signature's 300 seconds for preparing a round.
const maxDuration = 2 * time.Minute

// Config is what a run needs.
type Config struct {
	Dir      string // empty, on the disk that is to be measured; the caller removes it
	Program  Program
	Progress io.Writer

	Workloads  string        // patterns as of path.Match, comma between them
	Rounds     int           // measured ones, of each side
	Duration   time.Duration // of one round of one side
	Namespaces int           // over which writing spreads
	Claims     int           // that verify is asked about, and that the large namespace has
	Events     int           // in the log, for rebuild
	Most       int           // connections, whatever a workload wants; 0: as it wants
	Roles      []string      // of the ledger
	ServeFlags []string      // more of the ledger's
	Noise      Behaviour     // of the noisy ones in webhooks-noisy
	Profile    string        // the directory for the ledger's profiles; empty: none
}

// Program is what the bench needs of the program that it is part of: other commands of
// it, each to run as a process of its own, and ways to the log of a ledger that runs.
type Program struct {
	// Ledger, Publisher, Signatures and Receiver are command lines without the program's
	// name. What they start serves until its standard input ends.
	Ledger, Publisher, Signatures, Receiver []string

	// URL is where the ledger on a data directory serves; empty while it does not.
	URL func(dataDir string) string
	// OpenLog joins the log of the ledger that runs on a data directory.
	OpenLog func(ctx context.Context, dataDir string) (eventstore.Log, func() error, error)
	// OpenDatabase joins the database of that ledger.
	OpenDatabase func(ctx context.Context, dataDir string) (*pgx.Conn, error)
	// Cold begins what a process knows anew, with snapshots or without, and gives what
	// loads a namespace's claims into it.
	Cold func(ctx context.Context, log eventstore.Log, snapshots bool) (load func(namespace string) error, err error)
	// Register makes namespaces, and for each a token to log in with.
	Register func(ctx context.Context, log eventstore.Log, namespaces []string) (tokens []string, err error)
	// Executor executes commands on what is in the log by now.
	Executor func(ctx context.Context, log eventstore.Log) (*commands.Executor, error)
	// Rebuild rebuilds all read models of the ledger that runs on a data directory, and
	// Copy copies their rows into other tables like theirs, which are dropped then.
	Rebuild, Copy func(ctx context.Context, c Config, dataDir string) (Rows, error)
}

// Validate refuses what cannot be run, before anything is started.
func (c Config) Validate() error {
	switch {
	case c.Rounds < 1:
		return errors.New("--rounds must be at least 1")
	case c.Duration <= 0 || c.Duration > maxDuration:
		return fmt.Errorf("--duration must be from more than nothing to %v: requests are signed before a round, and signatures do not live long", maxDuration)
	case c.Claims < 1:
		return errors.New("--claims must be at least 1")
	case c.Events < 1:
		return errors.New("--events must be at least 1")
	case c.Most < 0:
		return errors.New("--most-connections must not be negative")
	}
	_, err := c.selected()
	return errors.Join(err, c.ValidateSoak())
}

// ValidateSoak does the same for RunSoak.
func (c Config) ValidateSoak() error {
	switch {
	case c.Namespaces < 1 || c.Namespaces > maxNamespaces:
		return fmt.Errorf("--namespaces must be from 1 to %d", maxNamespaces)
	case !slices.Contains(c.Roles, "api"):
		return errors.New("--roles must name api, which is what is measured")
	}
	return nil
}

// selected are the workloads whose names match.
func (c Config) selected() ([]workload, error) {
	var chosen []workload
	for _, w := range workloads {
		for pattern := range strings.SplitSeq(c.Workloads, ",") {
			ok, err := path.Match(strings.TrimSpace(pattern), w.name)
			if err != nil {
				return nil, fmt.Errorf("--workload: %q is not a pattern", pattern)
			}
			if ok {
				chosen = append(chosen, w)
				break
			}
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("--workload: %q matches none of %s", c.Workloads, strings.Join(Names(), ", "))
	}
	return chosen, nil
}

// bench is one run.
type bench struct {
	Config
	ledger    *ledger
	publisher *publisher
	tenants   []*tenant // made when first needed
	crowded   *tenant   // the same
}

// Run measures the selected workloads, one after another, and gives their results.
func Run(ctx context.Context, c Config) (r Report, err error) {
	chosen, err := c.selected()
	if err != nil {
		return r, err
	}
	b := &bench{Config: c}
	if b.ledger, err = startLedger(ctx, c); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, b.ledger.stop()) }()
	if b.publisher, err = startPublisher(ctx, c); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, b.publisher.stop()) }()
	r.Machine, r.MostConnections = describeMachine(c), c.Most
	for _, w := range chosen {
		result, err := b.measure(ctx, w)
		if err != nil {
			return r, fmt.Errorf("%s: %w", w.name, b.ledger.blame(err))
		}
		r.Results = append(r.Results, result)
	}
	return r, nil
}

// measure runs the two sides of a workload by turns. Which is first changes from round
// to round, so that neither always has the disk that the other left.
func (b *bench) measure(ctx context.Context, w workload) (_ Result, err error) {
	b.say("%s: preparing", w.name)
	p, err := w.open(ctx, b)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, p.end()) }()
	ledger, yardstick := newSeries(w.unit), newSeries(w.unit)
	for round := range b.Rounds {
		sides := []func() error{
			func() error { return ledger.add(b.profiled(ctx, w, p.ledger)) },
			func() error { return yardstick.add(p.yardstick(ctx, b.Duration)) },
		}
		if round%2 == 1 {
			sides[0], sides[1] = sides[1], sides[0]
		}
		for _, side := range sides {
			if err := side(); err != nil {
				return Result{}, err
			}
		}
		b.say("%s: round %d of %d: ledger %s, yardstick %s", w.name, round+1, b.Rounds,
			w.unit.format(ledger.last()), w.unit.format(yardstick.last()))
	}
	return newResult(w, p, ledger, yardstick), nil
}

// profiled measures the ledger's side, and keeps a profile of it where one is wanted.
// Each round's replaces the one before.
func (b *bench) profiled(ctx context.Context, w workload, side measure) (Outcome, error) {
	if b.Profile == "" {
		return side(ctx, b.Duration)
	}
	b.ledger.profile = filepath.Join(b.Profile, w.name)
	defer func() { b.ledger.profile = "" }()
	return side(ctx, b.Duration)
}

// connections is how many a workload gets of those that it wants.
func (b *bench) connections(wanted int) int {
	if b.Most > 0 {
		return min(wanted, b.Most)
	}
	return wanted
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.Progress, format+"\n", args...)
}
