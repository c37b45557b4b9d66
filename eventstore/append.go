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

// Append publishes the commit with the expectation that the boundary's last
// message is the head's, and settles doubt by what the leader has stored, never by
// an answer that may belong to another attempt.
func (s *Stream) Append(ctx context.Context, after Head, commit *domain.Commit) (Record, error) {
	rec, err := prepare(after, commit)
	if err != nil {
		return Record{}, err
	}
	a := &appending{s: s, subject: Subject(commit.Boundary()), after: after, rec: rec}
	return a.run(ctx)
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
	s       *Stream
	subject string
	after   Head
	rec     Record
	doubt   bool // an attempt may have been recorded, or may still be
}

// run sends until it knows. While there is doubt, a commit that the log lacks may
// still be in flight, so the same bytes go again with the same expectation: of
// all attempts at this version, ours and rivals', the server takes one.
func (a *appending) run(ctx context.Context) (Record, error) {
	untaken, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var pause backoff
	for {
		position, err := a.attempt(ctx)
		if err == nil {
			a.rec.Position = position
			return a.rec, nil
		}
		switch verdict(err) {
		case unknown:
			a.doubt = true
		case notSent:
			// A connection may yet find a leader; without one the caller had better
			// hear it at once.
			if !a.doubt && !a.s.nc.IsConnected() {
				return Record{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
			}
		case refused:
			if !a.doubt {
				return Record{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
			}
		}
		if rec, settled, err := a.settle(ctx); settled {
			return rec, err
		}
		if a.doubt && !pause.wait(ctx) {
			return Record{}, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
		}
		if !a.doubt && !pause.wait(untaken) {
			return Record{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
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

// settle asks the leader which commit has the version that this one wants: the
// first of the boundary after the head. It is not settled while there is none, or
// while the leader can't be asked.
func (a *appending) settle(ctx context.Context) (rec Record, settled bool, err error) {
	winner, err := a.s.attemptGet(ctx, getRequest{NextFor: a.subject, Seq: a.after.Position + 1})
	if err != nil {
		return Record{}, false, nil
	}
	if domain.HashOf(winner.Data) == a.rec.Hash {
		a.rec.Position = winner.Sequence
		return a.rec, true, nil
	}
	tail, err := a.s.Tail(ctx, a.rec.Commit.Boundary())
	if err != nil {
		return Record{}, true, err
	}
	return Record{}, true, &ConflictError{Boundary: a.rec.Commit.Boundary(), Expected: a.after, Actual: tail}
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

// publish is the one place where a commit leaves for the log.
func (s *Stream) publish(ctx context.Context, subject string, stored []byte, expected uint64) (position uint64, err error) {
	if !s.nc.IsConnected() {
		return 0, errors.Join(errNotSent, nats.ErrDisconnected)
	}
	answer, err := s.nc.RequestMsgWithContext(ctx, &nats.Msg{
		Subject: subject,
		Header:  nats.Header{jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(expected, 10)}},
		Data:    stored,
	})
	if err != nil {
		return 0, err
	}
	var ack struct {
		Error *jetstream.APIError `json:"error"`
		jetstream.PubAck
	}
	switch err := json.Unmarshal(answer.Data, &ack); {
	case err != nil:
		return 0, fmt.Errorf("read the acknowledgement: %w", err)
	case ack.Error != nil:
		return 0, ack.Error
	case ack.Stream != StreamName || ack.Sequence == 0 || ack.Duplicate:
		return 0, fmt.Errorf("not the acknowledgement of an append: %s", answer.Data)
	}
	return ack.Sequence, nil
}
