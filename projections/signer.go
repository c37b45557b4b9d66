package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

const (
	// signPoll is how often a signer looks whether it is its turn.
	signPoll = standbyPoll

	// signTimeout ends a look at a database or a log that hangs. Reading what was added
	// to the log since the last head is not bounded by it.
	signTimeout = 10 * time.Second

	// lastSignature is how long signing may take at the end of the process. What is not
	// signed then is signed by whoever is active next.
	lastSignature = time.Second
)

// SignerConfig is what a Signer needs.
type SignerConfig struct {
	Log      eventstore.Log
	Heads    eventstore.LogHeads
	Reads    *Reader
	Key      *domain.HeadKey
	Interval time.Duration // between heads, while the log moves
	// Active tells whether this process is the one whose turn it is. Should two believe
	// so, each head is published by one of them.
	Active func() bool
	// Intact tells why nothing is to be signed: the log is known not to be what it was.
	Intact func() error
	Now    func() time.Time
	Logger *slog.Logger
}

// Signer publishes signed heads of the log: the running hash that stands with the
// checkpoint. Before it signs, it goes on from the head that was published last over
// what the log holds now. So it never signs two logs of which neither is the beginning
// of the other, whatever was done to the log or to the database: it refuses, and says
// so for as long as that lasts.
//
// Run and Step must not overlap. Status may be called at any time.
type Signer struct {
	c        SignerConfig
	board    signerBoard
	patience time.Duration
	short    time.Time // since when the log ends too early; zero: it does not
}

// NewSigner makes a Signer.
func NewSigner(c SignerConfig) *Signer {
	s := &Signer{c: c, patience: logPatience}
	s.board.standBy()
	return s
}

// ContradictionError means that the log or its running hash is not what was signed for
// before. Trying again does not help: somebody has to find out what was altered.
type ContradictionError struct{ Err error }

func (e *ContradictionError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ContradictionError) Unwrap() error { return e.Err }

func contradiction(last eventstore.StoredHead, format string, args ...any) error {
	return &ContradictionError{fmt.Errorf("the head of position %d, signed by %s at %s, and the log do not go together: %w",
		last.Position, last.KeyID, last.Time.Format(time.RFC3339), fmt.Errorf(format, args...))}
}

// errShort means that the log seems to end before what was signed for or applied: for a
// moment a leader that was deposed may say so.
var errShort = errors.New("the log seems to have lost commits; looking again")

// Run signs on a schedule until ctx ends, and once more then. ended is closed when the
// projectors have stopped, so that the last head is of all that they applied.
func (s *Signer) Run(ctx context.Context, ended <-chan struct{}) {
	tick := time.NewTicker(min(signPoll, s.c.Interval))
	defer tick.Stop()
	var signed time.Time
	for ctx.Err() == nil {
		if !s.c.Active() {
			s.board.standBy()
			signed = time.Time{}
		} else if time.Since(signed) >= s.c.Interval {
			signed = time.Now()
			if !s.look(ctx) {
				signed = time.Time{} // soon, rather than an interval later
			}
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	<-ended
	// Nobody is active now that was here. Should it have been another's turn, a head more
	// does no harm.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastSignature)
	defer cancel()
	s.look(last)
	s.board.standBy()
}

// look makes a Step and keeps what came of it. It reports whether that is for good, and
// not what may go away by itself.
func (s *Signer) look(ctx context.Context) (settled bool) {
	_, err := s.Step(ctx)
	if ctx.Err() != nil {
		return false
	}
	var lies *ContradictionError
	settled = err == nil || errors.As(err, &lies)
	switch news := s.board.outcome(err); {
	case !news:
	case settled:
		s.c.Logger.Error("the log contradicts what was signed before; no head is signed until that is resolved", "error", err)
	default:
		s.c.Logger.Warn("the log's head is not signed for now", "error", err)
	}
	return settled
}

// Step publishes a head if the log has moved since the last one, or the key is another.
func (s *Signer) Step(ctx context.Context) (published bool, err error) {
	if err := s.c.Intact(); err != nil {
		return false, err
	}
	last, chain, err := s.read(ctx)
	if err != nil {
		return false, err
	}
	s.board.seen(last)
	if chain.Position < last.Position {
		// The database is behind, as one is that was restored or is built anew.
		return false, s.reaches(ctx, last, last.Position)
	}
	if err := s.goesOn(ctx, last, chain); err != nil {
		return false, err
	}
	if chain.Position == 0 || chain == last.Chain() && last.KeyID == s.c.Key.ID() {
		return false, nil
	}
	at := s.c.Now()
	if at.Before(last.Time) {
		at = last.Time // the clock of whoever signed before was ahead
	}
	// If we crash here, nothing was said; the next one signs anew.
	stored, err := s.c.Heads.Append(ctx, last, s.c.Key.Sign(chain, at))
	if errors.Is(err, eventstore.ErrHeadMoved) {
		return false, nil // someone else is active too: the next look goes on from his head
	}
	if err != nil {
		return false, err
	}
	s.board.seen(stored)
	return true, nil
}

// read reads the head that was published last, and then the running hash.
func (s *Signer) read(ctx context.Context) (eventstore.StoredHead, domain.Chain, error) {
	ctx, cancel := context.WithTimeout(ctx, signTimeout)
	defer cancel()
	last, err := s.c.Heads.Last(ctx)
	if err == nil && last.Sequence > 0 {
		err = last.Verify()
	}
	if err != nil && !unreached(err) {
		err = &ContradictionError{fmt.Errorf("what stands as the newest head was not signed: %w", err)}
	}
	if err != nil {
		return last, domain.Chain{}, err
	}
	chain, _, err := s.c.Reads.Chain(ctx)
	return last, chain, err
}

// goesOn makes sure that the log, read on from the last head, leads to the running hash.
// What it was signed for is not forgotten when the database is: a log that was altered
// before the head leads to another hash when it is applied again from the start.
func (s *Signer) goesOn(ctx context.Context, last eventstore.StoredHead, chain domain.Chain) error {
	c := last.Chain() // nothing before the first: the log's own start
	err := s.c.Log.ReadAll(ctx, "", c.Position, func(rec eventstore.Record) error {
		if rec.Position > chain.Position {
			return errFull
		}
		c = c.Then(rec.Position, rec.Hash)
		return nil
	})
	switch {
	case unreached(err):
		return err
	case err != nil && !errors.Is(err, errFull):
		return contradiction(last, "the log cannot be read on from there: %w", err)
	case c.Position < chain.Position:
		return s.reaches(ctx, last, chain.Position)
	case c != chain:
		return contradiction(last, "read on from there, the %d commits up to position %d have the hash %s; read from the start, %d commits have the hash %s",
			c.Count, c.Position, c.Hash, chain.Count, chain.Hash)
	}
	s.short = time.Time{}
	return nil
}

// reaches makes sure that the log does not end before a position, and bears for a while
// with a leader that may merely not have what is there.
func (s *Signer) reaches(ctx context.Context, last eventstore.StoredHead, position uint64) error {
	end, err := s.c.Log.Last(ctx)
	switch {
	case err != nil:
		return err
	case end >= position:
		s.short = time.Time{}
		return nil
	case s.short.IsZero():
		s.short = time.Now()
	case time.Since(s.short) > s.patience:
		return contradiction(last, "the log ends at position %d, and had a commit at position %d", end, position)
	}
	return errShort
}
