package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/claimledger/claimledger/domain"
)

const (
	// maxSilence is how long a stream may be silent: two heartbeats and a half.
	maxSilence = 25 * time.Second
	// minStreamStale is the least StaleAfter that the heartbeats of a stream, 10 s apart,
	// keep fresh.
	minStreamStale = 15 * time.Second
	// firstSilence is how long the first heartbeat may take, which the ledger sends at
	// once: something that collects a stream before it passes it on is in the way.
	firstSilence = 5 * time.Second
	// maxPoll is how long the ledger is asked to wait for a change.
	maxPoll = 25 * time.Second
	// maxPause bounds the wait after failures, and maxStreamPause that for the next try to
	// open a stream, during which the cache polls.
	maxPause       = 10 * time.Second
	maxStreamPause = 5 * time.Minute
	// steady is how long a stream must have held for its end to be no failure.
	steady = time.Minute
)

// following keeps a cache up to date. It runs in one goroutine.
type following struct {
	*Cache
	synced   bool
	position uint64

	failures       int       // of whatever kind, in a row
	streamFailures int       // of streams, in a row
	streamAt       time.Time // from when on a stream is tried again
	impatient      bool      // a poll failed: the next one does not wait

	added, removed int // since the last event
}

func (f *following) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := f.step(ctx); err != nil && ctx.Err() == nil {
			f.failures++
			f.trouble(err)
			_ = f.client.wait(ctx, f.pause(f.failures, maxPause)) // ended: the loop ends too
		}
	}
}

// step does the next thing. It returns nil when that went well, or ended as such things do.
func (f *following) step(ctx context.Context) error {
	switch {
	case !f.synced:
		err := f.sync(ctx)
		f.keyEnded(err)
		return err
	case !f.pollOnly() && !f.now().Before(f.streamAt):
		return f.stream(ctx)
	}
	return f.poll(ctx)
}

// pollOnly is also for caches that want to know more often than streams have heartbeats.
func (f *following) pollOnly() bool { return f.config.PollOnly || f.config.StaleAfter < minStreamStale }

func (f *following) now() time.Time { return f.clock.now() }

// pause is how long to wait after some failures in a row. The spread keeps all that were
// cut off at one moment from coming back at one.
func (f *following) pause(failures int, most time.Duration) time.Duration {
	d := most
	if doubled := f.config.Reconnect << min(failures-1, 20); doubled > 0 {
		d = min(d, doubled)
	}
	return d/2 + rand.N(d/2+1)
}

// sync reads everything, page by page while it changes, and what changed meanwhile.
func (f *following) sync(ctx context.Context) error {
	f.follows(followsNothing)
	set := newClaimSet()
	var from, to uint64 // the lowest and the highest position of a page
	asked := f.clock.read()
	for q := (FeedQuery{Limit: f.config.PageSize}); ; {
		page, err := f.client.GetFeed(ctx, q)
		if err != nil {
			return err
		}
		if page.Position == 0 {
			return errors.New("the feed does not say of which position it is")
		}
		for _, claim := range page.Claims {
			set.add(claim)
		}
		// Nodes may stand at different positions: what the hindmost has not seen yet is to
		// be applied, too.
		if q.Cursor == "" || page.Position < from {
			from = page.Position
		}
		to = max(to, page.Position)
		next := page.Pagination.NextCursor
		if next == "" {
			break
		}
		if next == q.Cursor {
			return errors.New("the feed's pages lead in a circle")
		}
		q.Cursor = next
	}
	for from < to {
		asked = f.clock.read()
		changes, err := f.client.GetFeedChanges(ctx, ChangesQuery{Since: from})
		if err != nil {
			return err
		}
		for _, change := range changes.Changes {
			if err := set.apply(change); err != nil {
				return err
			}
		}
		if changes.Position <= from {
			return errors.New("the changes during the full read are not there yet")
		}
		from = changes.Position
	}
	f.replace(set, from, asked)
	return nil
}

// replace puts another set, true at a moment, in the place of the one that is there. Who is
// told of it, or waits for it, finds it in use.
func (f *following) replace(set *claimSet, position uint64, at int64) {
	first := f.set.Swap(set) == nil
	f.synced, f.position = true, position
	f.mu.Lock()
	f.status.Position = position
	f.status.Syncs++
	f.mu.Unlock()
	f.refreshed(at)
	if first {
		close(f.ready)
	}
	f.added, f.removed = set.len(), 0
	f.config.Logger.Info("all approved claims were read", "position", position, "claims", set.len())
	f.tell(CacheSynced, nil)
}

// refreshed notes that the set was true at a moment, and that all is well.
func (f *following) refreshed(at int64) {
	f.failures = 0
	if at > f.known.Load() {
		f.known.Store(at)
	}
	f.mu.Lock()
	f.status.Err = nil
	f.mu.Unlock()
}

// stream follows a stream to its end.
func (f *following) stream(ctx context.Context) error {
	opened := f.now()
	s, err := f.client.StreamFeedChanges(ctx, ChangesQuery{Since: f.position}, firstSilence)
	if err == nil {
		defer s.Close()
		f.config.Logger.Debug("a stream of changes is open", "position", f.position)
		f.follows(followsStream)
		f.tell(CacheStreaming, nil)
		err = f.listen(s)
	}
	if ctx.Err() != nil {
		return nil
	}
	if f.now().Sub(opened) >= steady {
		f.streamFailures = 0
	}
	f.streamFailures++
	f.streamAt = f.now().Add(f.pause(f.streamFailures, maxStreamPause))
	if f.refused(err) {
		return err
	}
	f.config.Logger.Info("the stream of changes ended; polling meanwhile", "position", f.position, "error", err, "until", f.streamAt)
	f.follows(followsPoll)
	f.tell(CachePolling, err)
	// A node that stops ends all its streams at one moment.
	_ = f.client.wait(ctx, f.pause(1, f.config.Reconnect)) // ended: the loop ends too
	return nil
}

// listen takes what a stream tells, until it ends.
func (f *following) listen(s *FeedStream) error {
	for {
		e, err := s.Next()
		if err != nil {
			return err
		}
		s.allow(maxSilence)
		switch {
		case e.Change != nil:
			if err := f.apply(*e.Change); err != nil {
				return err
			}
		case e.Position < f.position:
			return fmt.Errorf("a heartbeat tells of position %d, before what was told already, %d", e.Position, f.position)
		default:
			f.refreshed(f.clock.read() - int64(e.Age))
		}
		f.advance(e.Position)
	}
}

// poll asks for changes once, and waits for some.
func (f *following) poll(ctx context.Context) error {
	// What comes with changes counts from when it was asked for. A third leaves the next
	// answer time to come before that is too long ago.
	wait := min(maxPoll, f.config.StaleAfter/3)
	if !f.pollOnly() {
		wait = min(wait, f.streamAt.Sub(f.now()))
	}
	wait = max(0, wait.Truncate(time.Second))
	if f.impatient {
		wait = 0
	}
	f.follows(followsPoll)
	asked := f.clock.read()
	changes, err := f.client.GetFeedChanges(ctx, ChangesQuery{Since: f.position, Wait: wait})
	if err != nil {
		f.impatient = true
		f.refused(err)
		return err
	}
	for _, change := range changes.Changes {
		if err := f.apply(change); err != nil {
			return err
		}
	}
	f.advance(changes.Position)
	// The ledger answers when the time is up, and before only when something changes or it
	// stops, which may have been at once: all else was on the way.
	taken := f.clock.read() - asked
	if len(changes.Changes) == 0 && taken >= int64(wait) {
		f.refreshed(asked + int64(wait))
	} else {
		f.refreshed(asked)
	}
	f.impatient = false
	if len(changes.Changes) == 0 && taken <= int64(wait/2) {
		_ = f.client.wait(ctx, f.pause(1, f.config.Reconnect)) // ended: the loop ends too
	}
	return nil
}

// refused looks at why changes were not told, and tells whether to say so and try again.
func (f *following) refused(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	switch {
	case e.Code == domain.CodeResync:
		f.resync(err)
	case e.Code == domain.CodeInvalidRequest && slices.ContainsFunc(e.Details, func(d domain.FieldError) bool { return d.Field == "since" }):
		// The ledger does not have the position: it is another one, or was set back. What
		// it told before is worth nothing.
		f.known.Store(0)
		f.resync(err)
	default:
		return f.keyEnded(err) || e.Status == http.StatusTooManyRequests
	}
	return true
}

// keyEnded tells whether the key or its service has ended, and with it what may be known.
func (f *following) keyEnded(err error) bool {
	switch ErrorCode(err) {
	case domain.CodeSignatureInvalid, domain.CodeUnauthorized, domain.CodeForbidden:
		f.known.Store(0)
		return true
	}
	return false
}

func (f *following) resync(why error) {
	f.synced = false
	f.config.Logger.Warn("reading all approved claims anew", "position", f.position, "error", why)
	f.tell(CacheResync, why)
}

// apply applies a change, unless it was: what is repeated from before would lead the set
// through states that are past, and leave it in one where the repetition breaks off.
func (f *following) apply(change FeedChange) error {
	if change.Position <= f.position {
		return nil
	}
	set := f.set.Load()
	before := set.len()
	if err := set.apply(change); err != nil {
		return err
	}
	switch after := set.len(); {
	case after > before:
		f.added++
	case after < before:
		f.removed++
	}
	return nil
}

func (s *claimSet) apply(change FeedChange) error {
	switch change.Op {
	case OpAdd:
		s.add(change.Claim)
	case OpRemove:
		s.remove(change.Claim.ClaimID)
	default:
		return fmt.Errorf("a change is called %q, which this program does not know", change.Op)
	}
	return nil
}

// advance notes a position that everything was applied up to.
func (f *following) advance(position uint64) {
	if position <= f.position {
		return
	}
	f.position = position
	f.mu.Lock()
	f.status.Position = position
	f.mu.Unlock()
	f.tell(CacheAdvanced, nil)
}

func (f *following) follows(how string) {
	f.mu.Lock()
	f.status.Following = how
	f.mu.Unlock()
}

func (f *following) trouble(err error) {
	f.config.Logger.Warn("the approved claims cannot be refreshed", "position", f.position, "failures", f.failures, "error", err)
	f.mu.Lock()
	f.status.Err = err
	f.mu.Unlock()
	f.tell(CacheTrouble, err)
}

func (f *following) tell(kind CacheEventKind, err error) {
	f.config.Observe(CacheEvent{Kind: kind, Position: f.position, Added: f.added, Removed: f.removed, Err: err})
	f.added, f.removed = 0, 0
}
