package webhookrelay

import (
	"context"
	"embed"
	"io/fs"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/projections/pgdb"
)

// schema is where everything of the relay is in PostgreSQL.
const schema = "webhookrelay"

//go:embed migrations/*.sql
var migrations embed.FS

// Setup makes the relay's schema, or brings it up to date. It can be repeated, and
// several processes may do it at once.
func Setup(ctx context.Context, pool *pgxpool.Pool) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	return pgdb.Migrate(ctx, pool, schema, files)
}
