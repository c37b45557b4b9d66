package projections

import (
	"testing"

	"github.com/claimledger/claimledger/domain"
)

// BenchmarkApply applies a history of claims to each model, in batches as large as a
// projector takes them when it is far behind.
func BenchmarkApply(b *testing.B) {
	w, _, ids := crowd(b, 10_000)
	for _, id := range ids[:8_000] {
		w.approve(id)
	}
	for _, id := range ids[:2_000] {
		w.revoke(id)
	}
	for _, m := range Models() {
		b.Run(m.Name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				p := newProjector(b, w.log, newPool(b), m.Name)
				b.StartTimer()
				for {
					n, err := p.Step(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					if n == 0 {
						break
					}
				}
			}
			b.ReportMetric(float64(w.last())*float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}

// BenchmarkRead answers the queries that are asked most.
func BenchmarkRead(b *testing.B) {
	w, s, ids := crowd(b, 5_000)
	for _, id := range ids {
		w.approve(id)
	}
	pool := newPool(b)
	catchUp(b, w.log, pool)
	r, ctx := newReader(b, pool), b.Context()
	for name, f := range map[string]func() error{
		"claim":    func() error { _, _, err := r.Claim(ctx, ids[7]); return err },
		"revision": func() error { _, _, err := r.FeedRevision(ctx, s.service); return err },
		"feed500":  func() error { _, _, err := r.Feed(ctx, FeedQuery{ServiceID: s.service, Limit: 500}); return err },
		"list50": func() error {
			_, _, err := r.Claims(ctx, ClaimsQuery{Namespace: w.names[0], Status: domain.StatusApproved, Limit: 50})
			return err
		},
		"wait": func() error { return r.Wait(ctx, ClaimsModel, w.last()) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRebuild rebuilds all models from a history of claims that were approved, and of
// which some were revoked long after.
func BenchmarkRebuild(b *testing.B) {
	w, _, ids := crowd(b, 10_000)
	for _, id := range ids[:8_000] {
		w.approve(id)
	}
	for _, id := range ids[:2_000] {
		w.revoke(id)
	}
	pool := newPool(b)
	catchUp(b, w.log, pool)
	var rows int64
	for b.Loop() {
		r := &Rebuild{Log: w.log, Pool: pool, Tell: func(s RebuildStep) {
			if s.Comparison != nil {
				rows += s.Comparison.Rows
			}
		}}
		if err := r.Run(b.Context(), nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
}
