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

// Audience is who, in this process, waits for models to move.
type Audience interface {
	// Waits tells whether somebody waits for a model.
	Waits(model string) bool
	// Heard tells them that it has reached a position.
	Heard(model string, position uint64)
}

// Attend has the projectors know of an audience: one that is waited for gathers less, one
// that is not gathers more, and who waits is told at once. It comes before Run.
func (ps *Projectors) Attend(a Audience) {
	for _, p := range ps.all {
		p.audience = a
	}
}

// Called tells that somebody began to wait for a model.
func (ps *Projectors) Called(model string) {
	for _, p := range ps.all {
		if p.model.Name == model {
			select {
			case p.called <- struct{}{}:
			default:
			}
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
