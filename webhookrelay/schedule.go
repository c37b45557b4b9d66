package webhookrelay

import (
	"slices"
	"time"

	"github.com/claimledger/claimledger/webhookrelay/attempt"
)

const (
	// attemptTimeout is what a receiver has to answer.
	attemptTimeout = 10 * time.Second
	// leaseMargin is what is left of a lease after the longest attempt: for writing the
	// outcome, and for clocks that differ between processes. What a killed process had
	// waits for attemptTimeout and leaseMargin, unless the others saw it go.
	leaseMargin = 20 * time.Second
	// leaseTerm is for how long a webhook is taken. It is renewed when half of it is over.
	leaseTerm = attemptTimeout + leaseMargin

	// maxPerEndpoint is how many attempts are in flight for one webhook at a time, over
	// all processes. A receiver that answers in 10 ms gets some hundred events a second.
	maxPerEndpoint = 4

	// breakerFailures in a row open a webhook's breaker: then one attempt at a time
	// goes out, and first attempts wait for probePause after a failed one, or for as long
	// as a retry would where that is less. Retries that are due do not wait for it.
	breakerFailures = 5
	probePause      = 30 * time.Second
	// maxPause bounds for how long a Retry-After keeps the webhook's other deliveries
	// back; the one that was answered waits as long as was asked.
	maxPause = 5 * time.Minute

	// jitter spreads retries, so that what failed together is not repeated together.
	jitter = 0.1
)

// endpoint is how the receiver of a webhook is doing.
type endpoint struct {
	webhookID   string
	failures    int        // since the last success
	pausedUntil *time.Time // for all but retries that are due
	flying      int        // attempts
}

// room is how many attempts may begin now, and whether only retries.
func (e endpoint) room(now time.Time) (rows int, retriesOnly bool) {
	paused := e.pausedUntil != nil && now.Before(*e.pausedUntil)
	limit := maxPerEndpoint
	if paused || e.failures >= breakerFailures {
		limit = 1
	}
	return max(0, limit-e.flying), paused
}

// suspect is an endpoint whose attempts may take as long as they can.
func (e endpoint) suspect() bool { return e.failures > 0 }

// took notes what came of an attempt; probe is how long an open breaker waits.
func (e *endpoint) took(o attempt.Outcome, ended time.Time, probe time.Duration) {
	if o.OK() {
		e.failures, e.pausedUntil = 0, nil
		return
	}
	e.failures++
	if e.failures >= breakerFailures {
		e.pause(ended.Add(probe))
	}
	if o.RetryAfter > 0 {
		e.pause(ended.Add(min(o.RetryAfter, maxPause)))
	}
}

func (e *endpoint) pause(until time.Time) {
	if e.pausedUntil == nil || until.After(*e.pausedUntil) {
		e.pausedUntil = &until
	}
}

// schedule says when a failed delivery is tried again.
type schedule struct {
	waits []time.Duration
	rand  func() float64 // in [0, 1)
}

// silence is longer than anything that is retried leaves between two attempts.
func (s schedule) silence() time.Duration {
	return 2 * slices.Max(append([]time.Duration{maxPause}, s.waits...))
}

// probe is how long an open breaker waits between attempts.
func (s schedule) probe() time.Duration {
	least := probePause
	for _, wait := range s.waits {
		least = min(least, wait)
	}
	return least
}

// next is when the delivery is due after that many failures, or false when it is dead.
func (s schedule) next(failures int, o attempt.Outcome, ended time.Time) (due time.Time, ok bool) {
	if failures > len(s.waits) {
		return ended, false
	}
	wait := float64(s.waits[failures-1]) * (1 - jitter + 2*jitter*s.rand())
	// Never before what the receiver asked for, nor before the schedule: short waits
	// would use it up within moments.
	return ended.Add(max(time.Duration(wait), o.RetryAfter)), true
}
