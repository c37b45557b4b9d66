package webhookrelay_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/webhookrelay"
)

// TestStartsAtOnce: from the commit to the request nothing is waited for but being told.
func TestStartsAtOnce(t *testing.T) {
	w := newRealWorld(t)
	rc := w.receiver()
	w.webhook("hook", "svc", rc.URL)
	assigning := w.relay(nil).Unpolled()
	w.start(assigning)
	for i := range 20 {
		w.submit(fmt.Sprint("claim_", i), "svc")
		rc.wait(1 + i)
	}
	if took := testutil.CollectAndCount(assigning.Metrics()); took < 10 {
		t.Errorf("%d metrics", took)
	}
	problems, err := testutil.CollectAndLint(assigning.Metrics())
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// TestWokenByAnotherProcess: what one process assigns, another delivers because it is told.
func TestWokenByAnotherProcess(t *testing.T) {
	w := newRealWorld(t)
	rc := w.receiver()
	w.webhook("hook", "svc", rc.URL)
	assigning := w.relay(nil)
	w.assign(assigning)
	// Without a log it never assigns.
	delivering := w.relay(func(c *webhookrelay.Config) { c.Log = eventstore.NewMemory() }).Unpolled()
	w.start(delivering)
	eventually(t, "it gave up assigning", func() bool { return delivering.Status().Assigner == webhookrelay.AssignerStopped })
	for i := range 10 {
		w.submit(fmt.Sprint("claim_", i), "svc")
		w.assign(assigning)
		rc.wait(1 + i)
	}
}

// TestNoisyNeighbours: a healthy endpoint is served while others hang, more of them than the
// attempts that one process makes for such as do.
func TestNoisyNeighbours(t *testing.T) {
	w := newRealWorld(t)
	done := make(chan struct{})
	hanging := w.receiver()
	hanging.set(func(event, int, http.ResponseWriter) { <-done })
	healthy := w.receiver()
	const noisy = 100
	for i := range noisy {
		w.webhook(fmt.Sprintf("noisy-%03d", i), fmt.Sprint("svc-noisy-", i), hanging.URL)
	}
	w.webhook("quiet", "svc-quiet", healthy.URL)
	for i := range 8 * noisy {
		w.submit(fmt.Sprint("claim_noisy_", i), fmt.Sprint("svc-noisy-", i%noisy))
	}
	r := w.relay(nil).Unpolled()
	w.start(r)
	hanging.wait(4 * noisy) // all of them hang as much as they can
	served := 0             // while all of them did
	for i := range 20 {
		w.submit(fmt.Sprint("claim_quiet_", i), "svc-quiet")
		healthy.wait(1 + i)
		if r.Status().InFlight < 4*noisy {
			break // they begin to time out
		}
		served++
	}
	t.Logf("%d deliveries", served)
	if served == 0 {
		t.Error("nothing was delivered before the others timed out")
	}
	if n := len(hanging.all()); n != 4*noisy {
		t.Errorf("%d attempts hang, want %d", n, 4*noisy)
	}
	close(done)
}

// TestStopping: what is in flight finishes, and is written.
func TestStopping(t *testing.T) {
	w := newRealWorld(t)
	rc := w.receiver()
	inFlight, release := make(chan struct{}), make(chan struct{})
	rc.set(func(event, int, http.ResponseWriter) { close(inFlight); <-release })
	w.webhook("hook", "svc", rc.URL)
	w.submit("claim_1", "svc")
	r := w.relay(nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	<-inFlight
	cancel()
	eventually(t, "only the attempt is left", func() bool { return w.pool.Stat().AcquiredConns() == 0 })
	select {
	case <-ended:
		t.Error("it ended with an attempt in flight")
	default:
	}
	close(release)
	<-ended
	if got := w.states("hook"); !slices.Equal(got, []webhookrelay.State{webhookrelay.StateDelivered}) {
		t.Errorf("states %v", got)
	}
	if n := r.Status().InFlight; n != 0 {
		t.Errorf("%d in flight", n)
	}
}

// TestStoppingIsBounded: a receiver that hangs does not keep the process, and its
// delivery is free for the next one at once.
func TestStoppingIsBounded(t *testing.T) {
	w := newRealWorld(t)
	rc := w.receiver()
	done, inFlight := make(chan struct{}), make(chan struct{})
	rc.set(func(_ event, n int, _ http.ResponseWriter) {
		if n == 1 {
			close(inFlight)
			<-done
		}
	})
	t.Cleanup(func() { close(done) })
	w.webhook("hook", "svc", rc.URL)
	w.submit("claim_1", "svc")
	stop := w.start(w.relay(nil))
	<-inFlight
	began := time.Now()
	stop()
	if took := time.Since(began); took > 9*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if n := w.deliver(w.relay(nil)); n != 1 {
		t.Errorf("%d attempts by the next process", n)
	}
}

// TestUpkeepRunsByItself: enabling and deleting take effect without anyone's step.
func TestUpkeepRunsByItself(t *testing.T) {
	w := newRealWorld(t)
	rc := w.receiver()
	rc.set(status(410))
	w.webhook("hook", "svc", rc.URL)
	w.start(w.relay(nil))
	w.submit("claim_1", "svc")
	eventually(t, "it is disabled", func() bool { return strings.Contains(fmt.Sprint(w.states("hook")), "held") })
	eventually(t, "the command was given", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.disabled) == 1 })
	rc.set(nil)
	w.setActive("hook", "svc", true)
	eventually(t, "it is delivered", func() bool { return w.states("hook")[0] == webhookrelay.StateDelivered })
}
