package projections

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/domain"
)

// generation is one build of a model with its checkpoint.
type generation struct {
	model    string
	number   int
	version  int
	schema   string
	position uint64
	hash     domain.Hash
	age      time.Duration // since it held everything in the log
}

// queryer is a connection, a pool or a transaction.
type queryer interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// serving finds the generation of a model that serves.
func serving(ctx context.Context, q queryer, model string) (generation, error) {
	return scanServing(model, q.QueryRow(ctx, servingSQL, model))
}

// ServingSchema is where the tables of a model are that serve now, for who measures
// against them. It may be another one at any time.
func ServingSchema(ctx context.Context, q queryer, model string) (string, error) {
	g, err := serving(ctx, q, model)
	return g.schema, err
}

// scanServing reads what servingSQL found.
func scanServing(model string, row pgx.Row) (generation, error) {
	g := generation{model: model, age: NeverFresh}
	var hash []byte
	var age *int64
	switch err := row.Scan(&g.number, &g.version, &g.schema, &g.position, &hash, &age); {
	case errors.Is(err, pgx.ErrNoRows):
		return g, unavailable(err, "The read model %s is missing; it has to be set up again.", model)
	case err != nil:
		return g, err
	}
	m, err := modelByName(model)
	if err != nil {
		return g, err
	}
	if g.version != m.Version {
		return g, unavailable(nil, "The read model %s has version %d and this program reads version %d; it has to be rebuilt.",
			model, g.version, m.Version)
	}
	g.hash = domain.Hash(hash)
	if age != nil {
		// What set fresh_at may have read the clock after this statement did.
		g.age = max(0, time.Duration(*age)*time.Microsecond)
	}
	return g, nil
}
