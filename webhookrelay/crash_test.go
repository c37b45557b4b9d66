package webhookrelay_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
	"github.com/claimledger/claimledger/webhookrelay"
	"github.com/claimledger/claimledger/webhookrelay/attempt"
)

// senderFunc makes attempts as a test wants them.
type senderFunc func(ctx context.Context, r attempt.Request) attempt.Outcome

func (f senderFunc) Send(ctx context.Context, r attempt.Request) attempt.Outcome { return f(ctx, r) }

// realSender sends.
func realSender() webhookrelay.Sender {
	return &attempt.Sender{Transport: http.DefaultTransport, Version: "test"}
}

// dyingRelay loses its database after an attempt, as a process that is killed between
// sending and writing the outcome.
func (w *world) dyingRelay() *webhookrelay.Relay {
	pool := w.newPool()
	return w.relay(func(c *webhookrelay.Config) {
		c.Pool = pool
		c.Sender = senderFunc(func(ctx context.Context, r attempt.Request) attempt.Outcome {
			o := realSender().Send(ctx, r)
			pool.Close()
			return o
		})
	})
}

// TestCrashBetweenAssigningAndDelivering: another process finds the rows.
func TestCrashBetweenAssigningAndDelivering(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	w.webhook("hook", "svc", rc.URL)
	w.submit("claim_1", "svc")
	w.assign(w.relay(nil))
	second := w.relay(nil)
	if n := w.assign(second); n != 0 {
		t.Errorf("%d commits were read twice", n)
	}
	if n := w.deliver(second); n != 1 || len(rc.all()) != 1 {
		t.Errorf("%d attempts", n)
	}
}

// TestCrashBetweenSendingAndWriting: delivered again with the same bytes, when the lease
// has run out and not before.
func TestCrashBetweenSendingAndWriting(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	w.webhook("hook", "svc", rc.URL)
	w.submit("claim_1", "svc")
	dying := w.dyingRelay()
	w.assign(dying)
	if n, err := dying.DeliverDue(t.Context()); n != 1 || err == nil {
		t.Errorf("%d attempts, %v", n, err)
	}
	w.approve("claim_1")
	second := w.relay(nil)
	w.assign(second)
	w.clock.advance(29 * time.Second)
	if n := w.deliverAll(second); n != 0 {
		t.Errorf("%d attempts while another has the lease", n)
	}
	w.clock.advance(2 * time.Second)
	if n := w.deliverAll(second); n != 2 {
		t.Errorf("%d attempts, want the first again, and then the next of the claim", n)
	}
	got := rc.all()
	if len(got) != 3 || string(got[0].body) != string(got[1].body) || got[2].event.Sequence != 2 {
		t.Errorf("got %d requests", len(got))
	}
}

// TestKilledAlone: a relay that has the database to itself does not wait for the leases
// of the process before it, which is dead.
func TestKilledAlone(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	w.webhook("hook", "svc", rc.URL)
	w.submit("claim_1", "svc")
	dying := w.dyingRelay()
	w.assign(dying)
	if n, err := dying.DeliverDue(t.Context()); n != 1 || err == nil {
		t.Errorf("%d attempts, %v", n, err)
	}
	w.start(w.relay(func(c *webhookrelay.Config) { c.Alone = true })) // no lease runs out: the clock stands
	eventually(t, "it is delivered again", func() bool { return len(rc.all()) == 2 })
}

// TestLateOutcome: who comes back after his lease was given to another changes nothing.
func TestLateOutcome(t *testing.T) {
	w := newWorld(t)
	w.webhook("hook", "svc", "http://127.0.0.1:1")
	w.submit("claim_1", "svc")
	sending, release := make(chan struct{}), make(chan struct{})
	slow := w.relay(func(c *webhookrelay.Config) {
		c.Sender = senderFunc(func(context.Context, attempt.Request) attempt.Outcome {
			close(sending)
			<-release
			return attempt.Outcome{Status: 500, Error: "status 500"}
		})
	})
	quick := w.relay(func(c *webhookrelay.Config) {
		c.Sender = senderFunc(func(context.Context, attempt.Request) attempt.Outcome { return attempt.Outcome{Status: 200} })
	})
	w.assign(slow)
	ended := make(chan error)
	go func() {
		_, err := slow.DeliverDue(t.Context())
		ended <- err
	}()
	<-sending
	w.clock.advance(time.Minute)
	if n := w.deliver(quick); n != 1 {
		t.Errorf("%d attempts after the lease ran out", n)
	}
	close(release)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if d := w.deliveries("hook")[0]; d.State != webhookrelay.StateDelivered || d.Attempts != 1 || d.Last.Status != 200 {
		t.Errorf("%+v, %+v", d, d.Last)
	}
	if n := w.deliver(slow); n != 0 {
		t.Errorf("%d attempts after that", n)
	}
}

// TestLateAttempt: a lease that ran out before the attempt began is given back.
func TestLateAttempt(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	w.webhook("hook", "svc", rc.URL)
	w.submit("claim_1", "svc")
	w.assign(w.relay(nil))
	// The process sleeps after leasing: the second look at the clock is a minute later.
	looks := 0
	sleepy := w.relay(func(c *webhookrelay.Config) {
		c.Clock = func() time.Time {
			if looks++; looks == 2 {
				w.clock.advance(time.Minute)
			}
			return w.clock.Now()
		}
	})
	w.deliver(sleepy)
	if n := len(rc.all()); n != 0 {
		t.Errorf("%d requests under a lease that had run out", n)
	}
	if n := w.deliver(w.relay(nil)); n != 1 || len(rc.all()) != 1 {
		t.Errorf("%d attempts after it was given back", n)
	}
}

// TestInterruptedAttemptsDoNotCount: stopping is not the receiver's failure.
func TestInterruptedAttemptsDoNotCount(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	w.webhook("hook", "svc", rc.URL)
	w.submit("claim_1", "svc")
	ctx, cancel := context.WithCancel(t.Context())
	rc.set(func(event, int, http.ResponseWriter) { cancel() })
	r := w.relay(func(c *webhookrelay.Config) {
		c.Sender = senderFunc(func(ctx context.Context, r attempt.Request) attempt.Outcome {
			realSender().Send(ctx, r)
			return attempt.Outcome{Error: attempt.ReasonInterrupted}
		})
	})
	w.assign(r)
	if _, err := r.DeliverDue(ctx); err != nil {
		t.Error(err)
	}
	if d := w.deliveries("hook")[0]; d.State != webhookrelay.StatePending || d.Attempts != 0 {
		t.Errorf("%+v", d)
	}
	if n := w.deliver(w.relay(nil)); n != 1 {
		t.Errorf("%d attempts by the next process", n)
	}
}

// TestManyRelays: several at once, each delivery is attempted by one at a time, never
// more than four for a webhook, and everything arrives in order.
func TestManyRelays(t *testing.T) {
	w := newRealWorld(t)
	var mu sync.Mutex
	attempting, inFlight, most := map[string]bool{}, map[string]int{}, 0
	w.webhook("hook-0", "svc-0", "http://127.0.0.1:1")
	w.webhook("hook-1", "svc-1", "http://127.0.0.1:1")
	order := map[string][]string{}
	sender := senderFunc(func(_ context.Context, r attempt.Request) attempt.Outcome {
		mu.Lock()
		if attempting[r.WebhookID+r.EventID] {
			t.Errorf("%s is attempted twice at a time", r.EventID)
		}
		attempting[r.WebhookID+r.EventID] = true
		inFlight[r.WebhookID]++
		most = max(most, inFlight[r.WebhookID])
		mu.Unlock()
		// Attempts overlap as long as the others are still asking the database.
		w.pool.Exec(context.Background(), "SELECT 1")
		mu.Lock()
		defer mu.Unlock()
		delete(attempting, r.WebhookID+r.EventID)
		inFlight[r.WebhookID]--
		order[r.WebhookID] = append(order[r.WebhookID], string(r.Body))
		return attempt.Outcome{Status: 200}
	})
	const relays, claims = 4, 150
	for range relays {
		pool := w.newPool()
		w.start(w.relay(func(c *webhookrelay.Config) { c.Sender, c.Pool = sender, pool }))
	}
	for i := range claims {
		claim := fmt.Sprint("claim_", i)
		w.submit(claim, fmt.Sprint("svc-", i%2))
		w.approve(claim)
	}
	for _, hook := range []string{"hook-0", "hook-1"} {
		eventually(t, "all is delivered", func() bool {
			states := w.states(hook)
			return len(states) == claims && !slices.ContainsFunc(states, func(s webhookrelay.State) bool { return s != webhookrelay.StateDelivered })
		})
		for i, d := range w.deliveries(hook) {
			if d.Sequence != uint64(i+1) || d.Attempts != 1 {
				t.Errorf("%s: delivery %d has sequence %d and %d attempts", hook, i+1, d.Sequence, d.Attempts)
			}
		}
	}
	if most > 4 {
		t.Errorf("%d attempts at a time for one webhook", most)
	}
}

// TestPostgresRestarts: what was in flight is written when it is back.
func TestPostgresRestarts(t *testing.T) {
	server := pgtest.Server(t)
	w := newWorldAt(t, server.URL())
	w.clock.real = true
	rc := w.receiver()
	w.webhook("hook", "svc", rc.URL)
	inFlight, release := make(chan struct{}), make(chan struct{})
	rc.set(func(e event, n int, _ http.ResponseWriter) {
		if n == 1 {
			close(inFlight)
			<-release
		}
	})
	r := w.relay(nil)
	w.start(r)
	w.submit("claim_1", "svc")
	<-inFlight
	pgtest.Restart(t, server)
	close(release)
	w.approve("claim_1")
	w.submit("claim_2", "svc")
	eventually(t, "all is delivered", func() bool {
		list, err := webhookrelay.NewDeliveries(w.pool).List(t.Context(), "hook", "", "", 10)
		return err == nil && len(list) == 3 &&
			!slices.ContainsFunc(list, func(d webhookrelay.Delivery) bool { return d.State != webhookrelay.StateDelivered })
	})
	if n := len(rc.all()); n != 3 {
		t.Errorf("%d requests for 3 deliveries", n)
	}
}

// TestSetupTwice: several processes start on one database.
func TestSetupTwice(t *testing.T) {
	w := newWorld(t)
	w.exec(`DROP SCHEMA webhookrelay CASCADE`)
	errs := make(chan error)
	for range 2 {
		go func() { errs <- webhookrelay.Setup(t.Context(), w.pool) }()
	}
	if err := errors.Join(<-errs, <-errs); err != nil {
		t.Error(err)
	}
}
