package bench

import (
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// operation is one request and its answer, by one of several workers. An error ends the
// load: whatever is measured here has to answer right.
type operation func(worker, i int) error

// For loads that end after a time, or after a number of operations.
const (
	unbounded = math.MaxInt
	forever   = 24 * time.Hour
)

// Outcome is what one measured time gave.
type Outcome struct {
	Done      int             `json:"done"`
	Elapsed   time.Duration   `json:"elapsed"`
	Latencies []time.Duration `json:"latencies"` // sorted
	CPU       time.Duration   `json:"cpu"`       // of the process that was loaded
	LoadCPU   time.Duration   `json:"load_cpu"`  // of the process that loaded it, where it is another
}

func (o Outcome) rate() float64 { return float64(o.Done) / o.Elapsed.Seconds() }

func (o Outcome) sort() { slices.Sort(o.Latencies) }

// quantile is the latency that a share of all operations did not exceed.
func (o Outcome) quantile(share float64) time.Duration {
	if len(o.Latencies) == 0 {
		return 0
	}
	return o.Latencies[min(len(o.Latencies)-1, int(share*float64(len(o.Latencies))))]
}

// closedLoop has each worker begin an operation when its last one was answered, for a
// time, or until total operations were made.
func closedLoop(ctx context.Context, workers, total int, d time.Duration, op operation) (Outcome, error) {
	var next atomic.Int64
	return run(ctx, workers, func(ctx context.Context, worker int, note func(time.Duration)) error {
		for end := time.Now().Add(d); ctx.Err() == nil; {
			begun := time.Now()
			i := int(next.Add(1)) - 1
			if i >= total || begun.After(end) {
				return nil
			}
			if err := op(worker, i); err != nil {
				return err
			}
			note(time.Since(begun))
		}
		return ctx.Err()
	})
}

// openLoop begins operations at a steady rate, whatever became of those before. A
// latency runs from the moment at which an operation was due: if all workers wait for
// slow answers, that waiting counts, as it would for the clients that they stand for.
func openLoop(ctx context.Context, workers, total int, rate float64, op operation) (Outcome, error) {
	type due struct {
		i  int
		at time.Time
	}
	queue := make(chan due, total) // the schedule never waits for the workers
	scheduled, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer close(queue)
		begun := time.Now()
		for i := range total {
			at := begun.Add(time.Duration(float64(i) / rate * float64(time.Second)))
			for wait := time.Until(at); wait > 0; wait = time.Until(at) {
				pause(wait)
			}
			if scheduled.Err() != nil {
				return
			}
			queue <- due{i, at}
		}
	}()
	return run(ctx, workers, func(ctx context.Context, worker int, note func(time.Duration)) error {
		for {
			select {
			case d, ok := <-queue:
				if !ok {
					return ctx.Err()
				}
				if err := op(worker, d.i); err != nil {
					return err
				}
				note(time.Since(d.at))
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}

// run runs the workers to their end and puts together what they noted.
func run(ctx context.Context, workers int, work func(ctx context.Context, worker int, note func(time.Duration)) error) (Outcome, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	noted := make([][]time.Duration, workers)
	var wg sync.WaitGroup
	cpu, begun := cpuTime(), time.Now()
	for worker := range workers {
		wg.Go(func() {
			err := work(ctx, worker, func(d time.Duration) { noted[worker] = append(noted[worker], d) })
			if err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	o := Outcome{Elapsed: time.Since(begun), CPU: cpuTime() - cpu}
	if err := context.Cause(ctx); err != nil {
		return Outcome{}, err
	}
	o.Latencies = slices.Concat(noted...)
	o.sort()
	o.Done = len(o.Latencies)
	return o, nil
}

// cpuTime is what this process has used of the CPUs.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
