package eventstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// GapError means that the log lacks what it must hold: positions or versions that
// don't follow one another, or an end before a position that was there. No
// reader may go on behind it.
type GapError struct {
	After uint64 // the last position read
	Got   string // what came instead of the next commit
}

func (e *GapError) Error() string {
	return fmt.Sprintf("the ledger has a gap after position %d: %s", e.After, e.Got)
}

// fewCommits is how many commits are read one by one: a round trip each is cheaper
// than a consumer up to about here.
const fewCommits = 8

// Read reads a boundary, and checks that its versions are contiguous.
func (s *Stream) Read(ctx context.Context, b domain.Boundary, after uint64, f func(Record) error) error {
	subject := Subject(b)
	tail, err := s.Tail(ctx, b)
	if err != nil || tail.Position <= after {
		return err
	}
	first, err := s.get(ctx, getRequest{NextFor: subject, Seq: after + 1})
	if err != nil {
		return err
	}
	r := &boundaryReader{after: after, f: f}
	if err := r.take(first); err != nil || first.Position == tail.Position {
		return err
	}
	if tail.Version-first.Commit.Version > fewCommits {
		return s.readUpTo(ctx, subject, r.after, tail.Position, r.take)
	}
	for r.after < tail.Position {
		rec, err := s.get(ctx, getRequest{NextFor: subject, Seq: r.after + 1})
		if err != nil {
			return err
		}
		if err := r.take(rec); err != nil {
			return err
		}
	}
	return nil
}

// boundaryReader hands on commits whose versions follow one another.
type boundaryReader struct {
	after uint64 // position
	next  uint64 // version; 0 when any may come
	f     func(Record) error
}

func (r *boundaryReader) take(rec Record) error {
	if r.next != 0 && rec.Commit.Version != r.next {
		return &GapError{r.after, fmt.Sprintf("%s has version %d instead of %d at position %d",
			rec.Commit.Boundary(), rec.Commit.Version, r.next, rec.Position)}
	}
	r.after, r.next = rec.Position, rec.Commit.Version+1
	return r.f(rec)
}

// ReadAll reads a kind, or all of the ledger; then it checks that the positions
// are contiguous.
func (s *Stream) ReadAll(ctx context.Context, kind domain.Kind, after uint64, f func(Record) error) error {
	subject := kindSubject(kind)
	end, err := s.getStored(ctx, getRequest{LastFor: subject})
	if errors.Is(err, ErrNoCommit) && kind == "" {
		return s.readCounted(ctx, after, f)
	}
	if errors.Is(err, ErrNoCommit) {
		return nil
	}
	if err != nil || end.Sequence <= after {
		return err
	}
	if kind != "" {
		return s.readUpTo(ctx, subject, after, end.Sequence, f)
	}
	return s.readPositions(ctx, after, end.Sequence, f)
}

// readCounted reads a log without a last commit: an empty one, or what a store still holds
// that lost its last ones.
func (s *Stream) readCounted(ctx context.Context, after uint64, f func(Record) error) error {
	held, counted, err := s.remnant(ctx)
	if err != nil || counted == 0 {
		return err
	}
	if err := s.readPositions(ctx, after, held, f); err != nil {
		return err
	}
	return &GapError{held, fmt.Sprintf("nothing comes, and the store has given positions up to %d", counted)}
}

// readPositions is readUpTo that leaves no position out.
func (s *Stream) readPositions(ctx context.Context, after, end uint64, f func(Record) error) error {
	return s.readUpTo(ctx, allSubjects, after, end, func(rec Record) error {
		if rec.Position != after+1 {
			return &GapError{after, fmt.Sprintf("the next is at %d", rec.Position)}
		}
		after = rec.Position
		return f(rec)
	})
}

// readUpTo reads the messages of a subject up to a position that holds one, and
// gives up when none came for as long as patience lasts.
func (s *Stream) readUpTo(ctx context.Context, subject string, after, end uint64, f func(Record) error) error {
	c := &cursor{s: s, subject: subject, after: after}
	defer c.close()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for c.after < end {
		m, err := c.next(ctx, timer.C)
		if errors.Is(err, errNothingYet) {
			return fmt.Errorf("%w: read after position %d: %w", ErrUnavailable, c.after, errors.Join(err, c.lost))
		}
		if err != nil {
			return err
		}
		rec, err := decode(m.subject, m.position, m.data)
		if err != nil {
			return err
		}
		if rec.Position > end {
			return &GapError{after, fmt.Sprintf("the commit at %d is gone", end)}
		}
		if err := f(rec); err != nil {
			return err
		}
		timer.Reset(patience)
	}
	return nil
}
