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
	serving  bool
	state    state
	position uint64
	hash     domain.Hash
	age      time.Duration // since it held everything in the log
}

// state is what became of a generation so far; see the column's comment.
type state string

const (
	stateLoading   state = "loading"
	stateIndexed   state = "indexed"
	stateDifferent state = "different"
	stateWhole     state = "whole"
)

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
	g := generation{model: model, serving: true, state: stateWhole, age: NeverFresh}
	var hash []byte
	var age *int64
	switch err := row.Scan(&g.number, &g.version, &g.schema, &g.position, &hash, &age); {
	case errors.Is(err, pgx.ErrNoRows):
		return g, missing(err, model)
	case err != nil:
		return g, err
	}
	m, err := modelByName(model)
	if err != nil {
		return g, err
	}
	if g.version != m.Version {
		what := "it has to be rebuilt (claimledger rebuild)"
		if g.version > m.Version {
			what = "it was rebuilt for a later program, which has to take this one's place"
		}
		return g, unavailable(nil, "The read model %s has version %d and this program knows version %d; %s.", model, g.version, m.Version, what)
	}
	g.hash = domain.Hash(hash)
	if age != nil {
		// What set fresh_at may have read the clock after this statement did.
		g.age = max(0, time.Duration(*age)*time.Microsecond)
	}
	return g, nil
}

// missing is what a caller is told of a model that was dropped.
func missing(err error, model string) error {
	return unavailable(err, "The read model %s is missing; it has to be rebuilt (claimledger rebuild).", model)
}

// scanGeneration reads a row of whatever lists generations, serving or not.
func scanGeneration(model string, row pgx.Row, more ...any) (generation, error) {
	g := generation{model: model, age: NeverFresh}
	var hash []byte
	err := row.Scan(append([]any{&g.number, &g.version, &g.schema, &g.serving, &g.state, &g.position, &hash}, more...)...)
	if err == nil {
		g.hash = domain.Hash(hash)
	}
	return g, err
}
