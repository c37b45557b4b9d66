package eventstore

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// rewindPatience is how long Follow bears with a leader whose log ends before what
// was already handed over: longer than an election, during which a leader that
// was deposed may still answer.
const rewindPatience = 10 * time.Second

// followAlone reads through a consumer of its own until it is at the log's end, where
// there is a shared reading to go on with. It hands a commit over when the leader shows
// that it is stored for good. The server does not promise that by delivering: it
// tells consumers of a batch's messages before it syncs the batch to disk. One
// question to the leader covers all that was delivered meanwhile.
func (s *Stream) followAlone(ctx context.Context, at *place, f func(Record) error, caughtUp func(uint64)) (*reading, error) {
	fl := &follower{
		s: s, f: f, caughtUp: caughtUp, at: *at,
		cursor: &cursor{s: s, subject: allSubjects, after: at.position},
		tick:   time.NewTicker(CaughtUpInterval),
	}
	err := fl.run(ctx)
	*at = fl.at
	if err != nil {
		fl.close()
	}
	return fl.joined, err
}

type follower struct {
	s        *Stream
	f        func(Record) error
	caughtUp func(uint64)
	cursor   *cursor
	tick     *time.Ticker
	shared   bool     // others take part already
	joined   *reading // to go on with

	at          place     // handed over
	seen        *feed     // the consumer since which the log is known to have it
	durable     uint64    // position that the leader has shown
	behindSince time.Time // when the leader was first seen to end too early
}

func (fl *follower) close() {
	fl.tick.Stop()
	fl.cursor.close()
}

func (fl *follower) run(ctx context.Context) error {
	if err := fl.confirm(ctx); err != nil {
		return err
	}
	for fl.joined == nil {
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
	return nil
}

// handOver checks, waits until the message is durable, and calls f.
func (fl *follower) handOver(ctx context.Context, m message) error {
	if err := fl.same(ctx); err != nil {
		return err
	}
	if m.position != fl.at.position+1 {
		return &GapError{fl.at.position, fmt.Sprintf("the next is at %d", m.position)}
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
	fl.at = place{m.position, rec.Hash}
	if fl.at.position == fl.durable {
		fl.report()
	}
	return nil
}

// confirm says that everything was handed over, if that is so.
func (fl *follower) confirm(ctx context.Context) error {
	if err := fl.same(ctx); err != nil {
		return err
	}
	shown, err := fl.look(ctx, fl.at.position)
	if err == nil && shown && fl.at.position == fl.durable {
		fl.report()
	}
	return err
}

// same makes sure that the log still has the commit that was handed over last, once for
// each consumer: a server that lost commits has been away. It may have been given others
// since, so that it is as long as before, or longer.
func (fl *follower) same(ctx context.Context) error {
	if fl.at.position == 0 || fl.cursor.feed == nil || fl.cursor.feed == fl.seen {
		return nil
	}
	var pause backoff
	for {
		rec, err := fl.s.At(ctx, fl.at.position)
		switch {
		case err == nil && (fl.at.hash.IsZero() || rec.Hash == fl.at.hash):
			fl.at.hash, fl.seen = rec.Hash, fl.cursor.feed
			return nil
		case err == nil:
			return &BrokenError{fl.at.position, fmt.Sprintf("it has another commit there (hash %s) than was handed over before (hash %s): "+
				"commits were lost and their positions given to others", rec.Hash, fl.at.hash)}
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
		return false, &GapError{fl.at.position, fmt.Sprintf("the ledger ends at %d", last)}
	}
	return false, nil
}

func (fl *follower) report() {
	fl.cursor.recovered()
	if fl.caughtUp != nil {
		fl.caughtUp(fl.at.position)
	}
	if !fl.shared {
		fl.joined = fl.s.join(fl)
	}
}
