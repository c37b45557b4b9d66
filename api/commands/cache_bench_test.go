package commands

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

// watchedLog adds up what reading the tails of claims takes.
type watchedLog struct {
	eventstore.Log
	reading, records atomic.Int64
}

func (l *watchedLog) Read(ctx context.Context, b domain.Boundary, after uint64, f func(eventstore.Record) error) error {
	begun := time.Now()
	defer func() { l.reading.Add(int64(time.Since(begun))) }()
	return l.Log.Read(ctx, b, after, func(r eventstore.Record) error {
		l.records.Add(1)
		return f(r)
	})
}

// watchedSnapshots adds up what loading and saving take.
type watchedSnapshots struct {
	Snapshots
	loading, loads, saving, saves atomic.Int64
}

func (k *watchedSnapshots) Load(ctx context.Context, name string) ([]byte, error) {
	begun := time.Now()
	defer func() { k.loading.Add(int64(time.Since(begun))); k.loads.Add(1) }()
	return k.Snapshots.Load(ctx, name)
}

func (k *watchedSnapshots) Save(ctx context.Context, name string, contents []byte) error {
	begun := time.Now()
	defer func() { k.saving.Add(int64(time.Since(begun))); k.saves.Add(1) }()
	return k.Snapshots.Save(ctx, name, contents)
}

// What a command takes when the claims in use need twice the memory that they may take, and
// what of that goes where: at each turn something has to come back.
func BenchmarkClaimsThatDoNotFit(b *testing.B) {
	const spaces, claims, clients = 24, 800, 16
	stream, _ := logtest.Embedded(b)
	log, kept := &watchedLog{Log: stream}, &watchedSnapshots{Snapshots: stream.Snapshots()}
	start := func(bytes int64) *Executor {
		x := NewExecutor(Config{
			Log: log, Limits: domain.DefaultOwnerLimits(), NewID: newID, Logger: logtest.Logger(b), Snapshots: kept,
			Metrics: NewMetrics(prometheus.NewRegistry()), Now: time.Now, ClaimsMemory: bytes,
		})
		if err := x.Load(b.Context()); err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { _ = x.Run(ctx) })
		b.Cleanup(func() { cancel(); running.Wait() })
		return x
	}
	x := start(0)
	names := make([]string, spaces)
	for i := range names {
		names[i] = fmt.Sprint("ns-", i)
		for _, cmd := range []domain.RegistryCommand{
			register(), domain.CreateService{ServiceID: names[i], Slug: names[i], Name: names[i]},
			domain.ChangePolicy{MaxPending: new(domain.MaxPolicyValue)},
		} {
			if _, _, err := x.Registry(b.Context(), names[i], cmd, ref("registry")); err != nil {
				b.Fatal(err)
			}
		}
	}
	many := func(x *Executor, clients, commands int, name func(i int) string) {
		var group sync.WaitGroup
		var given atomic.Int64
		for range clients {
			group.Go(func() {
				for i := given.Add(1); i <= int64(commands); i = given.Add(1) {
					if _, _, err := x.Claims(b.Context(), name(int(i)), submission(name(int(i))), ref("claim")); err != nil {
						b.Error(err)
					}
				}
			})
		}
		group.Wait()
	}
	many(x, 128, spaces*claims, func(i int) string { return names[i%spaces] })
	size := x.claims.Bytes()

	small := start(size / 2)
	random := rand.New(rand.NewPCG(1, 2))
	order := make([]string, 1<<16)
	for i := range order {
		order[i] = names[random.IntN(spaces)]
	}
	next := 0
	turn := func(n int) {
		many(small, clients, n, func(i int) string { return order[(next+i)%len(order)] })
		next += n
	}
	turn(10 * spaces) // so that what is measured is what goes on for ever
	for _, sum := range []*atomic.Int64{&log.reading, &log.records, &kept.loading, &kept.loads, &kept.saving, &kept.saves} {
		sum.Store(0)
	}
	b.ResetTimer()
	turn(b.N)
	b.StopTimer()
	n := float64(b.N)
	b.ReportMetric(float64(kept.loads.Load())/n, "loads/op")
	b.ReportMetric(float64(kept.loading.Load())/float64(max(1, kept.loads.Load()))/1e6, "ms/load")
	b.ReportMetric(float64(log.records.Load())/float64(max(1, kept.loads.Load())), "commits/load")
	b.ReportMetric(float64(log.reading.Load())/float64(max(1, kept.loads.Load()))/1e6, "ms-log/load")
	b.ReportMetric(float64(kept.saves.Load())/n, "saves/op")
	b.ReportMetric(float64(kept.saving.Load())/float64(max(1, kept.saves.Load()))/1e6, "ms/save")
}
