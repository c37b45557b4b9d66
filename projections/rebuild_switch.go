package projections

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// farBy is how many commits a build may have left to apply while the generation that
	// serves waits for it: a fraction of a second's.
	farBy = 2_000

	// pausesMost is how often it is tried to come so close.
	pausesMost = 100
)

var (
	generationsHoldSQL   = statement("generations/hold.sql")
	generationsRetireSQL = statement("generations/retire.sql")
	generationsServeSQL  = statement("generations/serve.sql")
)

// errFar means that what serves ran ahead of a build.
var errFar = errors.New("the generation that serves is too far ahead")

// paused calls f while the generation that serves stands still, where there is one, and
// the build is at the same position. Its readers do not notice, and its projector waits
// for the end of the transaction.
func (r *Rebuild) paused(ctx context.Context, b *build, f func(tx pgx.Tx, old *served) error) error {
	for range pausesMost {
		if err := b.catchUp(ctx); err != nil {
			return err
		}
		err := pgx.BeginFunc(ctx, r.Pool, func(tx pgx.Tx) error {
			old, err := scanServed(b.model.Name, tx.QueryRow(ctx, generationsHoldSQL, b.model.Name))
			if err != nil {
				return err
			}
			if old != nil {
				if err := b.meet(ctx, old); err != nil {
					return err
				}
			}
			return f(tx, old)
		})
		if !errors.Is(err, errFar) {
			return err
		}
	}
	return errFar
}

// meet brings the build to the position of the generation that serves.
func (b *build) meet(ctx context.Context, old *served) error {
	if old.position > b.tenure.position+farBy {
		return errFar
	}
	if err := b.readTo(ctx, old.position); err != nil {
		return err
	}
	switch t := b.tenure; {
	case t.position == old.position && t.hash != old.hash:
		return fmt.Errorf("the generation that serves has another commit at position %d (hash %s) than the log (hash %s)", old.position, old.hash, t.hash)
	case t.position > old.position && old.whole:
		return errMeanwhile
	}
	return nil
}

// turn has the build serve, and what served kept. What it was compared with must be what
// serves still.
func (r *Rebuild) turn(ctx context.Context, b *build, compared *int) error {
	err := r.paused(ctx, b, func(tx pgx.Tx, old *served) error {
		if compared != nil && (old == nil || old.number != *compared) {
			return errMeanwhile
		}
		var fresh *time.Time
		if old != nil {
			if err := tx.QueryRow(ctx, generationsRetireSQL, b.model.Name).Scan(&fresh); err != nil {
				return err
			}
		}
		t := b.tenure
		tag, err := tx.Exec(ctx, generationsServeSQL, t.model, t.number, t.position, t.hash[:], fresh, channel)
		if err != nil {
			return err
		}
		if tag.RowsAffected() != 1 {
			return errLost
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.tell(b, RebuildStep{Step: StepServes})
	return nil
}
