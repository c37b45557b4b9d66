package eventstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// link is the connection with what makes requests over it end in time.
type link struct {
	nc *nats.Conn

	mu    sync.Mutex
	alive context.Context // ends when the connection of now is lost
	lose  context.CancelFunc
}

func newLink(nc *nats.Conn) *link {
	l := &link{nc: nc}
	l.alive, l.lose = context.WithCancel(context.Background())
	return l
}

// watch runs until the connection is closed for good.
func (l *link) watch() {
	changes := l.nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	defer l.nc.RemoveStatusListener(changes)
	for !l.nc.IsClosed() {
		if <-changes == nats.RECONNECTING {
			l.renew()
		}
	}
	l.renew()
}

// renew ends what waits for an answer, and leaves a new context for what follows.
func (l *link) renew() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose()
	l.alive, l.lose = context.WithCancel(context.Background())
}

func (l *link) current() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.alive
}

// retry calls f until it succeeds, fails for good, or patience or ctx end.
func (l *link) retry(ctx context.Context, f func(context.Context) error) error {
	return l.retryFor(ctx, patience, f)
}

func (l *link) retryFor(ctx context.Context, most time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	var pause backoff
	for {
		err := l.attempt(ctx, f)
		if err == nil || !isTransient(err) || !pause.wait(ctx) {
			return err
		}
	}
}

// attempt calls f with a deadline of its own, and ends it as soon as the
// connection is lost: what was asked over that one will not be answered.
func (l *link) attempt(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	alive := l.current()
	defer context.AfterFunc(alive, cancel)()
	err := f(ctx)
	if errors.Is(err, context.Canceled) && alive.Err() != nil {
		return nats.ErrDisconnected
	}
	return err
}

// isTransient reports whether a read may succeed a little later: a leader is being
// elected, or a server is still loading its streams. Without a connection there
// is nothing to wait for here: the connection is re-established in the background.
func isTransient(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) ||
		errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) {
		return true
	}
	var api *jetstream.APIError
	return errors.As(err, &api) && api.Code == statusUnavailable
}

// statusUnavailable is the class of the server's errors that say "not now".
const statusUnavailable = 503

// unavailable wraps what the connection or the server said, so that callers need
// not know either. ErrNoCommit and errors of the context's cancellation stay.
func unavailable(err error) error {
	if err == nil || errors.Is(err, ErrNoCommit) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// backoff spaces attempts: twice as long each time, up to retryMax, with jitter
// so that those who failed together don't come back together.
type backoff struct{ next time.Duration }

// wait pauses, and reports whether ctx allows for another attempt.
func (b *backoff) wait(ctx context.Context) bool {
	b.next = min(max(2*b.next, retryMin), retryMax)
	timer := time.NewTimer(b.next/2 + rand.N(b.next/2))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (b *backoff) reset() { b.next = 0 }
