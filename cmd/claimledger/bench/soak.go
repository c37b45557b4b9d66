package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"text/tabwriter"

	"github.com/claimledger/claimledger/domain"
)

const (
	// soakChunk is how many claims live at once: each is submitted, approved and revoked.
	soakChunk = 3_000
	// commitsPerClaim is what that takes.
	commitsPerClaim = 3
	soakTenths      = 10
	// MinSoak is one claim in each tenth.
	MinSoak = soakTenths * commitsPerClaim
)

// SoakLoad is what a soak gives a ledger to do.
type SoakLoad struct {
	Commits, Connections int
	// Moving has each tenth in namespaces of its own: what was in use before is not any more.
	Moving bool
	// ClaimsMemory is what the ledger may hold of claims, in MiB; 0: what it takes by itself.
	ClaimsMemory int
}

// Soak is a long run of the same load.
type Soak struct {
	Commits int     `json:"commits"`
	Machine Machine `json:"machine"`
	Tenths  []Tenth `json:"tenths"`
	// LastToFirst is the rate of the last tenth divided by the first's.
	LastToFirst float64 `json:"last_to_first"`
	// Growth is the ledger's memory after the last tenth divided by that after the second:
	// the first two warm it up.
	Growth float64 `json:"memory_last_to_second"`
}

// Tenth is a tenth of it. Rates are of the time under load, not of preparing it.
type Tenth struct {
	Commits  int     `json:"commits"`
	Rate     float64 `json:"per_second"`
	P99      float64 `json:"p99_ms"`
	Resident float64 `json:"resident_bytes"` // of the ledger, PostgreSQL apart
	Heap     float64 `json:"heap_bytes"`
	Claims   float64 `json:"claims_bytes"`             // of the heap, the claims that are held
	Lag      float64 `json:"read_models_behind_after"` // seconds
}

// RunSoak appends commits: claims in many namespaces, each with its whole life.
func RunSoak(ctx context.Context, c Config, load SoakLoad) (s Soak, err error) {
	if load.ClaimsMemory > 0 {
		c.ServeFlags = append(slices.Clip(c.ServeFlags), "--claims-memory", strconv.Itoa(load.ClaimsMemory))
	}
	b := &bench{Config: c}
	if b.ledger, err = startLedger(ctx, c); err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, b.ledger.stop()) }()
	tenants, err := b.writers(ctx)
	if err != nil {
		return s, err
	}
	s.Machine = describeMachine(c)
	perTenth := load.Commits / MinSoak
	for i := range soakTenths {
		if i > 0 && load.Moving {
			if tenants, err = b.newTenants(ctx, i*b.Namespaces, b.Namespaces, nil); err != nil {
				return s, err
			}
		}
		t, err := b.tenth(ctx, tenants, perTenth, load.Connections)
		if err != nil {
			return s, err
		}
		s.Tenths = append(s.Tenths, t)
		s.Commits += t.Commits
		b.say("soak: %d commits, %.0f/s, p99 %.1f ms, %.0f MiB resident, read models %.1f s behind",
			s.Commits, t.Rate, t.P99, t.Resident/(1<<20), t.Lag)
	}
	last := s.Tenths[soakTenths-1]
	s.LastToFirst = last.Rate / s.Tenths[0].Rate
	s.Growth = last.Resident / s.Tenths[1].Resident
	return s, nil
}

// tenth lets so many claims live.
func (b *bench) tenth(ctx context.Context, tenants []*tenant, claims, connections int) (t Tenth, err error) {
	var sum Outcome
	for left := claims; left > 0; left -= soakChunk {
		outcomes, err := b.lives(ctx, tenants, min(left, soakChunk), connections)
		if err != nil {
			return t, err
		}
		for _, o := range outcomes {
			sum.Done += o.Done
			sum.Elapsed += o.Elapsed
			sum.Latencies = append(sum.Latencies, o.Latencies...)
		}
	}
	sum.sort()
	lag, err := b.ledger.settle(ctx)
	if err != nil {
		return t, err
	}
	values, err := b.ledger.metrics(ctx)
	return Tenth{
		Commits: sum.Done, Rate: sum.rate(), P99: milliseconds(sum.quantile(0.99)),
		Resident: values[memoryMetric], Heap: values[heapMetric], Claims: values[claimsMetric], Lag: lag.Seconds(),
	}, err
}

// lives takes n claims through their whole lives, and checks the log after each step.
func (b *bench) lives(ctx context.Context, tenants []*tenant, n, connections int) ([]Outcome, error) {
	w := submitting(b, tenants, connections, byGateway)
	requests, err := w.prepare(ctx, n)
	if err != nil {
		return nil, err
	}
	claims := make([]pending, n)
	var outcomes []Outcome
	for _, step := range []struct {
		decision string
		event    domain.EventType
	}{{"", domain.ClaimSubmittedType}, {"approve", domain.ClaimApprovedType}, {"revoke", domain.ClaimRevokedType}} {
		if step.decision != "" {
			if requests, err = decisions(claims, step.decision); err != nil {
				return nil, err
			}
			w.status = http.StatusOK
		}
		w.event = step.event
		before, err := b.ledger.commits.Last(ctx)
		if err != nil {
			return nil, err
		}
		o, answers, err := w.load(ctx, requests, forever)
		if err != nil {
			return nil, err
		}
		if err := w.check(ctx, b.ledger.commits, before, answers); err != nil {
			return nil, err
		}
		if err := readClaims(claims, tenants, answers); err != nil {
			return nil, err
		}
		outcomes = append(outcomes, o)
	}
	return outcomes, nil
}

// Print writes the table.
func (s Soak) Print(out io.Writer) error {
	fmt.Fprintf(out, "%d commits, %s, %d CPUs, data on %s\n\n", s.Commits, s.Machine.System, s.Machine.CPUs, s.Machine.Disk)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "tenth\tcommits/s\tp99 ms\tresident MiB\theap MiB\tclaims MiB\tread models behind, s")
	for i, t := range s.Tenths {
		fmt.Fprintf(table, "%d\t%.0f\t%.1f\t%.0f\t%.0f\t%.0f\t%.1f\n", i+1, t.Rate, t.P99, t.Resident/(1<<20), t.Heap/(1<<20), t.Claims/(1<<20), t.Lag)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\nthe last tenth is %.2f times as fast as the first; memory is %.2f times what it was after the second\n",
		s.LastToFirst, s.Growth)
	return err
}
