package eventstore

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/claimledger/claimledger/domain"
)

const (
	// maxShared and maxSharedBytes bound what a reading keeps for those who are behind it:
	// seconds of the fastest writing. Who is further behind reads for himself.
	maxShared      = 8192
	maxSharedBytes = 16 << 20
	// wakeEvery is how many commits may come in quick succession before those who wait
	// for them are woken.
	wakeEvery = 64
)

// errBehind means that a reading does not have the next commit any more.
var errBehind = errors.New("too far behind the shared reading")

// Follow reads alone until it is at the log's end. Whoever is there reads along with all
// others of the process: half a dozen of them, each with a consumer and questions of its
// own, took more of the server than the writing did.
func (s *Stream) Follow(ctx context.Context, after uint64, f func(Record) error, caughtUp func(last uint64)) error {
	at := place{position: after}
	for {
		r, err := s.followAlone(ctx, &at, f, caughtUp)
		if err != nil {
			return err
		}
		err = r.deliver(ctx, &at, f, caughtUp)
		s.leave(r)
		if err != errBehind {
			return err
		}
	}
}

// place is how far a follower has got: the last commit that it handed over.
type place struct {
	position uint64
	hash     domain.Hash // zero: not known
}

// reading is one following of the log that many take part in. It begins with the first
// who gets to the log's end, and ends with the last who leaves, or with an error that all
// of them are given.
type reading struct {
	cursor *cursor
	stop   context.CancelFunc
	users  int // guarded by Stream.sharing

	mu       sync.Mutex
	before   place    // the commit before the first that is kept
	records  []Record // that are kept; never overwritten, for readers use it without the lock
	bytes    int
	silent   int           // commits since the last wake
	reports  int           // how often the end of the log was reached
	reported time.Time     // when last
	upTo     uint64        // position of the end then
	err      error         // what ended it
	changed  chan struct{} // closed, and replaced, when there is something new
}

// join takes part in the reading there is, or makes the follower the one to begin it. It
// is nil where the follower is not, or not certain to be, on what the others read.
func (s *Stream) join(fl *follower) *reading {
	s.sharing.Lock()
	defer s.sharing.Unlock()
	if r := s.reading; r != nil {
		if !r.has(fl.at) {
			return nil
		}
		r.users++
		fl.close()
		return r
	}
	if fl.at.position > 0 && fl.at.hash.IsZero() {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &reading{cursor: fl.cursor, stop: cancel, users: 1, before: fl.at, changed: make(chan struct{})}
	s.reading = r
	everyones := *fl // it goes on with the consumer, and whoever had it up to here takes part
	everyones.f, everyones.caughtUp, everyones.shared = r.add, r.report, true
	go func() {
		err := everyones.run(ctx)
		everyones.close()
		s.sharing.Lock()
		if s.reading == r {
			s.reading = nil
		}
		s.sharing.Unlock()
		r.end(err)
	}()
	return r
}

// leave ends the reading when nobody takes part any more.
func (s *Stream) leave(r *reading) {
	s.sharing.Lock()
	defer s.sharing.Unlock()
	if r.users--; r.users > 0 {
		return
	}
	if s.reading == r {
		s.reading = nil
	}
	r.stop()
}

// has reports whether a place is one that the reading has come by, with the same commit.
func (r *reading) has(at place) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch last := r.before.position + uint64(len(r.records)); {
	case r.err != nil || at.position < r.before.position || at.position > last:
		return false
	case at.position == r.before.position:
		return at.hash == r.before.hash
	}
	return at.hash == r.records[at.position-r.before.position-1].Hash
}

// add keeps a commit for those who take part. It never waits for them.
func (r *reading) add(rec Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, rec)
	r.bytes += len(rec.Stored)
	for len(r.records) > maxShared || r.bytes > maxSharedBytes {
		r.forget(len(r.records) - max(1, len(r.records)/8))
	}
	if r.silent++; r.silent >= wakeEvery || !r.cursor.more() {
		r.wake()
	}
	return nil
}

// forget keeps only the last n commits.
func (r *reading) forget(n int) {
	gone := len(r.records) - n
	for _, rec := range r.records[:gone] {
		r.bytes -= len(rec.Stored)
	}
	last := r.records[gone-1]
	r.before = place{last.Position, last.Hash}
	r.records = slices.Clone(r.records[gone:]) // what others are reading stays theirs
}

func (r *reading) report(last uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reports, r.reported, r.upTo = r.reports+1, time.Now(), last
	r.wake()
}

func (r *reading) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	r.wake()
}

func (r *reading) wake() {
	r.silent = 0
	close(r.changed)
	r.changed = make(chan struct{})
}

// after is what the reading has after a position, and the channel that tells of more.
func (r *reading) after(position uint64) (records []Record, changed <-chan struct{}, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if position < r.before.position {
		return nil, nil, errBehind
	}
	return r.records[position-r.before.position:], r.changed, r.err
}

// confirmed says how often the log's end was reached, where one who is at the position
// has all that was there the last time. A report from before the process was held up
// says nothing about now.
func (r *reading) confirmed(position uint64) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if position < r.upTo || time.Since(r.reported) > CaughtUpInterval {
		return 0
	}
	return r.reports
}

// deliver hands over what comes until ctx ends or f fails; errBehind when it was too slow.
func (r *reading) deliver(ctx context.Context, at *place, f func(Record) error, caughtUp func(uint64)) error {
	reports := 0
	for {
		records, changed, ended := r.after(at.position)
		for _, rec := range records {
			err := ctx.Err()
			if err == nil {
				err = f(rec)
			}
			if err != nil {
				return err
			}
			*at = place{rec.Position, rec.Hash}
		}
		if n := r.confirmed(at.position); n > reports {
			reports = n
			if caughtUp != nil {
				caughtUp(at.position)
			}
		}
		if ended != nil {
			return ended
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
