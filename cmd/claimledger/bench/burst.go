package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// burstEvents is how many events a claim has that its namespace's policy approves.
const burstEvents = 2

// burst is one service with many webhooks, and claims on it that all come at once.
type burst struct {
	*hooked
	perSecond float64 // deliveries, in the last load
	posts     []message
	client    *http.Client
}

// burstWorkload counts what comes to the receiver. A claim is two events for each webhook,
// so that the commits are the least of the work: the relay has a backlog from the first
// moment on, until the last event has come.
func burstWorkload(name string, namespace int, wanted float64) workload {
	return workload{
		name: name, unit: perSecond, wanted: wanted,
		what:      fmt.Sprintf("deliveries to %d webhooks of a service while there is a backlog", hookedEndpoints),
		yardstick: "a bare Go client that posts the same bytes to the same receivers, as many at once as the relay may",
		open: func(ctx context.Context, b *bench) (*pair, error) {
			w := &burst{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: perEndpoint, DisableCompression: true}}}
			var err error
			if w.hooked, err = openBurst(ctx, b, namespace); err != nil {
				return nil, err
			}
			p := &pair{ledger: w.deliver, yardstick: w.post, close: func() error {
				w.client.CloseIdleConnections()
				return w.receiver.stop()
			}}
			w.perSecond = firstRate * float64(len(w.steady))
			for _, side := range []measure{p.ledger, p.yardstick} {
				if _, err := side(ctx, min(warmUp, b.Duration)); err != nil {
					return nil, errors.Join(err, p.close())
				}
			}
			return p, nil
		},
	}
}

func openBurst(ctx context.Context, b *bench, namespace int) (*hooked, error) {
	endpoints := b.connections(hookedEndpoints)
	tenants, err := b.newTenants(ctx, namespace, 1, approving)
	if err != nil {
		return nil, err
	}
	r, err := startReceiver(ctx, b.Config, endpoints)
	if err != nil {
		return nil, err
	}
	for i := 0; i < endpoints && err == nil; i++ {
		_, err = tenants[0].addWebhook(ctx, r.url(i))
	}
	if err != nil {
		return nil, errors.Join(err, r.stop())
	}
	return &hooked{bench: b, receiver: r, tenants: tenants, steady: numbers(0, endpoints)}, nil
}

// deliver submits as many claims as the relay needs about that time for.
func (w *burst) deliver(ctx context.Context, d time.Duration) (Outcome, error) {
	each := burstEvents * len(w.steady)
	submits := submitting(w.bench, w.tenants, hookedWorkers, byGateway)
	requests, err := submits.prepare(ctx, max(1, int(w.perSecond*d.Seconds())/each))
	if err != nil {
		return Outcome{}, err
	}
	o, err := w.ledger.during(ctx, func() (Outcome, error) {
		begun := time.Now()
		o, _, err := submits.load(ctx, requests, forever)
		if err != nil {
			return Outcome{}, err
		}
		came, err := w.receiver.take(ctx, w.steady, each*len(requests))
		if err == nil {
			err = whole(came.Arrivals)
		}
		var last time.Time
		for _, a := range came.Arrivals {
			if a.FirstByte.After(last) {
				last = a.FirstByte
			}
		}
		o.Done, o.Elapsed, w.posts = len(came.Arrivals), last.Sub(begun), came.Latest
		return o, err
	})
	if err != nil {
		return Outcome{}, err
	}
	w.perSecond = o.rate()
	if _, err = w.ledger.settle(ctx); err != nil {
		return Outcome{}, err
	}
	return o, w.ledger.calm(ctx)
}

// post is the yardstick: the last request to each endpoint again and again.
func (w *burst) post(ctx context.Context, d time.Duration) (Outcome, error) {
	return closedLoop(ctx, perEndpoint*len(w.steady), unbounded, d, func(worker, _ int) error {
		endpoint := worker % len(w.steady)
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.receiver.url(endpoint), bytes.NewReader(w.posts[endpoint].Body))
		if err != nil {
			return err
		}
		r.Header = w.posts[endpoint].Header
		resp, err := w.client.Do(r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent {
			return fmt.Errorf("a post was answered %s", resp.Status)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	})
}
