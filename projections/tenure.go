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

// tenure is the time during which a projector is the active one of a generation: it
// lasts as long as the session that holds the lock.
type tenure struct {
	generation
	conn      *pgx.Conn
	freshened time.Time // when fresh_at was written last
}

var lockSQL = statement("generations/lock.sql")

func projectorLock(schema string) int64 { return pgdb.LockKey("projector of " + schema) }

// activate makes the projector the active one, or returns errStandby.
func (p *Projector) activate(ctx context.Context) error {
	pooled, err := p.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	g, err := serving(ctx, pooled, p.model.Name)
	if err != nil {
		pooled.Release()
		return err
	}
	p.found = g
	p.status.seen(g)
	var locked bool
	if err := pooled.QueryRow(ctx, lockSQL, projectorLock(g.schema)).Scan(&locked); err != nil || !locked {
		pooled.Release()
		if err == nil {
			err = errStandby
		}
		return err
	}
	// The session now is the lock. It leaves the pool, which might end it at any time.
	t := &tenure{conn: pooled.Hijack()}
	if err := p.begin(ctx, t, g.schema); err != nil {
		t.conn.Close(context.WithoutCancel(ctx))
		return err
	}
	p.tenure = t
	p.status.activate(t.generation)
	p.logger.Info("the projector is active", "generation", t.number, "position", t.position)
	return nil
}

func (p *Projector) begin(ctx context.Context, t *tenure, schema string) (err error) {
	// Once more: whoever held the lock before may have moved the checkpoint meanwhile.
	if t.generation, err = serving(ctx, t.conn, p.model.Name); err != nil {
		return err
	}
	p.found = t.generation
	if t.schema != schema {
		return errLost // another generation serves now, and this is not its lock
	}
	// A crash of the server may lose the last half second of transactions, but always
	// rows and checkpoint together, and what is lost is applied again from the log. So
	// nothing is gained by waiting for the disk.
	if _, err := t.conn.Exec(ctx, "SET synchronous_commit = off"); err != nil {
		return err
	}
	return p.verify(ctx, t.generation)
}

// verify makes sure that the log is the one that the generation was built from: it has
// the commit at the checkpoint, unchanged.
func (p *Projector) verify(ctx context.Context, g generation) error {
	if g.position == 0 {
		return nil
	}
	deadline := time.Now().Add(p.patience)
	for {
		rec, err := p.log.At(ctx, g.position)
		switch {
		case err == nil && rec.Hash == g.hash:
			return nil
		case err == nil:
			return &StoppedError{p.model.Name, g.position, rec.Commit.ID, fmt.Errorf(
				"the log has another commit there (hash %s) than the one that was applied (hash %s): "+
					"it is not the log that the read model was built from, or it lost commits", rec.Hash, g.hash)}
		case unreached(err):
			return err
		case !errors.Is(err, eventstore.ErrNoCommit):
			return &StoppedError{Model: p.model.Name, Position: g.position, Err: err}
		case time.Now().After(deadline):
			return &StoppedError{p.model.Name, g.position, "", errors.New(
				"the log has no commit there, and the read model was built up to it: " +
					"it is not the log that the read model was built from, or it lost commits")}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryFirst):
		}
	}
}
