package api

import (
	"context"
	"sync"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// HeadSource has the head of the log that was signed last; the zero StoredHead for none.
type HeadSource interface {
	Last(ctx context.Context) (eventstore.StoredHead, error)
}

const (
	// headAge is how old a head may be that is shown to the next who asks: anyone may
	// ask, and the log need not be asked each time.
	headAge = time.Second
	// headTimeout bounds asking the log for it.
	headTimeout = 3 * time.Second
)

// newestHead keeps what the log said last, for all who ask at the same time.
type newestHead struct {
	source HeadSource

	mu   sync.Mutex
	last *headLook
}

// headLook is one question to the log. done is closed when it is answered.
type headLook struct {
	done  chan struct{}
	began time.Time
	head  eventstore.StoredHead
	err   error
}

// get gives the newest head, and what the trouble was if there was any.
func (n *newestHead) get(ctx context.Context) (eventstore.StoredHead, error) {
	l := n.look()
	select {
	case <-l.done:
		return l.head, l.err
	case <-ctx.Done():
		return eventstore.StoredHead{}, ctx.Err()
	}
}

func (n *newestHead) look() *headLook {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.last; l != nil && (time.Since(l.began) < headAge || !l.answered()) {
		return l
	}
	l := &headLook{done: make(chan struct{}), began: time.Now()}
	n.last = l
	// It is not bound to whoever asked first, who may go away.
	go func() {
		defer close(l.done)
		ctx, cancel := context.WithTimeout(context.Background(), headTimeout)
		defer cancel()
		l.head, l.err = n.source.Last(ctx)
	}()
	return l
}

func (l *headLook) answered() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// errNoHead is what a ledger says that has recorded nothing yet, or not signed it.
var errNoHead = domain.Errorf(domain.CodeNotFound, "No head of the log has been signed yet.")

func (s *Server) logHead(c *call) (action, error) {
	least, err := c.minPosition()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		head, err := s.headFrom(ctx, least)
		switch {
		case domain.ErrorCode(err) == domain.CodeStaleRead:
			return answer{}, err
		case err != nil:
			return answer{}, &domain.Error{Code: domain.CodeServiceUnavailable, Message: "The log's head cannot be read for now.", Err: err}
		case head.Sequence == 0:
			return answer{}, errNoHead
		}
		return answer{position: head.Position, body: head.LogHead}, nil
	}, nil
}

// maxHeadWaits bounds how many callers wait for a head. Anyone may ask for one, so that
// waiting must not cost others their place; whoever comes when there are so many is told at
// once how far the head is.
const maxHeadWaits = 64

// headFrom waits, as other reads do, for a head that covers a position.
func (s *Server) headFrom(ctx context.Context, least uint64) (eventstore.StoredHead, error) {
	wait := minPositionWait
	if s.headWaits.Add(1) > maxHeadWaits {
		wait = 0
	}
	defer s.headWaits.Add(-1)
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	for {
		head, err := s.head.get(ctx)
		if err != nil || head.Position >= least {
			return head, err
		}
		again := time.NewTimer(headAge / 4)
		select {
		case <-again.C:
		case <-deadline.C:
			again.Stop()
			return head, domain.Errorf(domain.CodeStaleRead, "The newest head of the log is of position %d, %d commits behind position %d.",
				head.Position, least-head.Position, least)
		case <-ctx.Done():
			again.Stop()
			return head, ctx.Err()
		}
	}
}
