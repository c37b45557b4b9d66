package eventstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/claimledger/claimledger/domain"
)

// headerReserve is what the headers of a message may take of MaxMessageSize.
const headerReserve = 512

// MaxCommitSize bounds the stored bytes of a commit.
const MaxCommitSize = MaxMessageSize - headerReserve

// ErrTooLarge means that a commit has more than MaxCommitSize bytes. It was not
// sent. No request of the public API gets near it.
var ErrTooLarge = errors.New("the commit is too large")

// The codes of a refused expectation: of the stored last sequence, and of one that
// a rival in flight is about to make. They mean the same here.
const (
	codeWrongLastSequence         jetstream.ErrorCode = 10071
	codeWrongLastSequenceInFlight jetstream.ErrorCode = 10164
)

// Append records a commit, alone or together with others.
func (s *Stream) Append(ctx context.Context, after Head, commit *domain.Commit) (Record, error) {
	return s.Begin(ctx, after, commit).Wait()
}

// Begin publishes the commit with the expectation that the boundary's last message is
// the head's, and settles doubt by what the leader has stored, never by an answer that
// may belong to another attempt.
func (s *Stream) Begin(ctx context.Context, after Head, commit *domain.Commit) *Pending {
	return s.begin(ctx, newPending(after, commit), after, nil)
}

// Chain publishes the commit in the same batch as the one before it, or afterwards.
func (s *Stream) Chain(ctx context.Context, behind *Pending, commit *domain.Commit) *Pending {
	return s.begin(ctx, newPendingBehind(behind, commit), behind.Head(), behind)
}

func (s *Stream) begin(ctx context.Context, p *Pending, after Head, behind *Pending) *Pending {
	if !p.open() {
		return p
	}
	s.recent.keep(p.rec)
	a := &appending{Pending: p, s: s, ctx: ctx, subject: Subject(p.boundary), after: after, behind: behind}
	p.watch(ctx, func() { s.group.abandon(a) })
	if err := s.group.add(a); err != nil {
		p.end(0, err)
	}
	return p
}

// prepare chains the commit to the head, encodes it, and reads it back: what no
// reader could read must not get into a record from which nothing is ever taken.
func prepare(after Head, commit *domain.Commit) (Record, error) {
	commit.Version, commit.Prev = after.Version+1, after.Hash
	if !domain.ValidNamespace(commit.Namespace) {
		return Record{}, fmt.Errorf("commit %s: %q is no namespace", commit.ID, commit.Namespace)
	}
	stored, err := commit.Encode()
	if err != nil {
		return Record{}, fmt.Errorf("encode commit %s: %w", commit.ID, err)
	}
	if len(stored) > MaxCommitSize {
		return Record{}, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(stored), MaxCommitSize)
	}
	return decode(Subject(commit.Boundary()), 0, stored)
}

// appending is one append on its way.
type appending struct {
	*Pending
	s       *Stream
	ctx     context.Context
	subject string
	after   Head
	behind  *Pending // what it follows; its position is not known yet

	state  state // guarded by the group's lock
	failed error // of an attempt that was made and left it open
	doubt  bool  // an attempt may have been recorded, or may still be
}

// state says who has an append in hand.
type state int

const (
	waiting state = iota // the queue
	batched              // an attempt together with others
	alone                // one goroutine for it, or for its boundary
)

// join takes the position of the commit before it, which has ended, or tells that it
// fell with that one.
func (a *appending) join() error {
	if a.behind == nil {
		return nil
	}
	head, err := a.behind.outcome(a.Pending)
	switch {
	case err == nil:
		a.after, a.behind = head, nil
	case a.doubt && !isConflict(err):
		err = fmt.Errorf("%w: nor is that of the commit before it: %w", ErrOutcomeUnknown, err)
	}
	return err
}

// try makes an attempt at a commit alone, which leaves it open unless it succeeds.
func (a *appending) try() {
	var position uint64
	if position, a.failed = a.attempt(a.ctx); a.failed == nil {
		a.end(position, nil)
	}
}

// finish ends what is open.
func (a *appending) finish() {
	if err := a.join(); err != nil {
		a.end(0, err)
		return
	}
	a.end(a.run(a.ctx))
}

// run sends until it knows. While there is doubt, a commit that the log lacks may
// still be in flight, so the same bytes go again with the same expectation: of
// all attempts at this version, ours and rivals', the server takes one. That holds for
// a batch in flight as well, of which the server takes all or nothing.
func (a *appending) run(ctx context.Context) (position uint64, err error) {
	untaken, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var pause backoff
	for {
		position, settled, err := a.step(ctx)
		if settled {
			return position, err
		}
		if a.doubt && !pause.wait(ctx) {
			return 0, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
		}
		if !a.doubt && !pause.wait(untaken) {
			return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
}

// step makes an attempt, unless one has just failed, and finds out what came of it. Only
// so many do that at the same time: were all to ask at once that a slow server left in
// doubt, it would never be fast enough for them again.
func (a *appending) step(ctx context.Context) (position uint64, settled bool, err error) {
	select {
	case a.s.steps <- struct{}{}:
		defer func() { <-a.s.steps }()
	case <-ctx.Done():
		return 0, false, ctx.Err()
	}
	if a.failed == nil {
		if position, a.failed = a.attempt(ctx); a.failed == nil {
			return position, true, nil
		}
	}
	err, a.failed = a.failed, nil
	switch verdict(err) {
	case unknown:
		a.doubt = true
	case notSent:
		// A connection may yet find a leader; without one the caller had better hear
		// it at once.
		if !a.doubt && !a.s.nc.IsConnected() {
			return 0, true, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	case refused:
		if !a.doubt {
			return 0, true, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	if position, settled, err := a.look(ctx); settled {
		return position, true, err
	}
	return 0, false, err
}

func (a *appending) attempt(ctx context.Context) (position uint64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, errors.Join(errNotSent, err)
	}
	err = a.s.link.attempt(ctx, func(ctx context.Context) error {
		position, err = a.s.publish(ctx, a.subject, a.rec.Stored, a.after.Position)
		return err
	})
	return position, err
}

// look asks the leader which commit has the version that this one wants: the
// first of the boundary after the head. It is not settled while there is none, or
// while the leader can't be asked.
func (a *appending) look(ctx context.Context) (position uint64, settled bool, err error) {
	winner, err := a.s.attemptGet(ctx, getRequest{NextFor: a.subject, Seq: a.after.Position + 1})
	if err != nil {
		return 0, false, nil
	}
	if domain.HashOf(winner.Data) == a.rec.Hash {
		return winner.Sequence, true, nil
	}
	tail, err := a.s.Tail(ctx, a.boundary)
	if err != nil {
		return 0, true, err
	}
	return 0, true, &ConflictError{Boundary: a.boundary, Expected: a.after, Actual: tail}
}

// What an attempt's error says about the message.
type outcome int

const (
	unknown  outcome = iota // it may have been recorded, or may still be
	notSent                 // no server has it
	refused                 // a server has refused it, whatever the tail is
	conflict                // a server has refused it for another head
)

// errNotSent marks what failed before a byte left.
var errNotSent = errors.New("not sent")

// verdict counts as certain only what can't have reached a stream: anything else
// is unknown, such as a connection that was closed while an answer was awaited.
func verdict(err error) outcome {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, errNotSent), errors.Is(err, nats.ErrNoResponders),
		errors.Is(err, nats.ErrReconnectBufExceeded):
		return notSent
	case errors.Is(err, nats.ErrMaxPayload): // the server's own limit, which the client keeps
		return refused
	case !errors.As(err, &api):
		return unknown
	case api.ErrorCode == codeWrongLastSequence, api.ErrorCode == codeWrongLastSequenceInFlight:
		return conflict
	default:
		return refused
	}
}

// publish sends one commit, alone.
func (s *Stream) publish(ctx context.Context, subject string, stored []byte, expected uint64) (position uint64, err error) {
	ack, err := s.requestAck(ctx, &nats.Msg{
		Subject: subject,
		Header:  nats.Header{jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(expected, 10)}},
		Data:    stored,
	})
	if err == nil && ack.Batch != "" {
		err = fmt.Errorf("not the acknowledgement of an append: %+v", ack)
	}
	return ack.Sequence, err
}

// ack is the server's acknowledgement of a message or of a batch.
type ack struct {
	Error     *jetstream.APIError `json:"error"`
	Stream    string              `json:"stream"`
	Sequence  uint64              `json:"seq"` // of a batch, the last
	Duplicate bool                `json:"duplicate"`
	Batch     string              `json:"batch"`
	Count     int                 `json:"count"` // of the batch's messages
}

// requestAck is the one place where commits leave for the log and are answered.
func (s *Stream) requestAck(ctx context.Context, msg *nats.Msg) (ack, error) {
	if !s.nc.IsConnected() {
		return ack{}, errors.Join(errNotSent, nats.ErrDisconnected)
	}
	answer, err := s.nc.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return ack{}, err
	}
	var got ack
	switch err := json.Unmarshal(answer.Data, &got); {
	case err != nil:
		return ack{}, fmt.Errorf("read the acknowledgement: %w", err)
	case got.Error != nil:
		return ack{}, got.Error
	case got.Stream != StreamName || got.Sequence == 0 || got.Duplicate:
		return ack{}, fmt.Errorf("not the acknowledgement of an append: %s", answer.Data)
	}
	return got, nil
}
