package webhookrelay

import "context"

const (
	// pruneRows is how many deliveries one statement removes, and pruneMost how many one
	// step does: what a day leaves is removed over some minutes, a backlog over hours.
	pruneRows = 500
	pruneMost = 5000
)

// prune removes deliveries that ended and are older than they have to be kept.
func (u *upkeep) prune(ctx context.Context) error {
	if u.keep <= 0 {
		return nil
	}
	for removed := int64(0); removed < pruneMost; {
		tag, err := u.pool.Exec(ctx, pruneSQL, u.clock().Add(-u.keep), pruneRows)
		if err != nil {
			return err
		}
		if removed += tag.RowsAffected(); tag.RowsAffected() < pruneRows {
			return nil
		}
	}
	return nil
}
