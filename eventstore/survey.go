package eventstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// Survey is what a log holds that was read from its start to its end, and how it
// contradicts what is known of it.
type Survey struct {
	End  Mark      // the last commit; the zero Mark where there is none
	Time time.Time // of that commit

	Lost  []Contradiction // what somebody relies on and is not there
	Heads *Contradiction  // of the newest signed head; nil: the log leads to it
	Store *Contradiction  // of the store, which counts commits after the end; nil: it counts none
}

// Contradiction is a place in the log that somebody relies on, and what is found there.
type Contradiction struct {
	Mark
	Found string // for an operator; without secrets
}

// TakeSurvey reads the whole log, and compares it with marks that others hold and with the
// newest of its signed heads. The error is a *BrokenError where the log contradicts
// itself: then it cannot be told what is left of it.
func TakeSurvey(ctx context.Context, log *Stream, marks []Mark) (Survey, error) {
	head, unread := log.Heads().Last(ctx)
	if errors.Is(unread, ErrUnavailable) {
		return Survey{}, unread
	}
	furthest := head.Position
	marked := map[uint64]domain.Hash{}
	for _, m := range marks {
		furthest, marked[m.Position] = max(furthest, m.Position), domain.Hash{}
	}
	if err := awaitEnd(ctx, log, furthest); err != nil {
		return Survey{}, err
	}
	info, err := log.info(ctx)
	if err == nil {
		err = checkConfig(info.Config, log.config)
	}
	if err != nil {
		return Survey{}, orBroken(err)
	}
	var s Survey
	var sum, headed domain.Chain
	chain := NewChain()
	// As many as there are, because a store that counts lost ones has no last one. Where
	// they are not the first so many, that shows in the chain.
	err = log.readUpTo(ctx, allSubjects, 0, info.State.Msgs, func(r Record) error {
		if err := chain.Add(r); err != nil {
			return err
		}
		s.End, s.Time = Mark{Position: r.Position, Hash: r.Hash}, r.Commit.Time
		if _, ok := marked[r.Position]; ok {
			marked[r.Position] = r.Hash
		}
		if sum = sum.Then(r.Position, r.Hash); r.Position == head.Position {
			headed = sum
		}
		return nil
	})
	if err != nil {
		return Survey{}, orBroken(err)
	}
	if counted := info.State.LastSeq; counted > s.End.Position {
		s.Store = &Contradiction{Mark{Position: counted, Holder: "the log's store"}, fmt.Sprintf(
			"it holds nothing after position %d, and would give the next commit position %d", s.End.Position, counted+1)}
	}
	for _, m := range marks {
		switch found := marked[m.Position]; {
		case m.Position > s.End.Position:
			s.Lost = append(s.Lost, Contradiction{m, "the log ends before that"})
		case m.Position > 0 && found != m.Hash:
			s.Lost = append(s.Lost, Contradiction{m, fmt.Sprintf("the log has another commit there (hash %s)", found)})
		}
	}
	if s.Heads = head.contradictedBy(s.End.Position, headed); unread != nil {
		s.Heads = &Contradiction{Mark{Holder: HeadsHolder}, unread.Error()}
	}
	return s, nil
}

// orBroken makes of an error what it says about the log, where it says something.
func orBroken(err error) error {
	if broken := Broken(err); broken != nil {
		return broken
	}
	return err
}

// awaitEnd bears with a leader that was deposed, and whose log ends before what is known
// to others, for as long as such a one may go on answering.
func awaitEnd(ctx context.Context, log *Stream, position uint64) error {
	if !log.Rewinds() {
		return nil
	}
	err := NewFence(slog.New(slog.DiscardHandler)).require(ctx, rewindPatience, func() error {
		last, err := log.Last(ctx)
		if err == nil && last < position {
			err = &BrokenError{position, "not yet"}
		}
		return err
	})
	if Broken(err) != nil {
		return nil // it is for the reader to say
	}
	return err
}

// HeadsHolder names the signed heads as who relies on a place in the log.
const HeadsHolder = "the newest signed head"

// contradictedBy compares the newest head with a log that ends at a position and that
// has, up to where the head is of, the given running hash.
func (h StoredHead) contradictedBy(end uint64, headed domain.Chain) *Contradiction {
	m := Mark{h.Position, h.Hash, HeadsHolder}
	switch {
	case h.Sequence == 0:
		return nil // none was ever signed
	case h.Verify() != nil:
		return &Contradiction{Mark{Holder: HeadsHolder}, "what stands there was not signed: " + h.Verify().Error()}
	case h.Position > end:
		return &Contradiction{m, "the log ends before that; signed by " + h.KeyID}
	case headed != h.Chain():
		return &Contradiction{m, fmt.Sprintf("the log's %d commits up to there have the hash %s; signed by %s", headed.Count, headed.Hash, h.KeyID)}
	}
	return nil
}
