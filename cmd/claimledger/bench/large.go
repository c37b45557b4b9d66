package bench

import (
	"context"
	"fmt"
	"time"
)

// largeNamespace is the number of the namespace that has many claims, and smallNamespace
// that of the one beside it. Verify's come before them.
const (
	largeNamespace = firstSynced + 1
	smallNamespace = largeNamespace + 1
)

// large is the namespace with as many claims as the bench is told, made when first needed.
func (b *bench) large(ctx context.Context) (*tenant, error) {
	if b.crowded != nil {
		return b.crowded, nil
	}
	tenants, err := b.newTenants(ctx, largeNamespace, 1, nil)
	if err != nil {
		return nil, err
	}
	w := submitting(b, tenants, setupConnections, byGateway)
	for made := 0; made < b.Claims; {
		n := min(verifyBatch, b.Claims-made)
		requests, err := w.prepare(ctx, n)
		if err != nil {
			return nil, err
		}
		if _, _, err := w.load(ctx, requests, forever); err != nil {
			return nil, err
		}
		made += n
		b.say("%d of %d claims are in one namespace", made, b.Claims)
	}
	if _, err := b.ledger.settle(ctx); err != nil {
		return nil, err
	}
	b.crowded = tenants[0]
	return b.crowded, nil
}

// largeWorkload submits to a namespace with many claims, and to one with few.
func largeWorkload(name string, connections int, wanted float64) workload {
	return workload{
		name: name, unit: perSecond, wanted: wanted,
		what:      fmt.Sprintf("POST /v1/claims, %d connections, one namespace with many claims", connections),
		yardstick: "the same ledger, one namespace with few claims",
		open: func(ctx context.Context, b *bench) (*pair, error) {
			big, err := b.large(ctx)
			if err != nil {
				return nil, err
			}
			small, err := b.newTenants(ctx, smallNamespace, 1, nil)
			if err != nil {
				return nil, err
			}
			sides := [2]*writing{submitting(b, []*tenant{big}, connections, byGateway), submitting(b, small, connections, byGateway)}
			for _, side := range sides {
				side.perSecond = float64(firstRate * side.workers)
				if _, err := side.measure(ctx, min(warmUp, b.Duration)); err != nil {
					return nil, err
				}
			}
			p := sides[0].pair()
			p.yardstick = sides[1].measure
			return p, nil
		},
	}
}

// coldWorkload has a process that just started look at the claims of the namespace with
// many of them.
func coldWorkload(name string, wanted float64) workload {
	return workload{
		name: name, unit: median, wanted: wanted,
		what:      "the first use of a namespace with many claims by a process: snapshot and tail",
		yardstick: "the same without a snapshot",
		open: func(ctx context.Context, b *bench) (*pair, error) {
			big, err := b.large(ctx)
			if err != nil {
				return nil, err
			}
			return &pair{ledger: b.cold(big, true), yardstick: b.cold(big, false)}, nil
		},
	}
}

// cold loads claims again and again, once at least, each time as if by another process.
func (b *bench) cold(t *tenant, snapshots bool) measure {
	return func(ctx context.Context, d time.Duration) (Outcome, error) {
		return b.ledger.during(ctx, func() (o Outcome, err error) {
			cpu := cpuTime()
			for o.Done == 0 || o.Elapsed < d {
				load, err := b.Program.Cold(ctx, b.ledger.commits, snapshots)
				if err != nil {
					return o, err
				}
				begun := time.Now()
				if err := load(t.namespace); err != nil {
					return o, err
				}
				took := time.Since(begun)
				o.Done, o.Elapsed, o.Latencies = o.Done+1, o.Elapsed+took, append(o.Latencies, took)
			}
			o.CPU = cpuTime() - cpu
			o.sort()
			return o, nil
		})
	}
}
