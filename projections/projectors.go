package projections

import (
	"context"
	"log/slog"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/eventstore"
)

// Projectors is one projector for each model. They do not depend on one another: one
// that stops leaves the others going.
type Projectors struct {
	all []*Projector
}

// NewProjectors makes them. The logger may be nil.
func NewProjectors(log eventstore.Log, pool *pgxpool.Pool, logger *slog.Logger) *Projectors {
	ps := &Projectors{}
	for _, m := range models {
		ps.all = append(ps.all, NewProjector(log, pool, m, logger))
	}
	return ps
}

// Hurry has the projector of a model gather less while somebody waits for each move of it.
// It comes before Run.
func (ps *Projectors) Hurry(model string, waited func() bool) {
	for _, p := range ps.all {
		if p.model.Name == model {
			p.hurry = waited
		}
	}
}

// Run runs them until ctx ends. What stopped one is in its Status.
func (ps *Projectors) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, p := range ps.all {
		running.Go(func() { p.Run(ctx) })
	}
	running.Wait()
}

// Status says how each is doing.
func (ps *Projectors) Status() []Status {
	var all []Status
	for _, p := range ps.all {
		all = append(all, p.Status())
	}
	return all
}

// Active reports whether the active projector of a model is one of these.
func (ps *Projectors) Active(model string) bool {
	for _, p := range ps.all {
		if p.model.Name == model {
			return p.Status().Active
		}
	}
	return false
}
