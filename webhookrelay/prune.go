package webhookrelay

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// pruneRows is how many deliveries one statement removes, and pruneMost how many one
	// step does: what a day leaves is removed over some minutes, a backlog over hours. As
	// many events are looked at at most.
	pruneRows = 500
	pruneMost = 5000

	// pruneLeast and pruneLatest bound the pause between two passes over what is old: what
	// waits however old it is, is looked at in each.
	pruneLeast, pruneLatest = time.Minute, time.Hour
)

// pruned is how far a process has come in removing what is old, the oldest events first.
type pruned struct {
	createdAt time.Time // of the last event of this pass
	eventID   string
	next      time.Time // when the next pass begins, where this one came to its end
}

// prune removes deliveries that ended longer ago than they have to be kept, and events that
// have none left.
func (u *upkeep) prune(ctx context.Context) error {
	now := u.clock()
	if u.keep <= 0 || now.Before(u.pruned.next) {
		return nil
	}
	for range pruneMost / pruneRows {
		more, err := u.prunePiece(ctx, now.Add(-u.keep))
		if err != nil {
			return err
		}
		if !more {
			u.pruned = pruned{next: now.Add(min(max(u.keep/100, pruneLeast), pruneLatest))}
			return nil
		}
	}
	return nil
}

// prunePiece looks at the next events; at the same ones again where there was more to remove
// than one statement may.
func (u *upkeep) prunePiece(ctx context.Context, before time.Time) (more bool, err error) {
	var removed int
	var createdAt *time.Time
	var eventID *string
	err = pgx.BeginTxFunc(ctx, u.pool, begin, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, pruneSQL, before, u.pruned.createdAt, u.pruned.eventID, pruneRows).Scan(&removed, &createdAt, &eventID)
	})
	if err != nil || createdAt == nil {
		return false, err
	}
	if removed < pruneRows {
		u.pruned.createdAt, u.pruned.eventID = *createdAt, *eventID
	}
	return true, nil
}
