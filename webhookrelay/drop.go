package webhookrelay

import (
	"context"
	_ "embed" // the statement
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/projections/pgdb"
)

//go:embed queries/tables.sql
var tablesSQL string

// Drop forgets all that the relay knows. After the next Setup it begins at the log's start:
// every event is sent again. The schema itself stays, with what an operator has granted on
// it. No relay may run.
func Drop(ctx context.Context, pool *pgxpool.Pool) error {
	return pgdb.Exclusively(ctx, pool, "migrate "+schema, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, tablesSQL) // an error comes out of the rows as well
		tables, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (name string, err error) {
			err = row.Scan(&name)
			return pgx.Identifier{schema, name}.Sanitize(), err
		})
		if err != nil || len(tables) == 0 {
			return err
		}
		_, err = tx.Exec(ctx, "DROP TABLE "+strings.Join(tables, ", "))
		return err
	})
}
