package projections

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections/pgdb"
)

var marksSQL = statement("generations/marks.sql")

// Marks are the commits that the read models were built up to, which the log must have.
// There are none where nothing was set up yet.
func Marks(ctx context.Context, pool *pgxpool.Pool) ([]eventstore.Mark, error) {
	rows, _ := pool.Query(ctx, marksSQL) // an error comes out of the rows as well
	marks, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (eventstore.Mark, error) {
		var model string
		var m eventstore.Mark
		var hash []byte
		err := row.Scan(&model, &m.Position, &hash)
		m.Hash, m.Holder = domain.Hash(hash), "the read model "+model
		return m, err
	})
	if pgdb.Missing(err) {
		return nil, nil
	}
	return marks, err
}
