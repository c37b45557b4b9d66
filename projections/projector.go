package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections/pgdb"
)

const (
	// standbyPoll is how often a projector that stands by looks whether it is needed:
	// short against the seconds that a takeover may take. It does not wait for the
	// lock in the database, where a waiting statement would keep vacuum from its work.
	standbyPoll = time.Second

	// retryFirst and retryMost bound the pause after a failure. It doubles from one to
	// the other: a restart takes seconds, and an outage needs no hammering.
	retryFirst = 100 * time.Millisecond
	retryMost  = 5 * time.Second

	// endPoll is how often a projector that is behind asks where the log ends.
	endPoll = 2 * time.Second

	// logPatience is how long the active projector bears with a log that says nothing,
	// and a missing commit that a deposed leader may merely not have: longer than an
	// election. Then another process, which may reach it, has a chance.
	logPatience = 10 * time.Second
)

// Projector keeps one model's serving generation up to date with the log. Any number
// of processes may run one for the same model: the one that holds the generation's
// lock is active, and the others stand by and take over within seconds.
//
// Only the session that holds the lock writes, so one that lost it cannot; and should
// two ever believe that they hold it, the checkpoint moves for one alone.
//
// Run and Step must not overlap. Status may be called at any time.
type Projector struct {
	log    eventstore.Log
	pool   *pgxpool.Pool
	model  Model
	logger *slog.Logger
	status board

	audience Audience      // in this process; nil: it is not known
	called   chan struct{} // somebody in it began to wait

	tenure   *tenure    // nil: not active
	found    generation // what served when it was last tried, or as this projector left it
	patience time.Duration
}

// NewProjector makes a projector for a model. The logger may be nil.
func NewProjector(log eventstore.Log, pool *pgxpool.Pool, model Model, logger *slog.Logger) *Projector {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	p := &Projector{log: log, pool: pool, model: model, logger: logger.With("model", model.Name), patience: logPatience, called: make(chan struct{}, 1)}
	p.status.init(model)
	return p
}

// StoppedError means that a projector cannot go on: what comes next in the log cannot
// be applied, and nothing is ever skipped. Trying again does not help; another version
// of the program, or a repaired log, may.
type StoppedError struct {
	Model    string
	Position uint64 // of the commit
	CommitID string // empty: it could not be read
	Err      error
}

func (e *StoppedError) Error() string {
	commit := ""
	if e.CommitID != "" {
		commit = ", commit " + e.CommitID
	}
	return fmt.Sprintf("the read model %s stopped at position %d%s: %v", e.Model, e.Position, commit, e.Err)
}

// Unwrap returns the cause.
func (e *StoppedError) Unwrap() error { return e.Err }

var (
	errStandby = errors.New("another projector is active")
	errLost    = errors.New("the checkpoint was moved by another projector, or the generation is gone or serves no more")
	errSilent  = errors.New("the log says nothing")
)

// temporary reports whether an error may go away by itself, or by what an operator does
// to the database or to NATS.
func temporary(err error) bool {
	return errors.Is(err, errLost) || errors.Is(err, errSilent) || unreached(err) ||
		domain.ErrorCode(err) == domain.CodeServiceUnavailable ||
		pgdb.Unavailable(err) || pgdb.Missing(err) || pgdb.Forbidden(err)
}

// unreached reports whether an error of the log says nothing about what is in it.
func unreached(err error) bool {
	return errors.Is(err, eventstore.ErrUnavailable) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// Run follows the log until ctx ends, which is no error. Trouble with the database or
// the log is waited out. Where it cannot go on it stops, until what serves is not what it
// was any more: a rebuild has put another generation in its place, or another version of the
// program has brought it on.
func (p *Projector) Run(ctx context.Context) {
	go p.watchEnd(ctx) // the lag of a model that stopped goes on growing
	for p.work(ctx) != nil && p.awaitAnother(ctx) {
		p.logger.Info("a read model that stopped is tried again: what serves is not what it was")
	}
}

// awaitAnother waits until something else serves than where the projector stopped; false
// when ctx ends before.
func (p *Projector) awaitAnother(ctx context.Context) bool {
	tick := time.NewTicker(standbyPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
		g, err := serving(ctx, p.pool, p.model.Name)
		if err == nil && (g.number != p.found.number || g.position != p.found.position || g.hash != p.found.hash) {
			return true
		}
	}
}

// work is Run until ctx ends, which is no error, or it cannot go on, with a *StoppedError.
func (p *Projector) work(ctx context.Context) error {
	defer p.Close()
	retry := retryFirst
	for ctx.Err() == nil {
		began := time.Now()
		err := p.follow(ctx)
		p.Close()
		var stopped *StoppedError
		var pause time.Duration
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &stopped):
			p.status.stop(stopped)
			p.logger.Error("a read model stopped", "error", err)
			return err
		case errors.Is(err, errStandby):
			p.status.clear()
			pause = standbyPoll
		case errors.Is(err, errLost):
			p.status.clear()
			p.logger.Info("a read model's checkpoint is not this projector's to move any more", "error", err)
			pause = retryFirst
		default:
			if time.Since(began) > retryMost {
				retry = retryFirst // it went well for a while
			}
			if p.status.trouble(err) {
				p.logger.Warn("a read model waits", "error", err)
			}
			pause = retry/2 + rand.N(retry) // projectors of many models do not come back all at once
			retry = min(2*retry, retryMost)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

// Step applies what is in the log now, at most one batch, and returns the number of
// commits. A projector that stands by applies nothing. After an error it gave the lock
// up, and the next Step begins anew.
func (p *Projector) Step(ctx context.Context) (applied int, err error) {
	if p.tenure == nil {
		switch err := p.activate(ctx); {
		case errors.Is(err, errStandby):
			return 0, nil
		case err != nil:
			return 0, err
		}
	}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	var b batch
	began, position := time.Now(), p.tenure.position
	readErr := p.log.ReadAll(ctx, "", position, func(rec eventstore.Record) error {
		if b.full() {
			return errFull
		}
		b.add(rec)
		return nil
	})
	if readErr == nil {
		b.fresh = began
	}
	n := len(b.records)
	if err := p.apply(ctx, b); err != nil {
		return 0, err
	}
	if readErr != nil && !errors.Is(readErr, errFull) {
		return n, p.unreadable(readErr)
	}
	return n, nil
}

// Close gives the lock up, so that another projector takes over at once. Step takes it
// again.
func (p *Projector) Close() {
	if p.tenure == nil {
		return
	}
	// The context may be done already, and a server that hangs must not hold up the end
	// of the process: without an answer it notices itself that the client is gone.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	// The server takes a while to notice that a client is gone, and the lock would be held
	// that long. This is best effort: an end of the session gives the lock up as well.
	_, _ = p.tenure.conn.Exec(ctx, "SELECT pg_advisory_unlock_all()")
	p.tenure.conn.Close(ctx)
	p.found, p.tenure = p.tenure.generation, nil
	p.status.stepDown()
	p.logger.Debug("the projector is not active any more")
}

// unreadable is what an error of the log means to the projector.
func (p *Projector) unreadable(err error) error {
	if unreached(err) {
		return err
	}
	return &StoppedError{Model: p.model.Name, Position: p.tenure.position + 1, Err: err}
}

// watchEnd keeps the status informed about the log's end, which a projector that is far
// behind, or stands by, does not see.
func (p *Projector) watchEnd(ctx context.Context) {
	tick := time.NewTicker(endPoll)
	defer tick.Stop()
	for {
		if last, err := p.log.Last(ctx); err == nil {
			p.status.end(last)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
