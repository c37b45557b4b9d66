package webhookrelay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/claimledger/claimledger/webhookrelay"
	"github.com/claimledger/claimledger/webhookrelay/attempt"
)

// taker is a receiver that takes what comes, or nothing, without a network.
type taker struct {
	mu    sync.Mutex
	down  bool
	taken []event
}

func (k *taker) Send(_ context.Context, r attempt.Request) attempt.Outcome {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.down {
		return attempt.Outcome{Error: attempt.ReasonConnection}
	}
	var e event
	if err := json.Unmarshal(r.Body, &e); err != nil {
		return attempt.Outcome{Error: err.Error()}
	}
	k.taken = append(k.taken, e)
	return attempt.Outcome{Status: 200}
}

func (k *taker) set(down bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.down = down
}

// sequences are those of what was taken, from a number on.
func (k *taker) sequences(from int) (all []int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range k.taken[from:] {
		all = append(all, e.Sequence)
	}
	return all
}

// TestCatchingUp: what a webhook missed comes when it is enabled again, in its order and due a
// hundred a second, and what is new meanwhile does not wait for that.
func TestCatchingUp(t *testing.T) {
	w := newWorld(t)
	receiver := &taker{down: true}
	r := w.relay(func(c *webhookrelay.Config) {
		c.Sender, c.Retries = receiver, []time.Duration{time.Minute}
	})
	w.webhook("hook", "svc", "https://hook.example")
	pass := func(d time.Duration) {
		t.Helper()
		w.clock.advance(d)
		w.assign(r)
		w.deliverAll(r)
	}
	// Six are dead, a thousand were delivered, which is more than a piece of a requeue, and
	// of the others some wait for a retry, some were never tried, and some are held.
	for i := range 3 {
		w.submit(fmt.Sprint("claim_", i), "svc")
		w.approve(fmt.Sprint("claim_", i))
	}
	for range 10 {
		pass(time.Minute)
	}
	for i := range 1000 {
		w.submit(fmt.Sprint("claim_delivered_", i), "svc")
	}
	w.assign(r)
	w.exec(`UPDATE webhookrelay.deliveries SET state = 'delivered', queued = false, ended_at = $1 WHERE state = 'pending'`, w.clock.Now())
	w.exec(`DELETE FROM webhookrelay.queue WHERE state = 'pending'`)
	for i := 3; i < 20; i++ {
		w.submit(fmt.Sprint("claim_", i), "svc")
	}
	pass(time.Second)
	w.setActive("hook", "svc", false)
	for i := range 60 {
		if i >= 20 {
			w.submit(fmt.Sprint("claim_", i), "svc")
		}
		if i >= 3 {
			w.approve(fmt.Sprint("claim_", i))
		}
	}
	pass(time.Second)
	var missed []int64
	states := map[webhookrelay.State]int{}
	for _, d := range w.deliveries("hook") {
		states[d.State]++
		if d.State != webhookrelay.StateDelivered {
			missed = append(missed, int64(d.Sequence))
		}
	}
	if states[webhookrelay.StateDead] != 6 || states[webhookrelay.StateDelivered] != 1000 || len(missed) != 120 {
		t.Fatalf("%v", states)
	}

	receiver.set(false)
	w.setActive("hook", "svc", true)
	w.assign(r)
	w.upkeep(r)
	for n := 1; n <= len(missed); n++ {
		w.deliverAll(r)
		got := receiver.sequences(0)
		slices.Sort(got)
		if !slices.Equal(got, missed[:n]) {
			t.Fatalf("after %d times 10 ms, %d came of %d: %v", n-1, len(got), len(missed), got)
		}
		w.clock.advance(10 * time.Millisecond)
		if n == 10 { // what is new, of a claim of which nothing waits, comes at once
			w.submit("claim_new", "svc")
			w.assign(r)
			w.deliver(r)
			if len(receiver.sequences(n)) == 0 {
				t.Error("what is new waits for what is old")
			}
			receiver.mu.Lock()
			receiver.taken = slices.DeleteFunc(receiver.taken, func(e event) bool { return e.claim() == "claim_new" })
			receiver.mu.Unlock()
		}
	}
	if n := w.count("hook", webhookrelay.StateDelivered); n != 1121 {
		t.Errorf("%d are delivered", n)
	}
	var left int
	if err := w.pool.QueryRow(t.Context(), `SELECT count(*) FROM webhookrelay.tasks`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d tasks are left, %v", left, err)
	}
}

// TestNewBeforeRequeued: what happens after a webhook was enabled does not wait for what it
// missed, though upkeep has yet to begin with that; where it is of a claim of which something
// waits, it comes after that.
func TestNewBeforeRequeued(t *testing.T) {
	w := newWorld(t)
	receiver := &taker{}
	r := w.relay(func(c *webhookrelay.Config) { c.Sender = receiver })
	w.webhook("hook", "svc", "https://hook.example")
	w.setActive("hook", "svc", false)
	const held = 30
	for i := range held {
		w.submit(fmt.Sprint("claim_", i), "svc")
	}
	w.setActive("hook", "svc", true)
	w.submit("claim_new", "svc") // 31
	w.assign(r)
	w.approve("claim_9")           // 32
	w.submit("claim_newer", "svc") // 33
	w.assign(r)
	w.upkeep(r)
	w.deliverAll(r)
	got := receiver.sequences(0)
	if slices.Sort(got); !slices.Equal(got, []int64{1, 31, 33}) {
		t.Errorf("at first %v came", got)
	}
	if q := w.queue("hook", "pending"); len(q) == 0 || !q[0].DueAt.After(w.clock.Now()) {
		t.Errorf("in the queue, due before what it waits for: %v", q)
	}
	w.checkLanes()
	for range held + 2 {
		w.clock.advance(10 * time.Millisecond)
		w.deliverAll(r)
	}
	if got = receiver.sequences(0); len(got) != 33 || slices.Index(got, 10) > slices.Index(got, 32) {
		t.Errorf("there came %v", got)
	}
}
