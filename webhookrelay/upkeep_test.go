package webhookrelay_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/webhookrelay"
)

// Enabling a webhook that was disabled for failing lets it go on.
func TestEnablingIsNotUndone(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	rc.set(status(500))
	r := w.relay(func(c *webhookrelay.Config) { c.DisableAfter = 48 * time.Hour })
	w.webhook("hook", "svc", rc.URL)
	for i := range 60 {
		w.submit(fmt.Sprint("claim_", i), "svc")
		w.assign(r)
		w.deliverAll(r)
		w.upkeep(r)
		w.clock.advance(time.Hour)
	}
	if len(w.disabled) == 0 {
		t.Fatal("it was not disabled")
	}
	rc.set(nil)
	before := len(w.disabled)
	w.setActive("hook", "svc", false)
	w.assign(r)
	w.clock.advance(time.Hour)
	w.setActive("hook", "svc", true)
	w.assign(r)
	w.upkeep(r)
	if n := len(w.disabled); n != before {
		t.Errorf("it was disabled again as soon as it was enabled (%d commands, %d before)", n, before)
	}
}

// Two failures with a long silence between them are not failures that last.
func TestTwoFailuresFarApart(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	rc.set(status(500))
	r := w.relay(func(c *webhookrelay.Config) { c.DisableAfter = 5 * 24 * time.Hour })
	w.webhook("hook", "svc", rc.URL)
	w.submit("claim_1", "svc")
	w.assign(r)
	for range 40 {
		w.deliverAll(r)
		w.upkeep(r)
		w.clock.advance(time.Hour)
	}
	w.clock.advance(30 * 24 * time.Hour) // nothing happens for a month
	w.submit("claim_2", "svc")
	w.assign(r)
	w.deliverAll(r)
	n := len(rc.all())
	w.upkeep(r)
	if len(w.disabled) != 0 {
		t.Errorf("disabled after the first attempt in a month, before its first retry (attempts ever: %d): %v", n, w.disabled)
	}
}

// A delivery is kept for a while after its end, also when that came late.
func TestKeptAfterItsEnd(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	rc.set(func(e event, _ int, rw http.ResponseWriter) { rw.WriteHeader(500) })
	r := w.relay(func(c *webhookrelay.Config) {
		c.Keep = 30 * 24 * time.Hour
		c.Retries = []time.Duration{time.Hour}
	})
	w.webhook("hook", "svc", rc.URL)
	w.assign(r)
	w.setActive("hook", "svc", false)
	w.submit("claim_1", "svc")
	w.assign(r)
	w.clock.advance(31 * 24 * time.Hour)
	w.upkeep(r)
	w.setActive("hook", "svc", true)
	w.assign(r)
	w.upkeep(r)
	w.deliverAll(r)
	w.clock.advance(time.Hour)
	w.deliverAll(r)
	if d := w.deliveries("hook"); len(d) != 1 || d[0].State != webhookrelay.StateDead {
		t.Fatalf("%+v", d)
	}
	w.upkeep(r)
	if d := w.deliveries("hook"); len(d) != 1 {
		t.Error("it is gone as soon as it is dead: its owner neither sees that nor can redeliver it")
	}
}

// Enabling a webhook whose receiver was gone lets it go on.
func TestEnablingAfterGoneIsNotUndone(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	rc.set(status(410))
	r := w.relay(nil)
	w.webhook("hook", "svc", rc.URL)
	w.submit("claim_1", "svc")
	w.assign(r)
	w.deliverAll(r)
	w.upkeep(r)
	w.assign(r)
	if len(w.disabled) != 1 {
		t.Fatalf("disabled: %v", w.disabled)
	}
	rc.set(nil)
	w.clock.advance(time.Minute)
	w.setActive("hook", "svc", true)
	w.assign(r)
	w.upkeep(r)
	if len(w.disabled) != 1 {
		t.Errorf("it was disabled again as soon as it was enabled: %v", w.disabled)
	}
}

// An outcome that comes when its delivery was cancelled and removed meanwhile concerns
// nobody, and holds nothing else up.
func TestOutcomeOfWhatWasRemoved(t *testing.T) {
	w := newWorld(t)
	r := w.relay(func(c *webhookrelay.Config) { c.Keep = time.Hour })
	second := w.relay(func(c *webhookrelay.Config) { c.Keep = time.Hour })
	rc := w.receiver()
	rc.set(func(event, int, http.ResponseWriter) {
		// This relay is held up for longer than the webhook is its own, which is deleted meanwhile.
		w.append(domain.RegistryOf(owner), domain.WebhookDeleted{WebhookID: "hook", ServiceID: "svc"})
		w.assign(r)
		w.upkeep(second)
		w.clock.advance(2 * time.Hour)
		w.upkeep(second)
		if n := w.rows("deliveries"); n != 0 {
			t.Errorf("%d deliveries are left", n)
		}
	})
	w.webhook("hook", "svc", rc.URL)
	w.submit("claim_1", "svc")
	w.assign(r)
	if _, err := r.DeliverDue(t.Context()); err != nil {
		t.Errorf("the outcome: %v", err)
	}
	fine := w.receiver()
	w.webhook("fine", "svc-fine", fine.URL)
	w.submit("claim_2", "svc-fine")
	w.assign(r)
	if _, err := r.DeliverDue(t.Context()); err != nil || len(fine.all()) != 1 {
		t.Errorf("another webhook's delivery: %d arrived, %v", len(fine.all()), err)
	}
}
