package webhookrelay_test

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

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
	var attempts int
	if err := w.pool.QueryRow(t.Context(), "SELECT count(*) FROM webhookrelay.attempts").Scan(&attempts); err != nil || attempts != 2 {
		t.Errorf("%d attempts are left, want those of what is left (%v)", attempts, err)
	}
	// Much is removed piece by piece, while others work.
	w.exec(`INSERT INTO webhookrelay.deliveries
			(webhook_id, event_id, sequence, position, event_type, claim_id, body, occurred_at, created_at, state, due_at, delivered_at)
		SELECT 'hook', 'old_' || n, 1000 + n, n, 'request.submitted', 'claim_old_' || n, '{}', $1, $1, 'delivered', $1, $1
		FROM generate_series(1, 12000) AS n`, w.clock.Now().Add(-31*24*time.Hour))
	var counts []int
	for len(counts) == 0 || counts[len(counts)-1] > 2 {
		w.upkeep(r)
		counts = append(counts, w.rows())
	}
	if !slices.Equal(counts, []int{7002, 2002, 2}) {
		t.Errorf("left after each step: %v", counts)
	}
}

func (w *world) rows() (n int) {
	w.t.Helper()
	if err := w.pool.QueryRow(w.t.Context(), "SELECT count(*) FROM webhookrelay.deliveries").Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// TestListingStaysCheap: a page of a list costs as much whatever there is beside it.
func TestListingStaysCheap(t *testing.T) {
	w := newWorld(t)
	r := w.relay(nil)
	for _, id := range []string{"hook", "idle"} {
		w.webhook(id, "svc-"+id, "http://127.0.0.1:1")
	}
	w.assign(r)
	add := func(from, to int) {
		w.exec(`INSERT INTO webhookrelay.deliveries
				(webhook_id, event_id, sequence, position, event_type, claim_id, body, occurred_at, created_at, state, due_at, delivered_at)
			SELECT CASE WHEN n % 4 = 0 THEN 'idle' ELSE 'hook' END, 'event_' || n, n, n, 'request.submitted', 'claim_' || n, '{}', $1, $1,
				(ARRAY['delivered', 'dead', 'delivered', 'pending', 'cancelled'])[1 + n % 5], $1, CASE WHEN n % 5 IN (0, 2) THEN $1::timestamptz END
			FROM generate_series($2::int, $3::int) AS n`, w.clock.Now(), from, to)
		w.exec("ANALYZE webhookrelay.deliveries")
	}
	add(1, 1000)
	few := w.pagesToList()
	add(1001, 200_000)
	many := w.pagesToList()
	t.Logf("%v pages with 1,000 deliveries, %v with 200,000", few, many)
	for what, n := range many {
		if n > few[what]+few[what]/5+4 { // an index is a level deeper
			t.Errorf("%s: %d pages with 1,000 deliveries, %d with 200,000", what, few[what], n)
		}
	}
}

// pagesToList is how many pages each way of listing looks at.
func (w *world) pagesToList() map[string]int {
	w.t.Helper()
	pages := map[string]int{}
	for what, list := range map[string]struct {
		file, condition string
		args            []any
	}{
		"the newest":         {"list_deliveries.sql", "true", []any{"hook", int64(1 << 40), int32(0), 51}},
		"from the middle on": {"list_deliveries.sql", "true", []any{"hook", int64(600), int32(0), 51}},
		"the dead":           {"list_deliveries.sql", "d.state = 'dead'", []any{"hook", int64(1 << 40), int32(0), 51}},
		"events after one":   {"list_events.sql", "", []any{"hook", int64(100), 51}},
	} {
		statement, err := os.ReadFile("queries/" + list.file)
		if err != nil {
			w.t.Fatal(err)
		}
		pages[what] = w.pages(w.pool, strings.Replace(string(statement), "{state}", list.condition, 1), list.args...)
	}
	return pages
}
