package projections

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

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
	if err := migrate(ctx, pool); err != nil {
		return err
	}
	return alone(ctx, pool, func(tx pgx.Tx) error {
		for _, m := range models {
			if err := ensureServing(ctx, tx, m); err != nil {
				return fmt.Errorf("set up the read model %s: %w", m.Name, err)
			}
		}
		return nil
	})
}

// migrate brings the table of generations up to date.
func migrate(ctx context.Context, pool *pgxpool.Pool) error {
	migrations, err := fs.Sub(sqlFiles, "sql/migrations")
	if err != nil {
		return err
	}
	return pgdb.Migrate(ctx, pool, "projections", migrations)
}

// alone calls f where no other process makes or drops generations, and no row stands for
// a generation whose schema was dropped.
func alone(ctx context.Context, pool *pgxpool.Pool, f func(pgx.Tx) error) error {
	return pgdb.Exclusively(ctx, pool, "projections", func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, generationsForgetSQL); err != nil {
			return fmt.Errorf("set up the read models: %w", err)
		}
		return f(tx)
	})
}

// ensureServing leaves a generation that serves alone whatever its version: the
// program that runs beside this one may depend on it.
func ensureServing(ctx context.Context, tx pgx.Tx, m Model) error {
	var exists bool
	if err := tx.QueryRow(ctx, generationsExistsSQL, m.Name).Scan(&exists); err != nil || exists {
		return err
	}
	g, err := makeGeneration(ctx, tx, m, generation{serving: true, state: stateWhole})
	if err != nil {
		return err
	}
	return makeIndexes(ctx, tx, m, g)
}

// makeGeneration makes an empty generation of the given state.
func makeGeneration(ctx context.Context, tx pgx.Tx, m Model, g generation) (generation, error) {
	var err error
	g.model, g.version = m.Name, m.Version
	if g.number, g.schema, err = nextGeneration(ctx, tx, m); err != nil {
		return g, err
	}
	if _, err := tx.Exec(ctx, "CREATE SCHEMA "+pgx.Identifier{g.schema}.Sanitize()); err != nil {
		return g, err
	}
	if err := pgdb.ExecScript(ctx, tx, g.schema, m.tables); err != nil {
		return g, err
	}
	_, err = tx.Exec(ctx, generationsInsertSQL, g.model, g.number, g.version, g.schema, g.serving, g.state, g.hash[:])
	return g, err
}

func makeIndexes(ctx context.Context, tx pgx.Tx, m Model, g generation) error {
	return pgdb.ExecScript(ctx, tx, g.schema, m.indexes)
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
