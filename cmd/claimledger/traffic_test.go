package main

import (
	"fmt"
	"testing"
)

// traffic is what owners and agents of several namespaces do at once: they submit, approve,
// reject, revoke and expire, and everything is told to their webhooks. One of the namespaces
// has limits that it keeps running into.
type traffic struct {
	t         testing.TB
	loads     []*load
	receivers []*hooks
}

// workersEach is how many requests of one namespace are on their way.
const workersEach = 3

// newTraffic makes the namespaces on a ledger whose place the flags tell.
func newTraffic(t testing.TB, address string, place ...string) *traffic {
	t.Helper()
	tr := &traffic{t: t}
	for i, limits := range []map[string]any{
		{"max_pending": 1_000_000, "max_agents": 1_000_000},
		{"max_pending": 1_000_000, "max_agents": 10},
		{"max_pending": 5, "max_agents": 1_000_000},
	} {
		tn := newTenant(t, newClient(t, address), fmt.Sprintf("acme-%d", i+1), place...)
		tn.policy(limits)
		receiver := newHooks(t)
		tn.webhook(receiver, nil)
		l := newLoad(tn)
		l.decides = true
		tr.loads, tr.receivers = append(tr.loads, l), append(tr.receivers, receiver)
	}
	return tr
}

func (tr *traffic) begin() {
	for _, l := range tr.loads {
		l.begin(workersEach)
	}
}

func (tr *traffic) halt() {
	for _, l := range tr.loads {
		l.halt()
	}
}

// await waits until so many more claims are acknowledged in each namespace.
func (tr *traffic) await(more int) {
	tr.t.Helper()
	for _, l := range tr.loads {
		l.await(more)
	}
}

// awaitLimit waits until a limit has refused something.
func (tr *traffic) awaitLimit() {
	tr.t.Helper()
	eventually(tr.t, patience, func() error {
		l := tr.loads[1]
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.limited == 0 {
			return fmt.Errorf("no limit was reached with %d answers", len(l.answers))
		}
		return nil
	})
}

// settle ends the traffic with an answer to everything that was asked.
func (tr *traffic) settle() {
	tr.t.Helper()
	tr.halt()
	for _, l := range tr.loads {
		l.settle()
	}
}

// position is the highest that was answered.
func (tr *traffic) position() (last uint64) {
	for _, l := range tr.loads {
		l.mu.Lock()
		last = max(last, l.position)
		l.mu.Unlock()
	}
	return last
}

func (tr *traffic) receiver(of *load) *hooks {
	for i, l := range tr.loads {
		if l == of {
			return tr.receivers[i]
		}
	}
	return nil
}

// String counts what was done.
func (tr *traffic) String() string {
	var answers, existed, limited, events, arrivals int
	for i, l := range tr.loads {
		answers, existed, limited = answers+len(l.answers), existed+l.existed, limited+l.limited
		came, times := tr.receivers[i].check()
		events, arrivals = events+came, arrivals+times
	}
	return fmt.Sprintf("%d commands were answered, %d more when asked again after a lost answer, %d refused by a limit; %d webhook events came, %d times",
		answers, existed, limited, events, arrivals)
}
