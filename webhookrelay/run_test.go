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

// TestStartsAtOnce: from the commit to the request, with an idle relay.
func TestStartsAtOnce(t *testing.T) {
	w := newRealWorld(t)
	rc := w.receiver()
	w.webhook("hook", "svc", rc.URL)
	assigning := w.relay(nil)
	w.start(assigning)
	eventually(t, "one assigns", func() bool { return assigning.Status().Assigner == webhookrelay.AssignerActive })
	w.submit("claim_0", "svc")
	rc.wait(1)
	var took []time.Duration
	for i := 1; i <= 20; i++ {
		began := time.Now()
		w.submit(fmt.Sprint("claim_", i), "svc")
		took = append(took, rc.wait(1 + i)[i].at.Sub(began))
	}
	slices.Sort(took)
	t.Logf("median %v, most %v", took[10], took[19])
	if took[10] > 300*time.Millisecond {
		t.Errorf("the median is %v", took[10])
	}
	if took := testutil.CollectAndCount(assigning.Metrics()); took < 10 {
		t.Errorf("%d metrics", took)
	}
	problems, err := testutil.CollectAndLint(assigning.Metrics())
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// TestWokenByAnotherProcess: what one process assigns, another delivers at once.
func TestWokenByAnotherProcess(t *testing.T) {
	w := newRealWorld(t)
	rc := w.receiver()
	w.webhook("hook", "svc", rc.URL)
	assigning := w.relay(nil)
	w.assign(assigning)
	// Without a log it never assigns.
	delivering := w.relay(func(c *webhookrelay.Config) { c.Log = eventstore.NewMemory() })
	w.start(delivering)
	eventually(t, "it gave up assigning", func() bool { return delivering.Status().Assigner == webhookrelay.AssignerStopped })
	w.submit("claim_0", "svc")
	w.assign(assigning)
	rc.wait(1) // it listens by now, or found this one by looking
	var took []time.Duration
	for i := 1; i <= 9; i++ {
		w.submit(fmt.Sprint("claim_", i), "svc")
		w.assign(assigning)
		began := time.Now()
		took = append(took, rc.wait(1 + i)[i].at.Sub(began))
	}
	slices.Sort(took)
	t.Logf("median %v, most %v", took[4], took[8])
	if took[4] > 300*time.Millisecond { // looking now and then alone would take 500 ms
		t.Errorf("the median is %v", took[4])
	}
}

// TestNoisyNeighbours: endpoints that hang until the timeout, more of them than the
// attempts that one process makes for them, delay a healthy one by less than a second.
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
	w.start(w.relay(nil))
	hanging.wait(4 * noisy) // all of them hang as much as they can
	var most time.Duration
	for i := range 20 {
		began := time.Now()
		w.submit(fmt.Sprint("claim_quiet_", i), "svc-quiet")
		most = max(most, healthy.wait(1 + i)[i].at.Sub(began))
	}
	t.Logf("at most %v", most)
	if most > time.Second {
		t.Errorf("a healthy endpoint's delivery began after %v", most)
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
