package webhookrelay_test

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/projections/pgdb"
	"github.com/claimledger/claimledger/webhookrelay"
)

// schemaOf makes the schema as the first migrations leave it.
func (w *world) schemaOf(migrations int) {
	w.t.Helper()
	w.exec(`DROP SCHEMA webhookrelay CASCADE`)
	entries, err := os.ReadDir("migrations")
	if err != nil {
		w.t.Fatal(err)
	}
	files := fstest.MapFS{}
	for _, e := range entries[:migrations] {
		text, err := os.ReadFile("migrations/" + e.Name())
		if err != nil {
			w.t.Fatal(err)
		}
		files[e.Name()] = &fstest.MapFile{Data: text}
	}
	if err := pgdb.Migrate(w.t.Context(), w.pool, "webhookrelay", files); err != nil {
		w.t.Fatal(err)
	}
}

// TestMigrationToLanes: what a version before left, deliveries in every state with their
// attempts, pings, what is sent again and what was in flight, is the same afterwards.
func TestMigrationToLanes(t *testing.T) {
	w := newWorld(t)
	w.schemaOf(6)
	begin := w.clock.Now()
	at := func(minutes int) time.Time { return begin.Add(time.Duration(minutes) * time.Minute) }
	w.exec(`INSERT INTO webhookrelay.webhooks
			(webhook_id, namespace, service_id, url, events, active, secret_key_id, secret, auth_header, next_sequence, created_position)
		SELECT id, 'acme', 'svc', 'https://hook.example', '{claim.submitted}', id <> 'inactive', 'k', '', '', 12, 1
		FROM unnest('{hook,inactive}'::text[]) AS id`)
	w.exec(`INSERT INTO webhookrelay.endpoints (webhook_id) VALUES ('hook'), ('inactive')`)
	w.exec(`INSERT INTO webhookrelay.tasks (webhook_id, kind) VALUES ('deleted', 'cancel')`)

	// Events 1 to 11 of two webhooks, each in every state; of the first three, one of a third
	// webhook, which was deleted.
	type row struct {
		state              string
		attempts, failures int
		again              bool
		due, delivered     *time.Time
	}
	minute := func(n int) *time.Time { m := at(n); return &m }
	rows := []row{
		1:  {"delivered", 1, 0, false, minute(1), minute(1)},
		2:  {"delivered", 3, 2, false, minute(20), minute(20)},
		3:  {"dead", 6, 6, false, minute(30), nil},
		4:  {"cancelled", 0, 0, false, minute(40), nil},
		5:  {"cancelled", 2, 2, false, minute(41), nil},
		6:  {"pending", 2, 1, true, minute(90), minute(50)},
		7:  {"dead", 7, 6, false, minute(55), minute(50)}, // sent again in vain
		8:  {"pending", 1, 1, false, minute(80), nil},
		9:  {"pending", 0, 0, false, minute(70), nil},
		10: {"pending", 0, 0, false, minute(70), nil},
		11: {"pending", 0, 0, false, minute(8), nil},
	}
	bodies := map[string]string{}
	insert := func(webhook, id string, number, sequence, ping int, r row, body string) {
		t.Helper()
		bodies[webhook+" "+id] = body
		kind := "request.submitted"
		if ping > 0 {
			kind = "ping"
		}
		w.exec(`INSERT INTO webhookrelay.deliveries (webhook_id, event_id, sequence, ping, position, event_type, claim_id, body,
				occurred_at, created_at, state, attempts, failures, due_at, delivered_at, again)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
			webhook, id, sequence, ping, 100+number, kind, fmt.Sprint("claim_", number), []byte(body), at(number-2), at(number-1),
			r.state, r.attempts, r.failures, r.due, r.delivered, r.again)
		for n := range r.attempts {
			status, answer, failure := 500, fmt.Sprint("answer ", n), "status 500"
			if n == r.attempts-1 && r.state == "delivered" {
				status, answer, failure = 200, "", ""
			}
			w.exec(`INSERT INTO webhookrelay.attempts VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
				webhook, id, n+1, at(sequence+n), time.Duration(n+1)*time.Second, status, []byte(answer), failure)
		}
	}
	for n := 1; n < len(rows); n++ {
		for i, webhook := range []string{"hook", "inactive"} { // the numbers of one have a digit more
			sequence := n + 95*i
			insert(webhook, fmt.Sprint("event_", n), n, sequence, 0, rows[n], fmt.Sprintf(`{"data":"ü}%d","sequence":%d}`, n, sequence))
		}
		if n <= 3 {
			insert("deleted", fmt.Sprint("event_", n), n, 7+n, 0, rows[8], fmt.Sprintf(`{"data":"ü}%d","sequence":%d}`, n, 7+n))
		}
	}
	w.exec(`UPDATE webhookrelay.webhooks SET next_sequence = 107 WHERE webhook_id = 'inactive'`)
	insert("hook", "ping_q1", 11, 11, 1, row{"dead", 1, 1, false, minute(85), nil}, `{"event":"ping"}`)
	insert("hook", "ping_q2", 11, 11, 2, row{"pending", 0, 0, false, minute(86), nil}, `{"event":"ping","id":"ping_q2"}`)
	w.exec(`INSERT INTO webhookrelay.leases VALUES ('hook', 'event_8', '@gone/1', now() + interval '1 hour')`)
	w.exec(`INSERT INTO webhookrelay.tasks (webhook_id, kind, requeued, next_due, last_sequence) VALUES ('inactive', 'requeue', 97, $1, 104)`, at(60))

	if err := webhookrelay.Setup(t.Context(), w.pool); err != nil {
		t.Fatal(err)
	}
	w.pool.Reset()
	w.clock.advance(12 * time.Hour)

	reader := webhookrelay.NewDeliveries(w.pool)
	for i, webhook := range []string{"hook", "inactive"} {
		events, err := reader.Events(t.Context(), webhook, 0, 50)
		if err != nil || len(events) != 11 {
			t.Fatalf("%d events of %s, %v", len(events), webhook, err)
		}
		for n := 1; n < len(rows); n++ {
			id, want := fmt.Sprint("event_", n), rows[n]
			if body := bodies[webhook+" "+id]; string(events[n-1]) != body {
				t.Errorf("the body of %s is %s, not %s", id, events[n-1], body)
			}
			got, attempts, err := reader.Get(t.Context(), webhook, id)
			if err != nil {
				t.Fatal(err)
			}
			state := webhookrelay.State(want.state)
			if state == webhookrelay.StatePending && webhook == "inactive" {
				state = webhookrelay.StateHeld
			}
			sequence := n + 95*i
			if got.State != state || got.Sequence != uint64(sequence) || got.Position != uint64(100+n) || got.Attempts != want.attempts ||
				got.EventType != "request.submitted" || got.ClaimID != fmt.Sprint("claim_", n) ||
				!got.OccurredAt.Equal(at(n-2)) || !got.CreatedAt.Equal(at(n-1)) {
				t.Errorf("%s of %s: %+v", id, webhook, got)
			}
			if due := got.DueAt; (due != nil) != (state == webhookrelay.StatePending) || due != nil && !due.Equal(*want.due) {
				t.Errorf("%s of %s is due at %v", id, webhook, due)
			}
			if on := got.DeliveredAt; (on != nil) != (state == webhookrelay.StateDelivered) || on != nil && !on.Equal(*want.delivered) {
				t.Errorf("%s of %s was delivered at %v", id, webhook, on)
			}
			if len(attempts) != want.attempts || (got.Last != nil) != (want.attempts > 0) {
				t.Fatalf("%s of %s has %d attempts", id, webhook, len(attempts))
			}
			for n, a := range attempts {
				status, answer, failure := 500, fmt.Sprint("answer ", n), "status 500"
				if n == want.attempts-1 && want.state == "delivered" {
					status, answer, failure = 200, "", ""
				}
				if a.N != n+1 || !a.BegunAt.Equal(at(sequence+n)) || a.Duration != time.Duration(n+1)*time.Second ||
					a.Status != status || string(a.Response) != answer || a.Error != failure {
					t.Errorf("attempt %d at %s is %+v", n+1, id, a)
				}
			}
		}
	}
	ping, attempts, err := reader.Get(t.Context(), "hook", "ping_q1")
	if err != nil || !ping.Ping || ping.State != webhookrelay.StateDead || len(attempts) != 1 || ping.Sequence != 11 {
		t.Errorf("%+v, %d attempts, %v", ping, len(attempts), err)
	}
	for id, body := range map[string]string{"ping_q1": `{"event":"ping"}`, "ping_q2": `{"event":"ping","id":"ping_q2"}`} {
		var kept string
		if err := w.pool.QueryRow(t.Context(), `SELECT convert_from(body, 'UTF8') FROM webhookrelay.events WHERE event_id = $1`, id).Scan(&kept); err != nil || kept != body {
			t.Errorf("the body of %s is %s, %v", id, kept, err)
		}
	}

	// The queue, in the order in which it is attempted.
	var queued []string
	for _, q := range w.queue("hook", "pending") {
		queued = append(queued, fmt.Sprint(q.EventID, " ", q.Failures, " ", q.Again))
	}
	if want := []string{"event_11 0 false", "event_9 0 false", "event_10 0 false", "event_8 1 false", "ping_q2 0 false", "event_6 1 true"}; !slices.Equal(queued, want) {
		t.Errorf("the queue is %v, not %v", queued, want)
	}
	w.lists("hook", webhookrelay.StateDead, "ping_q1", "event_7", "event_3")
	w.lists("hook", webhookrelay.StatePending, "ping_q2", "event_11", "event_10", "event_9", "event_8", "event_6")
	w.lists("hook", webhookrelay.StateCancelled, "event_5", "event_4")
	w.lists("hook", webhookrelay.StateDelivered, "event_2", "event_1")
	w.lists("inactive", webhookrelay.StateHeld, "event_11", "event_10", "event_9", "event_8", "event_6")

	// The tasks go on: the one that had come to 97 leaves what is before it.
	r := w.relay(nil)
	w.upkeep(r)
	if n := w.rows("tasks"); n != 0 {
		t.Errorf("%d tasks are left", n)
	}
	if got := w.states("deleted"); !slices.Equal(got, []webhookrelay.State{"cancelled", "cancelled", "cancelled"}) {
		t.Errorf("of the deleted: %v", got)
	}
	queued = nil
	for _, q := range w.queue("inactive", "pending") {
		queued = append(queued, fmt.Sprint(q.Sequence))
	}
	if want := []string{"106", "105", "98", "101", "102", "103", "104"}; !slices.Equal(queued, want) {
		t.Errorf("the queue is %v, not %v", queued, want)
	}
}

// waiting is a row of the queue.
type waiting struct {
	Sequence int64
	Ping     int
	EventID  string
	ClaimID  string
	DueAt    time.Time
	Failures int
	Again    bool
}

// queue is what of a webhook is in the queue, in the order in which it is attempted.
func (w *world) queue(webhookID, state string) []waiting {
	w.t.Helper()
	rows, _ := w.pool.Query(w.t.Context(), `SELECT sequence, ping, event_id, claim_id, due_at, failures, again FROM webhookrelay.queue
		WHERE webhook_id = $1 AND state = $2 ORDER BY due_at, sequence, ping`, webhookID, state)
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[waiting])
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// lists checks what is listed in a state, page by page.
func (w *world) lists(webhookID string, state webhookrelay.State, want ...string) {
	w.t.Helper()
	var got []string
	for before := ""; ; before = got[len(got)-1] {
		page, err := webhookrelay.NewDeliveries(w.pool).List(w.t.Context(), webhookID, state, before, 2)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, d := range page {
			if got = append(got, d.ID); d.State != state {
				w.t.Errorf("%s is listed as %s and is %s", d.ID, state, d.State)
			}
		}
		if len(page) < 2 {
			break
		}
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("the %s of %s are %v, not %v", state, webhookID, got, want)
	}
}
