package projections

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/projections/pgdb"
)

var (
	generationsForgetSQL = statement("generations/forget.sql")
	generationsExistsSQL = statement("generations/exists.sql")
	generationsNumberSQL = statement("generations/number.sql")
	generationsInsertSQL = statement("generations/insert.sql")
	schemaExistsSQL      = statement("generations/schema_exists.sql")
)

// Setup makes what projectors and readers need, where it is missing: the table of
// generations, and for each model a first generation, empty, that serves. Models whose
// schemas were dropped begin anew. It may run in many processes at once, and beside
// projectors and readers.
func Setup(ctx context.Context, pool *pgxpool.Pool) error {
	migrations, err := fs.Sub(sqlFiles, "sql/migrations")
	if err != nil {
		return err
	}
	if err := pgdb.Migrate(ctx, pool, "projections", migrations); err != nil {
		return err
	}
	return pgdb.Exclusively(ctx, pool, "projections", func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, generationsForgetSQL); err != nil {
			return fmt.Errorf("set up the read models: %w", err)
		}
		for _, m := range models {
			if err := ensureServing(ctx, tx, m); err != nil {
				return fmt.Errorf("set up the read model %s: %w", m.Name, err)
			}
		}
		return nil
	})
}

// ensureServing leaves a generation that serves alone whatever its version: the
// program that runs beside this one may depend on it.
func ensureServing(ctx context.Context, tx pgx.Tx, m Model) error {
	var exists bool
	if err := tx.QueryRow(ctx, generationsExistsSQL, m.Name).Scan(&exists); err != nil || exists {
		return err
	}
	number, schema, err := nextGeneration(ctx, tx, m)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "CREATE SCHEMA "+pgx.Identifier{schema}.Sanitize()); err != nil {
		return err
	}
	if err := pgdb.ExecScript(ctx, tx, schema, m.tables); err != nil {
		return err
	}
	var none domain.Hash
	_, err = tx.Exec(ctx, generationsInsertSQL, m.Name, number, m.Version, schema, none[:])
	return err
}

// nextGeneration finds a number that no generation has, and whose schema does not
// exist: one may be left over when the table of generations was dropped.
func nextGeneration(ctx context.Context, tx pgx.Tx, m Model) (int, string, error) {
	var number int
	if err := tx.QueryRow(ctx, generationsNumberSQL, m.Name).Scan(&number); err != nil {
		return 0, "", err
	}
	for {
		schema := fmt.Sprintf("model_%s_v%d_g%d", m.Name, m.Version, number)
		var exists bool
		if err := tx.QueryRow(ctx, schemaExistsSQL, schema).Scan(&exists); err != nil || !exists {
			return number, schema, err
		}
		number++
	}
}
