package main

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// missedVariable makes what a webhook misses as much as `make chaos` has it.
const missedVariable = "CLAIMLEDGER_CHAOS_MISSED"

// burdened is an endpoint that is down at first, and notes how much comes at it once it is
// up.
type burdened struct {
	*hooks

	mu            sync.Mutex
	up            bool
	refused       int
	busy, busiest int
	arrivals      []time.Time
}

// working is how long it takes for a request, so that others come meanwhile.
const working = 5 * time.Millisecond

func (b *burdened) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	up := b.up
	if up {
		b.busy++
		b.busiest = max(b.busiest, b.busy)
		b.arrivals = append(b.arrivals, time.Now())
	} else {
		b.refused++
	}
	b.mu.Unlock()
	if !up {
		reset(w)
		return
	}
	body, err := io.ReadAll(r.Body)
	<-time.After(working)
	b.mu.Lock()
	b.busy-- // it is done: the next may come as soon as the answer does
	b.mu.Unlock()
	if err == nil {
		b.hooks.accept(r.Header, body)
	}
	w.WriteHeader(http.StatusNoContent)
}

func (b *burdened) goesUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.up = true
}

// burden is what came at it: how many at a time at most, how many in one second, and when
// the last came.
func (b *burdened) burden(since time.Time) (busiest, mostASecond int, took time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	first := 0
	for i, at := range b.arrivals {
		for at.Sub(b.arrivals[first]) >= time.Second {
			first++
		}
		mostASecond = max(mostASecond, i-first+1)
	}
	return b.busiest, mostASecond, b.arrivals[len(b.arrivals)-1].Sub(since)
}

// A consumer is down until its deliveries are dead and its webhook is disabled, and then
// enables it again: everything comes, in order, a few at a time and not all at once, and what
// happens meanwhile does not wait for that.
func TestDownForTheWholeRetryWindow(t *testing.T) {
	t.Parallel()
	missed := sizeFrom(t, missedVariable, 200)
	dir := pgtest.Dir(t)
	p := serve(t, "--data-dir", dir, "--listen", freeAddress(t), "--webhook-allow-private",
		"--webhook-retries", "100ms,200ms", "--webhook-disable-after", "1s")
	tn := newTenant(t, newClient(t, p.address), "acme", "--data-dir", dir)
	tn.policy(map[string]any{"max_pending": 1_000_000, "max_agents": 1_000_000})
	b := &burdened{hooks: makeHooks(t)}
	b.hooks.serve(b)
	var made struct{ ID string }
	tn.expect(201, "POST", "/v1/services/"+tn.service+"/webhooks", map[string]any{"url": b.url, "secret": b.secret}, tn.asOwner).decode(t, &made)
	path := "/v1/services/" + tn.service + "/webhooks/" + made.ID

	l := newLoad(tn)
	l.decides = true
	happens := func(events int) {
		want := l.count(func() int { return len(l.answers) }) + events
		l.begin(workersEach)
		eventually(t, 10*time.Minute, func() error {
			if n := l.count(func() int { return len(l.answers) }); n < want {
				return fmt.Errorf("%d of %d commands were answered", n, want)
			}
			return nil
		})
		l.halt()
	}
	happens(missed / 2)
	eventually(t, patience, func() error {
		var webhook struct{ Active bool }
		tn.expect(200, "GET", path, nil, tn.asOwner).decode(t, &webhook)
		if webhook.Active {
			return fmt.Errorf("it is not disabled")
		}
		return nil
	})
	happens(missed - missed/2) // while nobody calls it
	l.settle()
	missed = len(l.answers)
	var dead struct{ Deliveries []record }
	tn.expect(200, "GET", path+"/deliveries?state=dead&limit=1", nil, tn.asOwner).decode(t, &dead)
	if len(dead.Deliveries) == 0 {
		t.Error("nothing is dead")
	}

	b.goesUp()
	enabled := time.Now()
	tn.expect(200, "PATCH", path, map[string]any{"active": true}, tn.asOwner)
	b.awaitEvents(patience, 1)
	asked := time.Now()
	fresh, _ := tn.mustSubmit()
	b.await(patience, "request.submitted", []string{fresh})
	waited, before := time.Since(asked), len(b.inOrder())
	b.awaitEvents(10*time.Minute, missed+1)
	p.stop()

	log := newLedgerLog()
	readLog(t, dir, func(r eventstore.Record) {
		if err := log.add(r); err != nil {
			t.Error(err)
		}
	})
	events, arrivals := b.check()
	for _, err := range misdelivered(log.events["acme"], b.inOrder()) {
		t.Error(err)
	}
	busiest, most, took := b.burden(enabled)
	if least := time.Duration(missed-1) * 10 * time.Millisecond; busiest > 4 || took < least {
		t.Errorf("%d at a time, and all within %s, not %s", busiest, took, least)
	}
	t.Logf("%d events were missed, of which %d attempts failed; %d came, in %d requests, within %s: %.0f a second, at most %d in one, at most %d at a time; "+
		"a new event came after %s, as number %d", missed, b.refused, events, arrivals, took.Round(time.Millisecond), float64(arrivals)/took.Seconds(), most, busiest,
		waited.Round(time.Millisecond), before)
}
