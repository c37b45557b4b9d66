package sim

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// node is a process that executes commands: the real Executor, Fence and Watch. What it
// keeps in memory is gone when it crashes; its mark file stays.
type node struct {
	id   int
	skew time.Duration // of its clock
	mark eventstore.MarkFile

	state  state
	life   int  // counts its starts
	misled bool // it knew commits that the log has lost since
	afresh bool // it began, or compared the log with its mark, after the log lost something
	ctx    context.Context
	stop   context.CancelFunc
	conn   *connection
	exec   *commands.Executor
	fence  *eventstore.Fence
	watch  *eventstore.Watch
	ended  error // why it is down or follows no more
}

type state string

const (
	down    state = "down"
	loading state = "loading"
	up      state = "up"
	deaf    state = "deaf" // up, but it follows the log no more
)

var discard = slog.New(slog.DiscardHandler)

func newNode(w *world, id int) *node {
	n := &node{id: id, state: down}
	if w.tearing { // elsewhere it would only cost an fsync each time
		n.mark = eventstore.MarkFile(filepath.Join(w.dir, fmt.Sprintf("mark-%d", id)))
	}
	return n
}

// start begins a new life of the node: it looks at its mark, loads, and follows.
func (w *world) start(n *node) {
	n.life++
	n.afresh, n.misled = w.torn, false
	n.ctx, n.stop = context.WithCancel(context.Background())
	n.fence = eventstore.NewFence(discard)
	n.watch = &eventstore.Watch{Log: watched{w.ledger.memory}, Fence: n.fence, File: n.mark, Logger: discard}
	if err := n.watch.Begin(n.ctx); err != nil {
		n.ended = err
		n.stop()
		if n.fence.Broken() == nil {
			w.fail("node %d cannot look at its mark: %v", n.id, err)
		}
		return
	}
	n.conn = &connection{world: w, node: n, life: n.life, feed: make(chan int)}
	var log eventstore.Log = n.conn
	if w.plant.log != nil {
		log = w.plant.log(w, n, log)
	}
	fence := n.fence
	if w.plant.unfenced {
		fence = nil
	}
	exec := commands.NewExecutor(commands.Config{
		Log: log, Fence: fence, Limits: w.limits, Logger: discard, NewID: w.newID,
		Metrics: commands.NewMetrics(prometheus.NewRegistry()), Snapshots: &store{w, n, n.life}, SnapshotEvery: snapshotEvery,
		Now:    func() time.Time { return w.now.Add(n.skew) },
		Gather: func() { time.Sleep(time.Nanosecond) }, // until nothing moves any more: the bubble's time costs none
		// The order in which those go on that fell together.
		Jitter: func(ctx context.Context, _ time.Duration) time.Duration {
			return time.Duration(callerOf(ctx)+2) * time.Microsecond
		},
	})
	n.exec, n.state, n.ended = exec, loading, nil
	life, ctx := n.life, n.ctx
	go func() {
		err := exec.Load(ctx)
		if n.life != life {
			return
		}
		if err != nil {
			n.state, n.ended = down, err
			n.stop()
			return
		}
		n.state = up
		err = exec.Run(ctx)
		if n.life == life {
			n.state, n.ended = deaf, err
		}
	}()
}

// crash ends the node's life between any two of its operations on the log. What becomes
// of those that were on their way is chosen for each.
func (w *world) crash(n *node) {
	for _, c := range w.inFlight(n) {
		c.crashed = true
	}
	n.life++
	n.state = down
	n.stop()
	w.settle()
	for _, o := range w.gate.all() {
		if o.node != n {
			continue
		}
		v := unreachable
		switch o.kind {
		case opAppend:
			v = pick(w.rng, unreachable, lostApplied, lostLate)
		case opSave:
			v = pick(w.rng, unreachable, lostApplied, halved)
		}
		w.note("  %s %s", o, v)
		w.gate.release(o, v)
		w.settle()
	}
	if w.plant.crashed != nil {
		w.plant.crashed(w)
	}
}

// clock is the node's own.
func (w *world) clock(n *node) time.Time {
	return w.now.Add(n.skew).UTC().Truncate(time.Millisecond)
}

// serves reports whether the node takes commands.
func (n *node) serves() bool { return n.state == up || n.state == deaf }

// knows is the position of the last commit that the node may know.
func (n *node) knows() uint64 {
	last := n.exec.Position()
	for _, ns := range namespaces {
		last = max(last, n.exec.Heads(ns))
	}
	return last
}

// registryVersion is how far the node knows a namespace's registry.
func (n *node) registryVersion(namespace string) (version uint64) {
	n.exec.Directory().View(namespace, func(r *domain.Registry) { version = r.Version() })
	return version
}
