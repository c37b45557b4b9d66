package eventstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// rewindPatience is how long Follow bears with a leader whose log ends before what
// was already handed over: longer than an election, during which a leader that
// was deposed may still answer.
const rewindPatience = 10 * time.Second

// Follow reads through a consumer, and hands a commit over when the leader shows
// that it is stored for good. The server does not promise that by delivering: it
// tells consumers of a batch's messages before it syncs the batch to disk. One
// question to the leader covers all that was delivered meanwhile.
func (s *Stream) Follow(ctx context.Context, after uint64, f func(Record) error, caughtUp func(last uint64)) error {
	fl := &follower{
		s: s, f: f, caughtUp: caughtUp, after: after,
		cursor: &cursor{s: s, subject: allSubjects, after: after},
		tick:   time.NewTicker(CaughtUpInterval),
	}
	defer fl.tick.Stop()
	defer fl.cursor.close()
	return fl.run(ctx)
}

type follower struct {
	s        *Stream
	f        func(Record) error
	caughtUp func(uint64)
	cursor   *cursor
	tick     *time.Ticker

	after       uint64      // position handed over
	hash        domain.Hash // of the commit there; zero: not known yet
	seen        *feed       // the consumer since which the log is known to have it
	durable     uint64      // position that the leader has shown
	behindSince time.Time   // when the leader was first seen to end too early
}

func (fl *follower) run(ctx context.Context) error {
	if err := fl.confirm(ctx); err != nil {
		return err
	}
	for {
		m, err := fl.cursor.next(ctx, fl.tick.C)
		switch {
		case errors.Is(err, errNothingYet):
			if err := fl.confirm(ctx); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			if err := fl.handOver(ctx, m); err != nil {
				return err
			}
		}
	}
}

// handOver checks, waits until the message is durable, and calls f.
func (fl *follower) handOver(ctx context.Context, m message) error {
	if err := fl.same(ctx); err != nil {
		return err
	}
	if m.position != fl.after+1 {
		return &GapError{fl.after, fmt.Sprintf("the next is at %d", m.position)}
	}
	rec, err := fl.s.recent.decode(m.subject, m.position, m.data)
	if err != nil {
		return err
	}
	var pause backoff
	for fl.durable < m.position {
		shown, err := fl.look(ctx, m.position)
		if err != nil {
			return err
		}
		if !shown && !pause.wait(ctx) {
			return ctx.Err()
		}
	}
	if err := fl.f(rec); err != nil {
		return err
	}
	fl.after, fl.hash = m.position, rec.Hash
	if fl.after == fl.durable {
		fl.report()
	}
	return nil
}

// confirm says that everything was handed over, if that is so.
func (fl *follower) confirm(ctx context.Context) error {
	if err := fl.same(ctx); err != nil {
		return err
	}
	shown, err := fl.look(ctx, fl.after)
	if err == nil && shown && fl.after == fl.durable {
		fl.report()
	}
	return err
}

// same makes sure that the log still has the commit that was handed over last, once for
// each consumer: a server that lost commits has been away. It may have been given others
// since, so that it is as long as before, or longer.
func (fl *follower) same(ctx context.Context) error {
	if fl.after == 0 || fl.cursor.feed == nil || fl.cursor.feed == fl.seen {
		return nil
	}
	var pause backoff
	for {
		rec, err := fl.s.At(ctx, fl.after)
		switch {
		case err == nil && (fl.hash.IsZero() || rec.Hash == fl.hash):
			fl.hash, fl.seen = rec.Hash, fl.cursor.feed
			return nil
		case err == nil:
			return &BrokenError{fl.after, fmt.Sprintf("it has another commit there (hash %s) than was handed over before (hash %s): "+
				"commits were lost and their positions given to others", rec.Hash, fl.hash)}
		case errors.Is(err, ErrNoCommit):
			return nil // look bears with that, for as long as there is an excuse
		case asBroken(err) != nil:
			return err
		}
		if !pause.wait(ctx) {
			return ctx.Err()
		}
	}
}

// look asks the leader whether it has a position that was already seen here. A
// question that can't be answered now is asked again later, but a log that stays
// shorter has lost commits, and would give their positions to others.
func (fl *follower) look(ctx context.Context, position uint64) (shown bool, err error) {
	last, err := fl.s.Last(ctx)
	switch {
	case err != nil:
		return false, ctx.Err()
	case last >= position:
		fl.durable, fl.behindSince = last, time.Time{}
		return true, nil
	case fl.behindSince.IsZero():
		fl.behindSince = time.Now()
	case time.Since(fl.behindSince) > rewindPatience:
		return false, &GapError{fl.after, fmt.Sprintf("the ledger ends at %d", last)}
	}
	return false, nil
}

func (fl *follower) report() {
	fl.cursor.recovered()
	if fl.caughtUp != nil {
		fl.caughtUp(fl.after)
	}
}
