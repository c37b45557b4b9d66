package commands

import (
	"context"
	"sync"
	"time"

	"github.com/claimledger/claimledger/eventstore"
)

// askTimeout bounds one question about a tail. It is asked for many, so that it has no
// caller's deadline.
const askTimeout = 5 * time.Second

// asking asks the log for a boundary's tail on behalf of everyone who wants to know it
// at the same time: what a thousand commands rest on is confirmed by a few questions.
// An answer is good for those who came before its question left.
type asking struct {
	ask    func(context.Context) (eventstore.Head, error)
	gather func() // before a question leaves; nil: it leaves at once

	mu      sync.Mutex
	running bool
	next    *question // has not left yet; nil: nobody wants to know
}

// gathering is a log of which the tail is asked when all are there who want to know.
type gathering struct {
	eventstore.Log
	gather func()
}

type question struct {
	answered chan struct{}
	tail     eventstore.Head
	err      error
}

func (a *asking) tail(ctx context.Context) (eventstore.Head, error) {
	a.mu.Lock()
	if a.next == nil {
		a.next = &question{answered: make(chan struct{})}
	}
	q := a.next
	if !a.running {
		a.running = true
		go a.run()
	}
	a.mu.Unlock()
	select {
	case <-q.answered:
		return q.tail, q.err
	case <-ctx.Done():
		return eventstore.Head{}, unavailable("The ledger's log takes too long to answer; nothing was recorded.", ctx.Err())
	}
}

// run asks one question after another until nobody wants to know.
func (a *asking) run() {
	for {
		if a.gather != nil {
			a.gather()
		}
		a.mu.Lock()
		q := a.next
		a.next = nil
		a.running = q != nil
		a.mu.Unlock()
		if q == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
		q.tail, q.err = a.ask(ctx)
		cancel()
		close(q.answered)
	}
}
