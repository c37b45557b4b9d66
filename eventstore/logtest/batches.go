package logtest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// crowdSize is how many commits are begun together: enough that the last of them make
// a batch, whatever the log's pace.
const crowdSize = 300

// crowd is commits that were begun in their order, each on a boundary of its own, and
// none of which was answered before the last was begun.
type crowd struct {
	before     uint64 // the ledger's last position
	boundaries []domain.Boundary
	pending    []*eventstore.Pending
}

// gather begins a crowd on the faulty log, while the proxy holds it.
func gather(t *testing.T, h *Harness, boundaries []domain.Boundary) *crowd {
	t.Helper()
	c := &crowd{boundaries: boundaries, before: h.hold(t)}
	for _, b := range boundaries {
		c.pending = append(c.pending, h.Faulty.Begin(deadline(t), eventstore.Head{}, Commit(b)))
	}
	return c
}

// hold makes sure that the faulty log has a connection with nothing on its way, and
// holds it. It returns the ledger's last position.
func (h *Harness) hold(t *testing.T) (last uint64) {
	t.Helper()
	h.Proxy.Heal()
	h.wait(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), shortDeadline)
		defer cancel()
		_, err := h.Faulty.Append(ctx, eventstore.Head{}, Commit(domain.ClaimsOf(Namespace())))
		return err == nil
	})
	last = lastOf(t, h.Log)
	h.Proxy.Hold()
	return last
}

func newBoundaries(n int) (boundaries []domain.Boundary) {
	for range n {
		boundaries = append(boundaries, domain.ClaimsOf(Namespace()))
	}
	return boundaries
}

// wantRecorded checks that each of the crowd, but for some, is in the ledger once,
// where it was acknowledged, and that nothing else is in their boundaries.
func (c *crowd) wantRecorded(t *testing.T, h *Harness, but ...int) (records map[int]eventstore.Record) {
	t.Helper()
	records = make(map[int]eventstore.Record)
	for i, p := range c.pending {
		if slices.Contains(but, i) {
			continue
		}
		rec, err := p.Wait()
		if err != nil {
			t.Fatalf("commit %d of %d: %v", i, len(c.pending), err)
		}
		records[i] = rec
	}
	there := make(map[domain.Boundary][]eventstore.Record)
	err := h.Log.ReadAll(deadline(t), "", c.before, func(r eventstore.Record) error {
		there[r.Commit.Boundary()] = append(there[r.Commit.Boundary()], r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, rec := range records {
		wantSame(t, "read", there[c.boundaries[i]], []eventstore.Record{rec})
	}
	return records
}

// wantConflict checks that a commit fell to a rival.
func wantConflict(t *testing.T, p *eventstore.Pending, rival eventstore.Head) {
	t.Helper()
	_, err := p.Wait()
	var conflict *eventstore.ConflictError
	if !errors.As(err, &conflict) || conflict.Actual != rival {
		t.Fatalf("%v, want a conflict with version %d", err, rival.Version)
	}
}

// lastBatch is from where on a crowd goes in one batch. What was begun before found
// the way free, or partly so.
func lastBatch(t *testing.T, h *Harness) (from int) {
	t.Helper()
	c := gather(t, h, newBoundaries(crowdSize))
	h.Proxy.Heal()
	records, batches := c.wantRecorded(t, h), h.Batches(t, c.before)
	last := batches[records[crowdSize-1].Position]
	if last == "" {
		t.Fatal("the last of a crowd went by itself")
	}
	from = crowdSize - 1
	for from > 0 && batches[records[from-1].Position] == last {
		from--
	}
	for i := from; i < crowdSize; i++ {
		if want := records[from].Position + uint64(i-from); records[i].Position != want {
			t.Fatalf("commit %d of a batch is at %d, want %d", i, records[i].Position, want)
		}
	}
	return from
}

// manyWriters is how many write at the same time, each to a boundary of its own.
const manyWriters = 96

// many has writers write to the end, and checks that what they wrote is there.
func many(t *testing.T, logs []eventstore.Log, each int, acked func()) {
	t.Helper()
	ctx := deadline(t)
	boundaries := newBoundaries(manyWriters)
	all := make([][]eventstore.Record, manyWriters)
	var group sync.WaitGroup
	for i, b := range boundaries {
		group.Go(func() {
			records, err := writer(ctx, logs[i%len(logs)], b, each, acked)
			if err != nil {
				t.Errorf("writer %d after %d commits: %v", i, len(records), err)
			}
			all[i] = records
		})
	}
	group.Wait()
	for i, b := range boundaries {
		got := readBoundary(t, logs[0], b, 0)
		wantSame(t, "read", got, all[i])
		wantChain(t, got)
	}
}

// testMany also watches what the log's leader shows meanwhile: all of a batch or
// nothing. Followers hand over what the leader shows, so that none learns of a batch
// before it is durable.
func testMany(t *testing.T, h *Harness) {
	before := lastOf(t, h.Log)
	shown := make(map[uint64]bool)
	ctx, stop := context.WithCancel(deadline(t))
	var watching sync.WaitGroup
	watching.Go(func() {
		for ctx.Err() == nil {
			if last, err := h.Another.Last(ctx); err == nil && last > 0 {
				shown[last] = true
			}
		}
	})
	f := follow(t, h.Another, before)
	many(t, []eventstore.Log{h.Log, h.Log, h.Another}, 8, func() {})
	stop()
	watching.Wait()
	last := before + 8*manyWriters
	if got := f.wait(t, last); len(got) != 8*manyWriters {
		t.Errorf("%d commits were handed over, want %d", len(got), 8*manyWriters)
	}
	if h.Batches == nil {
		return
	}
	together := 0
	batches := h.Batches(t, before)
	for position, id := range batches {
		if id != "" && id == batches[position+1] {
			together++
			if shown[position] {
				t.Errorf("the leader showed position %d before the rest of its batch", position)
			}
		}
	}
	if together == 0 {
		t.Error("nothing went together")
	}
}

// testFollowUnshown has deliveries reach a follower that can't ask the leader for what
// is durable.
func testFollowUnshown(t *testing.T, h *Harness) {
	h.Proxy.Heal()
	before := lastOf(t, h.Log)
	blind, seeing := follow(t, h.Faulty, before), follow(t, h.Another, before)
	blind.wait(t, before)
	h.Proxy.Hold()
	var pending []*eventstore.Pending
	for _, b := range newBoundaries(crowdSize) {
		pending = append(pending, h.Log.Begin(deadline(t), eventstore.Head{}, Commit(b)))
	}
	for _, p := range pending {
		if _, err := p.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	want := seeing.wait(t, before+crowdSize)
	blind.mu.Lock()
	got := len(blind.records)
	blind.mu.Unlock()
	// A question that was on its way when the proxy began to hold may cover the first.
	if got > 1 {
		t.Errorf("%d commits were handed over without a word of the leader", got)
	}
	h.Proxy.Heal()
	wantSame(t, "follow", blind.wait(t, before+crowdSize), want)
}

func testRefusedBatch(t *testing.T, h *Harness) {
	from := lastBatch(t, h)
	var third []int
	for i := from; i < crowdSize; i += 3 {
		third = append(third, i)
	}
	for what, guilty := range map[string][]int{
		"first": {from}, "middle": {(from + crowdSize) / 2}, "last": {crowdSize - 1}, "every third": third,
	} {
		boundaries := newBoundaries(crowdSize)
		rivals := make(map[int]eventstore.Head)
		for _, i := range guilty {
			rivals[i] = appendN(t, h.Log, boundaries[i], eventstore.Head{}, 1)[0].Head()
		}
		c := gather(t, h, boundaries)
		h.Proxy.Heal()
		records, batches := c.wantRecorded(t, h, guilty...), h.Batches(t, c.before)
		ids := make(map[string]bool)
		for i, rec := range records {
			if i >= from {
				ids[batches[rec.Position]] = true
			}
		}
		if len(ids) != 1 || ids[""] {
			t.Errorf("%s: the innocent did not go together", what)
		}
		for i, rival := range rivals {
			wantConflict(t, c.pending[i], rival)
			wantTail(t, h.Log, boundaries[i], rival)
		}
	}
}

func testLostBatches(t *testing.T, h *Harness) {
	// No more than is on its way: what waits while there is no connection fails.
	sent := lastBatch(t, h)
	for _, lose := range []func(func()){h.Proxy.LoseBatchAnswer, h.Proxy.LoseBatch} {
		var lost chan struct{}
		c := h.losing(t, sent, lose, func(*crowd) func() {
			lost = make(chan struct{})
			return func() { close(lost) }
		})
		c.wantRecorded(t, h)
		select {
		case <-lost:
		default:
			t.Fatal("nothing was lost")
		}
	}

	// While a batch is lost, rivals take the place of one, and follow another.
	mine := sent - 1
	var rival eventstore.Record
	c := h.losing(t, sent, h.Proxy.LoseBatch, func(c *crowd) func() {
		return func() { rival = appendN(t, h.Log, c.boundaries[mine], eventstore.Head{}, 1)[0] }
	})
	c.wantRecorded(t, h, mine)
	wantConflict(t, c.pending[mine], rival.Head())

	var next eventstore.Record
	c = h.losing(t, sent, h.Proxy.LoseBatchAnswer, func(c *crowd) func() {
		return func() {
			tail, err := h.Log.Tail(deadline(t), c.boundaries[mine])
			if err != nil {
				t.Error(err)
			}
			next = appendN(t, h.Log, c.boundaries[mine], tail, 1)[0]
		}
	})
	c.wantRecorded(t, h, mine)
	rec, err := c.pending[mine].Wait()
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "read", readBoundary(t, h.Log, c.boundaries[mine], 0), []eventstore.Record{rec, next})
}

// losing has a crowd's batch lost, and gives what came of one that was sent as a whole:
// where the connection goes before that, those that were not sent fail, as they have to.
func (h *Harness) losing(t *testing.T, size int, lose func(func()), then func(*crowd) func()) *crowd {
	t.Helper()
	for {
		c := gather(t, h, newBoundaries(size))
		lose(then(c))
		if !slices.ContainsFunc(c.pending, unsent) {
			return c
		}
		if t.Context().Err() != nil {
			t.Fatal("no batch was sent as a whole")
		}
	}
}

func unsent(p *eventstore.Pending) bool {
	_, err := p.Wait()
	return errors.Is(err, eventstore.ErrUnavailable)
}

func testManyDisturbed(t *testing.T, h *Harness) {
	due := make(chan struct{})
	var mu sync.Mutex
	count := 0
	var disturbed sync.WaitGroup
	disturbed.Go(func() {
		select {
		case <-due:
			h.Disturb(t)
		case <-t.Context().Done():
		}
	})
	many(t, []eventstore.Log{h.Log, h.Another}, 12, func() {
		mu.Lock()
		defer mu.Unlock()
		if count++; count == 4*manyWriters {
			close(due)
		}
	})
	disturbed.Wait()
}
