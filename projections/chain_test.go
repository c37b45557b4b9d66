package projections

import (
	"context"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// chainOf computes the running hash as an auditor does, from positions and bytes.
func chainOf(t testing.TB, log eventstore.Log, end uint64) (c domain.Chain) {
	t.Helper()
	err := log.ReadAll(context.Background(), "", 0, func(rec eventstore.Record) error {
		if rec.Position > end {
			return errFull
		}
		c = c.Then(rec.Position, domain.HashOf(rec.Stored))
		return nil
	})
	if err != nil && err != errFull {
		t.Fatal(err)
	}
	return c
}

func wantChain(t testing.TB, r *Reader, want domain.Chain) {
	t.Helper()
	if got, at, err := r.Chain(context.Background()); err != nil || got != want || at.Position != want.Position {
		t.Fatalf("the running hash is %+v at %d, %v; want %+v", got, at.Position, err, want)
	}
}

func TestChainMovesWithTheCheckpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 60)
	w.steps(200)
	pool := newPool(t)
	reader := newReader(t, pool)
	wantChain(t, reader, domain.Chain{})
	log := &cut{Log: w.log}
	for log.end < w.last() {
		log.end = min(w.last(), log.end+1+w.rand.Uint64N(60))
		catchUp(t, log, pool)
		wantChain(t, reader, chainOf(t, w.log, log.end))
	}
}

// A database of a program that did not have the running hash gets it from the log, while
// the other models are served as they are.
func TestChainOfALedgerThatExists(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 61)
	w.steps(100)
	pool := newPool(t)
	catchUp(t, w.log, pool)
	for _, sql := range []string{"DELETE FROM projections.generations WHERE model = 'chain'", "DROP SCHEMA model_chain_v1_g1 CASCADE"} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	reader := newReader(t, pool)
	if _, _, err := reader.Chain(t.Context()); domain.ErrorCode(err) != domain.CodeServiceUnavailable {
		t.Errorf("before it is set up: %v", err)
	}
	if err := Setup(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	wantChain(t, reader, domain.Chain{})
	catchUp(t, w.log, pool)
	wantChain(t, reader, chainOf(t, w.log, w.last()))
	checkEqual(t, w, pool)
}
