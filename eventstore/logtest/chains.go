package logtest

import (
	"context"
	"errors"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// chainLength is enough for a batch, whatever the log's pace.
const chainLength = 40

// chain begins commits of one boundary, each after the one before.
func chain(ctx context.Context, log eventstore.Log, b domain.Boundary, after eventstore.Head, n int) []*eventstore.Pending {
	pending := []*eventstore.Pending{log.Begin(ctx, after, Commit(b))}
	for len(pending) < n {
		pending = append(pending, log.Chain(ctx, pending[len(pending)-1], Commit(b)))
	}
	return pending
}

func waitAll(t *testing.T, pending []*eventstore.Pending) (records []eventstore.Record) {
	t.Helper()
	for i, p := range pending {
		rec, err := p.Wait()
		if err != nil {
			t.Fatalf("commit %d of %d: %v", i, len(pending), err)
		}
		if p.Head() != rec.Head() || p.Commit().ID != rec.Commit.ID {
			t.Fatalf("commit %d is %+v, and was acknowledged as %+v", i, p.Head(), rec.Head())
		}
		records = append(records, rec)
	}
	return records
}

func testChains(t *testing.T, h *Harness) {
	ctx, b := deadline(t), domain.ClaimsOf(Namespace())
	// Longer than a batch, and the version and the hash are there at once.
	pending := chain(ctx, h.Log, b, eventstore.Head{}, h.Many+1)
	for i, p := range pending {
		if p.Commit().Version != uint64(i+1) || i > 0 && p.Commit().Prev != pending[i-1].Head().Hash {
			t.Fatalf("commit %d is version %d", i, p.Commit().Version)
		}
	}
	records := waitAll(t, pending)
	wantChain(t, records)
	wantSame(t, "read", readBoundary(t, h.Another, b, 0), records)

	// Behind what has ended, well or not.
	next, err := h.Log.Chain(ctx, pending[len(pending)-1], Commit(b)).Wait()
	if err != nil {
		t.Fatal(err)
	}
	refused := chain(ctx, h.Log, b, records[0].Head(), chainLength)
	for _, p := range refused {
		wantConflict(t, p, next.Head())
	}
	wantConflict(t, h.Log.Chain(ctx, refused[3], Commit(b)), next.Head())

	// A member that can't be recorded ends the chain there.
	pending = chain(ctx, h.Log, b, next.Head(), 3)
	empty := Commit(b)
	empty.Events = nil
	failed := h.Log.Chain(ctx, pending[2], empty)
	behind := h.Log.Chain(ctx, failed, Commit(b))
	records = waitAll(t, pending)
	if _, err := failed.Wait(); err == nil {
		t.Error("a commit without events was recorded")
	}
	if _, err := behind.Wait(); !errors.Is(err, eventstore.ErrUnavailable) {
		t.Errorf("behind a commit without events: %v, want ErrUnavailable", err)
	}
	if _, err := h.Log.Chain(ctx, pending[2], Commit(domain.RegistryOf(b.Namespace))).Wait(); err == nil {
		t.Error("a chain went over to another boundary")
	}
	wantTail(t, h.Another, b, records[2].Head())
}

// testChainedBatch has chains share a batch with others, be refused, and be lost.
func testChainedBatch(t *testing.T, h *Harness) {
	b := domain.ClaimsOf(Namespace())
	before := h.hold(t)
	pending := chain(deadline(t), h.Faulty, b, eventstore.Head{}, chainLength+1)
	h.Proxy.Heal()
	records := waitAll(t, pending)
	wantChain(t, records)
	batches := h.Batches(t, before)
	id := batches[records[1].Position]
	for i, r := range records[1:] {
		if r.Position != records[1].Position+uint64(i) || batches[r.Position] != id || id == "" {
			t.Fatalf("commit %d of the chain did not go together with the others", i+1)
		}
	}

	for name, lose := range map[string]func(func()){"answer": h.Proxy.LoseBatchAnswer, "batch": h.Proxy.LoseBatch} {
		after := records[len(records)-1].Head()
		h.hold(t)
		pending := chain(deadline(t), h.Faulty, b, after, chainLength+1)
		lost := make(chan struct{})
		lose(func() { close(lost) })
		more := waitAll(t, pending)
		select {
		case <-lost:
		default:
			t.Fatalf("no %s was lost", name)
		}
		records = append(records, more...)
		wantSame(t, "read", readBoundary(t, h.Log, b, after.Position), more)
	}
	wantChain(t, readBoundary(t, h.Log, b, 0))

	// One chain of a batch is refused, as a whole; the others are recorded.
	boundaries := newBoundaries(3)
	rival := appendN(t, h.Log, boundaries[1], eventstore.Head{}, 1)[0]
	c := gather(t, h, newBoundaries(crowdSize))
	var chains [][]*eventstore.Pending
	for _, b := range boundaries {
		chains = append(chains, chain(deadline(t), h.Faulty, b, eventstore.Head{}, chainLength))
	}
	h.Proxy.Heal()
	c.wantRecorded(t, h)
	for i, b := range boundaries {
		if i == 1 {
			for _, p := range chains[i] {
				wantConflict(t, p, rival.Head())
			}
			continue
		}
		wantSame(t, "read", readBoundary(t, h.Log, b, 0), waitAll(t, chains[i]))
	}
	wantTail(t, h.Log, boundaries[1], rival.Head())
}
