package projections

import (
	"maps"
	"testing"

	"github.com/claimledger/claimledger/eventstore"
)

// The sets of claims are those that the log makes, claim by claim.
func TestClaimSets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 71)
	w.steps(200)
	pool := newPool(t)
	catchUp(t, w.log, pool)
	f := newFold()
	err := w.log.ReadAll(t.Context(), "", 0, func(rec eventstore.Record) error {
		for i, e := range rec.Commit.Events {
			f.event(rec, i, e)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[ClaimState]ClaimSet{}
	for id, c := range f.claims {
		state := ClaimState{c.Namespace, c.Status}
		want[state] = want[state].Add(id)
	}
	got, at, err := newReader(t, pool).ClaimSets(t.Context())
	if err != nil || at.Position != w.last() || len(got) < 3 || !maps.Equal(got, want) {
		t.Errorf("at %d, %v:\n got %+v\nwant %+v", at.Position, err, got, want)
	}
}
