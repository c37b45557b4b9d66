package webhookrelay_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/webhookrelay"
)

// stored is a delivery as a test puts it into the tables.
type stored struct {
	sequence int64
	claim    string
	state    webhookrelay.State
	due      time.Time // of what is pending; zero: it is fresh
	again    bool
}

// store makes a webhook with deliveries in the tables, of which all but the last ones were
// looked at: those up to through.
func (w *world) store(r *webhookrelay.Relay, webhookID string, through int64, rows []stored) {
	w.t.Helper()
	w.webhook(webhookID, "svc-"+webhookID, "http://127.0.0.1:1")
	w.assign(r)
	now := w.clock.Now()
	last := int64(0)
	for _, d := range rows {
		id := fmt.Sprint(webhookID, "_", d.sequence)
		w.exec(`INSERT INTO webhookrelay.events (event_id, position, event_type, claim_id, occurred_at, created_at, body)
			VALUES ($1, $2, 'request.submitted', $3, $4, $4, '{"sequence":')`, id, d.sequence, d.claim, now)
		var ended *time.Time
		if d.state != webhookrelay.StatePending {
			ended = &now
		}
		w.exec(`INSERT INTO webhookrelay.deliveries (webhook_id, event_id, sequence, created_at, state, queued, ended_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			webhookID, id, d.sequence, now, d.state, d.state == webhookrelay.StatePending && !d.due.IsZero(), ended)
		if d.state == webhookrelay.StateDead || !d.due.IsZero() {
			if d.due.IsZero() {
				d.due = now
			}
			w.exec(`INSERT INTO webhookrelay.queue (webhook_id, sequence, ping, event_id, claim_id, state, due_at, again) VALUES ($1, $2, 0, $3, $4, $5, $6, $7)`,
				webhookID, d.sequence, id, d.claim, d.state, d.due, d.again)
		}
		last = d.sequence
	}
	w.exec(`UPDATE webhookrelay.webhooks SET next_sequence = $2 WHERE webhook_id = $1`, webhookID, last+1)
	w.exec(`UPDATE webhookrelay.endpoints SET through = $2 WHERE webhook_id = $1`, webhookID, through)
	if through < last {
		w.exec(`INSERT INTO webhookrelay.fresh VALUES ($1, $2)`, webhookID, last)
	}
}

// checkLanes makes sure that each delivery is in its place, and that what has to come before
// another one of its claim is not due after it.
func (w *world) checkLanes() {
	w.t.Helper()
	for what, sql := range map[string]string{
		"are queued or dead and not in the queue so": `SELECT event_id FROM webhookrelay.deliveries d WHERE (queued OR state = 'dead') AND NOT EXISTS (
			SELECT FROM webhookrelay.queue q WHERE (q.webhook_id, q.sequence, q.ping, q.event_id, q.state) = (d.webhook_id, d.sequence, d.ping, d.event_id, d.state))`,
		"are in the queue and not as the delivery is": `SELECT event_id FROM webhookrelay.queue q WHERE NOT EXISTS (
			SELECT FROM webhookrelay.deliveries d WHERE (q.webhook_id, q.sequence, q.ping, q.event_id, q.state) = (d.webhook_id, d.sequence, d.ping, d.event_id, d.state)
			AND d.queued = (d.state = 'pending'))`,
		"wait where nobody looks": `SELECT d.event_id FROM webhookrelay.deliveries d JOIN webhookrelay.endpoints e USING (webhook_id)
			WHERE d.state = 'pending' AND NOT d.queued AND d.sequence <= e.through`,
		"are due after what has to wait for them": `SELECT e.event_id || ' ' || p.event_id FROM webhookrelay.queue e JOIN webhookrelay.queue p USING (webhook_id, claim_id, state)
			WHERE state = 'pending' AND e.sequence < p.sequence AND (p.again OR NOT e.again) AND e.due_at > p.due_at
			AND NOT EXISTS (SELECT FROM webhookrelay.tasks t WHERE t.webhook_id = e.webhook_id)`,
	} {
		rows, _ := w.pool.Query(w.t.Context(), sql)
		found, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			w.t.Fatal(err)
		}
		if len(found) > 0 {
			w.t.Fatalf("%v %s", found, what)
		}
	}
}

// TestRequeueWaitsForTheOwner: nothing of a webhook is changed while a relay has its
// deliveries; then what it missed is queued, and what came after it was enabled is fresh still.
func TestRequeueWaitsForTheOwner(t *testing.T) {
	w := newWorld(t)
	r := w.relay(nil)
	now := w.clock.Now()
	w.store(r, "hook", 5, []stored{
		{1, "a", webhookrelay.StateDelivered, time.Time{}, false},
		{2, "b", webhookrelay.StateDead, time.Time{}, false},
		{3, "a", webhookrelay.StatePending, now.Add(time.Hour), false},
		{4, "c", webhookrelay.StateDelivered, time.Time{}, false},
		{5, "a", webhookrelay.StatePending, now.Add(time.Hour), false},
		{6, "d", webhookrelay.StatePending, time.Time{}, false},
		{7, "e", webhookrelay.StateDelivered, time.Time{}, false},
		{8, "d", webhookrelay.StatePending, time.Time{}, false},
		{9, "b", webhookrelay.StatePending, now, false}, // a relay put it here
		{10, "f", webhookrelay.StatePending, time.Time{}, false},
	})
	w.exec(`UPDATE webhookrelay.endpoints SET owner = 'other', owned_until = $1, failures = 3`, now.Add(time.Minute))
	w.exec(`INSERT INTO webhookrelay.tasks (webhook_id, kind, last_sequence) VALUES ('hook', 'requeue', 8)`)
	w.upkeep(r)
	if n := len(w.queue("hook", "pending")); n != 3 || w.rows("tasks") != 1 {
		t.Errorf("%d are in the queue while another relay has them", n)
	}
	w.checkLanes()
	w.clock.advance(time.Minute)
	w.upkeep(r)
	w.checkLanes()
	var got []string
	for _, q := range w.queue("hook", "pending") {
		got = append(got, fmt.Sprint(q.Sequence, " ", q.DueAt.Sub(w.clock.Now())))
	}
	if want := []string{"2 0s", "9 0s", "3 10ms", "5 20ms", "6 30ms", "8 40ms"}; !slices.Equal(got, want) {
		t.Errorf("the queue is %v, not %v", got, want)
	}
	var through int64
	var failures int
	err := w.pool.QueryRow(t.Context(), `SELECT through, failures FROM webhookrelay.endpoints`).Scan(&through, &failures)
	if err != nil || through != 8 || failures != 0 || w.rows("tasks") != 0 || w.rows("fresh") != 1 {
		t.Errorf("through %d, with %d failures, %v", through, failures, err)
	}
	w.lists("hook", webhookrelay.StatePending, "hook_10", "hook_9", "hook_8", "hook_6", "hook_5", "hook_3", "hook_2")
}

// TestRequeueInPieces: however much it is, and whatever lies between.
func TestRequeueInPieces(t *testing.T) {
	w := newWorld(t)
	r := w.relay(nil)
	w.store(r, "hook", 1500, []stored{{1500, "a", webhookrelay.StateDelivered, time.Time{}, false}, {5000, "b", webhookrelay.StatePending, time.Time{}, false}})
	w.exec(`INSERT INTO webhookrelay.events (event_id, position, event_type, claim_id, occurred_at, created_at, body)
		SELECT 'event_' || n, n, 'request.submitted', 'claim_' || n % 100, $1, $1, '{' FROM generate_series(1, 4998) AS n WHERE n <> 1500`, w.clock.Now())
	w.exec(`INSERT INTO webhookrelay.deliveries (webhook_id, event_id, sequence, created_at, state, ended_at)
		SELECT 'hook', 'event_' || n, n, $1::timestamptz, CASE WHEN n % 3 = 0 THEN 'delivered' WHEN n <= 1500 THEN 'dead' ELSE 'pending' END,
			CASE WHEN n % 3 = 0 OR n <= 1500 THEN $1::timestamptz END
		FROM generate_series(1, 4998) AS n WHERE n <> 1500`, w.clock.Now())
	w.exec(`INSERT INTO webhookrelay.queue (webhook_id, sequence, ping, event_id, claim_id, state, due_at)
		SELECT 'hook', n, 0, 'event_' || n, 'claim_' || n % 100, 'dead', $1 FROM generate_series(1, 1499) AS n WHERE n % 3 <> 0`, w.clock.Now())
	w.checkLanes()
	w.exec(`INSERT INTO webhookrelay.tasks (webhook_id, kind, last_sequence) VALUES ('hook', 'requeue', 4998)`)
	w.upkeep(r)
	w.checkLanes()
	queue := w.queue("hook", "pending")
	if len(queue) != 4998/3*2 || w.rows("tasks") != 0 || w.rows("fresh") != 1 {
		t.Fatalf("%d are queued", len(queue))
	}
	for i, q := range queue {
		if want := w.clock.Now().Add(time.Duration(i) * 10 * time.Millisecond); !q.DueAt.Equal(want) || i > 0 && q.Sequence <= queue[i-1].Sequence {
			t.Fatalf("%d in the queue is %d and due at %v, not %v", i, q.Sequence, q.DueAt, want)
		}
	}
}

// TestCancelWaitsForNobody: of a webhook that was deleted, all that waits is cancelled, but
// what another relay is writing of, which is left to the next time.
func TestCancelWaitsForNobody(t *testing.T) {
	w := newWorld(t)
	r := w.relay(nil)
	now := w.clock.Now()
	var rows []stored
	for n := int64(1); n <= 3000; n++ {
		d := stored{n, fmt.Sprint("claim_", n), webhookrelay.StatePending, time.Time{}, false}
		switch {
		case n%4 == 0:
			d.state = webhookrelay.StateDelivered
		case n == 1:
			d.state = webhookrelay.StateDead
		case n <= 20:
			d.due = now.Add(time.Hour)
		case n < 2900:
			continue
		}
		rows = append(rows, d)
	}
	w.store(r, "hook", 20, rows)
	w.append(domain.RegistryOf(owner), domain.WebhookDeleted{WebhookID: "hook", ServiceID: "svc-hook"})
	w.assign(r)
	w.exec(`UPDATE webhookrelay.tasks SET requeued = 20, last_sequence = 3000`)
	writing, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer writing.Rollback(context.WithoutCancel(t.Context()))
	for _, sql := range []string{
		`UPDATE webhookrelay.deliveries SET state = 'delivered', ended_at = now() WHERE sequence IN (2901, 2999)`,
		`UPDATE webhookrelay.queue SET due_at = due_at + interval '1 minute' WHERE sequence = 6`, // a retry
		// The first failure of one that would be retried, and the success of one that was: the
		// queue is of no concern any more to who writes that.
		`UPDATE webhookrelay.deliveries SET queued = true WHERE sequence = 2902`,
		`UPDATE webhookrelay.deliveries SET state = 'delivered', queued = false, ended_at = now() WHERE sequence = 7`,
	} {
		if _, err := writing.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	count := func() map[webhookrelay.State]int {
		states := map[webhookrelay.State]int{}
		for _, s := range w.states("hook") {
			states[s]++
		}
		return states
	}
	w.upkeep(r)
	if s := count(); s[webhookrelay.StatePending] != 5 || w.rows("tasks") != 1 {
		t.Errorf("while another relay writes: %v", s)
	}
	if err := writing.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.upkeep(r)
	s := count()
	if s[webhookrelay.StateDelivered] != 3000/4+3 || s[webhookrelay.StateDead] != 1 || s[webhookrelay.StateCancelled] != 14+75-3 || len(s) != 3 || w.rows("tasks") != 0 {
		t.Errorf("in the end: %v", s)
	}
	if n := w.rows("queue"); n != 1 {
		t.Errorf("%d rows are left in the queue, want the dead one", n)
	}
	w.checkLanes()
}

// TestRequestsKeepTheOrder: whatever is asked for and whatever becomes of it, what is first of
// its claim is due first.
func TestRequestsKeepTheOrder(t *testing.T) {
	w := newWorld(t)
	r := w.relay(nil)
	rng := rand.New(rand.NewPCG(1, 2))
	const last, through, claims = 60, 45, 5
	var rows []stored
	due := map[string]time.Time{}
	for n := int64(1); n <= last; n++ {
		d := stored{n, fmt.Sprint("claim_", rng.IntN(claims)), webhookrelay.StateDelivered, time.Time{}, false}
		switch kind := rng.IntN(4); {
		case n > through:
			d.claim = fmt.Sprint("new_", rng.IntN(claims))
			d.state = webhookrelay.StatePending
		case kind == 0:
			d.state = webhookrelay.StateDead
		case kind == 1:
			d.state = webhookrelay.StatePending
			if d.due = w.clock.Now().Add(time.Duration(rng.IntN(3600)) * time.Second); d.due.Before(due[d.claim]) {
				d.due = due[d.claim]
			}
			due[d.claim] = d.due
		}
		rows = append(rows, d)
	}
	w.store(r, "hook", through, rows)
	w.checkLanes()
	asked := 0
	for range 150 {
		w.clock.advance(time.Duration(rng.IntN(60)) * time.Second)
		asked++
		switch what := rng.IntN(10); {
		case what < 4:
			id := fmt.Sprint("hook_", 1+rng.IntN(through))
			if _, err := w.ask(webhookrelay.Request{ID: fmt.Sprint("q", asked), Kind: webhookrelay.RequestRedeliver, DeliveryID: id}); err != nil && domain.ErrorCode(err) != domain.CodeConflict {
				t.Fatal(err)
			}
		case what < 5:
			from := uint64(rng.IntN(through))
			if _, err := w.ask(webhookrelay.Request{ID: fmt.Sprint("q", asked), Kind: webhookrelay.RequestReplay, FromPosition: &from}); err != nil && domain.ErrorCode(err) != domain.CodeConflict {
				t.Fatal(err)
			}
		case what < 6:
			w.mustAsk(webhookrelay.Request{ID: fmt.Sprint("q", asked), Kind: webhookrelay.RequestPing})
		case what < 7 && asked%5 == 0:
			w.exec(`INSERT INTO webhookrelay.tasks (webhook_id, kind, last_sequence) VALUES ('hook', 'requeue', $1)`, through)
		default:
			w.finishFirst(rng)
		}
		w.upkeep(r)
		w.checkLanes()
	}
}

// finishFirst does to the first of the queue what a relay does when an attempt at it was made.
func (w *world) finishFirst(rng *rand.Rand) {
	w.t.Helper()
	queue := w.queue("hook", "pending")
	if len(queue) == 0 {
		return
	}
	q := queue[0]
	switch rng.IntN(3) {
	case 0:
		w.exec(`DELETE FROM webhookrelay.queue WHERE sequence = $1 AND ping = $2`, q.Sequence, q.Ping)
		w.exec(`UPDATE webhookrelay.deliveries SET state = 'delivered', queued = false, ended_at = $2 WHERE event_id = $1`, q.EventID, w.clock.Now())
	case 1:
		w.exec(`UPDATE webhookrelay.queue SET state = 'dead', again = false WHERE sequence = $1 AND ping = $2`, q.Sequence, q.Ping)
		w.exec(`UPDATE webhookrelay.deliveries SET state = 'dead', queued = false, ended_at = $2 WHERE event_id = $1`, q.EventID, w.clock.Now())
	case 2:
		due := w.clock.Now().Add(time.Duration(rng.IntN(3600)) * time.Second)
		w.exec(`UPDATE webhookrelay.queue SET due_at = $2 WHERE event_id = $1`, q.EventID, due)
		w.exec(`UPDATE webhookrelay.queue SET due_at = $4 WHERE state = 'pending' AND claim_id = $1 AND sequence > $2 AND due_at < $4 AND (again OR NOT $3)`,
			q.ClaimID, q.Sequence, q.Again, due)
	}
}

// TestUpkeepStaysCheap: a piece of what upkeep does costs as much whatever there is beside it.
func TestUpkeepStaysCheap(t *testing.T) {
	w := newWorld(t)
	w.grow(w.pagesOfUpkeep)
	// As many at a time as are removed indeed; where there is little, they are most of it.
	w.forgetStatistics()
	statement, err := os.ReadFile("queries/prune.sql")
	if err != nil {
		t.Fatal(err)
	}
	tx := w.beginIndexed()
	defer tx.Rollback(context.WithoutCancel(t.Context()))
	const events = 500
	if n := w.searched(tx, string(statement), w.clock.Now().Add(time.Hour), time.Time{}, "", events); n > 20*events {
		t.Errorf("%d pages to prune %d events", n, events)
	}
}

// pagesOfUpkeep is how many pages each of the statements looks at that change deliveries in
// pieces, and the one that counts them.
func (w *world) pagesOfUpkeep() map[string]int {
	w.t.Helper()
	pages := map[string]int{}
	now := w.clock.Now().Add(time.Hour)
	for what, c := range map[string]struct {
		before, file string
		args         []any
	}{
		"requeue from the middle": {"INSERT INTO webhookrelay.tasks VALUES ('hook', 'requeue', 500)", "requeue.sql", []any{"hook", now, 100, 10 * time.Millisecond}},
		"requeue what is dead":    {"INSERT INTO webhookrelay.tasks VALUES ('failing', 'requeue', 500)", "requeue.sql", []any{"failing", now, 100, 10 * time.Millisecond}},
		"requeue what is fresh":   {"INSERT INTO webhookrelay.tasks VALUES ('held', 'requeue')", "requeue.sql", []any{"held", now, 100, 10 * time.Millisecond}},
		"cancel what is fresh":    {"INSERT INTO webhookrelay.tasks VALUES ('held', 'cancel', 500, NULL, 100000)", "cancel.sql", []any{"held", now, 100}},
		"cancel what is queued":   {"INSERT INTO webhookrelay.tasks VALUES ('hook', 'cancel')", "cancel.sql", []any{"hook", now, 100}},
		"redeliver":               {"", "redeliver.sql", []any{"hook", "event_500", now}},
		"begin to replay":         {"", "find_replay.sql", []any{"hook", 100_000, 700, nil}},
		"replay":                  {"", "replay.sql", []any{"hook", 500, 1 << 40, 1, nil, 16, now}},
		"prune":                   {"", "prune.sql", []any{now, w.clock.Now().Add(-time.Hour), "", 100}},
		"sample":                  {"", "sample.sql", []any{now, 10}},
	} {
		statement, err := os.ReadFile("queries/" + c.file)
		if err != nil {
			w.t.Fatal(err)
		}
		w.exec("VACUUM (INDEX_CLEANUP ON) webhookrelay.queue") // of what the one before put there
		tx := w.beginIndexed()
		if _, err := tx.Exec(w.t.Context(), c.before); err != nil {
			w.t.Fatal(err)
		}
		pages[what] = w.searched(tx, string(statement), c.args...)
		if err := tx.Rollback(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
	return pages
}

// scanned is a node of a plan.
type scanned struct {
	Type  string `json:"Node Type"`
	Hit   int    `json:"Shared Hit Blocks"`
	Read  int    `json:"Shared Read Blocks"`
	Plans []scanned
}

// searched is how many pages a statement looks at to find what it changes. What changes rows
// beside the statement's end is not in the sum that the end has.
func (w *world) searched(tx pgx.Tx, statement string, args ...any) (pages int) {
	w.t.Helper()
	var plan []struct{ Plan scanned }
	if err := tx.QueryRow(w.t.Context(), "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+statement, args...).Scan(&plan); err != nil {
		w.t.Fatal(err)
	}
	var add func(s scanned)
	add = func(s scanned) {
		if strings.HasPrefix(s.Type, "Index") || s.Type == "Seq Scan" {
			pages += s.Hit + s.Read
		}
		for _, p := range s.Plans {
			add(p)
		}
	}
	add(plan[0].Plan)
	return pages
}

// TestWhereAReplayBegins: with the first event that is not before, whatever was removed.
func TestWhereAReplayBegins(t *testing.T) {
	w := newWorld(t)
	r := w.relay(nil)
	var rows []stored
	for n := int64(1); n <= 40; n++ {
		if n > 3 && n%7 != 0 {
			rows = append(rows, stored{n, fmt.Sprint("claim_", n), webhookrelay.StateDelivered, time.Time{}, false})
		}
	}
	w.store(r, "hook", 40, rows)
	w.exec(`UPDATE webhookrelay.events SET occurred_at = $1::timestamptz + position * interval '1 hour'`, w.clock.Now())
	for from := uint64(0); from <= 42; from++ {
		at := w.clock.Now().Add(time.Duration(from) * time.Hour)
		for _, q := range []webhookrelay.Request{{FromPosition: &from}, {FromTime: &at}} {
			q.ID, q.Kind = fmt.Sprint("q", from, q.FromTime != nil), webhookrelay.RequestReplay
			w.mustAsk(q)
			var want, got []int64
			for _, d := range rows {
				if uint64(d.sequence) >= from {
					want = append(want, d.sequence)
				}
			}
			for {
				w.upkeep(r)
				queue := w.queue("hook", "pending")
				if len(queue) == 0 {
					break
				}
				for _, q := range queue {
					got = append(got, q.Sequence)
				}
				w.exec(`DELETE FROM webhookrelay.queue`)
				w.exec(`UPDATE webhookrelay.deliveries SET state = 'delivered', queued = false, ended_at = now()`)
			}
			if !slices.Equal(got, want) || w.rows("requests WHERE done_at IS NULL") != 0 {
				t.Errorf("from %d, by time %t, %v are replayed, not %v", from, q.FromTime != nil, got, want)
			}
		}
	}
}

// TestSampleOfBothLanes: what waits is counted, up to a number, and the oldest is found, in the
// queue and among what is fresh, of webhooks that are active.
func TestSampleOfBothLanes(t *testing.T) {
	w := newWorld(t)
	r := w.relay(nil)
	sample, err := os.ReadFile("queries/sample.sql")
	if err != nil {
		t.Fatal(err)
	}
	check := func(most, wantPending int, wantOldest time.Duration) {
		t.Helper()
		var position, pending, tasks int
		var oldest *time.Time
		now := w.clock.Now()
		if err := w.pool.QueryRow(t.Context(), string(sample), now, most).Scan(&position, &pending, &tasks, &oldest); err != nil {
			t.Fatal(err)
		}
		if pending != wantPending || (oldest == nil) != (wantOldest == 0) || oldest != nil && now.Sub(*oldest) != wantOldest {
			t.Errorf("%d wait, want %d, since %v, want %v", pending, wantPending, oldest, wantOldest)
		}
	}
	check(100, 0, 0)
	begin := w.clock.Now()
	w.store(r, "queued", 3, []stored{
		{1, "a", webhookrelay.StateDead, time.Time{}, false},
		{2, "b", webhookrelay.StatePending, begin.Add(30 * time.Second), false},
		{3, "c", webhookrelay.StatePending, begin.Add(time.Hour), false},
	})
	check(100, 2, 0)
	w.clock.advance(time.Minute)
	check(100, 2, 30*time.Second)
	w.store(r, "fresh", 1, []stored{
		{1, "a", webhookrelay.StateDelivered, time.Time{}, false},
		{2, "b", webhookrelay.StateDelivered, time.Time{}, false},
		{3, "c", webhookrelay.StatePending, begin.Add(time.Hour), false},
		{4, "d", webhookrelay.StatePending, time.Time{}, false},
		{5, "e", webhookrelay.StatePending, time.Time{}, false},
	})
	w.clock.advance(time.Minute)
	check(100, 5, 90*time.Second)
	check(3, 3, 90*time.Second)
	w.setActive("queued", "svc-queued", false)
	w.assign(r)
	check(100, 5, time.Minute)
	w.setActive("fresh", "svc-fresh", false)
	w.assign(r)
	check(100, 5, 0)
}
