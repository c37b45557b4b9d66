package logtest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// What the log promises to keep to: the server's own bound of a batch, and its own.
const (
	maxBatchCommits = 1000
	maxBatchBytes   = 4 << 20
	maxPending      = 8192
	maxPendingBytes = 32 << 20
)

// padded is a commit of about that size.
func padded(b domain.Boundary, size int) *domain.Commit {
	c := Commit(b)
	c.Command.Name = strings.Repeat("x", size)
	return c
}

// testBatchLimits has more wait than go together. Where that takes longer than an attempt may,
// they go in several, of which none may be large, and it is tried again.
func testBatchLimits(t *testing.T, h *Harness) {
	h.wait(t, func() bool { return fullBatch(t, h) })
	h.wait(t, func() bool { return heavyBatches(t, h) })
}

// fullBatch has many small ones wait, and reports whether a batch was as long as can be.
func fullBatch(t *testing.T, h *Harness) (full bool) {
	t.Helper()
	c := gather(t, h, newBoundaries(crowdSize+2*maxBatchCommits))
	h.Proxy.Heal()
	c.wantRecorded(t, h)
	sizes := make(map[string]int)
	for _, id := range h.Batches(t, c.before) {
		sizes[id]++
	}
	delete(sizes, "")
	for id, n := range sizes {
		if n > maxBatchCommits || len(id) > 64 {
			t.Errorf("batch %s has %d commits", id, n)
		}
		full = full || n == maxBatchCommits
	}
	return full
}

// heavyBatches has large ones wait behind a crowd, with one among them that is as large as
// can be, and reports whether they went together.
func heavyBatches(t *testing.T, h *Harness) bool {
	t.Helper()
	const count, size = 40, 150 << 10
	c := gather(t, h, newBoundaries(crowdSize))
	for i, b := range newBoundaries(count) {
		commit := padded(b, size)
		if i == count/2 {
			commit = padded(b, eventstore.MaxCommitSize-1000)
		}
		c.boundaries = append(c.boundaries, b)
		c.pending = append(c.pending, h.Faulty.Begin(deadline(t), eventstore.Head{}, commit))
	}
	h.Proxy.Heal()
	records, batches := c.wantRecorded(t, h), h.Batches(t, c.before)
	bytes := make(map[string]int)
	for _, rec := range records {
		bytes[batches[rec.Position]] += len(rec.Stored)
	}
	delete(bytes, "")
	for id, n := range bytes {
		if n > maxBatchBytes {
			t.Errorf("batch %s has %d bytes", id, n)
		}
	}
	return len(bytes) > (count*size+eventstore.MaxCommitSize)/maxBatchBytes
}

// busy reports whether a commit was refused at once, for want of room.
func busy(p *eventstore.Pending) bool {
	select {
	case <-p.Done():
		_, err := p.Wait()
		return errors.Is(err, eventstore.ErrBusy)
	default:
		return false
	}
}

func testBusy(t *testing.T, h *Harness) {
	ctx := deadline(t)
	small := func() *eventstore.Pending {
		return h.Faulty.Begin(ctx, eventstore.Head{}, Commit(domain.ClaimsOf(Namespace())))
	}
	c := &crowd{before: h.hold(t)}
	for range maxPending {
		p := small()
		if busy(p) {
			t.Fatalf("busy with %d commits", len(c.pending))
		}
		c.boundaries, c.pending = append(c.boundaries, p.Commit().Boundary()), append(c.pending, p)
	}
	if !busy(small()) {
		t.Errorf("more than %d commits are taken on", maxPending)
	}
	h.Proxy.Heal()
	records := c.wantRecorded(t, h)
	if n := lastOf(t, h.Log) - c.before; n != uint64(len(records)) {
		t.Errorf("%d commits are there, %d were acknowledged", n, len(records))
	}

	// The bytes are bounded as well. All but the first of a chain wait.
	h.hold(t)
	ctx = deadline(t)
	ending, end := context.WithCancel(ctx)
	defer end()
	const size = 1 << 19
	b := domain.ClaimsOf(Namespace())
	pending := []*eventstore.Pending{h.Faulty.Begin(ending, eventstore.Head{}, padded(b, size))}
	for {
		p := h.Faulty.Chain(ending, pending[len(pending)-1], padded(b, size))
		if busy(p) {
			break
		}
		if pending = append(pending, p); len(pending) > maxPendingBytes/size {
			t.Fatalf("%d commits of %d bytes are taken on", len(pending), size)
		}
	}
	if n := len(pending); n < maxPendingBytes/size-1 {
		t.Errorf("busy with %d commits of %d bytes", n, size)
	}
	end()
	for i, p := range pending[1:] {
		if _, err := p.Wait(); !errors.Is(err, eventstore.ErrUnavailable) {
			t.Errorf("commit %d of the chain: %v, want ErrUnavailable", i+1, err)
		}
	}
	p := small()
	if busy(p) {
		t.Error("what was withdrawn keeps its room")
	}
	h.Proxy.Heal()
	if _, err := p.Wait(); err != nil {
		t.Error(err)
	}
}

// testTimeIsOver ends the time of commits at each stage of their way.
func testTimeIsOver(t *testing.T, h *Harness) {
	from := lastBatch(t, h)
	b := domain.ClaimsOf(Namespace())
	ending, end := context.WithCancel(deadline(t))
	defer end()

	c := &crowd{before: h.hold(t), boundaries: newBoundaries(crowdSize)}
	sent, queued := from-1, from+1 // in a batch that is held, and not sent
	for i, b := range c.boundaries {
		ctx := deadline(t)
		if i == sent || i == queued {
			ctx = ending
		}
		c.pending = append(c.pending, h.Faulty.Begin(ctx, eventstore.Head{}, Commit(b)))
	}
	first := h.Faulty.Begin(deadline(t), eventstore.Head{}, Commit(b))
	second := h.Faulty.Chain(ending, first, Commit(b))
	third := h.Faulty.Chain(deadline(t), second, Commit(b))
	end()
	if _, err := c.pending[queued].Wait(); !errors.Is(err, eventstore.ErrUnavailable) || errors.Is(err, eventstore.ErrOutcomeUnknown) {
		t.Errorf("one that waits: %v, want ErrUnavailable", err)
	}
	if _, err := c.pending[sent].Wait(); !errors.Is(err, eventstore.ErrOutcomeUnknown) || errors.Is(err, eventstore.ErrUnavailable) {
		t.Errorf("one that was sent: %v, want ErrOutcomeUnknown", err)
	}
	if _, err := second.Wait(); !errors.Is(err, eventstore.ErrUnavailable) {
		t.Errorf("one that waits in a chain: %v, want ErrUnavailable", err)
	}
	h.Proxy.Heal()
	c.wantRecorded(t, h, sent, queued)
	wantTail(t, h.Log, c.boundaries[queued], eventstore.Head{})
	if got := readBoundary(t, h.Log, c.boundaries[sent], 0); len(got) != 1 {
		t.Errorf("the batch went on without a commit of it")
	}
	if _, err := third.Wait(); !errors.Is(err, eventstore.ErrUnavailable) {
		t.Errorf("one behind it in the chain: %v, want ErrUnavailable", err)
	}
	rec, err := first.Wait()
	if err != nil {
		t.Fatal(err)
	}
	wantTail(t, h.Log, b, rec.Head())
}
