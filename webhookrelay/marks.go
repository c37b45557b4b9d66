package webhookrelay

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections/pgdb"
)

// Marks are the commit that deliveries are assigned up to, which the log must have;
// none where nothing was assigned yet.
func Marks(ctx context.Context, pool *pgxpool.Pool) ([]eventstore.Mark, error) {
	m := eventstore.Mark{Holder: "the webhook relay"}
	var hash []byte
	err := pool.QueryRow(ctx, readCheckpointSQL).Scan(&m.Position, &hash)
	switch {
	case pgdb.Missing(err) || errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, err
	case m.Position == 0:
		return nil, nil
	}
	m.Hash = domain.Hash(hash)
	return []eventstore.Mark{m}, nil
}
