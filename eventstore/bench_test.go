package eventstore_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

// The benchmarks compare ways of writing the same bytes to the same server, in turns,
// so that a disk that others use as well is as slow for each. -benchtime=9x takes the
// medians of nine turns.

// lap is how long a turn of one way lasts.
const lap = 150 * time.Millisecond

// rawStream is beside the ledger's, configured like it, for the yardstick.
const rawStream = "RAW"

// bench is a log to measure.
type bench struct {
	name     string
	replicas int
	nc       *nats.Conn
	log      *eventstore.Stream
}

func benches(b *testing.B) []bench {
	log, server := logtest.Embedded(b)
	embedded, err := server.Connect()
	if err != nil {
		b.Fatal(err)
	}
	nc, clustered := logtest.Cluster(b)
	all := []bench{{"embedded", 1, embedded, log}, {"cluster", 3, nc, clustered}}
	for _, one := range all {
		js, err := jetstream.New(one.nc)
		if err != nil {
			b.Fatal(err)
		}
		_, err = js.CreateStream(b.Context(), jetstream.StreamConfig{
			Name: rawStream, Subjects: []string{"raw.>"}, Replicas: one.replicas,
			Duplicates: 100 * time.Millisecond, AllowAtomicPublish: true,
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return all
}

// sized is a commit of the size of a submitted claim's.
func sized(b domain.Boundary) *domain.Commit {
	c := logtest.Commit(b)
	c.Command.Answer = json.RawMessage(`"` + strings.Repeat("x", 250) + `"`)
	return c
}

// way is one way of writing. It is called by many at the same time, each of which
// passes a number of its own.
type way struct {
	name  string
	write func(ctx context.Context, writer int) error

	rates  []float64 // a second, by turn
	median []float64 // microseconds, by turn
}

// raw publishes one message after another.
func (one bench) raw(b *testing.B) *way {
	commit := sized(domain.ClaimsOf(logtest.Namespace()))
	commit.Version, commit.Prev = 1, domain.HashOf(nil)
	stored, err := commit.Encode()
	if err != nil {
		b.Fatal(err)
	}
	return &way{name: "raw", write: func(ctx context.Context, writer int) error {
		_, err := one.nc.RequestWithContext(ctx, "raw."+strconv.Itoa(writer), stored)
		return err
	}}
}

// appends appends commits, of each writer to a boundary of its own.
func appends(name string, log *eventstore.Stream, writers int) *way {
	boundaries, heads := make([]domain.Boundary, writers), make([]eventstore.Head, writers)
	for i := range boundaries {
		boundaries[i] = domain.ClaimsOf(logtest.Namespace())
	}
	return &way{name: name, write: func(ctx context.Context, writer int) error {
		rec, err := log.Append(ctx, heads[writer], sized(boundaries[writer]))
		heads[writer] = rec.Head()
		return err
	}}
}

// lap has writers write for a while.
func (w *way) lap(b *testing.B, writers int) {
	var mu sync.Mutex
	var all []time.Duration
	var group sync.WaitGroup
	start := time.Now()
	for i := range writers {
		group.Go(func() {
			var took []time.Duration
			for time.Since(start) < lap {
				before := time.Now()
				if err := w.write(b.Context(), i); err != nil {
					b.Error(err)
					return
				}
				took = append(took, time.Since(before))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
		})
	}
	group.Wait()
	slices.Sort(all)
	w.rates = append(w.rates, float64(len(all))/time.Since(start).Seconds())
	w.median = append(w.median, float64(all[len(all)/2].Microseconds()))
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

// compare has the ways take turns, and reports the medians: what each does in a
// second, how long one write takes, and how the others compare to the first within
// a turn.
func compare(b *testing.B, writers int, ways ...*way) {
	for b.Loop() {
		for _, w := range ways {
			w.lap(b, writers)
		}
	}
	b.ReportMetric(0, "ns/op")
	for i, w := range ways {
		b.ReportMetric(median(w.rates), w.name+"/s")
		b.ReportMetric(median(w.median), w.name+"-us")
		if i > 0 {
			ratios := make([]float64, len(w.rates))
			for turn := range ratios {
				ratios[turn] = w.rates[turn] / ways[0].rates[turn]
			}
			b.ReportMetric(median(ratios), w.name+"-ratio")
		}
	}
}

// BenchmarkAppend compares appends to raw publishes.
func BenchmarkAppend(b *testing.B) {
	for _, one := range benches(b) {
		for _, writers := range []int{1, 4, 16, 64, 256} {
			b.Run(fmt.Sprintf("%s/writers=%d", one.name, writers), func(b *testing.B) {
				compare(b, writers, one.raw(b), appends("append", one.log, writers))
			})
		}
	}
}

// BenchmarkPace compares paces of grouping: from how many waiting commits a batch is
// made, how many go one by one, how many batches are on their way.
func BenchmarkPace(b *testing.B) {
	for _, one := range benches(b) {
		for _, writers := range []int{16, 64, 256} {
			b.Run(fmt.Sprintf("%s/writers=%d", one.name, writers), func(b *testing.B) {
				ways := []*way{one.raw(b)}
				for _, p := range [][3]int{
					{1 << 30, 1 << 30, 1}, {2, 1, 1}, {4, 1, 1}, {4, 3, 1}, {4, 3, 2}, {12, 4, 1}, {12, 4, 2}, {20, 4, 1}, {32, 31, 1}, {32, 31, 2}, {64, 63, 2},
				} {
					log, err := eventstore.Open(b.Context(), one.nc, one.replicas, logtest.Logger(b))
					if err != nil {
						b.Fatal(err)
					}
					log.SetPace(p[0], p[1], p[2])
					name := fmt.Sprintf("%d-%d-%d", p[0], p[1], p[2])
					if p[0] == 1<<30 {
						name = "never"
					}
					ways = append(ways, appends(name, log, writers))
				}
				compare(b, writers, ways...)
			})
		}
	}
}

// BenchmarkBatch tells what a batch costs, by its size, in messages published one by
// one without waiting in between.
func BenchmarkBatch(b *testing.B) {
	sizes := []int{2, 4, 8, 16, 32, 64, 128, 256, 512, 1000}
	for _, one := range benches(b) {
		b.Run(one.name, func(b *testing.B) {
			data := make([]byte, 650)
			var plain []float64
			costs := make(map[int][]float64)
			for b.Loop() {
				took := timed(b, func() error { return publishPlain(one.nc, 32, data) }).Seconds() / 32
				plain = append(plain, took*1e6)
				for _, n := range sizes {
					costs[n] = append(costs[n], timed(b, func() error { return publishBatch(one.nc, n, data) }).Seconds()/took)
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(plain), "plain-us")
			for _, n := range sizes {
				b.ReportMetric(median(costs[n]), fmt.Sprintf("batch-of-%d", n))
			}
		})
	}
}

func timed(b *testing.B, f func() error) time.Duration {
	before := time.Now()
	if err := f(); err != nil {
		b.Fatal(err)
	}
	return time.Since(before)
}

func publishPlain(nc *nats.Conn, n int, data []byte) error {
	answers, err := nc.SubscribeSync(nats.NewInbox())
	if err != nil {
		return err
	}
	defer answers.Unsubscribe()
	for range n {
		if err := nc.PublishRequest("raw.x", answers.Subject, data); err != nil {
			return err
		}
	}
	for range n {
		if _, err := answers.NextMsg(time.Minute); err != nil {
			return err
		}
	}
	return nil
}

func publishBatch(nc *nats.Conn, n int, data []byte) error {
	id := rand.Text()
	for i := range n - 1 {
		msg := &nats.Msg{Subject: "raw.x", Data: data, Header: nats.Header{"Nats-Batch-Id": {id}, "Nats-Batch-Sequence": {strconv.Itoa(i + 1)}}}
		if err := nc.PublishMsg(msg); err != nil {
			return err
		}
	}
	_, err := nc.RequestMsg(&nats.Msg{Subject: "raw.x", Data: data, Header: nats.Header{
		"Nats-Batch-Id": {id}, "Nats-Batch-Sequence": {strconv.Itoa(n)}, "Nats-Batch-Commit": {"1"},
	}}, time.Minute)
	return err
}
