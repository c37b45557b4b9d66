package main

import (
	"testing"

	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// Who begins to wait before the ledger says where it is finds it when it does.
func TestStatusWaitsForALedgerThatIsNotThereYet(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	done := make(chan result, 1)
	go func() { done <- run(t, "status", "--data-dir", dir, "--wait", patience.String()) }()
	serve(t, "--data-dir", dir, "--listen", freeAddress(t))
	if r := <-done; r.code != 0 {
		t.Errorf("status --wait ended with %d beside a ledger that is ready: %s%s", r.code, r.out, r.err)
	}
}
