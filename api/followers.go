package api

import (
	"context"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/projections"
)

const (
	// maxFollowers bounds how many callers wait for changes at once, where the
	// configuration does not. Each costs a
	// connection and about 30 KB.
	maxFollowers = 20_000
	// maxUpdates bounds what is kept for one that is slow to take it.
	maxUpdates = 64
	// sweepEvery is how often it is checked that keys still hold and that what is told
	// is not too old.
	sweepEvery = 250 * time.Millisecond
	// tellerShare is how many followers are told by one goroutine before it is worth
	// another.
	tellerShare = 64
)

var (
	errStopping = domain.Errorf(domain.CodeServiceUnavailable, "This node is stopping; another one, or this one in a moment, goes on.")
	errCrowded  = domain.Errorf(domain.CodeServiceUnavailable, "Too many callers follow changes on this node.")
	errSlow     = domain.Errorf(domain.CodeServiceUnavailable, "Changes come faster than this caller takes them.")
)

// changeSource is what followers are told from.
type changeSource struct {
	// page reads what changed on a service after a position.
	page func(ctx context.Context, serviceID string, since uint64) (projections.FeedChangesPage, projections.At, error)
	// changed tells which of some services changed after a position.
	changed func(ctx context.Context, serviceIDs []string, since uint64) ([]string, projections.At, error)
	// wait returns when the model has reached a position, or may have, or ctx ends.
	wait func(ctx context.Context, position uint64) error
	// usable refuses what is too old to authorize anyone on.
	usable func(projections.At) error
}

func (s *Server) changeSource() changeSource {
	// Who waits listens on a connection of its own: not before somebody follows.
	moves := sync.OnceValue(func() *projections.Moves { return s.config.Reads.Moves(projections.FeedModel) })
	return changeSource{
		page:    s.config.Reads.FeedChanges,
		changed: s.config.Reads.FeedsChanged,
		wait: func(ctx context.Context, position uint64) error {
			return moves().Wait(ctx, position)
		},
		usable: func(at projections.At) error {
			if err := s.fresh(); err != nil {
				return err
			}
			return s.freshFeed(at)
		},
	}
}

// followers tells any number of callers what changes on their services. One goroutine,
// which runs while there is somebody to tell, reads for all of them: it wakes once for each
// move of the model, and reads each service that changed once.
type followers struct {
	source changeSource
	most   int
	logger *slog.Logger
	ctx    context.Context // of the goroutine
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	topics  map[string]*topic
	count   int
	running bool
	stopped bool
	at      projections.At     // what was known last
	seen    time.Time          // when that was
	hurry   context.CancelFunc // ends the wait for the model to move
}

// topic is a service that somebody follows.
type topic struct {
	serviceID string
	position  uint64 // up to where its followers were told everything
	telling   bool   // some of them are being told
	followers map[*follower]struct{}
}

// follower is one caller. ended is closed when nothing more comes; err says why then.
type follower struct {
	topic   *topic
	good    func() error // whether the caller may still be told
	updates chan update
	line    *line // what it is told on while that is not busy; nil: none
	ended   chan struct{}
	err     error
}

func newFollowers(source changeSource, most int, logger *slog.Logger) *followers {
	ctx, cancel := context.WithCancel(context.Background())
	return &followers{source: source, most: most, logger: logger, ctx: ctx, cancel: cancel, topics: map[string]*topic{}}
}

// join adds a caller that knows everything up to a position. It is nil when others on the
// service were told more already: then the caller has to read on by itself first.
func (h *followers) join(serviceID string, position uint64, good func() error) (*follower, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[serviceID]
	switch {
	case h.stopped:
		return nil, errStopping
	case h.count >= h.most:
		return nil, errCrowded
	case t == nil:
		t = &topic{serviceID: serviceID, position: position, followers: map[*follower]struct{}{}}
		h.topics[serviceID] = t
	case t.position > position:
		return nil, nil
	}
	f := &follower{topic: t, good: good, updates: make(chan update, maxUpdates), ended: make(chan struct{})}
	t.followers[f] = struct{}{}
	h.count++
	if !h.running {
		h.running, h.seen = true, time.Now()
		h.at = projections.At{}
		h.done.Go(h.run)
	}
	if f.topic.position < h.at.Position {
		h.hurry() // of what is known already, no move of the model tells
	}
	return f, nil
}

// attach makes a follower one that is told on its line.
func (h *followers) attach(f *follower, l *line) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f.line = l
}

// leave is for a follower that wants no more, ended or not.
func (h *followers) leave(f *follower) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.end(f, context.Canceled)
}

// end ends a follower, once. The caller holds mu.
func (h *followers) end(f *follower, err error) {
	t := f.topic
	if _, ok := t.followers[f]; !ok {
		return
	}
	delete(t.followers, f)
	h.count--
	if len(t.followers) == 0 {
		delete(h.topics, t.serviceID)
	}
	f.err = err
	close(f.ended)
}

// sent is up to where a follower has been told everything, 0 while there is something
// that it has not taken, or may be.
func (h *followers) sent(f *follower) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(f.updates) > 0 || f.topic.telling || f.topic.position < h.at.Position {
		return 0
	}
	return f.topic.position
}

// known tells up to where the model was, and how old that knowledge is.
func (h *followers) known() projections.At {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.knownLocked()
}

func (h *followers) knownLocked() projections.At {
	at := h.at
	if at.Age != projections.NeverFresh {
		at.Age += time.Since(h.seen)
	}
	return at
}

// stop ends all followers and takes no more.
func (h *followers) stop() {
	h.mu.Lock()
	h.stopped = true
	h.endAll(errStopping)
	h.mu.Unlock()
	h.cancel()
}

// following counts the followers.
func (h *followers) following() float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return float64(h.count)
}

// close stops, and waits for what goes on.
func (h *followers) close() {
	h.stop()
	h.done.Wait()
}

func (h *followers) endAll(err error) {
	for _, t := range h.topics {
		for f := range t.followers {
			h.end(f, err)
		}
	}
}

// run tells until nobody is left.
func (h *followers) run() {
	swept := time.Now()
	for failed := false; ; {
		h.mu.Lock()
		if h.count == 0 {
			h.running = false
			h.mu.Unlock()
			return
		}
		h.mu.Unlock()
		h.await(failed)
		err := h.step(h.ctx)
		if failed = err != nil; failed && h.ctx.Err() == nil {
			h.logger.Debug("changes cannot be read for those who follow them", "error", err)
		}
		if time.Since(swept) >= sweepEvery {
			h.sweep()
			swept = time.Now()
		}
	}
}

// await waits until there may be something to tell, for a bounded time.
func (h *followers) await(failed bool) {
	ctx, cancel := context.WithTimeout(h.ctx, sweepEvery)
	defer cancel()
	h.mu.Lock()
	since := h.told()
	behind := since < h.at.Position
	h.hurry = cancel
	h.mu.Unlock()
	if behind && !failed {
		return // they joined while it was read for others
	}
	err := h.source.wait(ctx, since+1)
	if err != nil && ctx.Err() == nil {
		<-ctx.Done() // the database is away; do not ask without a pause
	}
}

// told is up to where all who follow something were told. The caller holds mu.
func (h *followers) told() uint64 {
	since, first := uint64(0), true
	for _, t := range h.topics {
		if first || t.position < since {
			since, first = t.position, false
		}
	}
	return since
}

// step tells what has changed by now.
func (h *followers) step(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	ids, since, all := h.followed()
	if len(ids) == 0 {
		return nil
	}
	asked := time.Now()
	changed, at := ids, projections.At{}
	if len(ids) > 1 { // one is read as soon as it is asked whether it changed
		var err error
		if changed, at, err = h.source.changed(ctx, ids, since); err != nil {
			return err
		}
	}
	for _, t := range all {
		if !slices.Contains(changed, t.serviceID) {
			h.publish(t, t.position, update{position: at.Position})
			continue
		}
		read, err := h.read(ctx, t)
		if err != nil {
			return err
		}
		if len(ids) == 1 {
			at = read
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at, h.seen = at, asked
	return nil
}

// followed are the services that somebody follows, as they stand now, and the position up
// to where all of them were told.
func (h *followers) followed() (ids []string, since uint64, all []topic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, t := range h.topics {
		ids, all = append(ids, id), append(all, *t)
	}
	return ids, h.told(), all
}

// read reads a service to its end and tells those who follow it.
func (h *followers) read(ctx context.Context, t topic) (at projections.At, err error) {
	for more := true; more; {
		var page projections.FeedChangesPage
		page, at, err = h.source.page(ctx, t.serviceID, t.position)
		if domain.ErrorCode(err) == domain.CodeResync {
			h.endTopic(t.serviceID, err)
			return at, nil
		}
		var u update
		if err == nil {
			u, err = renderChanges(page)
		}
		if err != nil {
			return at, err
		}
		if !h.publish(t, t.position, u) {
			return at, nil
		}
		t.position, more = u.position, u.more
	}
	return at, nil
}

func (h *followers) endTopic(serviceID string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.topics[serviceID]; t != nil {
		for f := range t.followers {
			h.end(f, err)
		}
	}
}

// publish tells what changed on a service after a position. It is false where those who
// follow it now stand elsewhere: all of them came meanwhile.
func (h *followers) publish(was topic, from uint64, u update) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[was.serviceID]
	if t == nil || t.position != from || u.position < from {
		return false
	}
	t.position = u.position
	if len(u.commits) == 0 {
		return true
	}
	var direct, slow []*follower
	for f := range t.followers {
		if f.line != nil {
			direct = append(direct, f)
		} else if !f.queue(u) {
			slow = append(slow, f)
		}
	}
	if len(direct) > 0 {
		// Nobody who joins or leaves has to wait for that.
		t.telling = true
		h.mu.Unlock()
		slow = append(slow, tellAll(direct, u)...)
		h.mu.Lock()
		t.telling = false
	}
	for _, f := range slow {
		h.end(f, errSlow) // waiting for it would be waiting for all
	}
	return true
}

// queue keeps an update until the follower takes it; false: it has too many already.
func (f *follower) queue(u update) bool {
	select {
	case f.updates <- u:
		return true
	default:
		return false
	}
}

// tellAll tells followers on their lines, and gives those that are too slow.
func tellAll(all []*follower, u update) (slow []*follower) {
	whole := u.chunk()
	tellers := min(runtime.GOMAXPROCS(0), (len(all)+tellerShare-1)/tellerShare)
	found := make([][]*follower, tellers)
	var group sync.WaitGroup
	for i := range tellers {
		group.Go(func() {
			for _, f := range all[i*len(all)/tellers : (i+1)*len(all)/tellers] {
				if !f.line.tell(u, whole, f.queue) {
					found[i] = append(found[i], f)
				}
			}
		})
	}
	group.Wait()
	return slices.Concat(found...)
}

// sweep ends those who may not be told any more.
func (h *followers) sweep() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.source.usable(h.knownLocked()); err != nil {
		h.endAll(err)
		return
	}
	for _, t := range h.topics {
		for f := range t.followers {
			if err := f.good(); err != nil {
				h.end(f, err)
			}
		}
	}
}
