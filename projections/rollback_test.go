package projections

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/domain"
)

// TestRefusedStatementLeavesNothing: of a commit that the database refuses, or that changes
// what is not there, nothing stays, and what came before it in the same batch is applied.
func TestRefusedStatementLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, refused := range map[string]domain.Payload{
		"nothing to change":     domain.ServiceDeleted{ServiceID: "nobody's"},
		"refused by PostgreSQL": domain.ServiceCreated{ServiceID: "one", Slug: "one", Name: "again"},
	} {
		t.Run(name, func(t *testing.T) {
			w, pool := newWorld(t, 14), newPool(t)
			p := newProjector(t, w.log, pool, ServicesModel)
			commit := func(payloads ...domain.Payload) {
				t.Helper()
				b := domain.RegistryOf("acme")
				c := domain.NewCommit(w.id(), b, w.now, domain.Actor{Kind: domain.ActorOwner}, domain.CommandRef{}, nil, payloads)
				r, err := w.log.Append(t.Context(), w.heads[b], c)
				if err != nil {
					t.Fatal(err)
				}
				w.heads[b] = r.Head()
			}
			created := func(id string) domain.Payload { return domain.ServiceCreated{ServiceID: id, Slug: id, Name: id} }
			commit(created("one"))
			if _, err := p.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
			commit(created("two"))
			commit(domain.ServiceUpdated{ServiceID: "one", Name: "half of it"}, refused, domain.ServiceUpdated{ServiceID: "two", Name: "half of it"})
			commit(created("four"))
			var stopped *StoppedError
			if _, err := p.Step(t.Context()); !errors.As(err, &stopped) || stopped.Position != 3 {
				t.Fatalf("%v", err)
			}
			schema, err := ServingSchema(t.Context(), pool, ServicesModel)
			if err != nil {
				t.Fatal(err)
			}
			rows, err := pool.Query(t.Context(), fmt.Sprintf("SELECT name FROM %s.services ORDER BY position", schema))
			if err != nil {
				t.Fatal(err)
			}
			names, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil || !slices.Equal(names, []string{"one", "two"}) {
				t.Errorf("there are %q, %v", names, err)
			}
			if at := p.found.position; at != 2 {
				t.Errorf("the checkpoint is at %d", at)
			}
		})
	}
}
