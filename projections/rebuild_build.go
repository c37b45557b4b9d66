package projections

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections/pgdb"
)

// lockPatience is how long a projector is given to notice that a generation is not its to
// keep any more: it looks every second, unless the log or the database keeps it waiting.
const lockPatience = logPatience + 5*time.Second

// ErrBeingRebuilt means that another process rebuilds a model.
var ErrBeingRebuilt = errors.New("another process rebuilds it already")

var (
	generationsUnfinishedSQL = statement("generations/unfinished.sql")
	generationsKeptSQL       = statement("generations/kept.sql")
	generationsServedSQL     = statement("generations/served.sql")
	generationsStateSQL      = statement("generations/state.sql")
)

// build is a generation on its way, with the projector that takes it there. It is the
// projectors' own way of applying commits, so that what is built is what they would have
// made.
type build struct {
	*Projector
	upTo   uint64 // where loading ends
	chunks chan []eventstore.Record
	err    error // why it cannot go on
}

func closeAll(builds []*build) {
	for _, b := range builds {
		b.Close()
	}
}

func rebuildLock(model string) int64 { return pgdb.LockKey("rebuild of " + model) }

// lock keeps other processes from rebuilding a model.
func (r *Rebuild) lock(ctx context.Context, m Model) (_ *build, err error) {
	conn, err := r.session(ctx)
	if err != nil {
		return nil, err
	}
	b := &build{Projector: NewProjector(r.Log, r.Pool, m, nil), chunks: make(chan []eventstore.Record, 1)}
	b.tenure = &tenure{conn: conn}
	if err := b.lock(ctx, rebuildLock(m.Name), ErrBeingRebuilt); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// begin takes up what was begun of a model, or begins.
func (r *Rebuild) begin(ctx context.Context, b *build) error {
	step := StepBegun
	err := r.open(ctx, b, func(tx pgx.Tx) (g generation, err error) {
		unfinished, err := unfinishedBuilds(ctx, tx, b.model.Name)
		if err != nil {
			return g, err
		}
		for _, u := range unfinished {
			if u.version == b.model.Version && step == StepBegun {
				g, step = u, StepResumed
			} else if err := dropGeneration(ctx, tx, u); err != nil { // another version's: nobody takes it up again
				return g, err
			}
		}
		if step == StepBegun {
			g, err = makeGeneration(ctx, tx, b.model, generation{state: stateLoading})
		}
		return g, err
	})
	if err == nil {
		r.tell(b, RebuildStep{Step: step})
	}
	return err
}

func unfinishedBuilds(ctx context.Context, tx pgx.Tx, model string) ([]generation, error) {
	rows, _ := tx.Query(ctx, generationsUnfinishedSQL, model) // an error comes out of the rows as well
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (generation, error) { return scanGeneration(model, row) })
}

// beginKept takes up the generation that served before.
func (r *Rebuild) beginKept(ctx context.Context, b *build) error {
	return r.open(ctx, b, func(tx pgx.Tx) (generation, error) {
		g, err := scanGeneration(b.model.Name, tx.QueryRow(ctx, generationsKeptSQL, b.model.Name))
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return g, errors.New("no generation is kept that served before")
		case err == nil && g.version != b.model.Version:
			return g, fmt.Errorf("generation %d has version %d and this program knows version %d: the program that made it has to do this",
				g.number, g.version, b.model.Version)
		}
		return g, err
	})
}

// open finds a generation and makes this session the only one that may bring it on.
func (r *Rebuild) open(ctx context.Context, b *build, find func(pgx.Tx) (generation, error)) error {
	err := alone(ctx, r.Pool, func(tx pgx.Tx) (err error) {
		b.tenure.generation, err = find(tx)
		return err
	})
	if err != nil {
		return err
	}
	if err := b.await(ctx, projectorLock(b.tenure.schema)); err != nil {
		return err
	}
	return b.verify(ctx, b.tenure.generation)
}

// session is a connection for one build: what it waits for, and builds, may take long.
func (r *Rebuild) session(ctx context.Context) (*pgx.Conn, error) {
	pooled, err := r.Pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	conn := pooled.Hijack()
	// What a crash of the server loses of the last half second is loaded again: rows and
	// checkpoint are lost together.
	_, err = conn.PgConn().Exec(ctx, "SET synchronous_commit = off; SET statement_timeout = 0; SET maintenance_work_mem = '256MB'").ReadAll()
	if err != nil {
		conn.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return conn, nil
}

// lock takes a lock for as long as the session lasts, or gives the error.
func (b *build) lock(ctx context.Context, key int64, held error) error {
	var locked bool
	if err := b.tenure.conn.QueryRow(ctx, lockSQL, key).Scan(&locked); err != nil {
		return err
	}
	if !locked {
		return held
	}
	return nil
}

// await takes the lock of a generation. A projector may have it for a moment: of one that
// was dropped, whose name is free again, or of one that served until just now.
func (b *build) await(ctx context.Context, key int64) error {
	held := fmt.Errorf("a projector of another process does not leave generation %d", b.tenure.number)
	for giveUp := time.Now().Add(lockPatience); ; {
		err := b.lock(ctx, key, held)
		if err == nil || !errors.Is(err, held) || time.Now().After(giveUp) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryFirst):
		}
	}
}

// become changes the state of a generation that does not serve.
func (b *build) become(ctx context.Context, s state) error {
	if _, err := b.tenure.conn.Exec(ctx, generationsStateSQL, b.model.Name, b.tenure.number, s); err != nil {
		return err
	}
	b.tenure.state = s
	return nil
}

// served is the generation that serves, as it is for whoever builds another.
type served struct {
	generation
	// whole: it held everything in the log at some time, so that readers rely on it.
	whole bool
}

// scanServed gives nil where none serves.
func scanServed(model string, row pgx.Row) (*served, error) {
	var s served
	var err error
	s.generation, err = scanGeneration(model, row, &s.whole)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return &s, err
}

// target is how far a build may go: not beyond the generation that it is to be compared
// with, where there is one. whole says that it is the log's end.
func (b *build) target(ctx context.Context) (position uint64, whole bool, err error) {
	old, err := scanServed(b.model.Name, b.tenure.conn.QueryRow(ctx, generationsServedSQL, b.model.Name))
	if err != nil {
		return 0, false, err
	}
	if old != nil && old.whole {
		return old.position, false, nil
	}
	position, err = b.log.Last(ctx)
	return position, true, err
}

// catchUp brings a build so close to its target that the rest takes no time.
func (b *build) catchUp(ctx context.Context) error {
	for {
		began := time.Now()
		to, whole, err := b.target(ctx)
		if err != nil {
			return err
		}
		behind := int64(to) - int64(b.tenure.position)
		if err := b.readTo(ctx, to); err != nil {
			return err
		}
		if whole {
			if err := b.freshen(ctx, began); err != nil {
				return err
			}
		}
		if behind < closeBy {
			return nil
		}
	}
}

// readTo applies what is in the log up to a position, which the log has.
func (b *build) readTo(ctx context.Context, upTo uint64) error {
	for b.tenure.position < upTo {
		var chunk batch
		err := b.log.ReadAll(ctx, "", b.tenure.position, func(rec eventstore.Record) error {
			if rec.Position > upTo || chunk.full() {
				return errFull
			}
			chunk.add(rec)
			return nil
		})
		if err != nil && !errors.Is(err, errFull) {
			return err
		}
		if len(chunk.records) == 0 {
			return &StoppedError{Model: b.model.Name, Position: b.tenure.position + 1, Err: errors.New(
				"the log ends there, and the generation that serves was built beyond: it is another log, or it lost commits")}
		}
		if err := b.applyAll(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}
