package pgdb

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
)

// defaultName is what sessions are called whose process was not told otherwise.
const defaultName = "claimledger"

// Others counts the sessions in the database that go by the default name: those of
// processes that serve, as far as their URL does not say otherwise. The pool's own are not
// to go by it.
func Others(ctx context.Context, pool *pgxpool.Pool) (n int, err error) {
	err = pool.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1", defaultName).Scan(&n)
	return n, err
}
