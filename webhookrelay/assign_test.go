package webhookrelay_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
	"github.com/claimledger/claimledger/webhookrelay"
)

func TestBodies(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	w.webhook("hook", "svc", rc.URL)
	full := submitted("claim_1", "svc")
	full.Subject, full.AgentID, full.AgentName = "user <1>", "agent-001", "Agent"
	ends := time.Date(2026, 4, 1, 0, 0, 0, 0, time.FixedZone("", 7200))
	var ids []string
	record := func(payloads ...domain.Payload) {
		_, more := w.append(domain.ClaimsOf(other), payloads...)
		ids = append(ids, more...)
	}
	record(full, domain.ClaimApproved{ClaimID: "claim_1", AutoApproved: true, ExpiresAt: &ends})
	record(domain.ClaimRevoked{ClaimID: "claim_1", Reason: "no more"})
	record(submitted("claim_2", "svc"), domain.ClaimRejected{ClaimID: "claim_2", Reason: "full"})
	record(submitted("claim_3", "svc"))
	record(domain.ClaimApproved{ClaimID: "claim_3", Reason: "fine"})
	record(domain.ClaimExpired{ClaimID: "claim_3", Cause: domain.ExpiredApproval})
	r := w.relay(nil)
	if n := w.assign(r); n != 7 {
		t.Errorf("read %d commits, want 7", n)
	}
	if n := w.deliverAll(r); n != 8 {
		t.Errorf("%d attempts, want 8", n)
	}

	const one = `{"claim_id":"claim_1","namespace":"globex","service":"tickets","public_key":"ed25519:AAAA","agent_ip":"203.0.113.45","subject":"user <1>","agent_id":"agent-001","agent_name":"Agent"`
	short := func(claim string) string {
		return `{"claim_id":"` + claim + `","namespace":"globex","service":"tickets","public_key":"ed25519:AAAA","agent_ip":"203.0.113.45"`
	}
	want := []string{
		`"request.submitted",` + one + `},2`,
		`"request.approved",` + one + `,"auto_approved":true,"expires_at":"2026-03-31T22:00:00Z"},2`,
		`"request.revoked",` + one + `,"reason":"no more"},3`,
		`"request.submitted",` + short("claim_2") + `},4`,
		`"request.rejected",` + short("claim_2") + `,"reason":"full"},4`,
		`"request.submitted",` + short("claim_3") + `},5`,
		`"request.approved",` + short("claim_3") + `,"reason":"fine","auto_approved":false},6`,
		`"request.expired",` + short("claim_3") + `},7`,
	}
	got := map[int64]received{}
	for _, g := range rc.all() {
		got[g.event.Sequence] = g
	}
	for i, w := range want {
		first, rest, _ := strings.Cut(w, ",")
		data, position := rest[:strings.LastIndex(rest, ",")], rest[strings.LastIndex(rest, ",")+1:]
		body := fmt.Sprintf(`{"event":%s,"timestamp":"2026-03-01T12:00:00Z","data":%s,"id":"%s","position":"%s","sequence":%d}`,
			first, data, ids[i], position, i+1)
		g := got[int64(i+1)]
		if string(g.body) != body {
			t.Errorf("sequence %d:\n got %s\nwant %s", i+1, g.body, body)
		}
		for name, value := range map[string]string{
			"Webhook-Id": ids[i], "X-Sigilum-Event": strings.Trim(first, `"`), "X-Sigilum-Webhook-Id": "hook",
			"Authorization": "Bearer of hook", "Content-Type": "application/json", "User-Agent": "claimledger/test",
		} {
			if g.header.Get(name) != value {
				t.Errorf("sequence %d: %s is %q, want %q", i+1, name, g.header.Get(name), value)
			}
		}
	}
}

// TestWhoGetsWhat: by the id of the service, whatever its name and whoever's the claim.
func TestWhoGetsWhat(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	w.webhook("all", "svc-1", rc.URL)
	w.webhook("approvals", "svc-1", rc.URL, domain.ClaimApprovedType)
	w.webhook("elsewhere", "svc-2", rc.URL)
	w.submit("claim_1", "svc-1")
	w.submit("claim_2", "svc-2")
	w.approve("claim_1")
	w.webhook("late", "svc-1", rc.URL)
	w.append(domain.ClaimsOf(owner), submitted("claim_3", "svc-1"))
	w.append(domain.ClaimsOf(other), domain.ClaimRevoked{ClaimID: "claim_1"})
	w.assign(w.relay(nil))
	for id, want := range map[string]string{
		"all": "[1 submitted claim_1 2 approved claim_1 3 submitted claim_3 4 revoked claim_1]", "approvals": "[1 approved claim_1]",
		"elsewhere": "[1 submitted claim_2]", "late": "[1 submitted claim_3 2 revoked claim_1]",
	} {
		var got []string
		for _, d := range w.deliveries(id) {
			got = append(got, fmt.Sprint(d.Sequence, " ", strings.TrimPrefix(d.EventType, "request."), " ", d.ClaimID))
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s: got %v, want %s", id, got, want)
		}
	}
}

// TestInactive: events of the time in which a webhook is inactive are counted, held and
// sent when it is active again, in order and after what was dead.
func TestInactive(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	rc.set(status(500))
	r := w.relay(func(c *webhookrelay.Config) { c.Retries = []time.Duration{} })
	w.webhook("hook", "svc", rc.URL)
	w.submit("claim_1", "svc")
	w.assign(r)
	w.deliverAll(r)
	w.setActive("hook", "svc", false)
	w.approve("claim_1")
	w.submit("claim_2", "svc")
	w.assign(r)
	w.upkeep(r)
	if n := w.deliver(r); n != 0 {
		t.Errorf("%d attempts at an inactive webhook", n)
	}
	want := []webhookrelay.State{webhookrelay.StateDead, webhookrelay.StateHeld, webhookrelay.StateHeld}
	if got := w.states("hook"); !slices.Equal(got, want) {
		t.Errorf("states %v, want %v", got, want)
	}

	rc.set(nil)
	w.setActive("hook", "svc", true)
	w.append(domain.ClaimsOf(other), domain.ClaimRevoked{ClaimID: "claim_1"})
	w.assign(r)
	if n := w.deliver(r); n != 0 {
		t.Errorf("%d attempts before what was dead is queued again", n)
	}
	w.upkeep(r)
	w.clock.advance(time.Second)
	w.deliverAll(r)
	var sequences []int64
	for _, g := range rc.all()[1:] {
		if g.event.claim() == "claim_1" {
			sequences = append(sequences, g.event.Sequence)
		}
	}
	if !slices.Equal(sequences, []int64{1, 2, 4}) || len(rc.all()) != 1+4 {
		t.Errorf("claim_1 came as %v of %d requests", sequences, len(rc.all()))
	}
}

func TestDeletingCancels(t *testing.T) {
	for name, payload := range map[string]domain.Payload{
		"webhook": domain.WebhookDeleted{WebhookID: "hook", ServiceID: "svc"},
		"service": domain.ServiceDeleted{ServiceID: "svc"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			rc := w.receiver()
			r := w.relay(nil)
			w.webhook("hook", "svc", rc.URL)
			w.webhook("bystander", "svc-2", rc.URL)
			w.submit("claim_1", "svc")
			w.submit("claim_2", "svc-2")
			w.assign(r)
			w.append(domain.RegistryOf(owner), payload)
			w.submit("claim_3", "svc")
			w.assign(r)
			w.deliverAll(r)
			w.upkeep(r)
			if got := rc.all(); len(got) != 1 || got[0].event.claim() != "claim_2" {
				t.Errorf("got %d requests", len(got))
			}
			if got := w.states("hook"); !slices.Equal(got, []webhookrelay.State{webhookrelay.StateCancelled}) {
				t.Errorf("states %v", got)
			}
			var left int
			if err := w.pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM webhookrelay.webhooks WHERE webhook_id = 'hook')
				+ (SELECT count(*) FROM webhookrelay.endpoints WHERE webhook_id = 'hook') + (SELECT count(*) FROM webhookrelay.tasks)`).Scan(&left); err != nil || left != 0 {
				t.Errorf("%d rows are left of it, %v", left, err)
			}
		})
	}
}

// TestOneBatch: a webhook's whole life between two reads of the log.
func TestOneBatch(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	w.webhook("hook", "svc", rc.URL)
	w.submit("claim_1", "svc")
	w.setActive("hook", "svc", false)
	w.setActive("hook", "svc", true)
	w.append(domain.RegistryOf(owner), domain.WebhookDeleted{WebhookID: "hook", ServiceID: "svc"})
	r := w.relay(nil)
	w.assign(r)
	w.upkeep(r)
	w.deliverAll(r)
	if got := w.states("hook"); !slices.Equal(got, []webhookrelay.State{webhookrelay.StateCancelled}) || len(rc.all()) != 0 {
		t.Errorf("states %v, %d requests", got, len(rc.all()))
	}
}

// TestSequencesFollowFromTheLog: read in one batch or one by one, by one process or by
// many, the rows are the same.
func TestSequencesFollowFromTheLog(t *testing.T) {
	w := newWorld(t)
	piecemeal := newWorldAt(t, pgtest.New(t))
	piecemeal.log = w.log
	rc := w.receiver()
	w.webhook("hook", "svc", rc.URL)
	for i := range 700 {
		w.submit(fmt.Sprint("claim_", i), "svc")
		switch i % 50 {
		case 20:
			w.setActive("hook", "svc", false)
		case 40:
			w.setActive("hook", "svc", true)
		}
		if i%97 == 0 {
			piecemeal.assign(piecemeal.relay(nil))
		}
	}
	w.assign(w.relay(nil))
	piecemeal.assign(piecemeal.relay(nil))
	rows := func(w *world) (all []string) {
		rows, err := w.pool.Query(t.Context(), `SELECT concat_ws(' ', webhook_id, event_id, sequence, position, event_type, claim_id, convert_from(body, 'UTF8'))
			FROM webhookrelay.deliveries JOIN webhookrelay.events USING (event_id) ORDER BY sequence`)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var row string
			if err := rows.Scan(&row); err != nil {
				t.Fatal(err)
			}
			all = append(all, row)
		}
		return all
	}
	a, b := rows(w), rows(piecemeal)
	if len(a) != 700 || !slices.Equal(a, b) {
		t.Errorf("%d rows in one go, %d piecemeal, equal: %t", len(a), len(b), slices.Equal(a, b))
	}
	for i, d := range w.deliveries("hook") {
		if d.Sequence != uint64(i+1) {
			t.Fatalf("delivery %d has sequence %d", i+1, d.Sequence)
		}
	}
}

func TestAnotherLogIsNotReadOn(t *testing.T) {
	for name, c := range map[string]struct {
		claims int
		want   string
	}{
		"shorter": {0, "no commit at position 2"},
		"other":   {1, "has the hash"},
		"longer":  {5, "has the hash"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.webhook("hook", "svc", "http://127.0.0.1:1")
			w.submit("claim_1", "svc")
			w.assign(w.relay(nil))

			w.log, w.heads = eventstore.NewMemory(), map[domain.Boundary]eventstore.Head{}
			w.clock.advance(time.Second)
			w.webhook("hook", "svc", "http://127.0.0.1:1")
			for i := range c.claims {
				w.submit(fmt.Sprint("claim_", i), "svc")
			}
			r := w.relay(nil)
			_, err := r.Assign(t.Context())
			if !errors.Is(err, webhookrelay.ErrDiverged) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
			w.start(r)
			eventually(t, "the assigner stops", func() bool {
				s := r.Status()
				return s.Assigner == webhookrelay.AssignerStopped && errors.Is(s.AssignerErr, webhookrelay.ErrDiverged)
			})
		})
	}
}

// TestUnreadableCommit: nothing before it is held up, nothing after it is read, and the
// status names it.
func TestUnreadableCommit(t *testing.T) {
	w := newRealWorld(t)
	rc := w.receiver()
	w.webhook("hook", "svc", rc.URL)
	w.submit("claim_1", "svc")
	w.log.Inject(domain.ClaimsOf("initech"), []byte(`{"id":"01X","namespace":"initech","boundary":"claims","version":1,"events":[{"id":"evt_x","type":"claim.teleported","version":1,"data":{}}]}`))
	w.submit("claim_2", "svc")
	r := w.relay(nil)
	w.start(r)
	eventually(t, "the assigner stops", func() bool {
		s := r.Status()
		return s.Assigner == webhookrelay.AssignerStopped && s.Position == 2 && strings.Contains(s.AssignerErr.Error(), "claim.teleported")
	})
	eventually(t, "what came before is delivered", func() bool {
		d := w.deliveries("hook")
		return len(d) == 1 && d[0].State == webhookrelay.StateDelivered
	})
}

func TestOneAssigns(t *testing.T) {
	w := newWorld(t)
	w.webhook("hook", "svc", "http://127.0.0.1:1")
	first, second := w.relay(nil), w.relay(nil)
	stop := w.start(first)
	eventually(t, "the first assigns", func() bool { return first.Status().Assigner == webhookrelay.AssignerActive })
	if _, err := second.Assign(t.Context()); !errors.Is(err, webhookrelay.ErrStandby) {
		t.Errorf("the second: %v", err)
	}
	w.start(second)
	eventually(t, "the second stands by", func() bool { return second.Status().Assigner == webhookrelay.AssignerStandby })
	stop()
	eventually(t, "the second takes over", func() bool { return second.Status().Assigner == webhookrelay.AssignerActive })
	w.submit("claim_1", "svc")
	eventually(t, "it assigns", func() bool { return len(w.deliveries("hook")) == 1 })
}
