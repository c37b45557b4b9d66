package projections

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections/pgdb"
)

var generationsBuiltToSQL = statement("generations/built_to.sql")

// DropLost drops the generations of read models that were built up to one of these commits,
// which the log does not have. Setup begins anew what nothing is left of that serves. No
// projector may run.
func DropLost(ctx context.Context, pool *pgxpool.Pool, marks []eventstore.Mark) error {
	var positions []int64
	var hashes [][]byte
	for _, m := range marks {
		positions, hashes = append(positions, int64(m.Position)), append(hashes, m.Hash[:])
	}
	return pgdb.Exclusively(ctx, pool, "projections", func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, generationsBuiltToSQL, positions, hashes) // an error comes out of the rows as well
		schemas, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		for _, schema := range schemas {
			if _, err := tx.Exec(ctx, "DROP SCHEMA IF EXISTS "+pgx.Identifier{schema}.Sanitize()+" CASCADE"); err != nil {
				return fmt.Errorf("drop %s: %w", schema, err)
			}
		}
		_, err = tx.Exec(ctx, generationsForgetSQL)
		return err
	})
}
