package api_test

import (
	"testing"

	"github.com/claimledger/claimledger/projections/pgdb"
)

// A read without a position waits a little for what was written here before it. That is a
// courtesy: where the database is slower than that, the read goes on, and is not refused.
func TestReadOfASlowDatabase(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	o.ask("GET", "/v1/namespaces/acme/claims", nil).want(200)

	pool, err := pgdb.Open(t.Context(), l.db, pgdb.Options{MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	if _, err := tx.Exec(t.Context(), "LOCK TABLE projections.generations IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	answer := make(chan *reply, 1)
	go func() {
		answer <- o.ask("GET", "/v1/namespaces/acme/claims", nil, set("Ledger-Min-Position", ""))
	}()
	// When the wait's time is up its connection ends, and the read comes with another.
	var first, now int
	another := func() bool {
		const sql = `SELECT coalesce(min(pid), 0) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%WHERE model = $1 AND serving%' AND pid <> $1`
		if err := pool.QueryRow(t.Context(), sql, first).Scan(&now); err != nil {
			t.Fatal(err)
		}
		return now != 0
	}
	eventually(t, "the wait to be kept waiting", another)
	first = now
	eventually(t, "the read after it", func() bool { return len(answer) > 0 || another() })
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	(<-answer).want(200)
}
