package eventstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The headers of an atomic batch. All of its messages are stored, next to each other,
// or none is.
const (
	batchIDHeader       = "Nats-Batch-Id"
	batchSequenceHeader = "Nats-Batch-Sequence"
	batchCommitHeader   = "Nats-Batch-Commit"
)

const (
	// maxRefusals is how often a batch is sent anew without those for whom it was
	// refused, before each of the others goes by itself.
	maxRefusals = 3
	// maxSteps is how many commits are settled, or looked for, at the same time.
	maxSteps = 32
)

// send makes an attempt at a turn of the group.
func (s *Stream) send(turn []*appending) {
	if len(turn) == 1 {
		turn[0].try()
	} else {
		s.sendBatch(turn)
	}
}

// sendBatch sends commits together. A batch is refused for a single one whose boundary
// has another head, and the answer doesn't say which: those are found at the leader,
// and the others go again. What it leaves open has to go by itself: after any other
// refusal, so that only the commit fails that is the reason; and in doubt, which is
// settled commit by commit.
func (s *Stream) sendBatch(turn []*appending) {
	for range maxRefusals {
		var last uint64
		err := s.link.attempt(context.Background(), func(ctx context.Context) (err error) {
			last, err = s.publishBatch(ctx, turn)
			return err
		})
		if err == nil {
			for i, a := range turn {
				a.end(last-uint64(len(turn)-1-i), nil)
			}
			return
		}
		switch verdict(err) {
		case unknown, notSent:
			for _, a := range turn {
				a.failed, a.doubt = err, verdict(err) == unknown
			}
			return
		case refused:
			return
		}
		rest := s.sortOut(turn)
		if len(rest) == len(turn) || len(rest) < 2 {
			return
		}
		turn = rest
	}
}

// sortOut ends those whose boundary has another head, with what follows them, and
// returns the rest. Nothing of the turn is in the log, so what is there is a rival's.
func (s *Stream) sortOut(turn []*appending) (rest []*appending) {
	var looks sync.WaitGroup
	free := make(chan struct{}, maxSteps)
	for _, a := range turn {
		if a.behind != nil {
			continue
		}
		free <- struct{}{}
		looks.Go(func() {
			defer func() { <-free }()
			if position, settled, err := a.look(context.Background()); settled {
				a.end(position, err)
			}
		})
	}
	looks.Wait()
	for _, a := range turn {
		if a.behind != nil && !a.behind.open() {
			if err := a.join(); err != nil {
				a.end(0, err)
			}
		}
		if a.open() {
			rest = append(rest, a)
		}
	}
	return rest
}

// publishBatch gives the position of the last commit. The expectation stands on the
// first of each boundary; the server checks it against what was there before the batch.
func (s *Stream) publishBatch(ctx context.Context, turn []*appending) (last uint64, err error) {
	id := rand.Text()
	for i, a := range turn {
		msg := &nats.Msg{Subject: a.subject, Data: a.rec.Stored, Header: nats.Header{
			batchIDHeader:       {id},
			batchSequenceHeader: {strconv.Itoa(i + 1)},
		}}
		if a.behind == nil {
			msg.Header[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(a.after.Position, 10)}
		}
		if i < len(turn)-1 {
			// Nobody answers it, and without the last one it comes to nothing.
			if err := s.nc.PublishMsg(msg); err != nil {
				return 0, errors.Join(errNotSent, err)
			}
			continue
		}
		msg.Header[batchCommitHeader] = []string{"1"}
		got, err := s.requestAck(ctx, msg)
		if err == nil && (got.Batch != id || got.Count != len(turn) || got.Sequence < uint64(len(turn))) {
			err = fmt.Errorf("not the acknowledgement of batch %s of %d: %+v", id, len(turn), got)
		}
		return got.Sequence, err
	}
	return 0, errNotSent
}
