package commands

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// A commit that is ahead may have been recorded long before this process hears of it, and
// others after it: that it was recorded is no proof that nothing has come after it since.
func TestARefusalOnACommitThatOthersHavePassed(t *testing.T) {
	t.Parallel()
	memory := eventstore.NewMemory()
	other := newTester(t, memory)
	other.namespace("acme")
	log := &troubled{Log: memory}
	var late atomic.Bool
	arrive := make(chan struct{})
	log.follow = func(eventstore.Record) { // what is recorded reaches x late
		if late.Load() {
			<-arrive
		}
	}
	x := newTester(t, log)
	defer close(arrive)
	x.submit("acme")
	late.Store(true)
	recorded, answer := make(chan struct{}), make(chan struct{})
	log.append = func(ctx context.Context, after eventstore.Head, c *domain.Commit) (eventstore.Record, error) {
		r, err := memory.Append(ctx, after, c)
		close(recorded)
		<-answer // as does the acknowledgement
		return r, err
	}
	mine := x.ask(submission("acme"))
	<-recorded
	x.runsAhead(1)
	log.append = nil

	sub := submission("acme")
	if _, _, err := other.claim("acme", sub); err != nil {
		t.Fatal(err)
	}
	approved := x.decided(domain.Approve{ClaimID: sub.ClaimID}) // a claim that was answered for
	close(answer)
	<-mine.done
	<-approved.done
	if approved.err != nil {
		t.Errorf("approve of a claim that was submitted before: %v", approved.err)
	}
}

// decided gives a command, and returns when it had its first turn.
func (x *tester) decided(cmd domain.ClaimCommand) *asked {
	x.t.Helper()
	b, _ := x.claims.Peek("acme")
	turn := func() {
		if err := b.lock(x.t.Context()); err != nil {
			x.t.Fatal(err)
		}
	}
	turn()
	a := x.ask(cmd)
	eventually(x.t, "the command", func() bool { return b.waiting.Load() == 1 })
	b.unlock()
	eventually(x.t, "its turn", func() bool { return b.waiting.Load() == 0 })
	turn() // the next one
	b.unlock()
	return a
}

// refusing is a log that takes nothing on while it is full.
type refusing struct {
	*slow
	full atomic.Bool
}

func (l *refusing) Chain(ctx context.Context, behind *eventstore.Pending, c *domain.Commit) *eventstore.Pending {
	if !l.full.Load() {
		return l.slow.Chain(ctx, behind, c)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	return l.Log.Begin(ended, behind.Head(), c)
}

// Nothing is decided on a commit that the log did not even take on.
func TestWhatIsNotTakenOnIsNotGoneOnFrom(t *testing.T) {
	t.Parallel()
	log := &refusing{slow: newSlow()}
	x := newTester(t, log)
	x.namespace("acme")
	x.submit("acme")
	log.slowly()
	one := x.ask(submission("acme"))
	<-log.arrived
	x.runsAhead(1)
	log.full.Store(true)
	if _, _, err := x.claim("acme", submission("acme")); !errors.Is(err, eventstore.ErrUnavailable) {
		t.Errorf("submit to a log that is full: %v", err)
	}
	log.full.Store(false)
	x.runsAhead(1)
	two := x.ask(submission("acme"))
	x.runsAhead(2)
	log.verdict <- nil
	<-log.arrived
	log.verdict <- nil
	for _, a := range []*asked{one, two} {
		if <-a.done; a.err != nil {
			t.Errorf("submit: %v", a.err)
		}
	}
}

// Nobody goes on from a registry's commit before it is recorded, so it does not outlast
// whoever wants it: a process that is to end does not wait for a log that is gone.
func TestARegistryCommandIsCalledBack(t *testing.T) {
	t.Parallel()
	log := newSlow()
	x := newTester(t, log)
	x.namespace("acme")
	log.slowly()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, _, err := x.Registry(ctx, "acme", domain.DeactivateNamespace{}, ref("registry"))
		ended <- err
	}()
	<-log.arrived
	cancel()
	select {
	case err := <-ended:
		wantCode(t, "a command that was called back", err, domain.CodeServiceUnavailable)
	case <-time.After(patience):
		t.Error("a command waits for the log when its caller has gone away")
	}
	log.verdict <- nil
}
