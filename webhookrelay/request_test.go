package webhookrelay_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/domain/signature"
	"github.com/claimledger/claimledger/webhookrelay"
)

// What is sent after a webhook was changed follows the change, what was queued before
// included, and the sequence goes on without a gap.
func TestAlteredWebhook(t *testing.T) {
	w := newWorld(t)
	before, after := w.receiver(), w.receiver()
	r := w.relay(nil)
	w.webhook("hook", "svc", before.URL)
	w.submit("c1", "svc")
	w.assign(r)
	auth := w.seal.Seal([domain.SealNonceSize]byte{7}, "another", "hook")
	w.append(domain.RegistryOf(owner), domain.WebhookReconfigured{
		WebhookID: "hook", ServiceID: "svc", URL: after.URL, Events: []domain.EventType{domain.ClaimApprovedType},
		AuthHeader: "X-Auth", AuthValue: &auth,
	})
	w.submit("c2", "svc")
	w.approve("c1")
	w.assign(r)
	w.deliverAll(r)
	got := after.all()
	if len(before.all()) != 0 || len(got) != 2 {
		t.Fatalf("%d before and %d after", len(before.all()), len(got))
	}
	for i, want := range []string{"request.submitted", "request.approved"} {
		if e := got[i].event; e.Event != want || e.Sequence != int64(i+1) {
			t.Errorf("%+v", e)
		}
		if h := got[i].header; h.Get("X-Auth") != "another" || h.Get("Authorization") != "" {
			t.Errorf("headers %v", h)
		}
	}
}

// A former secret signs beside the present one until its end, and not after.
func TestRotatedSecret(t *testing.T) {
	w := newWorld(t)
	receiver := w.receiver()
	r := w.relay(nil)
	w.webhook("hook", "svc", receiver.URL)
	second := "whsec_" + "c2Vjb25kIHNlY3JldCBvZiAzMiBieXRlcyAuLi4uLi4="
	w.append(domain.RegistryOf(owner), domain.WebhookSecretRotated{
		WebhookID: "hook", ServiceID: "svc", Secret: w.seal.Seal([domain.SealNonceSize]byte{7}, second, "hook"),
		PreviousUntil: w.clock.Now().Add(domain.SecretOverlap),
	})
	receiver.unchecked()
	verified := func(n int) (former, present bool) {
		w.submit(fmt.Sprint("c", n), "svc")
		w.assign(r)
		w.deliverAll(r)
		got := receiver.wait(n)[n-1]
		verify := func(secret string) bool {
			return signature.Verify(got.header, got.body, []string{secret}, w.clock.Now(), time.Second) == nil
		}
		if err := signature.VerifyBody(got.header, got.body, []string{second}); err != nil {
			t.Error(err)
		}
		return verify(secret), verify(second)
	}
	if former, present := verified(1); !former || !present {
		t.Errorf("the former secret signs: %t, the present one: %t", former, present)
	}
	w.clock.advance(domain.SecretOverlap)
	if former, present := verified(2); former || !present {
		t.Errorf("after its end the former secret signs: %t, the present one: %t", former, present)
	}
	w.upkeep(r)
	var left int
	if err := w.pool.QueryRow(t.Context(), "SELECT count(*) FROM webhookrelay.former_secrets").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d former secrets are kept, %v", left, err)
	}
}

// Secrets that were sealed again are the same ones, and what they were sealed with before
// is needed no more.
func TestResealedSecrets(t *testing.T) {
	w := newWorld(t)
	receiver := w.receiver()
	newKey, err := domain.NewSealKey(bytes.Repeat([]byte{1}, domain.SealKeySize))
	if err != nil {
		t.Fatal(err)
	}
	r := w.relay(func(c *webhookrelay.Config) { c.Secrets = newKey })
	w.webhook("hook", "svc", receiver.URL)
	second, until := "whsec_"+"c2Vjb25kIHNlY3JldCBvZiAzMiBieXRlcyAuLi4uLi4=", w.clock.Now().Add(domain.SecretOverlap)
	w.append(domain.RegistryOf(owner), domain.WebhookSecretRotated{
		WebhookID: "hook", ServiceID: "svc", Secret: w.seal.Seal([domain.SealNonceSize]byte{7}, second, "hook"), PreviousUntil: until,
	})
	w.submit("c1", "svc")
	w.assign(r)
	receiver.unchecked()
	if n := w.deliver(r); n != 0 || unopened(t, r) != 1 {
		t.Errorf("%d attempts without the key, %v webhooks that cannot be opened", n, unopened(t, r))
	}
	seal := func(text string) domain.Sealed { return newKey.Seal([domain.SealNonceSize]byte{8}, text, "hook") }
	value := seal("Bearer of hook")
	w.append(domain.RegistryOf(owner), domain.WebhookResealed{
		WebhookID: "hook", ServiceID: "svc", Secret: seal(second), AuthValue: &value, Former: []domain.FormerSecret{{Secret: seal(secret), Until: until}},
	})
	w.assign(r)
	w.deliverAll(r)
	got := receiver.wait(1)[0]
	for _, s := range []string{secret, second} {
		if err := signature.Verify(got.header, got.body, []string{s}, w.clock.Now(), time.Second); err != nil {
			t.Error(err)
		}
	}
	if h := got.header.Get("Authorization"); h != "Bearer of hook" || unopened(t, r) != 0 {
		t.Errorf("the header is %q, and %v webhooks cannot be opened", h, unopened(t, r))
	}
}

// unopened is how many webhooks' secrets a relay says it cannot open.
func unopened(t *testing.T, r *webhookrelay.Relay) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(r.Metrics())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "claimledger_webhook_secrets_unopened" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatal("the relay does not say how many secrets it cannot open")
	return 0
}

func (r *receiver) verify(got received, now time.Time) {
	if err := signature.Verify(got.header, got.body, []string{secret}, now, 5*time.Second); err != nil {
		r.t.Error(err)
	}
	if err := signature.VerifyBody(got.header, got.body, []string{secret}); err != nil {
		r.t.Error(err)
	}
}

// unchecked leaves the signatures to the test.
func (r *receiver) unchecked() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.any = true
}

func (w *world) ask(q webhookrelay.Request) (id string, err error) {
	w.t.Helper()
	q.WebhookID = "hook"
	if q.Fingerprint == nil {
		q.Fingerprint = []byte(q.ID)
	}
	return webhookrelay.NewDeliveries(w.pool).Ask(w.t.Context(), q)
}

func (w *world) mustAsk(q webhookrelay.Request) (id string) {
	w.t.Helper()
	id, err := w.ask(q)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) refused(q webhookrelay.Request, code domain.Code) {
	w.t.Helper()
	if _, err := w.ask(q); domain.ErrorCode(err) != code {
		w.t.Errorf("%s of %q: %v, want %s", q.Kind, q.DeliveryID, err, code)
	}
}

// Of two requests at once under one id, the second is the first again, or another.
func TestAskAtOnce(t *testing.T) {
	w := newWorld(t)
	w.webhook("hook", "svc", "https://example.com")
	for i := range 20 {
		for _, same := range []bool{true, false} {
			var asking sync.WaitGroup
			start := make(chan struct{})
			errs := make([]error, 2)
			for n := range errs {
				q := webhookrelay.Request{ID: fmt.Sprint(i, same), Kind: webhookrelay.RequestPing, Fingerprint: []byte("same")}
				if !same {
					q.Fingerprint = []byte{byte(n)}
				}
				asking.Go(func() {
					<-start
					_, errs[n] = w.ask(q)
				})
			}
			close(start)
			asking.Wait()
			refused := 0
			for _, err := range errs {
				switch domain.ErrorCode(err) {
				case "":
				case domain.CodeIdempotencyMismatch:
					refused++
				default:
					t.Error(err)
				}
			}
			if same && refused != 0 || !same && refused != 1 {
				t.Errorf("the same: %t, and %d were refused", same, refused)
			}
		}
	}
}

// A ping is tried once, has a place among the deliveries and none in the sequence, and
// is asked for once however often.
func TestPing(t *testing.T) {
	w := newWorld(t)
	receiver := w.receiver()
	r := w.relay(nil)
	w.webhook("hook", "svc", receiver.URL)
	ping := webhookrelay.Request{ID: "q1", Kind: webhookrelay.RequestPing}
	id := w.mustAsk(ping) // before the relay knows of the webhook
	w.upkeep(r)
	w.submit("c1", "svc")
	w.assign(r)
	receiver.set(status(http.StatusInternalServerError))
	w.upkeep(r)
	if again := w.mustAsk(ping); again != id || id != "ping_q1" {
		t.Errorf("asked again: %s, not %s", again, id)
	}
	w.mustAsk(webhookrelay.Request{ID: "q2", Kind: webhookrelay.RequestPing})
	w.refused(webhookrelay.Request{ID: "q1", Kind: webhookrelay.RequestPing, Fingerprint: []byte("other")}, domain.CodeIdempotencyMismatch)
	w.upkeep(r)
	w.deliverAll(r)
	list := w.deliveries("hook")
	if len(list) != 3 || list[0].Ping || !list[1].Ping || list[1].ID != id || list[1].State != webhookrelay.StateDead || list[1].Last.Status != 500 {
		t.Fatalf("%+v", list)
	}
	for _, got := range receiver.all() {
		if got.event.Event == "ping" && (got.event.Sequence != 0 || got.header.Get("Webhook-Id") != got.event.ID || got.event.Data["webhook_id"] != "hook") {
			t.Errorf("%s, %v", got.body, got.header)
		}
	}
	w.setActive("hook", "svc", false)
	w.assign(r)
	w.refused(webhookrelay.Request{ID: "q3", Kind: webhookrelay.RequestPing}, domain.CodeConflict)
	w.setActive("hook", "svc", true)
	w.assign(r)
	w.upkeep(r)
	if states := w.states("hook"); !slices.Equal(states, []webhookrelay.State{"pending", "dead", "dead"}) {
		t.Errorf("enabling sends no old test: %v", states)
	}
	if events, err := webhookrelay.NewDeliveries(w.pool).Events(t.Context(), "hook", 0, 10); err != nil || len(events) != 1 {
		t.Errorf("%d events are pulled, %v", len(events), err)
	}
}

// A delivery is sent once more as it was, and holds up nothing new of its claim.
func TestRedeliver(t *testing.T) {
	w := newWorld(t)
	receiver := w.receiver()
	r := w.relay(nil)
	w.webhook("hook", "svc", receiver.URL)
	first := w.submit("c1", "svc")
	w.assign(r)
	redeliver := webhookrelay.Request{ID: "q1", Kind: webhookrelay.RequestRedeliver, DeliveryID: first}
	w.refused(redeliver, domain.CodeConflict)
	w.deliverAll(r)
	w.refused(webhookrelay.Request{ID: "q0", Kind: webhookrelay.RequestRedeliver, DeliveryID: "evt_x"}, domain.CodeNotFound)
	if id := w.mustAsk(redeliver); id != first {
		t.Errorf("asked for %s", id)
	}
	receiver.set(func(e event, _ int, rw http.ResponseWriter) {
		if e.ID == first {
			rw.WriteHeader(http.StatusInternalServerError)
		}
	})
	w.upkeep(r)
	w.approve("c1")
	w.assign(r)
	w.deliverAll(r)
	if states := w.states("hook"); !slices.Equal(states, []webhookrelay.State{"pending", "delivered"}) {
		t.Errorf("%v: what is new must not wait", states)
	}
	receiver.set(nil)
	w.clock.advance(time.Hour)
	w.deliverAll(r)
	w.upkeep(r) // the request is done, and not done again
	bodies := map[string]int{}
	for _, got := range receiver.all() {
		if got.event.ID == first {
			bodies[string(got.body)]++
		}
	}
	if len(bodies) != 1 || len(receiver.all()) != 4 || w.deliverAll(r) != 0 {
		t.Errorf("%d requests, of it %v", len(receiver.all()), bodies)
	}
	_, attempts, err := webhookrelay.NewDeliveries(w.pool).Get(t.Context(), "hook", first)
	if err != nil || len(attempts) != 3 || attempts[2].N != 3 || attempts[1].Status != 500 {
		t.Errorf("%+v, %v", attempts, err)
	}
	w.clock.advance(25 * time.Hour)
	w.upkeep(r)
	w.mustAsk(redeliver) // by now it is another request
}

// A replay sends what was sent, in order, a few at a time, and what is new meanwhile once.
func TestReplay(t *testing.T) {
	w := newWorld(t)
	receiver := w.receiver()
	r := w.relay(nil)
	w.webhook("hook", "svc", receiver.URL)
	const events, window = 40, 16
	for n := range events {
		w.submit(fmt.Sprint("c", n), "svc")
	}
	w.assign(r)
	w.deliverAll(r)
	from := w.deliveries("hook")[4]
	w.mustAsk(webhookrelay.Request{ID: "q1", Kind: webhookrelay.RequestReplay, FromPosition: &from.Position})
	w.upkeep(r)
	w.refused(webhookrelay.Request{ID: "q2", Kind: webhookrelay.RequestReplay, FromPosition: &from.Position}, domain.CodeConflict)
	queued := 0
	for _, s := range w.states("hook") {
		if s == webhookrelay.StatePending {
			queued++
		}
	}
	if queued != window {
		t.Errorf("%d are queued at a time", queued)
	}
	w.submit("new", "svc")
	w.assign(r)
	for w.deliverAll(r) > 0 {
		w.upkeep(r)
	}
	var replayed []int64
	for _, got := range receiver.all()[events:] {
		if got.event.Sequence <= events {
			replayed = append(replayed, got.event.Sequence)
		}
	}
	slices.Sort(replayed) // four at a time are on their way together
	if len(receiver.all()) != 2*events-4+1 || replayed[0] != 5 || len(slices.Compact(replayed)) != events-4 {
		t.Errorf("%d requests; replayed %v", len(receiver.all()), replayed)
	}
	// By time: the clock stood still, so all of it.
	at := w.clock.Now()
	w.mustAsk(webhookrelay.Request{ID: "q3", Kind: webhookrelay.RequestReplay, FromTime: &at})
	n := 0
	for w.upkeep(r); ; w.upkeep(r) {
		sent := w.deliverAll(r)
		if n += sent; sent == 0 {
			break
		}
	}
	if n != events+1 {
		t.Errorf("%d were replayed", n)
	}
}

func TestEventsAreWhatIsSent(t *testing.T) {
	w := newWorld(t)
	receiver := w.receiver()
	r := w.relay(nil)
	w.webhook("hook", "svc", receiver.URL)
	w.submit("c1", "svc")
	w.setActive("hook", "svc", false)
	w.submit("<&>", "svc")
	w.assign(r)
	reader := webhookrelay.NewDeliveries(w.pool)
	pulled, err := reader.Events(t.Context(), "hook", 0, 10)
	if err != nil || len(pulled) != 2 {
		t.Fatalf("%d events, %v", len(pulled), err)
	}
	w.setActive("hook", "svc", true)
	w.assign(r)
	w.upkeep(r)
	w.deliverAll(r)
	for _, got := range receiver.all() {
		if p := pulled[got.event.Sequence-1]; !json.Valid(p) || string(p) != string(got.body) {
			t.Errorf("pulled %s, sent %s", p, got.body)
		}
	}
	if rest, err := reader.Events(t.Context(), "hook", 1, 10); err != nil || len(rest) != 1 || string(rest[0]) != string(pulled[1]) {
		t.Errorf("after the first: %s, %v", rest, err)
	}
	if p, err := reader.Position(t.Context()); err != nil || p != 5 {
		t.Errorf("position %d, %v", p, err)
	}
}
