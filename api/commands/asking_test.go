package commands

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// Many who want to know a tail share questions, and nobody gets an answer to one that
// left before he came.
func TestAskingTogether(t *testing.T) {
	t.Parallel()
	const many = 200
	var version, questions atomic.Uint64
	var coming sync.WaitGroup
	coming.Add(many)
	a := asking{ask: func(context.Context) (eventstore.Head, error) {
		questions.Add(1)
		head := eventstore.Head{Version: version.Load()}
		coming.Wait() // the first question takes until everyone is on his way
		return head, nil
	}}
	var group sync.WaitGroup
	for range many {
		group.Go(func() {
			mine := version.Add(1) // as if it had been appended
			coming.Done()
			head, err := a.tail(t.Context())
			if err != nil || head.Version < mine {
				t.Errorf("after version %d the tail is said to be %d: %v", mine, head.Version, err)
			}
		})
	}
	group.Wait()
	if n := questions.Load(); n >= many {
		t.Errorf("%d questions for %d who asked", n, many)
	}
}

func TestAskingInVain(t *testing.T) {
	t.Parallel()
	left, silence := make(chan struct{}, 3), make(chan struct{})
	trouble := errors.New("away")
	answers := make(chan error, 2)
	a := asking{ask: func(context.Context) (eventstore.Head, error) {
		left <- struct{}{}
		<-silence
		return eventstore.Head{}, <-answers
	}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := a.tail(ctx)
	wantCode(t, "a question without an answer", err, domain.CodeServiceUnavailable)
	<-left
	close(silence)
	answers <- nil // to nobody
	answers <- trouble
	if _, err := a.tail(t.Context()); !errors.Is(err, trouble) {
		t.Errorf("the answer is %v", err)
	}
	answers <- nil
	if _, err := a.tail(t.Context()); err != nil {
		t.Errorf("after trouble: %v", err)
	}
}

// A refusal is confirmed when the next command has its turn already.
func TestRefusalsDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	log := &troubled{Log: eventstore.NewMemory()}
	x := newTester(t, log)
	x.namespace("acme")
	id := x.submit("acme")
	asked, answer := make(chan struct{}), make(chan struct{})
	log.tail = sync.OnceFunc(func() { close(asked); <-answer })
	var group sync.WaitGroup
	group.Go(func() {
		_, _, err := x.claim("acme", domain.Revoke{ClaimID: id})
		wantCode(t, "revoke", err, domain.CodeConflict)
	})
	<-asked
	x.submit("acme") // while the log is being asked what the refusal rests on
	close(answer)
	group.Wait()
}
