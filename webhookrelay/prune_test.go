package webhookrelay_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/webhookrelay"
)

// TestPrune: what ended and is old goes, with its attempts; what waits stays, however old,
// and sequences go on where they were.
func TestPrune(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	rc.set(func(e event, _ int, rw http.ResponseWriter) {
		if e.claim() == "claim_2" {
			rw.WriteHeader(500)
		}
	})
	r := w.relay(func(c *webhookrelay.Config) {
		c.Keep = 30 * 24 * time.Hour
		c.Retries = []time.Duration{40 * 24 * time.Hour}
	})
	w.webhook("hook", "svc", rc.URL)
	for i := range 5 {
		w.submit(fmt.Sprint("claim_", i), "svc")
	}
	w.assign(r)
	w.deliverAll(r)
	w.clock.advance(29 * 24 * time.Hour)
	w.upkeep(r)
	if n := len(w.deliveries("hook")); n != 5 {
		t.Fatalf("%d deliveries are left after 29 days, want all 5", n)
	}
	w.clock.advance(2 * 24 * time.Hour)
	w.submit("claim_5", "svc")
	w.assign(r)
	w.deliverAll(r)
	w.upkeep(r)
	left := w.deliveries("hook")
	if len(left) != 2 || left[0].Sequence != 3 || left[0].State != webhookrelay.StatePending || left[1].Sequence != 6 {
		t.Fatalf("after 31 days: %+v", left)
	}
	if n := w.rows("queue"); n != 1 {
		t.Errorf("%d rows are left in the queue, want that of what waits", n)
	}
	// Much is removed piece by piece, while others work. What waits is looked at as well.
	w.exec(`WITH old AS (SELECT n, 'old_' || n AS event_id FROM generate_series(1, 12000) AS n), event AS (
			INSERT INTO webhookrelay.events (event_id, position, event_type, claim_id, occurred_at, created_at, body)
			SELECT event_id, n, 'request.submitted', 'claim_' || event_id, $1, $1, '{' FROM old
		)
		INSERT INTO webhookrelay.deliveries (webhook_id, event_id, sequence, created_at, state, ended_at)
		SELECT 'hook', event_id, 1000 + n, $1, 'delivered', $1 FROM old`, w.clock.Now().Add(-31*24*time.Hour))
	w.upkeep(r)
	if n := w.rows("deliveries"); n != 12002 {
		t.Errorf("%d are left right after a pass, want all", n)
	}
	w.clock.advance(time.Hour)
	var counts []int
	for len(counts) == 0 || counts[len(counts)-1] > 2 {
		w.upkeep(r)
		counts = append(counts, w.rows("deliveries"))
	}
	// The one that waits is among the first that are looked at.
	if !slices.Equal(counts, []int{7003, 2003, 2}) {
		t.Errorf("left after each step: %v", counts)
	}
	if n := w.rows("events"); n != 2 {
		t.Errorf("%d events are left", n)
	}
}

// TestPruneSharedEvents: an event stays for as long as a delivery of it does, and what cannot
// be removed is passed over.
func TestPruneSharedEvents(t *testing.T) {
	w := newWorld(t)
	r := w.relay(func(c *webhookrelay.Config) { c.Keep = 30 * 24 * time.Hour })
	const events, hooks = 300, 5
	old := w.clock.Now().Add(-40 * 24 * time.Hour)
	w.exec(`INSERT INTO webhookrelay.events (event_id, position, event_type, claim_id, occurred_at, created_at, body)
		SELECT 'event_' || n, n, 'request.submitted', 'claim_' || n, $1::timestamptz, $1::timestamptz + n * interval '1 second', '{' FROM generate_series(1, $2::int) AS n`, old, events)
	// All but the last webhook have theirs behind them; of that one every third is dead for a
	// day, every third waits, and the others ended as those of the others did.
	w.exec(`INSERT INTO webhookrelay.deliveries (webhook_id, event_id, sequence, created_at, state, queued, attempts, ended_at)
		SELECT 'hook_' || h, 'event_' || n, n, $1::timestamptz, state, state = 'pending', 2,
			CASE state WHEN 'dead' THEN $2::timestamptz WHEN 'delivered' THEN $1::timestamptz + interval '1 hour' END
		FROM generate_series(1, $3::int) AS n, generate_series(1, $4::int) AS h,
			LATERAL (SELECT CASE WHEN h < $4 THEN 'delivered' ELSE (ARRAY['dead', 'pending', 'delivered'])[1 + n % 3] END AS state) AS s`,
		old, w.clock.Now().Add(-24*time.Hour), events, hooks)
	w.exec(`INSERT INTO webhookrelay.queue (webhook_id, sequence, ping, event_id, claim_id, state, due_at)
		SELECT webhook_id, sequence, 0, event_id, 'claim_' || sequence, state, now() FROM webhookrelay.deliveries WHERE state <> 'delivered'`)
	w.exec(`INSERT INTO webhookrelay.attempts (webhook_id, event_id, n, begun_at, took, status, response, error)
		SELECT webhook_id, event_id, 1, created_at, '1 s', 500, '', 'status 500' FROM webhookrelay.deliveries`)
	left := func(deliveries, events, queued int) {
		t.Helper()
		w.upkeep(r)
		for table, want := range map[string]int{"deliveries": deliveries, "events": events, "queue": queued, "attempts": deliveries} {
			if n := w.rows(table); n != want {
				t.Errorf("%d rows are left in %s, want %d", n, table, want)
			}
		}
	}
	left(200, 200, 200)
	w.clock.advance(30 * 24 * time.Hour) // the dead ones are old now
	left(100, 100, 100)
	w.exec(`UPDATE webhookrelay.deliveries SET state = 'delivered', queued = false, ended_at = $1`, old)
	w.exec(`DELETE FROM webhookrelay.queue`)
	w.clock.advance(time.Hour)
	left(0, 0, 0)
}

func (w *world) rows(table string) (n int) {
	w.t.Helper()
	if err := w.pool.QueryRow(w.t.Context(), "SELECT count(*) FROM webhookrelay."+table).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// TestListingStaysCheap: a page of a list costs as much whatever there is beside it.
func TestListingStaysCheap(t *testing.T) {
	w := newWorld(t)
	w.grow(w.pagesToList)
}

// grow compares how many pages statements look at where there is little and where there is
// much, whether the planner knows of it or not.
func (w *world) grow(pages func() map[string]int) {
	w.t.Helper()
	for _, id := range []string{"hook", "failing", "held"} {
		w.webhook(id, "svc-"+id, "http://127.0.0.1:1")
	}
	w.setActive("held", "svc-held", false)
	w.assign(w.relay(nil))
	w.exec("DELETE FROM webhookrelay.tasks")
	// hook has some of all, and a fifth of it is fresh; failing has ten that wait, and
	// then nothing but dead ones; held has nothing but fresh ones.
	add := func(from, to int) {
		w.exec(`INSERT INTO webhookrelay.events (event_id, position, event_type, claim_id, occurred_at, created_at, body)
			SELECT 'event_' || n, n, 'request.submitted', 'claim_' || n, $1, $1::timestamptz + n * interval '1 ms', '{'
			FROM generate_series($2::int, $3::int) AS n`, w.clock.Now(), from, to)
		w.exec(`INSERT INTO webhookrelay.deliveries (webhook_id, event_id, sequence, created_at, state, queued, ended_at)
			SELECT webhook_id, 'event_' || n, n, $1, state, state = 'pending' AND webhook_id <> 'held' AND (webhook_id <> 'hook' OR n % 5 <> 3),
				CASE WHEN state <> 'pending' THEN $1::timestamptz END
			FROM generate_series($2::int, $3::int) AS n, LATERAL (VALUES
				('hook', (ARRAY['delivered', 'dead', 'pending', 'pending', 'cancelled'])[1 + n % 5]),
				('failing', CASE WHEN n <= 10 THEN 'pending' ELSE 'dead' END),
				('held', 'pending')) AS d (webhook_id, state)`, w.clock.Now(), from, to)
		w.exec(`INSERT INTO webhookrelay.queue (webhook_id, sequence, ping, event_id, claim_id, state, due_at)
			SELECT webhook_id, sequence, 0, event_id, 'claim_' || sequence, state, $1
			FROM webhookrelay.deliveries WHERE sequence BETWEEN $2 AND $3 AND (queued OR state = 'dead')`, w.clock.Now(), from, to)
		w.exec(`UPDATE webhookrelay.endpoints SET through = $1 WHERE webhook_id = 'failing'`, to)
		w.exec(`UPDATE webhookrelay.webhooks SET next_sequence = $1`, to+1)
		w.exec(`INSERT INTO webhookrelay.fresh SELECT webhook_id, $1 FROM webhookrelay.webhooks WHERE webhook_id <> 'failing'
			ON CONFLICT ON CONSTRAINT fresh_pkey DO UPDATE SET last_sequence = EXCLUDED.last_sequence`, to)
	}
	for _, table := range []string{"deliveries", "events", "queue"} {
		w.exec("ALTER TABLE webhookrelay." + table + " SET (autovacuum_enabled = false)")
	}
	add(1, 1000)
	w.exec("ANALYZE webhookrelay.deliveries, webhookrelay.events, webhookrelay.queue")
	few := pages()
	add(1001, 100_000)
	check := func(knowing string) {
		w.t.Helper()
		many := pages()
		w.t.Logf("%v pages with 1,000 deliveries, %v with 100,000 and %s", few, many, knowing)
		for what, n := range many {
			if n > 2*few[what]+4 { // indexes are deeper by a level or two
				w.t.Errorf("%s: %d pages with 1,000 deliveries, %d with 100,000 and %s", what, few[what], n, knowing)
			}
		}
	}
	check("a planner that knows of 1,000")
	w.forgetStatistics()
	check("a planner that knows nothing")
	w.exec("ANALYZE webhookrelay.deliveries, webhookrelay.events, webhookrelay.queue")
	check("a planner that knows them")
}

func (w *world) forgetStatistics() {
	w.t.Helper()
	w.exec("DELETE FROM pg_statistic WHERE starelid IN ('webhookrelay.deliveries'::regclass, 'webhookrelay.events'::regclass, 'webhookrelay.queue'::regclass)")
}

// beginIndexed begins a transaction as the statements are run in.
func (w *world) beginIndexed() pgx.Tx {
	w.t.Helper()
	tx, err := w.pool.Begin(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := tx.Exec(w.t.Context(), "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off"); err != nil {
		w.t.Fatal(err)
	}
	return tx
}

// pagesToList is how many pages each way of listing looks at.
func (w *world) pagesToList() map[string]int {
	w.t.Helper()
	tx := w.beginIndexed()
	defer tx.Rollback(context.WithoutCancel(w.t.Context()))
	pages := map[string]int{}
	for what, list := range map[string]struct {
		webhook string
		state   webhookrelay.State
		from    int64
	}{
		"the newest":                    {"hook", "", 1 << 40},
		"from the middle on":            {"hook", "", 600},
		"the pending":                   {"hook", webhookrelay.StatePending, 1 << 40},
		"the pending from the middle":   {"hook", webhookrelay.StatePending, 600},
		"the delivered":                 {"hook", webhookrelay.StateDelivered, 1 << 40},
		"the cancelled":                 {"hook", webhookrelay.StateCancelled, 1 << 40},
		"the dead":                      {"hook", webhookrelay.StateDead, 1 << 40},
		"the pending among the dead":    {"failing", webhookrelay.StatePending, 1 << 40},
		"the dead among the dead":       {"failing", webhookrelay.StateDead, 1 << 40},
		"the held":                      {"held", webhookrelay.StateHeld, 1 << 40},
		"the held as if it were active": {"held", webhookrelay.StatePending, 1 << 40},
		"no dead":                       {"held", webhookrelay.StateDead, 1 << 40},
	} {
		pages[what] = w.pages(tx, webhookrelay.ListSQL(list.state), list.webhook, list.from, int32(0), 51)
	}
	events, err := os.ReadFile("queries/list_events.sql")
	if err != nil {
		w.t.Fatal(err)
	}
	pages["events after one"] = w.pages(tx, string(events), "hook", int64(100), 51)
	return pages
}
