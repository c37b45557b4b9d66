package bench

import (
	"context"
	"fmt"
	"time"
)

// workload is one row of the table: what is asked of the ledger, and the yardstick that
// it is held against. A new one is a value of this type in workloads.
type workload struct {
	name      string
	what      string // is asked of the ledger
	yardstick string // is measured beside it
	unit      unit
	wanted    float64 // of the ledger's figure divided by the yardstick's; 0: nothing
	// open prepares both sides, warm-up included.
	open func(ctx context.Context, b *bench) (*pair, error)
}

// workloads are the rows, in their order in the table.
var workloads = []workload{
	submitWorkload("submit-64", 64, 1.0),
	submitWorkload("submit-256", 256, 1.5),
	submitOneWorkload("submit-one-namespace", 64, 0.7),
	submitOwnKeysWorkload("submit-own-keys", 64),
	approveWorkload("approve-64", 64, 1.2),
	latencyWorkload("submit-latency", 2.5),
	verifyWorkload("verify-64", 64, 0.7),
	tailWorkload("submit-tail", 64, 3),
	streamWorkload("revoke-to-stream", 1000, 5),
	syncWorkload("feed-sync", 500, 0.5),
	largeWorkload("submit-large", 64, 0.9),
	coldWorkload("load-large", 0.5),
	rebuildWorkload("rebuild", 0.4),
	webhookWorkload("commit-to-webhook", median, firstHooked),
	webhookWorkload("commit-to-webhook-tail", p99, firstHooked+hookedEndpoints),
	noisyWorkload("webhooks-noisy", firstHooked+2*hookedEndpoints, 1.2),
	burstWorkload("webhooks-throughput", firstHooked+3*hookedEndpoints, 0.5),
}

// Names are the names of all workloads.
func Names() []string {
	var names []string
	for _, w := range workloads {
		names = append(names, w.name)
	}
	return names
}

// pair is the two sides of a workload, ready to be measured.
type pair struct {
	ledger, yardstick measure
	bytes             int          // of each stored message; 0: nothing is stored
	rate              float64      // at which both are loaded; 0: as fast as they answer
	wrote             *wrote       // nil: nothing
	close             func() error // nil: nothing to close
}

// wrote is what became of everything that a workload wrote.
type wrote struct {
	checked int           // commits that were acknowledged, and were found in the log
	lag     time.Duration // the longest that the read models took to catch up after a round
}

func (p *pair) end() error {
	if p.close == nil {
		return nil
	}
	return p.close()
}

// measure runs one side for a time. What it prepares before and checks after is not in
// the outcome.
type measure func(ctx context.Context, d time.Duration) (Outcome, error)

// together is a pair whose sides are of one and the same load at a rate, which whichever
// is asked first makes: what else the machine does is then the same for both.
func together(load func(context.Context, time.Duration) (ledger, yardstick Outcome, err error), rate float64) *pair {
	var ledgers, yardsticks *Outcome // of a load of which the other side was asked; nil: none
	return &pair{
		ledger: func(ctx context.Context, d time.Duration) (Outcome, error) {
			if last := ledgers; last != nil {
				ledgers = nil
				return *last, nil
			}
			ledger, yardstick, err := load(ctx, d)
			yardsticks = &yardstick
			return ledger, err
		},
		yardstick: func(ctx context.Context, d time.Duration) (Outcome, error) {
			if last := yardsticks; last != nil {
				yardsticks = nil
				return *last, nil
			}
			ledger, yardstick, err := load(ctx, d)
			ledgers = &ledger
			return yardstick, err
		},
		rate: rate,
	}
}

// unit is what a workload's figure is.
type unit string

const (
	perSecond unit = "1/s"
	median    unit = "p50 ms"
	p99       unit = "p99 ms"
)

// lessIsBetter tells latencies from rates.
func (u unit) lessIsBetter() bool { return u != perSecond }

func (u unit) of(o Outcome) float64 {
	switch u {
	case median:
		return milliseconds(o.quantile(0.5))
	case p99:
		return milliseconds(o.quantile(0.99))
	}
	return o.rate()
}

func (u unit) format(v float64) string {
	switch {
	case u == perSecond:
		return fmt.Sprintf("%.0f/s", v)
	case v < 10:
		return fmt.Sprintf("%.2f ms", v)
	}
	return fmt.Sprintf("%.1f ms", v)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
