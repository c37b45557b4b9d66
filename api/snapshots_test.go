package api_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

// countedLog counts what is read of it to load something.
type countedLog struct {
	eventstore.Log
	claims, registries atomic.Int64
}

func (l *countedLog) Read(ctx context.Context, b domain.Boundary, after uint64, f func(eventstore.Record) error) error {
	return l.Log.Read(ctx, b, after, func(r eventstore.Record) error {
		l.claims.Add(1)
		return f(r)
	})
}

func (l *countedLog) ReadAll(ctx context.Context, kind domain.Kind, after uint64, f func(eventstore.Record) error) error {
	return l.Log.ReadAll(ctx, kind, after, func(r eventstore.Record) error {
		if kind == domain.KindRegistry {
			l.registries.Add(1)
		}
		return f(r)
	})
}

const snapshotEvery = 10 // commits

// counted starts a node that keeps snapshots and counts what it reads to load.
func (l *ledger) counted() (*node, *countedLog) {
	l.t.Helper()
	log := &countedLog{Log: l.log}
	return l.start(func(s *settings) { s.log, s.every = log, snapshotEvery }), log
}

// snapshotsThat counts a node's snapshots by operation and outcome.
func (n *node) snapshotsThat(t *testing.T, operation, outcome string) float64 {
	t.Helper()
	families, err := n.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if l := m.GetLabel(); f.GetName() == "claimledger_snapshots_total" && l[0].GetValue() == operation && l[1].GetValue() == outcome {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// on is the same service at another node.
func (s *service) on(n *node) *service {
	return &service{owner: s.owner.on(n), id: s.id, slug: s.slug, key: s.key, keyID: s.keyID}
}

// A node that starts reads what came after the snapshots, and not the log.
func TestARestartReadsTheTail(t *testing.T) {
	l := newLedger(t)
	first, _ := l.counted()
	o := first.owner(t, "acme")
	o.policy(map[string]any{"max_pending": 1000}).want(200)
	s := o.service("openai")
	for i := range snapshotEvery { // of registries, too
		o.policy(map[string]any{"max_agents": 100 + i}).want(200)
	}
	approved := l.agent(t, "acme")
	s.approved(o, approved)
	for range 2 * snapshotEvery {
		s.pending(l.agent(t, "acme"))
	}
	eventually(t, "both snapshots", func() bool { return first.snapshotsThat(t, "save", "saved") >= 3 })
	first.stop()

	second, read := l.counted()
	if got := s.on(second).verify(approved).want(200); got.at("authorized") != true {
		t.Errorf("after the restart: %s", got.body)
	}
	s.on(second).pending(l.agent(t, "acme"))
	if claims, registries := read.claims.Load(), read.registries.Load(); claims >= snapshotEvery || registries >= snapshotEvery {
		t.Errorf("%d commits of claims and %d of registries were read", claims, registries)
	}
	if second.snapshotsThat(t, "load", "used") != 2 {
		t.Error("the snapshots were not used")
	}
}

// The bucket is dropped while the ledger is used, and nobody notices but the operator.
func TestSnapshotsAreDropped(t *testing.T) {
	l := newLedger(t)
	n, _ := l.counted()
	o := n.owner(t, "acme")
	o.policy(map[string]any{"max_pending": 1000}).want(200)
	s := o.service("openai")
	submit := func() {
		for range snapshotEvery {
			s.pending(l.agent(t, "acme"))
		}
	}
	submit()
	eventually(t, "a snapshot", func() bool { return n.snapshotsThat(t, "save", "saved") > 0 })
	logtest.DropSnapshots(t, l.server)
	submit()
	eventually(t, "a failure that is counted", func() bool { return n.snapshotsThat(t, "save", "failed") > 0 })
	second, read := l.counted()
	s.on(second).pending(l.agent(t, "acme"))
	if read.claims.Load() < 2*snapshotEvery {
		t.Errorf("%d commits were read, where no snapshot is", read.claims.Load())
	}
	logtest.MakeSnapshots(t, l.server)
	saved := n.snapshotsThat(t, "save", "saved")
	submit()
	eventually(t, "snapshots again", func() bool { return n.snapshotsThat(t, "save", "saved") > saved })
}
