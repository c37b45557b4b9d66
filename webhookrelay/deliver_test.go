package webhookrelay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/webhookrelay"
)

// TestSchedule: five retries at the given times, the same bytes each time, then dead.
func TestSchedule(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	rc.set(status(500))
	r := w.relay(nil)
	w.webhook("hook", "svc", rc.URL)
	w.submit("claim_1", "svc")
	w.assign(r)
	for n, wait := range append([]time.Duration{0}, webhookrelay.DefaultRetries()...) {
		if wait > 0 {
			w.clock.advance(wait - time.Second)
			if w.deliver(r) != 0 {
				t.Fatalf("retry %d came early", n)
			}
			w.clock.advance(time.Second)
		}
		if w.deliver(r) != 1 {
			t.Fatalf("retry %d did not come", n)
		}
	}
	w.clock.advance(100 * time.Hour)
	if n := w.deliver(r); n != 0 {
		t.Errorf("%d attempts at a dead delivery", n)
	}
	d, attempts, err := webhookrelay.NewDeliveries(w.pool).Get(t.Context(), "hook", w.deliveries("hook")[0].ID)
	if err != nil || d.State != webhookrelay.StateDead || d.Attempts != 6 || len(attempts) != 6 || d.DueAt != nil {
		t.Errorf("%+v, %d attempts, %v", d, len(attempts), err)
	}
	for i, a := range attempts {
		if a.N != i+1 || a.Status != 500 || a.Error != "status 500" {
			t.Errorf("attempt %d is %+v", i+1, a)
		}
	}
	for _, g := range rc.all() {
		if !bytes.Equal(g.body, rc.all()[0].body) {
			t.Errorf("another body: %s", g.body)
		}
	}
	health, err := webhookrelay.NewDeliveries(w.pool).Health(t.Context(), []string{"hook", "none"})
	if h := health["hook"]; err != nil || len(health) != 1 || h.FailureCount != 6 || h.LastFailureAt == nil || h.LastTriggeredAt == nil {
		t.Errorf("health %+v, %v", health, err)
	}
}

func TestJitter(t *testing.T) {
	w := newWorld(t)
	for i, random := range []float64{0, 0.999999} {
		hook, svc := fmt.Sprint("hook-", i), fmt.Sprint("svc-", i)
		w.webhook(hook, svc, "http://127.0.0.1:1")
		w.submit(fmt.Sprint("claim_", i), svc)
		r := w.relay(func(c *webhookrelay.Config) { c.Rand = func() float64 { return random } })
		w.assign(r)
		w.deliver(r)
		wait := w.deliveries(hook)[0].DueAt.Sub(w.clock.Now()).Round(time.Second)
		if want := []time.Duration{270 * time.Second, 330 * time.Second}[i]; wait != want {
			t.Errorf("waits %v, want %v", wait, want)
		}
	}
}

// TestRetryAfter: never before what was asked, never before the schedule, and the other
// deliveries of the webhook wait too.
func TestRetryAfter(t *testing.T) {
	for _, c := range []struct {
		status int
		header string
		want   time.Duration
	}{
		{429, "1200", 20 * time.Minute},
		{503, "1200", 20 * time.Minute},
		{503, "1", 5 * time.Minute},
		{500, "1200", 5 * time.Minute},
		{503, "9999999", 24 * time.Hour},
	} {
		t.Run(fmt.Sprint(c.status, " ", c.header), func(t *testing.T) {
			w := newWorld(t)
			rc := w.receiver()
			rc.set(func(_ event, _ int, rw http.ResponseWriter) {
				rw.Header().Set("Retry-After", c.header)
				rw.WriteHeader(c.status)
			})
			r := w.relay(nil)
			w.webhook("hook", "svc", rc.URL)
			w.submit("claim_1", "svc")
			w.assign(r)
			w.deliver(r)
			if got := w.deliveries("hook")[0].DueAt.Sub(w.clock.Now()); got != c.want {
				t.Errorf("due after %v, want %v", got, c.want)
			}
			rc.set(nil)
			w.submit("claim_2", "svc")
			w.assign(r)
			if n, paused := w.deliver(r), c.status != 500; (n == 0) != paused {
				t.Errorf("%d attempts right after", n)
			}
			w.clock.advance(5*time.Minute - time.Second)
			w.deliverAll(r)
			if c.want > 5*time.Minute && w.deliver(r) != 0 {
				t.Error("the one that was answered came early")
			}
		})
	}
}

// TestGone: 410 holds what there is, has the webhook disabled, also when the command
// fails at first, and enabling sends it all.
func TestGone(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	rc.set(status(410))
	r := w.relay(nil)
	w.webhook("hook", "svc", rc.URL)
	for i := range 3 {
		w.submit(fmt.Sprint("claim_", i), "svc")
	}
	w.approve("claim_0")
	w.assign(r)
	w.deliver(r)
	w.failing = errors.New("the log is away")
	if err := r.Upkeep(t.Context()); !errors.Is(err, w.failing) {
		t.Errorf("upkeep: %v", err)
	}
	w.clock.advance(time.Hour)
	if n := w.deliver(r); n != 0 {
		t.Errorf("%d attempts after 410", n)
	}
	held := []webhookrelay.State{webhookrelay.StateHeld, webhookrelay.StateHeld, webhookrelay.StateHeld, webhookrelay.StateHeld}
	if got := w.states("hook"); !slices.Equal(got, held) {
		t.Errorf("states %v", got)
	}
	w.failing = nil
	w.upkeep(r)
	w.upkeep(r) // the command is not given twice
	if !slices.Equal(w.disabled, []string{"hook"}) {
		t.Errorf("disabled %v", w.disabled)
	}
	w.assign(r)
	w.upkeep(r)

	rc.set(nil)
	w.setActive("hook", "svc", true)
	w.assign(r)
	w.upkeep(r)
	w.clock.advance(time.Second)
	w.deliverAll(r)
	for _, s := range w.states("hook") {
		if s != webhookrelay.StateDelivered {
			t.Errorf("states %v", w.states("hook"))
			break
		}
	}
}

// TestOrderWithinAClaim: whatever fails, first successes come in order, and other claims
// do not wait.
func TestOrderWithinAClaim(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	rc.set(func(e event, n int, rw http.ResponseWriter) {
		if n%3 != 0 {
			rw.WriteHeader(500)
		}
	})
	r := w.relay(func(c *webhookrelay.Config) { c.Retries = slices.Repeat([]time.Duration{time.Minute}, 50) })
	w.webhook("hook", "svc", rc.URL)
	const claims = 10
	for i := range claims {
		w.submit(fmt.Sprint("claim_", i), "svc")
		w.approve(fmt.Sprint("claim_", i))
	}
	w.assign(r)
	for i := range claims {
		w.append(domain.ClaimsOf(other), domain.ClaimRevoked{ClaimID: fmt.Sprint("claim_", i)})
	}
	w.assign(r)
	succeeded := map[string][]string{}
	eventually(t, "everything is delivered", func() bool {
		w.deliverAll(r)
		w.clock.advance(time.Minute)
		return !slices.ContainsFunc(w.states("hook"), func(s webhookrelay.State) bool { return s != webhookrelay.StateDelivered })
	})
	for i, g := range rc.all() {
		if (i+1)%3 == 0 {
			succeeded[g.event.claim()] = append(succeeded[g.event.claim()], g.event.Event)
		}
	}
	for claim, events := range succeeded {
		if !slices.Equal(events, []string{"request.submitted", "request.approved", "request.revoked"}) {
			t.Errorf("%s: %v", claim, events)
		}
	}
	if len(succeeded) != claims {
		t.Errorf("%d claims", len(succeeded))
	}
}

// TestDeadLetsTheNextGo: an event whose retries are used up holds nothing back.
func TestDeadLetsTheNextGo(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	rc.set(func(e event, _ int, rw http.ResponseWriter) {
		if e.Event == "request.submitted" {
			rw.WriteHeader(500)
		}
	})
	r := w.relay(func(c *webhookrelay.Config) { c.Retries = []time.Duration{time.Minute} })
	w.webhook("hook", "svc", rc.URL)
	w.submit("claim_1", "svc")
	w.assign(r)
	w.deliver(r)
	w.approve("claim_1")
	w.assign(r)
	if n := w.deliver(r); n != 0 {
		t.Errorf("%d attempts before the first event's retry", n)
	}
	w.clock.advance(time.Minute)
	w.deliverAll(r)
	want := []webhookrelay.State{webhookrelay.StateDead, webhookrelay.StateDelivered}
	if got := w.states("hook"); !slices.Equal(got, want) {
		t.Errorf("states %v, want %v", got, want)
	}
}

// TestBreaker: after five failures in a row one attempt at a time goes out, now and
// then; retries that are due do not wait for it; one success ends it.
func TestBreaker(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	rc.set(status(500))
	r := w.relay(func(c *webhookrelay.Config) { c.Retries = []time.Duration{10 * time.Second, time.Hour} })
	w.webhook("hook", "svc", rc.URL)
	for i := range 20 {
		w.submit(fmt.Sprint("claim_", i), "svc")
	}
	w.assign(r)
	if n := w.deliver(r); n != 4 {
		t.Errorf("%d attempts at once, the cap is 4", n)
	}
	w.deliver(r) // past the threshold, four more having been let in before it
	if n := w.deliver(r); n != 0 {
		t.Errorf("%d attempts with the breaker open", n)
	}
	w.clock.advance(10 * time.Second)
	for range 4 {
		if n := w.deliver(r); n != 1 {
			t.Errorf("%d attempts, want one retry at a time", n)
		}
	}
	w.clock.advance(time.Minute)
	rc.set(nil)
	if n := w.deliver(r); n != 1 {
		t.Errorf("%d probes, want 1", n)
	}
	if n := w.deliver(r); n != 4 {
		t.Errorf("%d attempts after a success", n)
	}
}

// TestBreakerOfShortRetries: what is new waits no longer than a retry would.
func TestBreakerOfShortRetries(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	rc.set(status(500))
	r := w.relay(func(c *webhookrelay.Config) { c.Retries = []time.Duration{3 * time.Second, 2 * time.Second} })
	w.webhook("hook", "svc", rc.URL)
	for i := range 8 {
		w.submit(fmt.Sprint("claim_", i), "svc")
	}
	w.assign(r)
	w.deliver(r)
	w.deliver(r)
	rc.set(nil)
	w.submit("claim_new", "svc")
	w.assign(r)
	if n := w.deliver(r); n != 0 {
		t.Errorf("%d attempts with the breaker open", n)
	}
	w.clock.advance(2 * time.Second)
	if n := w.deliver(r); n != 1 {
		t.Errorf("%d attempts once the shortest retry is over, want a probe", n)
	}
}

// TestFair: however long one webhook's queue is, each gets its turn.
func TestFair(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	r := w.relay(nil)
	w.webhook("busy", "svc-busy", rc.URL)
	for i := range 50 {
		w.submit(fmt.Sprint("claim_", i), "svc-busy")
	}
	w.webhook("calm", "svc-calm", rc.URL)
	w.submit("claim_calm", "svc-calm")
	w.assign(r)
	if n := w.deliver(r); n != 5 {
		t.Errorf("%d attempts, want 4 and 1", n)
	}
	if got := w.states("calm"); got[0] != webhookrelay.StateDelivered {
		t.Errorf("calm is %v", got)
	}
}

// TestWrongSealKey: what cannot be signed is neither sent nor failed.
func TestWrongSealKey(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	w.webhook("hook", "svc", rc.URL)
	w.submit("claim_1", "svc")
	wrong, err := domain.NewSealKey(bytes.Repeat([]byte{1}, domain.SealKeySize))
	if err != nil {
		t.Fatal(err)
	}
	r := w.relay(func(c *webhookrelay.Config) { c.Secrets = wrong })
	w.assign(r)
	if n := w.deliver(r); n != 0 || len(rc.all()) != 0 {
		t.Errorf("%d attempts", n)
	}
	if n := w.deliver(w.relay(nil)); n != 1 {
		t.Errorf("%d attempts with the right key", n)
	}
}

func TestListing(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	rc.set(func(_ event, _ int, rw http.ResponseWriter) { rw.Write([]byte("thanks")) })
	r := w.relay(nil)
	w.webhook("hook", "svc", rc.URL)
	for i := range 5 {
		w.submit(fmt.Sprint("claim_", i), "svc")
	}
	w.assign(r)
	w.deliver(r)
	reader := webhookrelay.NewDeliveries(w.pool)
	first, err := reader.List(t.Context(), "hook", "", "", 3)
	if err != nil || len(first) != 3 || first[0].Sequence != 5 || first[0].State != webhookrelay.StatePending || first[0].Last != nil {
		t.Fatalf("%+v, %v", first, err)
	}
	next, err := reader.List(t.Context(), "hook", "", first[2].ID, 3)
	if err != nil || len(next) != 2 || next[0].Sequence != 2 || next[0].Last == nil || string(next[0].Last.Response) != "thanks" {
		t.Errorf("%+v, %v", next, err)
	}
	if none, err := reader.List(t.Context(), "other", "", "", 3); err != nil || len(none) != 0 {
		t.Errorf("%+v, %v", none, err)
	}
	if _, _, err := reader.Get(t.Context(), "other", first[0].ID); domain.ErrorCode(err) != domain.CodeNotFound {
		t.Errorf("got %v", err)
	}
}

// TestFindingWorkStaysCheap: what was delivered, and what waits for later, costs the
// search for what is due nothing but the depth of an index.
func TestFindingWorkStaysCheap(t *testing.T) {
	w := newWorld(t)
	r := w.relay(nil)
	for _, id := range []string{"hook", "idle"} {
		w.webhook(id, "svc-"+id, "http://127.0.0.1:1")
	}
	w.submit("claim_1", "svc-hook")
	w.assign(r)
	few := w.pagesToFindWork()
	// What was delivered is before the one, and what waits for later is in the queue.
	w.exec(`UPDATE webhookrelay.deliveries SET sequence = 1000000`)
	w.exec(`UPDATE webhookrelay.endpoints SET through = 999999`)
	w.exec(`UPDATE webhookrelay.fresh SET last_sequence = 1000000`)
	w.exec(`INSERT INTO webhookrelay.events (event_id, position, event_type, claim_id, occurred_at, created_at, body)
		SELECT 'old_' || n, n, 'request.submitted', 'claim_old_' || n, $1, $1, '{' FROM generate_series(1, 100000) AS n`, w.clock.Now())
	w.exec(`INSERT INTO webhookrelay.deliveries (webhook_id, event_id, sequence, created_at, state, queued, ended_at)
		SELECT CASE WHEN n % 4 = 0 THEN 'idle' ELSE 'hook' END, 'old_' || n, n, $1::timestamptz,
			CASE WHEN n % 10 = 0 THEN 'pending' ELSE 'delivered' END, n % 10 = 0, CASE WHEN n % 10 <> 0 THEN $1::timestamptz END
		FROM generate_series(1, 100000) AS n`, w.clock.Now())
	w.exec(`INSERT INTO webhookrelay.queue (webhook_id, sequence, ping, event_id, claim_id, due_at)
		SELECT webhook_id, sequence, 0, event_id, 'claim_' || event_id, created_at + interval '1 hour' FROM webhookrelay.deliveries WHERE queued`)
	many := w.pagesToFindWork()
	t.Logf("%d pages with 1 delivery, %d with 100,000 more", few, many)
	if many > few+30 {
		t.Errorf("%d pages with 1 delivery, %d with 100,000 more", few, many)
	}
}

// pagesToFindWork is how many pages the statements look at that find work and read it.
func (w *world) pagesToFindWork() (pages int) {
	w.t.Helper()
	tx, err := w.pool.Begin(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	now := w.clock.Now()
	for _, work := range []struct {
		file string
		args []any
	}{
		{"candidates.sql", []any{now, "mine"}},
		{"take.sql", []any{[]string{"hook"}, now, "token", now, "mine"}},
		{"read_due.sql", []any{[]string{"hook"}, []string{"token"}, []int64{999_999}, []int{4}, []int{4}, []bool{false}, now}},
	} {
		statement, err := os.ReadFile("queries/" + work.file)
		if err != nil {
			w.t.Fatal(err)
		}
		if _, err := tx.Exec(w.t.Context(), "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off"); err != nil {
			w.t.Fatal(err)
		}
		pages += w.pages(tx, string(statement), work.args...)
	}
	return pages
}

// pages is how many pages a statement looks at.
func (w *world) pages(on interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, statement string, args ...any) int {
	w.t.Helper()
	var plan []struct {
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		}
	}
	if err := on.QueryRow(w.t.Context(), "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+statement, args...).Scan(&plan); err != nil {
		w.t.Fatal(err)
	}
	return plan[0].Plan.Hit + plan[0].Plan.Read
}
