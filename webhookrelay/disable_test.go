package webhookrelay_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/webhookrelay"
)

// TestDisabledForFailing: a receiver with which nothing goes well for too long is warned
// of, and then disabled; one that answers now and then, or was only asked once long ago,
// is not. Enabling it again sends what it missed.
func TestDisabledForFailing(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	rc.set(status(500))
	var logged bytes.Buffer
	r := w.relay(func(c *webhookrelay.Config) {
		c.DisableAfter = 48 * time.Hour
		c.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	})
	w.webhook("hook", "svc", rc.URL)
	events := 0
	hours := func(n int) {
		t.Helper()
		for range n {
			if events%6 == 0 {
				w.submit(fmt.Sprint("claim_", events), "svc")
			}
			events++
			w.assign(r)
			w.deliverAll(r)
			w.upkeep(r)
			w.clock.advance(time.Hour)
		}
	}
	warnings := func() int { return strings.Count(logged.String(), "will be disabled unless") }
	failingSince := func() *time.Time {
		t.Helper()
		health, err := webhookrelay.NewDeliveries(w.pool).Health(t.Context(), []string{"hook"})
		if err != nil {
			t.Fatal(err)
		}
		return health["hook"].FailingSince
	}

	began := w.clock.Now()
	hours(24)
	if since := failingSince(); warnings() != 0 || since == nil || !since.Equal(began) {
		t.Errorf("after a day: %d warnings, failing since %v, want %v", warnings(), since, began)
	}
	hours(12)
	if warnings() != 1 || len(w.disabled) != 0 {
		t.Errorf("after a day and a half: %d warnings, disabled %v", warnings(), w.disabled)
	}
	// A single success, and all is well.
	rc.set(nil)
	hours(6)
	if since := failingSince(); since != nil {
		t.Errorf("it is failing since %v after a success", since)
	}
	rc.set(status(500))
	hours(47)
	if warnings() != 2 || len(w.disabled) != 0 {
		t.Errorf("after 47 hours: %d warnings, disabled %v", warnings(), w.disabled)
	}
	hours(12)
	if !slices.Equal(w.disabled, []string{"hook"}) || !strings.Contains(logged.String(), "a webhook was disabled") {
		t.Fatalf("after 59 hours: disabled %v\n%s", w.disabled, logged.String())
	}

	rc.set(nil)
	missed := len(w.states("hook")) - w.count("hook", webhookrelay.StateDelivered)
	before := len(rc.all())
	w.setActive("hook", "svc", true)
	w.assign(r)
	w.upkeep(r)
	w.clock.advance(time.Second)
	w.deliverAll(r)
	came := map[string]bool{}
	for _, g := range rc.all()[before:] {
		came[g.event.ID] = true
	}
	if n := w.count("hook", webhookrelay.StateDelivered); missed == 0 || len(came) != missed || n != len(w.states("hook")) {
		t.Errorf("%d of %d that it missed came, and %d of %d are delivered", len(came), missed, n, len(w.states("hook")))
	}
	if since := failingSince(); since != nil {
		t.Errorf("it is failing since %v after it was enabled", since)
	}
}

// TestSilenceIsNoFailure: attempts that failed long ago, and nothing since, say little.
func TestSilenceIsNoFailure(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	rc.set(status(500))
	r := w.relay(func(c *webhookrelay.Config) { c.DisableAfter = 72 * time.Hour })
	w.webhook("hook", "svc", rc.URL)
	w.submit("claim_1", "svc")
	w.assign(r)
	for range 30 { // the retries are over after five times twelve hours
		w.deliverAll(r)
		w.upkeep(r)
		w.clock.advance(12 * time.Hour)
	}
	if n := len(rc.all()); n != 6 || len(w.disabled) != 0 {
		t.Errorf("after %d attempts and two weeks: disabled %v", n, w.disabled)
	}
}

// meanwhile disables webhooks, and has something happen once when the first is.
type meanwhile struct {
	*world
	happens func(disabling string)
}

func (m *meanwhile) DisableWebhook(ctx context.Context, namespace, serviceID, webhookID, reason string) error {
	if f := m.happens; f != nil {
		m.happens = nil
		f(webhookID)
	}
	return m.world.DisableWebhook(ctx, namespace, serviceID, webhookID, reason)
}

// TestDisablingIsThoughtAgain: each command to disable a webhook rests on how it is at that
// moment. What was seen before others were disabled may be over: the receiver answers, or the
// owner has enabled the webhook again.
func TestDisablingIsThoughtAgain(t *testing.T) {
	for name, c := range map[string]struct {
		status  int
		happens func(w *world, r *webhookrelay.Relay, webhookID string, rc *receiver)
	}{
		"failing, and answers": {500, func(w *world, r *webhookrelay.Relay, webhookID string, rc *receiver) {
			rc.set(nil)
			w.clock.advance(3 * time.Hour)
			w.deliverAll(r)
		}},
		"failing, and is enabled": {500, func(w *world, r *webhookrelay.Relay, webhookID string, _ *receiver) {
			w.setActive(webhookID, "svc", false)
			w.setActive(webhookID, "svc", true)
			w.assign(r)
		}},
		"gone, and is enabled": {410, func(w *world, r *webhookrelay.Relay, webhookID string, _ *receiver) {
			w.setActive(webhookID, "svc", false)
			w.setActive(webhookID, "svc", true)
			w.assign(r)
		}},
		"gone, and asked of by another relay": {410, func(w *world, r *webhookrelay.Relay, webhookID string, _ *receiver) {
			w.exec("UPDATE webhookrelay.endpoints SET disable_asked_at = $2 WHERE webhook_id = $1", webhookID, w.clock.Now())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			m := &meanwhile{world: w}
			r := w.relay(func(c *webhookrelay.Config) { c.DisableAfter, c.Disabler = 3*time.Hour, m })
			receivers := map[string]*receiver{"hook-1": w.receiver(), "hook-2": w.receiver()}
			for id, rc := range receivers {
				rc.set(status(c.status))
				w.webhook(id, "svc", rc.URL)
			}
			w.submit("claim_1", "svc")
			w.assign(r)
			for range 4 {
				w.deliverAll(r)
				w.clock.advance(2 * time.Hour)
			}
			var first string
			m.happens = func(disabling string) {
				first = disabling
				for id, rc := range receivers {
					if id != disabling {
						c.happens(w, r, id, rc)
					}
				}
			}
			w.upkeep(r)
			if first == "" || !slices.Equal(w.disabled, []string{first}) {
				t.Errorf("%v were disabled, want %s alone", w.disabled, first)
			}
		})
	}
}

func (w *world) count(webhookID string, state webhookrelay.State) (n int) {
	for _, s := range w.states(webhookID) {
		if s == state {
			n++
		}
	}
	return n
}
