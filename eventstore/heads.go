package eventstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/claimledger/claimledger/domain"
)

// The stream of the log's signed heads, and the one subject in it.
const (
	HeadsStreamName = "LEDGER_HEADS"
	headsSubject    = "ledger.heads"
)

// maxHeadSize bounds a stored head with its headers; it takes about 500 bytes.
const maxHeadSize = 4096

// headsConfig is how the stream must be. What was signed for is kept like the log
// itself: a log that was tampered with is found out by the heads that it had.
func headsConfig(replicas int) jetstream.StreamConfig {
	cfg := ledgerConfig(replicas)
	cfg.Name = HeadsStreamName
	cfg.Description = "Signed heads of the ledger. Never update, purge or delete this stream."
	cfg.Subjects = []string{headsSubject}
	cfg.MaxMsgSize = maxHeadSize
	cfg.AllowAtomicPublish = false
	return cfg
}

// StoredHead is a signed head of the log as it was published. The zero StoredHead says
// that there is none yet.
type StoredHead struct {
	Sequence uint64 // among the heads
	domain.LogHead
}

// LogHeads is where the signed heads of the log are published, one after another.
type LogHeads interface {
	// Last is the head that was published last, as the leader has it; never behind an
	// acknowledged Append of anyone. The error is ErrUnavailable when there is no
	// telling; any other means that what stands there is no head.
	Last(ctx context.Context) (StoredHead, error)

	// At is the head with a sequence, from 1 to that of the last. The errors are those
	// of Last, and ErrNoHead where there is none with it.
	At(ctx context.Context, sequence uint64) (StoredHead, error)

	// Append publishes a head directly after another, durably. Where that is not the
	// last any more, nothing is published and the error is ErrHeadMoved. It refuses
	// what would go back in position, or say something else of the same one. The
	// error is ErrOutcomeUnknown when the answer was lost: Last tells. Any other
	// error means that nothing was published.
	Append(ctx context.Context, after StoredHead, head domain.LogHead) (StoredHead, error)
}

// ErrHeadMoved means that someone else published a head meanwhile.
var ErrHeadMoved = errors.New("another head was published meanwhile")

// ErrNoHead means that there is no head with a sequence.
var ErrNoHead = errors.New("no head of the log with this sequence")

// HeadsAround finds, among the heads in the order of their publication, the last of a
// position up to the one that is given, and the first of a later one. The zero StoredHead
// stands for none.
func HeadsAround(ctx context.Context, heads LogHeads, position uint64) (upTo, after StoredHead, err error) {
	last, err := heads.Last(ctx)
	if err != nil || last.Position <= position {
		return last, StoredHead{}, err
	}
	// Between the two, positions never go back.
	after = last
	for upTo.Sequence+1 < after.Sequence {
		middle, err := heads.At(ctx, upTo.Sequence+(after.Sequence-upTo.Sequence)/2)
		switch {
		case err != nil:
			return StoredHead{}, StoredHead{}, err
		case middle.Position <= position:
			upTo = middle
		default:
			after = middle
		}
	}
	return upTo, after, nil
}

// encodeHead gives the bytes to store for a head that may stand after another.
func encodeHead(after StoredHead, head domain.LogHead) ([]byte, error) {
	switch {
	case head.Position < after.Position:
		return nil, fmt.Errorf("a head of position %d cannot follow one of position %d", head.Position, after.Position)
	case head.Position == after.Position && head.Chain() != after.Chain():
		return nil, fmt.Errorf("another head of position %d was published before", head.Position)
	}
	return json.Marshal(head)
}

// streamHeads are the heads in JetStream.
type streamHeads struct{ s *Stream }

var _ LogHeads = streamHeads{}

// Heads are the log's signed heads.
func (s *Stream) Heads() LogHeads { return streamHeads{s} }

func (h streamHeads) Last(ctx context.Context) (StoredHead, error) {
	head, err := h.get(ctx, getRequest{LastFor: headsSubject})
	if errors.Is(err, ErrNoHead) {
		return StoredHead{}, nil
	}
	return head, err
}

func (h streamHeads) At(ctx context.Context, sequence uint64) (StoredHead, error) {
	if sequence == 0 {
		return StoredHead{}, ErrNoHead // to the server it would be no sequence at all
	}
	return h.get(ctx, getRequest{Seq: sequence})
}

func (h streamHeads) get(ctx context.Context, req getRequest) (StoredHead, error) {
	var msg storedMessage
	err := h.s.link.retry(ctx, func(ctx context.Context) (err error) {
		msg, err = h.s.requestFrom(ctx, HeadsStreamName, req)
		return err
	})
	if errors.Is(err, ErrNoCommit) {
		return StoredHead{}, ErrNoHead
	}
	if err != nil {
		return StoredHead{}, unavailable(err)
	}
	head := StoredHead{Sequence: msg.Sequence}
	if err := json.Unmarshal(msg.Data, &head.LogHead); err != nil {
		return StoredHead{}, fmt.Errorf("the log head %d cannot be read: %w", msg.Sequence, err)
	}
	return head, nil
}

// Append makes one attempt: a head that was not published now is published with the
// next one.
func (h streamHeads) Append(ctx context.Context, after StoredHead, head domain.LogHead) (StoredHead, error) {
	data, err := encodeHead(after, head)
	if err != nil {
		return StoredHead{}, err
	}
	if !h.s.nc.IsConnected() {
		return StoredHead{}, fmt.Errorf("%w: %w", ErrUnavailable, nats.ErrDisconnected)
	}
	var ack *jetstream.PubAck
	err = h.s.link.attempt(ctx, func(ctx context.Context) (err error) {
		ack, err = h.s.js.PublishMsg(ctx, &nats.Msg{Subject: headsSubject, Data: data},
			jetstream.WithExpectStream(HeadsStreamName),
			jetstream.WithExpectLastSequencePerSubject(after.Sequence),
			jetstream.WithRetryAttempts(0))
		return err
	})
	if err == nil {
		return StoredHead{ack.Sequence, head}, nil
	}
	switch verdict(err) {
	case conflict:
		return StoredHead{}, ErrHeadMoved
	case unknown:
		return StoredHead{}, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	default:
		return StoredHead{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}

// MemoryHeads keeps the same contract without a server. It is for simulations and
// tests.
type MemoryHeads struct {
	mu  sync.Mutex
	all []StoredHead // the one with sequence n is all[n-1]
}

var _ LogHeads = (*MemoryHeads)(nil)

// Last is the head that was published last.
func (m *MemoryHeads) Last(context.Context) (StoredHead, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last(), nil
}

func (m *MemoryHeads) last() StoredHead {
	if len(m.all) == 0 {
		return StoredHead{}
	}
	return m.all[len(m.all)-1]
}

// At is the head with a sequence.
func (m *MemoryHeads) At(_ context.Context, sequence uint64) (StoredHead, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if sequence == 0 || sequence > uint64(len(m.all)) {
		return StoredHead{}, ErrNoHead
	}
	return m.all[sequence-1], nil
}

// Append publishes a head, unless ctx has ended or another was published.
func (m *MemoryHeads) Append(ctx context.Context, after StoredHead, head domain.LogHead) (StoredHead, error) {
	if _, err := encodeHead(after, head); err != nil {
		return StoredHead{}, err
	}
	if err := ctx.Err(); err != nil {
		return StoredHead{}, errors.Join(ErrUnavailable, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if after.Sequence != m.last().Sequence {
		return StoredHead{}, ErrHeadMoved
	}
	stored := StoredHead{after.Sequence + 1, head}
	m.all = append(m.all, stored)
	return stored, nil
}
