package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

const (
	// warmUp is how long both sides work before they are measured, at most.
	warmUp = 2 * time.Second
	// ahead is how many more requests are prepared than the last round needed: a round
	// that runs out of them ends early, and is measured by the time that it had.
	ahead = 1.3
	// firstRate is a guess at what a connection does in a second, for the warm-up.
	firstRate = 100
)

// writing is a workload that appends: the ledger's side of it, and the raw publisher's
// with the very bytes that the ledger stored.
type writing struct {
	*bench
	workers  int     // a connection or goroutine each
	subjects int     // of the raw publisher
	rate     float64 // at which both sides are loaded; 0: as fast as they answer
	// prepare makes n requests whose answers are all of this status and JSON with the id
	// of a claim.
	prepare func(ctx context.Context, n int) ([]request, error)
	status  int
	event   domain.EventType // what each acknowledged request has left in the log

	perSecond float64 // what the last load did
	payload   []byte  // a commit as it was stored
	wrote     wrote
}

// open warms both sides up.
func (w *writing) open(ctx context.Context) (*pair, error) {
	w.perSecond = float64(firstRate * w.workers)
	d := min(warmUp, w.Duration)
	if _, err := w.measure(ctx, d); err != nil {
		return nil, err
	}
	if _, err := w.publish(ctx, d); err != nil {
		return nil, err
	}
	return w.pair(), nil
}

func (w *writing) pair() *pair {
	w.wrote = wrote{}
	return &pair{ledger: w.measure, yardstick: w.publish, bytes: len(w.payload), rate: w.rate, wrote: &w.wrote}
}

// measure loads the ledger, checks the log, and waits until all is quiet again.
func (w *writing) measure(ctx context.Context, d time.Duration) (Outcome, error) {
	n := int(w.rate * d.Seconds())
	if w.rate == 0 {
		n = max(w.workers, int(w.perSecond*d.Seconds()*ahead))
	}
	requests, err := w.prepare(ctx, n)
	if err != nil {
		return Outcome{}, err
	}
	before, err := w.ledger.commits.Last(ctx)
	if err != nil {
		return Outcome{}, err
	}
	var answers [][]byte
	o, err := w.ledger.during(ctx, func() (o Outcome, err error) {
		o, answers, err = w.load(ctx, requests, d)
		return o, err
	})
	if err != nil {
		return Outcome{}, err
	}
	w.perSecond = o.rate()
	lag, err := w.ledger.settle(ctx)
	if err != nil {
		return Outcome{}, err
	}
	w.wrote.lag = max(w.wrote.lag, lag)
	return o, w.check(ctx, w.ledger.commits, before, answers)
}

// load sends the requests and gives the bodies of the answers, nil where none was sent.
func (w *writing) load(ctx context.Context, requests []request, d time.Duration) (Outcome, [][]byte, error) {
	conns, err := connect(ctx, w.ledger.address, w.workers, d)
	if err != nil {
		return Outcome{}, nil, err
	}
	defer conns.close()
	conns.status, conns.answers = w.status, make([][]byte, len(requests))
	op := func(worker, i int) error { return conns.send(worker, i, requests[i]) }
	var o Outcome
	if w.rate > 0 {
		o, err = openLoop(ctx, w.workers, len(requests), w.rate, op)
	} else {
		o, err = closedLoop(ctx, w.workers, len(requests), d, op)
	}
	return o, conns.answers, err
}

// check reads the log from before the load, as any reader does, and makes sure that
// everything that was acknowledged is there, once.
func (w *writing) check(ctx context.Context, log eventstore.Log, before uint64, answers [][]byte) error {
	found := map[string]int{}
	err := log.ReadAll(ctx, domain.KindClaims, before, func(r eventstore.Record) error {
		for _, e := range r.Commit.Events {
			if e.Type() == w.event {
				found[claimOf(e.Payload)]++
				w.payload = r.Stored
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, body := range answers {
		if body == nil {
			continue
		}
		var answer pending
		if err := json.Unmarshal(body, &answer); err != nil {
			return err
		}
		if n := found[answer.ClaimID]; n != 1 {
			return fmt.Errorf("the claim %s was acknowledged, and its %s is in the log %d times", answer.ClaimID, w.event, n)
		}
		w.wrote.checked++
	}
	return nil
}

// claimOf is the claim that an event is about.
func claimOf(p domain.Payload) string {
	switch p := p.(type) {
	case domain.ClaimSubmitted:
		return p.ClaimID
	case domain.ClaimApproved:
		return p.ClaimID
	case domain.ClaimRevoked:
		return p.ClaimID
	}
	return ""
}

// publish is the yardstick.
func (w *writing) publish(ctx context.Context, d time.Duration) (Outcome, error) {
	return w.publisher.publish(ctx, publishing{
		Payload: w.payload, Subjects: w.subjects, Goroutines: w.workers, Duration: d, Rate: w.rate,
	})
}
