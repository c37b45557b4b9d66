package eventstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/claimledger/claimledger/domain"
)

// How long requests to the log may take.
const (
	// attemptTimeout bounds one request. It only has to be longer than a slow disk
	// takes for one write: what is given up too early is settled like any doubt.
	attemptTimeout = 2 * time.Second
	// patience bounds all attempts at one read, and at an append that no server
	// took. The election of a new leader takes one to a few seconds.
	patience = 8 * time.Second
	// retryMin and retryMax space the attempts.
	retryMin = 5 * time.Millisecond
	retryMax = time.Second
)

// Stream is the log in JetStream. It is safe for concurrent use.
type Stream struct {
	nc     *nats.Conn
	link   *link
	js     jetstream.JetStream
	group  *group
	steps  chan struct{}          // as many as may settle at the same time
	recent *recent                // commits, decoded
	config jetstream.StreamConfig // that the stream must have
	logger *slog.Logger

	sharing sync.Mutex
	reading *reading // that those who follow the log's end take part in; nil: nobody does

	profiles *Profiles
	usage    *Usage
}

var _ Log = (*Stream)(nil)

// Open opens what Create made, and checks that it is configured as Create would
// configure it today: the error is ErrNotSetUp where something is missing, and a
// *ConfigError where something differs. It changes nothing.
//
// The connection must be one of Connect or Embedded.Connect: they don't keep
// messages back while they are disconnected, to send them later, when their
// fate has long been reported.
func Open(ctx context.Context, nc *nats.Conn, replicas int, logger *slog.Logger) (*Stream, error) {
	if nc.Opts.ReconnectBufSize >= 0 {
		return nil, errors.New("the connection buffers messages while it is disconnected")
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	s := &Stream{
		nc: nc, link: newLink(nc), js: js, config: ledgerConfig(replicas),
		steps: make(chan struct{}, maxSteps), recent: newRecent(), logger: logger,
	}
	s.group = newGroup(paceOf(replicas), s.send)
	var streams []jetstream.Stream
	for _, cfg := range allConfigs(replicas) {
		stream, err := openStream(ctx, s.link, js, cfg)
		if err != nil {
			return nil, err
		}
		streams = append(streams, stream)
	}
	s.profiles = &Profiles{js: js, bucket: streams[1]}
	if s.usage, err = openUsage(ctx, js); err != nil {
		return nil, err
	}
	go s.link.watch()
	return s, nil
}

func openStream(ctx context.Context, l *link, js jetstream.JetStream, want jetstream.StreamConfig) (jetstream.Stream, error) {
	var stream jetstream.Stream
	err := l.retry(ctx, func(ctx context.Context) (err error) {
		stream, err = js.Stream(ctx, want.Name)
		return err
	})
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, fmt.Errorf("%w: there is no stream %s", ErrNotSetUp, want.Name)
	case err != nil:
		return nil, fmt.Errorf("%w: open %s: %w", ErrUnavailable, want.Name, err)
	}
	return stream, checkConfig(stream.CachedInfo().Config, want)
}

// Profiles are the owners' e-mail addresses and names.
func (s *Stream) Profiles() *Profiles { return s.profiles }

// Usage is when keys were last used.
func (s *Stream) Usage() *Usage { return s.usage }

// Tail reads the last commit of the boundary from the stream's leader. What is no
// namespace has none, and never gets into a subject, where it could mean others.
func (s *Stream) Tail(ctx context.Context, b domain.Boundary) (Head, error) {
	if !domain.ValidNamespace(b.Namespace) {
		return Head{}, nil
	}
	rec, err := s.get(ctx, getRequest{LastFor: Subject(b)})
	if errors.Is(err, ErrNoCommit) {
		return Head{}, nil
	}
	if err != nil {
		return Head{}, err
	}
	return rec.Head(), nil
}

// Last asks for the last commit rather than for the stream's state, which the
// server answers in the middle of writing a batch: a read of a message waits until
// what is being written is on disk.
func (s *Stream) Last(ctx context.Context) (uint64, error) {
	msg, err := s.getStored(ctx, getRequest{LastFor: allSubjects})
	if errors.Is(err, ErrNoCommit) {
		return 0, nil
	}
	return msg.Sequence, err
}

// At reads the commit from the stream's leader.
func (s *Stream) At(ctx context.Context, position uint64) (Record, error) {
	if position == 0 {
		return Record{}, ErrNoCommit
	}
	return s.get(ctx, getRequest{Seq: position})
}

// getRequest names one stored message: at a sequence; the last of a subject; or
// the first of a subject from a sequence on.
type getRequest struct {
	Seq     uint64 `json:"seq,omitempty"`
	LastFor string `json:"last_by_subj,omitempty"`
	NextFor string `json:"next_by_subj,omitempty"`
}

type storedMessage struct {
	Subject  string `json:"subject"`
	Sequence uint64 `json:"seq"`
	Data     []byte `json:"data"`
}

// get reads and decodes one message, with patience.
func (s *Stream) get(ctx context.Context, req getRequest) (Record, error) {
	msg, err := s.getStored(ctx, req)
	if err != nil {
		return Record{}, err
	}
	return decode(msg.Subject, msg.Sequence, msg.Data)
}

func (s *Stream) getStored(ctx context.Context, req getRequest) (msg storedMessage, err error) {
	err = s.link.retry(ctx, func(ctx context.Context) (err error) {
		msg, err = s.request(ctx, req)
		return err
	})
	return msg, unavailable(err)
}

func (s *Stream) attemptGet(ctx context.Context, req getRequest) (msg storedMessage, err error) {
	err = s.link.attempt(ctx, func(ctx context.Context) (err error) {
		msg, err = s.request(ctx, req)
		return err
	})
	return msg, err
}

// request makes one attempt.
func (s *Stream) request(ctx context.Context, req getRequest) (storedMessage, error) {
	return s.requestFrom(ctx, StreamName, req)
}

// requestFrom makes one attempt at any stream. Only the leader answers it, and only
// from what is stored for good: a single server holds the lock of its store until the
// disk has the message, and a replicated one applies a message after a quorum has it.
func (s *Stream) requestFrom(ctx context.Context, stream string, req getRequest) (storedMessage, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return storedMessage{}, err
	}
	answer, err := s.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, body)
	if err != nil {
		return storedMessage{}, err
	}
	var resp struct {
		Error   *jetstream.APIError `json:"error"`
		Message storedMessage       `json:"message"`
	}
	if err := json.Unmarshal(answer.Data, &resp); err != nil {
		return storedMessage{}, fmt.Errorf("read the server's answer: %w", err)
	}
	switch {
	case resp.Error != nil && resp.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return storedMessage{}, ErrNoCommit
	case resp.Error != nil:
		return storedMessage{}, resp.Error
	}
	return resp.Message, nil
}

// UnreadableError means that this program cannot read what stands at a position: it is
// damaged, or was written by a newer program. No reader may go on behind it.
type UnreadableError struct {
	Position uint64
	Err      error
}

func (e *UnreadableError) Error() string { return fmt.Sprintf("position %d: %v", e.Position, e.Err) }

// Unwrap returns the cause.
func (e *UnreadableError) Unwrap() error { return e.Err }

// decode turns a stored message into a Record, and checks that it stands where it
// says that it belongs.
func decode(subject string, position uint64, stored []byte) (Record, error) {
	commit, err := domain.DecodeCommit(stored)
	if err != nil {
		return Record{}, &UnreadableError{position, err}
	}
	if s := Subject(commit.Boundary()); s != subject {
		return Record{}, &UnreadableError{position, fmt.Errorf("a commit of %s stands on %s", s, subject)}
	}
	return Record{Position: position, Stored: stored, Hash: domain.HashOf(stored), Commit: commit}, nil
}

// Whole asks the leader whether the stream is configured as Create would configure it,
// and holds every position from the first to the last. The error is a *BrokenError or a
// *ConfigError where not.
func (s *Stream) Whole(ctx context.Context) error {
	var info *jetstream.StreamInfo
	err := s.link.retry(ctx, func(ctx context.Context) error {
		stream, err := s.js.Stream(ctx, StreamName)
		if err == nil {
			info = stream.CachedInfo()
		}
		return err
	})
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return &BrokenError{0, "the stream " + StreamName + " is gone"}
	case err != nil:
		return unavailable(err)
	}
	if err := checkConfig(info.Config, s.config); err != nil {
		return err
	}
	state := info.State
	switch held := state.LastSeq - state.FirstSeq + 1; {
	case state.LastSeq == 0:
		return nil
	case state.FirstSeq != 1:
		return &BrokenError{1, fmt.Sprintf("it begins at position %d", state.FirstSeq)}
	case state.NumDeleted > 0 || state.Msgs != held:
		return &BrokenError{0, fmt.Sprintf("it holds %d commits between the positions %d and %d", state.Msgs, state.FirstSeq, state.LastSeq)}
	}
	return nil
}

// Rewinds reports whether there is more than one node: one that was deposed as the
// leader may go on answering for a while. A server that is alone has no excuse.
func (s *Stream) Rewinds() bool { return s.config.Replicas > 1 }
