package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

func TestClosedLoop(t *testing.T) {
	seen := make([]int, 100)
	o, err := closedLoop(t.Context(), 7, len(seen), forever, func(_, i int) error { seen[i]++; return nil })
	if err != nil || o.Done != len(seen) || len(o.Latencies) != len(seen) {
		t.Fatalf("%+v, %v", o, err)
	}
	for i, n := range seen {
		if n != 1 {
			t.Errorf("operation %d was made %d times", i, n)
		}
	}
}

// Who had to wait for a worker has waited from the moment at which he was due.
func TestOpenLoopCountsWaiting(t *testing.T) {
	const slow = 50 * time.Millisecond
	o, err := openLoop(t.Context(), 1, 3, 1000, func(_, i int) error {
		if i == 0 {
			<-time.After(slow)
		}
		return nil
	})
	if err != nil || o.Done != 3 {
		t.Fatalf("%+v, %v", o, err)
	}
	// The last was due 2 ms after the first, which took at least so long.
	if least := slow - 2*time.Millisecond; o.Latencies[0] < least {
		t.Errorf("the latencies are %v; none may be below %v", o.Latencies, least)
	}
}

func TestLoadsEndWithAnError(t *testing.T) {
	broken := errors.New("broken")
	op := func(_, i int) error {
		if i == 5 {
			return broken
		}
		return nil
	}
	if _, err := closedLoop(t.Context(), 3, unbounded, forever, op); !errors.Is(err, broken) {
		t.Errorf("the closed loop ended with %v", err)
	}
	if _, err := openLoop(t.Context(), 3, 1000, 10_000, op); !errors.Is(err, broken) {
		t.Errorf("the open loop ended with %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := closedLoop(ended, 3, unbounded, forever, func(_, _ int) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("the interrupted loop ended with %v", err)
	}
}

func TestQuantiles(t *testing.T) {
	var o Outcome
	for i := range 100 {
		o.Latencies = append(o.Latencies, time.Duration(100-i))
	}
	o.sort()
	for share, want := range map[float64]time.Duration{0: 1, 0.5: 51, 0.99: 100, 1: 100} {
		if got := o.quantile(share); got != want {
			t.Errorf("the quantile %v is %d, not %d", share, got, want)
		}
	}
	if got := (Outcome{}).quantile(0.5); got != 0 {
		t.Errorf("the quantile of nothing is %v", got)
	}
}

// A wrong answer is no figure.
func TestWrongAnswers(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refuses" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintf(w, `{"authorized":%t}`, r.URL.Path == "/right")
	}))
	defer server.Close()
	conns, err := connect(t.Context(), server.Listener.Addr().String(), 1, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer conns.close()
	conns.status, conns.body, conns.answers = http.StatusOK, []byte(`"authorized":true`), make([][]byte, 4)
	for i, path := range []string{"/right", "/wrong", "/refuses", "/right"} {
		requests, err := prepareAll(1, func(int) (*http.Request, error) { return http.NewRequest("GET", server.URL+path, nil) })
		if err != nil {
			t.Fatal(err)
		}
		if err := conns.send(0, i, requests[0]); (err == nil) != (path == "/right") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// What was acknowledged and is not in the log is found.
func TestLostCommitsAreFound(t *testing.T) {
	log := eventstore.NewMemory()
	commit := domain.NewCommit("01J00000000000000000000000", domain.ClaimsOf("acme"), time.Unix(1, 0), domain.Actor{Kind: domain.ActorClock},
		domain.CommandRef{Name: "claim.submit"}, nil, []domain.Payload{domain.ClaimSubmitted{ClaimID: "claim_a"}})
	if _, err := log.Append(t.Context(), eventstore.Head{}, commit); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		event  domain.EventType
		before uint64
		answer string
		ok     bool
	}{
		{domain.ClaimSubmittedType, 0, `{"claim_id":"claim_a"}`, true},
		{domain.ClaimSubmittedType, 0, `{"claim_id":"claim_b"}`, false},
		{domain.ClaimSubmittedType, 1, `{"claim_id":"claim_a"}`, false},
		{domain.ClaimApprovedType, 0, `{"claim_id":"claim_a"}`, false},
	} {
		w := &writing{event: test.event}
		err := w.check(t.Context(), log, test.before, [][]byte{nil, []byte(test.answer)})
		if (err == nil) != test.ok || test.ok && w.wrote.checked != 1 {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

func TestResults(t *testing.T) {
	series := func(u unit, figures ...float64) *Series { return &Series{unit: u, Rounds: figures, done: 1} }
	for _, test := range []struct {
		unit          unit
		ledger, other []float64
		wanted        float64
		ratio         float64
		reached       bool
	}{
		{perSecond, []float64{10, 30, 20}, []float64{40, 10, 20}, 1, 1, true},
		{perSecond, []float64{10, 20}, []float64{20, 40}, 0.6, 0.5, false},
		{perSecond, []float64{1}, []float64{10}, 0, 0.1, true},
		{median, []float64{3}, []float64{1}, 2.5, 3, false},
		{p99, []float64{2}, []float64{1}, 2.5, 2, true},
	} {
		r := newResult(workload{name: "w", unit: test.unit, wanted: test.wanted}, &pair{}, series(test.unit, test.ledger...), series(test.unit, test.other...))
		if r.Ratio != test.ratio || r.Reached != test.reached {
			t.Errorf("%+v: the ratio is %v, reached %t", test, r.Ratio, r.Reached)
		}
		var out strings.Builder
		report := Report{Results: []Result{r}}
		if err := report.Print(&out); err != nil || len(report.Missed()) > 0 == test.reached {
			t.Errorf("%+v: %v, %v", test, report.Missed(), err)
		}
	}
}

func TestProjected(t *testing.T) {
	const claims, feed = appliedMetrics + `model="claims"}`, appliedMetrics + `model="feed"}`
	for _, test := range []struct {
		values map[string]float64
		want   bool
	}{
		{map[string]float64{claims: 5, feed: 5}, true},
		{map[string]float64{claims: 5, feed: 4}, false},
		{nil, true},
	} {
		if got := projected(test.values, 5); got != test.want {
			t.Errorf("%v: %t", test.values, got)
		}
	}
}
