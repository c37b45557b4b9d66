package api

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/claimledger/claimledger/projections"
)

// slowFeed is a model of which a test says how far it is. Each position is a change.
type slowFeed struct {
	mu     sync.Mutex
	at     uint64
	moved  chan struct{}
	reads  atomic.Int64
	usable atomic.Value // error
}

func newSlowFeed() *slowFeed { return &slowFeed{moved: make(chan struct{})} }

func (s *slowFeed) move(to uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = to
	close(s.moved)
	s.moved = make(chan struct{})
}

func (s *slowFeed) now() (uint64, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at, s.moved
}

func (s *slowFeed) source() changeSource {
	return changeSource{
		page: func(_ context.Context, _ string, since uint64) (projections.FeedChangesPage, projections.At, error) {
			s.reads.Add(1)
			at, _ := s.now()
			p := projections.FeedChangesPage{Position: max(at, since)}
			for position := since + 1; position <= at; position++ {
				p.Changes = append(p.Changes, projections.FeedChange{Added: true, Position: position})
			}
			return p, projections.At{Position: at}, nil
		},
		changed: func(_ context.Context, ids []string, _ uint64) ([]string, projections.At, error) {
			at, _ := s.now()
			return ids, projections.At{Position: at}, nil
		},
		wait: func(ctx context.Context, position uint64) error {
			for {
				at, moved := s.now()
				if at >= position {
					return nil
				}
				select {
				case <-moved:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		},
		usable: func(projections.At) error { err, _ := s.usable.Load().(error); return err },
	}
}

func always() error { return nil }

// A thousand followers of one service are told with one read for each move.
func TestFollowersShareReads(t *testing.T) {
	feed := newSlowFeed()
	h := newFollowers(feed.source(), maxFollowers, nil)
	defer h.close()
	all := make([]*follower, 1000)
	for i := range all {
		f, err := h.join("service", 0, always)
		if f == nil || err != nil {
			t.Fatal(err)
		}
		all[i] = f
	}
	const moves = 20
	for to := uint64(1); to <= moves; to++ {
		feed.move(to)
		for _, f := range all {
			if u := <-f.updates; u.position != to || len(u.commits) != 1 {
				t.Fatalf("told %v, want position %d", u, to)
			}
		}
	}
	if reads := feed.reads.Load(); reads > 2*moves {
		t.Errorf("%d reads for %d moves", reads, moves)
	}
	if f, err := h.join("service", moves-1, always); f != nil || err != nil {
		t.Errorf("one who is behind joined: %v", err)
	}
	for _, f := range all {
		h.leave(f)
		h.leave(f)
	}
	if n := h.following(); n != 0 {
		t.Errorf("%v follow after all have left", n)
	}
}

// One that does not take what it is told is cut off, and nobody waits for it.
func TestSlowFollower(t *testing.T) {
	feed := newSlowFeed()
	h := newFollowers(feed.source(), maxFollowers, nil)
	defer h.close()
	slow, _ := h.join("service", 0, always)
	quick, _ := h.join("service", 0, always)
	for to := uint64(1); to <= maxUpdates+1; to++ {
		feed.move(to)
		if u := <-quick.updates; u.position != to {
			t.Fatalf("told up to %d, want %d", u.position, to)
		}
	}
	<-slow.ended
	if !errors.Is(slow.err, errSlow) || len(slow.updates) != maxUpdates || h.following() != 1 {
		t.Errorf("it ended with %v, and %d updates; %v follow", slow.err, len(slow.updates), h.following())
	}
}

func TestFollowersEnd(t *testing.T) {
	feed := newSlowFeed()
	h := newFollowers(feed.source(), maxFollowers, nil)
	var bad atomic.Bool
	gone := errors.New("the key is gone")
	one, _ := h.join("one", 0, func() error {
		if bad.Load() {
			return gone
		}
		return nil
	})
	two, _ := h.join("two", 0, always)
	bad.Store(true)
	<-one.ended
	stale := errors.New("stale")
	feed.usable.Store(stale)
	<-two.ended
	if one.err != gone || two.err != stale {
		t.Errorf("they ended with %v and %v", one.err, two.err)
	}
	feed = newSlowFeed()
	h.close()
	h = newFollowers(feed.source(), maxFollowers, nil)
	three, _ := h.join("three", 0, always)
	h.close()
	<-three.ended
	if _, err := h.join("four", 0, always); err != errStopping || three.err != errStopping {
		t.Errorf("after the end: %v, %v", err, three.err)
	}
}

// Followers who come and go at every moment miss nothing and are told nothing twice.
func TestFollowersJoinWithoutGap(t *testing.T) {
	feed := newSlowFeed()
	h := newFollowers(feed.source(), maxFollowers, nil)
	defer h.close()
	const end = 300
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			if err := followTo(h, feed, fmt.Sprint("service-", i%2), end); err != nil {
				t.Error(err)
			}
		})
	}
	for to := uint64(1); to <= end; to++ {
		feed.move(to)
	}
	group.Wait()
}

func followTo(h *followers, feed *slowFeed, service string, end uint64) error {
	var at uint64
	take := func(u update) error {
		for _, c := range u.after(at).commits {
			if c.position != at+1 {
				return fmt.Errorf("%d came after %d", c.position, at)
			}
			at = c.position
		}
		return nil
	}
	for round := 0; at < end; round++ {
		page, _, _ := feed.source().page(context.Background(), service, at)
		u, err := renderChanges(page)
		if err == nil {
			err = take(u)
		}
		if err != nil {
			return err
		}
		f, err := h.join(service, at, always)
		if err != nil || f == nil {
			if err != nil {
				return err
			}
			continue
		}
		for range round % 5 {
			if at >= end {
				break
			}
			select {
			case u := <-f.updates:
				err = take(u)
			case <-f.ended: // too slow: it starts again
			}
			if err != nil {
				return err
			}
		}
		h.leave(f)
	}
	return nil
}

// A caller that joins while the model is read for others is told of what it does not know
// yet by the next reading, which does not wait until the model moves again.
func TestFollowerThatJoinsBehind(t *testing.T) {
	feed := newSlowFeed()
	feed.at = 20
	source := feed.source()
	var h *followers
	var behind *follower
	var once sync.Once
	waits := make(chan uint64)
	source.wait = func(ctx context.Context, position uint64) error {
		select {
		case waits <- position:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	page := source.page
	source.page = func(ctx context.Context, id string, since uint64) (projections.FeedChangesPage, projections.At, error) {
		once.Do(func() { behind, _ = h.join("another", 10, always) })
		return page(ctx, id, since)
	}
	h = newFollowers(source, maxFollowers, nil)
	defer h.close()
	if _, err := h.join("service", 19, always); err != nil {
		t.Fatal(err)
	}
	<-waits
	if position := <-waits; position != 21 {
		t.Errorf("it waits for %d before it has told what it knows", position)
	}
	if behind == nil || h.sent(behind) != 0 || (<-behind.updates).position != 20 {
		t.Error("the one that joined was not told")
	}
	third, err := h.join("a third", 19, always) // while it waits
	if third == nil || err != nil {
		t.Fatal(err)
	}
	if u := <-third.updates; u.position != 20 {
		t.Errorf("the third was told up to %d", u.position)
	}
}
