package projections

import (
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// What was built up to a commit that is not in the log is dropped and begins anew; the
// rest stays as it is.
func TestDropLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 50)
	w.steps(60)
	pool := newPool(t)
	catchUp(t, w.log, pool)
	ctx := t.Context()
	lost := eventstore.Mark{Position: w.last() + 3, Hash: domain.HashOf([]byte("lost"))}
	_, err := pool.Exec(ctx, "UPDATE projections.generations SET position = $1, hash = $2 WHERE model IN ('claims', 'chain')", lost.Position, lost.Hash[:])
	if err != nil {
		t.Fatal(err)
	}
	schemas := func() (all string) {
		t.Helper()
		err := pool.QueryRow(ctx, `SELECT string_agg(schema_name || ':' || (position > 0), ' ' ORDER BY schema_name)
			FROM projections.generations JOIN pg_namespace ON nspname = schema_name`).Scan(&all)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := schemas()
	other := lost
	other.Hash = domain.Hash{1}
	if err := DropLost(ctx, pool, []eventstore.Mark{other}); err != nil {
		t.Fatal(err)
	}
	if now := schemas(); now != before {
		t.Errorf("of another hash: %s, before %s", now, before)
	}
	for range 2 { // again does no harm
		if err := DropLost(ctx, pool, []eventstore.Mark{other, lost}); err != nil {
			t.Fatal(err)
		}
		if now, want := schemas(), "model_feed_v1_g1:true model_history_v1_g1:true model_namespaces_v1_g1:true model_services_v1_g1:true"; now != want {
			t.Errorf("left are %s", now)
		}
	}
	if err := Setup(ctx, pool); err != nil {
		t.Fatal(err)
	}
	catchUp(t, w.log, pool)
	foldLog(t, w.log, w.last()).checkAgainst(t, newReader(t, pool), w.last())
}
