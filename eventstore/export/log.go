package export

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// Selection is what of a log is to be exported.
type Selection struct {
	Namespace string // empty: all
	From, To  uint64 // positions, both included; 0: from the start, to the end
	// Signed has it end with the newest signed head instead of with the log.
	Signed bool
}

// ContradictionError means that the log does not lead to a head that was signed for it.
// The export is whole all the same, as evidence: verifying it finds this too.
type ContradictionError struct {
	Head domain.LogHead
	Hash domain.Hash // that the log leads to
}

func (e *ContradictionError) Error() string {
	return fmt.Sprintf("the log contradicts the head that was signed for position %d at %s: it leads to the hash %s, and the head says %s",
		e.Head.Position, e.Head.Time.Format("2006-01-02T15:04:05Z07:00"), e.Hash, e.Head.Hash)
}

// From exports a log, in memory that does not grow with it. at is told now and then how
// far it has come; it may be nil. What was written when an error comes is no export,
// but for a *ContradictionError.
func From(ctx context.Context, log eventstore.Log, heads eventstore.LogHeads, sel Selection, out io.Writer, at func(position, of uint64)) (Header, Trailer, error) {
	h, err := sel.resolve(ctx, log, heads)
	if err != nil {
		return h, Trailer{}, err
	}
	x := exporter{log: log, at: at, to: h.To}
	// What is before counts only by its hash.
	var before domain.Chain
	err = x.read(ctx, 0, h.From-1, func(r eventstore.Record) error {
		before = before.Then(r.Position, r.Hash)
		return nil
	})
	if err != nil {
		return h, Trailer{}, err
	}
	h.Before = pointOf(before)
	x.check(h.Head, before)
	w, err := NewWriter(out, h)
	if err != nil {
		return h, Trailer{}, err
	}
	add := func(r eventstore.Record) error {
		err := w.Add(r)
		x.check(h.Head, w.Chain())
		return err
	}
	if err := x.read(ctx, h.From-1, h.To, add); err != nil {
		return h, Trailer{}, err
	}
	// Where the end is not signed for, it is by the head that came next: the log up to
	// there is given by its hashes.
	var cover *domain.LogHead
	if h.To > 0 && (h.Head == nil || h.Head.Position < h.To) {
		if cover, err = covering(ctx, heads, h.To); err != nil {
			return h, Trailer{}, err
		}
	}
	if cover != nil {
		if err := x.read(ctx, h.To, cover.Position, w.Add); err != nil {
			return h, Trailer{}, err
		}
		x.check(cover, w.Chain())
	}
	t, err := w.End(cover)
	if err == nil {
		err = x.contradiction
	}
	return h, t, err
}

// resolve says what is meant by a selection.
func (sel Selection) resolve(ctx context.Context, log eventstore.Log, heads eventstore.LogHeads) (Header, error) {
	h := Header{Namespace: sel.Namespace, From: max(1, sel.From), To: sel.To}
	end, err := log.Last(ctx)
	if err != nil {
		return h, err
	}
	if sel.Namespace != "" {
		tail, err := log.Tail(ctx, domain.RegistryOf(sel.Namespace))
		if err != nil {
			return h, err
		}
		if tail.Version == 0 {
			return h, fmt.Errorf("there is no namespace %s", sel.Namespace)
		}
	}
	switch {
	case sel.Signed:
		last, err := heads.Last(ctx)
		if err != nil {
			return h, err
		}
		if last.Sequence == 0 {
			return h, errors.New("no head of the log has been signed yet")
		}
		h.To = last.Position
	case sel.To == 0:
		h.To = end
	}
	if h.To > end || h.From > 1 && h.From > h.To {
		return h, fmt.Errorf("the log ends at position %d: there is nothing from position %d to %d", end, h.From, h.To)
	}
	upTo, _, err := eventstore.HeadsAround(ctx, heads, h.To)
	if upTo.Sequence > 0 && upTo.Position >= h.From-1 {
		h.Head = &upTo.LogHead
	}
	return h, err
}

// covering is the first head of a position or a later one.
func covering(ctx context.Context, heads eventstore.LogHeads, position uint64) (*domain.LogHead, error) {
	upTo, after, err := eventstore.HeadsAround(ctx, heads, position)
	switch {
	case err != nil:
		return nil, err
	case upTo.Sequence > 0 && upTo.Position == position:
		return &upTo.LogHead, nil
	case after.Sequence > 0:
		return &after.LogHead, nil
	}
	return nil, nil
}

type exporter struct {
	log eventstore.Log
	at  func(position, of uint64)
	to  uint64

	contradiction error
}

// check compares the log with a head of the position that it has come to.
func (x *exporter) check(h *domain.LogHead, c domain.Chain) {
	if h != nil && h.Position == c.Position && h.Chain() != c && x.contradiction == nil {
		x.contradiction = &ContradictionError{*h, c.Hash}
	}
}

var errEnough = errors.New("that is all")

// read reads what is after a position up to another that the log has.
func (x *exporter) read(ctx context.Context, after, to uint64, f func(eventstore.Record) error) error {
	if after >= to {
		return nil
	}
	last := after
	err := x.log.ReadAll(ctx, "", after, func(r eventstore.Record) error {
		if r.Position > to {
			return errEnough
		}
		last = r.Position
		if x.at != nil {
			x.at(last, max(to, x.to))
		}
		return f(r)
	})
	switch {
	case err != nil && !errors.Is(err, errEnough):
		return err
	case last != to:
		return fmt.Errorf("the log ends at position %d, and had a commit at position %d", last, to)
	}
	return nil
}
