package projections

import (
	"context"
	"fmt"
	"slices"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// The read models by name.
const (
	ClaimsModel     = "claims"     // every claim in its present state
	NamespacesModel = "namespaces" // the namespaces
	ServicesModel   = "services"   // services, keys and webhooks of the owners
	FeedModel       = "feed"       // the approved set of each service
	HistoryModel    = "history"    // every event as it was recorded
	ChainModel      = "chain"      // the running hash over all commits
)

// Model is one read model: tables, and how commits change them.
type Model struct {
	Name string
	// Version grows with every change of the tables or of what apply makes of a
	// commit. Tables are never altered in place: another version is built from the
	// log in a generation of its own.
	Version int

	tables string // the statements that make the tables, in an empty schema
	// indexes are the statements that make what readers need besides, and apply does not:
	// a generation is loaded without them, which is faster.
	indexes string
	// apply brings the tables from just before the first of the records to just after
	// the last. They are in the ledger's order, without a gap. It may not look at
	// anything but them and the tables: no clock, no other model.
	apply func(context.Context, *target, []eventstore.Record) error
}

var models = []Model{
	{Name: ClaimsModel, Version: 1, tables: statement("claims/schema.sql"), indexes: statement("claims/indexes.sql"), apply: applyClaims},
	{Name: NamespacesModel, Version: 1, tables: statement("namespaces/schema.sql"), apply: applyNamespaces},
	{Name: ServicesModel, Version: 1, tables: statement("services/schema.sql"), apply: applyServices},
	{Name: FeedModel, Version: 1, tables: statement("feed/schema.sql"), indexes: statement("feed/indexes.sql"), apply: applyFeed(feedKept)},
	{Name: HistoryModel, Version: 1, tables: statement("history/schema.sql"), indexes: statement("history/indexes.sql"), apply: applyHistory},
	{Name: ChainModel, Version: 1, tables: statement("chain/schema.sql"), apply: applyChain},
}

// Models lists the read models.
func Models() []Model { return slices.Clone(models) }

func modelByName(name string) (Model, error) {
	for _, m := range models {
		if m.Name == name {
			return m, nil
		}
	}
	return Model{}, fmt.Errorf("there is no read model %q", name)
}

// each calls f for every event of the boundaries of a kind, in order. The error names
// the event.
func each(records []eventstore.Record, kind domain.Kind, f func(eventstore.Record, domain.Payload) error) error {
	for _, rec := range records {
		if rec.Commit.Kind != kind {
			continue
		}
		for _, e := range rec.Commit.Events {
			if err := f(rec, e.Payload); err != nil {
				return fmt.Errorf("%s (%s): %w", e.ID, e.Type(), err)
			}
		}
	}
	return nil
}

// claimIDs lists the claims that the records are about, each once, leaving out those
// that begin in them.
func claimIDs(records []eventstore.Record) []string {
	var ids []string
	seen := map[string]bool{}
	for _, rec := range records {
		for _, e := range rec.Commit.Events {
			id := domain.ClaimOf(e.Payload)
			if id == "" || seen[id] {
				continue
			}
			seen[id] = true
			if e.Type() != domain.ClaimSubmittedType {
				ids = append(ids, id)
			}
		}
	}
	return ids
}
