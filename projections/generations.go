package projections

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/projections/pgdb"
)

var (
	generationsListSQL   = statement("generations/list.sql")
	generationsDropSQL   = statement("generations/drop.sql")
	generationsLockedSQL = statement("generations/locked.sql")
)

// What became of a generation.
const (
	GenerationServes     = "serves"
	GenerationKept       = "kept"       // it served before, and can again
	GenerationBuilding   = "building"   // a rebuild is at it
	GenerationUnfinished = "unfinished" // a rebuild ended too soon; the next one goes on with it
	GenerationDifferent  = "different"  // it differs from what it was to replace
)

// Generation is one build of a model that exists.
type Generation struct {
	Model       string     `json:"model"`
	Number      int        `json:"generation"`
	Version     int        `json:"version"` // of the model
	State       string     `json:"state"`
	Position    uint64     `json:"position"`
	Bytes       int64      `json:"bytes"` // with indexes
	Schema      string     `json:"schema"`
	CreatedAt   time.Time  `json:"created_at"`
	ServedUntil *time.Time `json:"served_until,omitempty"`
}

// Generations lists them. There are none where nothing was set up yet.
func Generations(ctx context.Context, pool *pgxpool.Pool) ([]Generation, error) {
	rows, _ := pool.Query(ctx, generationsListSQL) // an error comes out of the rows as well
	all, err := pgx.CollectRows(rows, scanListed)
	if pgdb.Missing(err) {
		return nil, nil
	}
	for i := range all {
		if all[i].State != GenerationUnfinished {
			continue
		}
		var locked bool
		if err := pool.QueryRow(ctx, generationsLockedSQL, rebuildLock(all[i].Model)).Scan(&locked); err != nil {
			return nil, err
		}
		if locked {
			all[i].State = GenerationBuilding
		}
	}
	return all, err
}

func scanListed(row pgx.CollectableRow) (Generation, error) {
	var g Generation
	var serving bool
	var s state
	err := row.Scan(&g.Model, &g.Number, &g.Version, &g.Schema, &serving, &s, &g.Position, &g.CreatedAt, &g.ServedUntil, &g.Bytes)
	g.CreatedAt, g.ServedUntil = g.CreatedAt.UTC(), utc(g.ServedUntil)
	switch {
	case serving:
		g.State = GenerationServes
	case s == stateWhole:
		g.State = GenerationKept
	case s == stateDifferent:
		g.State = GenerationDifferent
	default:
		g.State = GenerationUnfinished
	}
	return g, err
}

// Drop drops a generation that does not serve, with its rows.
func Drop(ctx context.Context, pool *pgxpool.Pool, model string, number int) error {
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		var locked bool
		// As a rebuild does, and so not beside one.
		if err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1)", rebuildLock(model)).Scan(&locked); err != nil {
			return err
		}
		if !locked {
			return ErrBeingRebuilt
		}
		return dropGeneration(ctx, tx, generation{model: model, number: number})
	})
	if err != nil {
		return fmt.Errorf("drop generation %d of the read model %s: %w", number, model, err)
	}
	return nil
}

func dropGeneration(ctx context.Context, tx pgx.Tx, g generation) error {
	switch err := tx.QueryRow(ctx, generationsDropSQL, g.model, g.number).Scan(&g.schema); {
	case errors.Is(err, pgx.ErrNoRows):
		return errors.New("there is none that does not serve")
	case err != nil:
		return err
	}
	_, err := tx.Exec(ctx, in(g.schema, "DROP SCHEMA IF EXISTS {schema} CASCADE"))
	return err
}
