package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

const (
	// hookedEndpoints is to how many endpoints events are delivered.
	hookedEndpoints = 100
	// hookedRate is how many events there are in a second where latencies are measured.
	hookedRate = 500
	// hookedWorkers is over how many connections they are submitted.
	hookedWorkers = 64
	// firstHooked is where the namespaces of these workloads begin, so many for each.
	firstHooked = smallNamespace + 1
)

// hooked is namespaces whose services have a webhook each. What is sent there comes to the
// receiver, its endpoints in the order of the tenants.
type hooked struct {
	*bench
	receiver *receiver
	tenants  []*tenant
	steady   []int // the endpoints whose events are measured
}

// openHooked makes them, numbered from first; those beyond the steady ones have no webhook yet.
func openHooked(ctx context.Context, b *bench, first, tenants, steady int) (*hooked, error) {
	r, err := startReceiver(ctx, b.Config, steady)
	if err != nil {
		return nil, err
	}
	h := &hooked{bench: b, receiver: r, steady: numbers(0, steady)}
	if h.tenants, err = b.newTenants(ctx, first, tenants, nil); err == nil {
		for i := 0; i < steady && err == nil; i++ {
			_, err = h.tenants[i].addWebhook(ctx, r.url(i))
		}
	}
	if err != nil {
		return nil, errors.Join(err, r.stop())
	}
	return h, nil
}

func (t *tenant) addWebhook(ctx context.Context, url string) (path string, err error) {
	var made struct{ ID string }
	path = "/v1/services/" + t.service + "/webhooks"
	err = t.call(ctx, http.MethodPost, path, map[string]any{"url": url}, &made)
	return path + "/" + made.ID, err
}

// load submits claims to all tenants by turns at a steady rate. It gives how long the steady
// ones' events took from when they were recorded to the first byte at their endpoint,
// and how long the answers took, from when each submit was due.
func (h *hooked) load(ctx context.Context, d time.Duration) (arrived, answered Outcome, err error) {
	w := submitting(h.bench, h.tenants, hookedWorkers, byGateway)
	w.rate = hookedRate
	n := max(len(h.tenants), int(hookedRate*d.Seconds()))
	requests, err := w.prepare(ctx, n)
	if err != nil {
		return arrived, answered, err
	}
	var came received
	answered, err = h.ledger.during(ctx, func() (o Outcome, err error) {
		if o, _, err = w.load(ctx, requests, d); err != nil {
			return o, err
		}
		events := 0
		for i := range h.steady {
			events += (n - i + len(h.tenants) - 1) / len(h.tenants)
		}
		came, err = h.receiver.take(ctx, h.steady, events)
		return o, err
	})
	if err != nil {
		return arrived, answered, err
	}
	if err := whole(came.Arrivals); err != nil {
		return arrived, answered, err
	}
	arrived = answered
	arrived.Latencies = nil
	for _, a := range came.Arrivals {
		arrived.Latencies = append(arrived.Latencies, a.FirstByte.Sub(a.Happened))
	}
	arrived.Done = len(arrived.Latencies)
	arrived.sort()
	_, err = h.ledger.settle(ctx)
	return arrived, answered, err
}

// whole makes sure that no endpoint misses an event between those that came to it.
func whole(arrivals []arrival) error {
	sequences := map[int][]int64{}
	for _, a := range arrivals {
		sequences[a.Endpoint] = append(sequences[a.Endpoint], a.Sequence)
	}
	for endpoint, s := range sequences {
		if first, last := slices.Min(s), slices.Max(s); int(last-first)+1 != len(s) {
			return fmt.Errorf("from sequence %d to %d, %d events came to endpoint %d", first, last, len(s), endpoint)
		}
	}
	return nil
}

// webhookWorkload has both sides under one load: how soon an event is at its receiver,
// and how long its submit waits for the answer.
func webhookWorkload(name string, u unit, first int) workload {
	return workload{
		name: name, unit: u,
		what:      fmt.Sprintf("from a commit's time to the first byte at its webhook, %d webhooks", hookedEndpoints),
		yardstick: "the answers to the submits, under the same load",
		open: func(ctx context.Context, b *bench) (*pair, error) {
			n := b.connections(hookedEndpoints)
			h, err := openHooked(ctx, b, first, n, n)
			if err != nil {
				return nil, err
			}
			p := together(h.load, hookedRate)
			p.close = h.receiver.stop
			if _, _, err := h.load(ctx, min(warmUp, b.Duration)); err != nil {
				return nil, errors.Join(err, p.close())
			}
			return p, nil
		},
	}
}

const (
	// attemptTimeout is what a receiver has to answer, see package webhookrelay.
	attemptTimeout = 10 * time.Second
	// perEndpoint is how many attempts the relay makes at once for one webhook.
	perEndpoint = 4
)

// noisyWorkload holds the events of healthy endpoints against the same while others are not.
func noisyWorkload(name string, first int, wanted float64) workload {
	return workload{
		name: name, unit: p99, wanted: wanted,
		what:      fmt.Sprintf("from a commit's time to the first byte at its webhook, 9 in 10 of %d webhooks, while the others' receivers hang (--noise)", hookedEndpoints),
		yardstick: "the same while they all answer",
		open: func(ctx context.Context, b *bench) (*pair, error) {
			n := b.connections(hookedEndpoints)
			h, err := openHooked(ctx, b, first, n, n-max(1, n/10))
			if err != nil {
				return nil, err
			}
			p := &pair{ledger: h.beside(b.Noise), yardstick: h.beside(Answers), rate: hookedRate, close: h.receiver.stop}
			if _, err := p.yardstick(ctx, min(warmUp, b.Duration)); err != nil {
				return nil, errors.Join(err, p.close())
			}
			return p, nil
		},
	}
}

// beside measures the steady endpoints while those of the other tenants, new ones each
// time, behave in some way.
func (h *hooked) beside(noise Behaviour) measure {
	return func(ctx context.Context, d time.Duration) (Outcome, error) {
		noisy := h.tenants[len(h.steady):]
		endpoints, err := h.receiver.open(ctx, len(noisy))
		if err != nil {
			return Outcome{}, err
		}
		hooks := make([]string, len(noisy))
		for i, t := range noisy {
			if hooks[i], err = t.addWebhook(ctx, h.receiver.url(endpoints[i])); err != nil {
				return Outcome{}, err
			}
		}
		if noise != Answers {
			if err := h.begin(ctx, noisy, endpoints, noise, d); err != nil {
				return Outcome{}, err
			}
		}
		o, _, err := h.load(ctx, d)
		if err != nil {
			return Outcome{}, err
		}
		if err := h.receiver.behave(ctx, endpoints, Answers); err != nil {
			return Outcome{}, err
		}
		for i, t := range noisy {
			if err := t.call(ctx, http.MethodDelete, hooks[i], nil, nil); err != nil {
				return Outcome{}, err
			}
		}
		return o, h.ledger.calm(ctx)
	}
}

// begin has the noise begin so that the first attempts time out in the middle of the
// measured time, and as many again begin to hang then. A short try does not wait for that.
func (h *hooked) begin(ctx context.Context, noisy []*tenant, endpoints []int, noise Behaviour, d time.Duration) error {
	if err := h.receiver.behave(ctx, endpoints, noise); err != nil {
		return err
	}
	if _, err := h.submitAll(ctx, noisy, 2*perEndpoint*len(noisy)); err != nil {
		return err
	}
	select {
	case <-time.After(min(max(0, attemptTimeout-d/2), 2*d)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// calm waits until no attempt to deliver is being made.
func (l *ledger) calm(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, catchUpPatience, errors.New("attempts to deliver do not end"))
	defer cancel()
	for {
		values, err := l.metrics(ctx)
		if err != nil || values[inFlightMetric] == 0 {
			return err
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
