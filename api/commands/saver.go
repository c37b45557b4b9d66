package commands

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

const (
	// DefaultSnapshotEvery is how many commits make a new snapshot worth its while at
	// least. Reading so many takes from 70 ms to half a second of CPU time, the more others
	// stand between them; saving costs the disk four writes that others have to wait for,
	// where these commits cost it a hundred and more.
	DefaultSnapshotEvery = 2048
	// snapshotShare is which part of what is held has to be new at least. What is old is
	// written again each time, so this bounds the work per commit; and an eighth takes as
	// long to read from the log as the rest from a snapshot.
	snapshotShare = 8
	// leavingNew is how many commits make a snapshot worth its while of claims that have to
	// go. The next command on them waits until what the snapshot lacks is read. Where the claims
	// in use take twice their memory, a command takes less than half the time with 16 that it
	// takes with 64, and each sixteenth leads to a save.
	leavingNew = 16
	// leavingShare is which part of what goes has to be new at least. It is less than of what
	// stays, for somebody will wait, and bounds what is written again for a commit: 64 claims.
	leavingShare = 64
	// leavingMemory is the part of the claims' memory that what had to go may take beside it
	// while it waits to be saved. What finds no room goes without: more of the log is read
	// when it comes back.
	leavingMemory = 4
	// maxQueued bounds how many snapshots wait to be saved. Those that find no room come
	// again with the next commit.
	maxQueued = 64
	// snapshotSaveTimeout bounds saving one.
	snapshotSaveTimeout = 30 * time.Second
)

// saver saves snapshots one after another, beside everything else: it takes one CPU at
// most, and nobody waits for it.
type saver struct {
	logger *slog.Logger
	queue  chan func(context.Context)
	failed atomic.Bool // the last time that the snapshots were used

	leaving atomic.Int64 // bytes of claims that had to go and wait to be saved
}

func newSaver(logger *slog.Logger) *saver {
	return &saver{logger: logger, queue: make(chan func(context.Context), maxQueued)}
}

// offer queues something to be saved, where there is room.
func (s *saver) offer(save func(context.Context)) bool {
	select {
	case s.queue <- save:
		return true
	default:
		return false
	}
}

// run saves what is queued until ctx ends.
func (s *saver) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case save := <-s.queue:
			save(ctx)
		}
	}
}

// tell logs that the snapshots cannot be used, once, and that they can again.
func (s *saver) tell(err error) {
	switch failed := err != nil; {
	case s.failed.Swap(failed) == failed:
	case failed:
		s.logger.Warn("snapshots cannot be kept; until they can, more of the log is read when something is loaded", "error", err)
	default:
		s.logger.Info("snapshots are kept again")
	}
}

// save keeps one snapshot.
func (x *Executor) save(ctx context.Context, of string, fold int, head eventstore.Head, encode func() ([]byte, error)) {
	if x.Fence.Broken() != nil {
		return // what is known here may not be what the log has
	}
	ctx, cancel := context.WithTimeout(ctx, snapshotSaveTimeout)
	defer cancel()
	state, err := encode()
	var contents []byte
	if err == nil {
		contents, err = newSnapshot(of, fold, head, state)
	}
	if err == nil {
		err = x.Snapshots.Save(ctx, of, contents)
	}
	if err != nil && ctx.Err() != nil && context.Cause(ctx) == context.Canceled {
		return // the process stops
	}
	x.saver.tell(err)
	if err != nil {
		x.Metrics.snapshot("save", "failed")
		return
	}
	x.Metrics.snapshot("save", "saved")
}

// snapshotDue is how many commits more than a snapshot has make a new one worth its while.
func (x *Executor) snapshotDue(claims int) uint64 {
	every := uint64(DefaultSnapshotEvery)
	if x.SnapshotEvery > 0 {
		every = x.SnapshotEvery
	}
	return max(every, uint64(claims)/snapshotShare)
}

// leavingDue is the same for claims that have to go.
func (x *Executor) leavingDue(claims int) uint64 {
	return min(x.snapshotDue(claims)/2, max(leavingNew, uint64(claims)/leavingShare))
}

// loadClaims loads claims that are to be held, as far as a snapshot has them from there.
func (x *Executor) loadClaims(ctx context.Context, h *heldClaims) {
	from := x.restoreClaims(ctx, h.id)
	if from != nil {
		h.tried.Store(from.head.Version)
	}
	if misfit := h.load(ctx, from); misfit != nil {
		h.tried.Store(0)
		x.ignore(h.id.String(), misfit)
	}
	x.grown(h)
}

// followClaims takes a commit of claims that are held, and notes what has grown with it.
func (x *Executor) followClaims(r eventstore.Record) {
	h, ok := x.claims.Peek(r.Commit.Namespace)
	if !ok {
		return
	}
	h.follow(r)
	select {
	case <-h.loaded:
		x.grown(h)
	default: // when it is
	}
}

// grown makes room for claims that take more than before, and has what is new in them
// saved if that is enough. What has to go is worth saving with less.
func (x *Executor) grown(h *heldClaims) {
	size, claims := int64(0), 0
	h.view(func(s *domain.Claims) { size, claims = s.Size(), s.Len() })
	x.offer(h, x.snapshotDue(claims), func() {})
	gone := x.claims.weigh(h, size)
	x.Metrics.claimsMemory.Set(float64(x.claims.Bytes()))
	for _, gone := range gone {
		x.leave(gone)
	}
}

// leave has claims saved that had to go, where what waits for that leaves room for them.
func (x *Executor) leave(gone *heldClaims) {
	size, claims := int64(0), 0
	gone.view(func(s *domain.Claims) { size, claims = s.Size(), s.Len() })
	left := func() { x.saver.leaving.Add(-size) }
	waiting := x.saver.leaving.Add(size)
	full := waiting > size && waiting > x.claims.most/leavingMemory // one of them may always wait
	if full || !x.offer(gone, x.leavingDue(claims), left) {
		left()
	}
}

// offer has claims saved that have so many commits more than their snapshot, and done
// called then. It reports whether it will.
func (x *Executor) offer(h *heldClaims, due uint64, done func()) bool {
	if x.Snapshots == nil || h.at().Version < h.tried.Load()+due || !h.queued.CompareAndSwap(false, true) {
		return false
	}
	queued := x.saver.offer(func(ctx context.Context) {
		defer done()
		x.saveClaims(ctx, h)
	})
	if !queued {
		h.queued.Store(false)
	}
	return queued
}

// saveClaims saves what is certain of claims. If that fails, it is tried again when as
// much is new once more.
func (x *Executor) saveClaims(ctx context.Context, h *heldClaims) {
	defer h.queued.Store(false)
	state, head, err := h.settled()
	if err != nil {
		return
	}
	h.tried.Store(head.Version)
	x.save(ctx, h.id.String(), domain.ClaimsFold, head, state.Encode)
}

// settled is what is certain, taken in no time.
func (h *heldClaims) settled() (*domain.ClaimsSnapshot, eventstore.Head, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.state.Snapshot(), h.head, h.err
}
