package commands

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

// tornWithout is a log that has lost its last commit.
func tornWithout(t *testing.T, log eventstore.Log) *eventstore.Memory {
	t.Helper()
	torn, end := eventstore.NewMemory(), last(t, log)
	heads := map[domain.Boundary]eventstore.Head{}
	err := log.ReadAll(t.Context(), "", 0, func(r eventstore.Record) error {
		if r.Position == end {
			return nil
		}
		again, err := torn.Append(t.Context(), heads[r.Commit.Boundary()], r.Commit)
		heads[again.Commit.Boundary()] = again.Head()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return torn
}

// fenced is an executor with a fence that is told of nothing but by the test, as if its
// follower were late.
func fenced(t *testing.T, log eventstore.Log) *Executor {
	t.Helper()
	x := NewExecutor(Config{
		Log: log, Fence: eventstore.NewFence(logtest.Logger(t)), Limits: domain.DefaultOwnerLimits(), NewID: newID,
		Logger: logtest.Logger(t), Metrics: NewMetrics(prometheus.NewRegistry()), Now: time.Now,
	})
	if err := x.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return x
}

// What a process knows and the log has lost must not be the ground of any answer, also
// when others have filled the place meanwhile.
func TestTheLogLosesWhatAProcessKnows(t *testing.T) {
	t.Parallel()
	for name, others := range map[string]int{"nobody was there since": 0, "the place is filled": 1, "and more": 2, "and still more": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &swapped{Log: eventstore.NewMemory()}
			newTester(t, log.Log).namespace("acme")
			x := fenced(t, log)
			lost := submission("acme")
			if _, _, err := x.Claims(t.Context(), "acme", lost, ref("claim")); err != nil {
				t.Fatal(err)
			}

			log.Log = tornWithout(t, log.Log)
			other := newTester(t, log.Log)
			for range others {
				other.submit("acme")
			}
			end := last(t, log)
			for what, cmd := range map[string]domain.ClaimCommand{
				"a submit": submission("acme"), "an approval": domain.Approve{ClaimID: lost.ClaimID},
				"an answer that appends nothing": repeated(lost), "a refusal": domain.Revoke{ClaimID: lost.ClaimID},
			} {
				_, _, err := x.Claims(t.Context(), "acme", cmd, ref("claim"))
				wantCode(t, what, err, domain.CodeServiceUnavailable)
			}
			if others > 0 && x.Fence.Broken() == nil {
				t.Error("the fence is open")
			}
			if now := last(t, log); now != end {
				t.Errorf("%d commits were appended on what is lost", now-end)
			}
		})
	}
}

// repeated is the same agent's next request, which is told of the claim that there is.
func repeated(s domain.Submit) domain.Submit {
	again := submission(s.ServiceID)
	again.PublicKey = s.PublicKey
	return again
}

// swapped is a log that a test replaces by another.
type swapped struct{ eventstore.Log }
