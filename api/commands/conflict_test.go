package commands

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

// Executors of different processes decide on the same boundaries; each commit rests on
// the one before it.
func TestExecutorsCatchUp(t *testing.T) {
	t.Parallel()
	stream, _ := logtest.Embedded(t)
	a, b := newTester(t, stream), newTester(t, stream)
	a.namespace("acme")
	a.must("acme", domain.ChangePolicy{MaxPending: new(1000), MaxAgents: new(30)})
	if err := b.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}

	const each = 40
	var mu sync.Mutex
	outcomes := map[domain.Code]int{}
	var group sync.WaitGroup
	for _, x := range []*tester{a, b} {
		for range 4 {
			group.Go(func() {
				for range each / 4 {
					sub := submission("acme")
					if _, _, err := x.claim("acme", sub); err != nil {
						t.Errorf("submit: %v", err)
						return
					}
					_, _, err := x.claim("acme", domain.Approve{ClaimID: sub.ClaimID})
					mu.Lock()
					outcomes[domain.ErrorCode(err)]++
					mu.Unlock()
				}
			})
		}
	}
	group.Wait()
	if outcomes[""] != 30 || outcomes[domain.CodeAgentLimitReached] != 2*each-30 {
		t.Errorf("the approvals ended so: %v", outcomes)
	}
	claims := domain.NewClaims("acme")
	err := stream.Read(t.Context(), domain.ClaimsOf("acme"), 0, func(r eventstore.Record) error { return claims.Apply(r.Commit) })
	if err != nil || claims.Version() != 2*each+30 {
		t.Errorf("the log holds %d commits of claims: %v", claims.Version(), err)
	}
}

// A refusal rests on a state. While it is being checked that the state was the latest,
// the follower may bring a newer one: that is no proof that the refusal still holds.
func TestARefusalOnAnOldStateIsDecidedAgain(t *testing.T) {
	t.Parallel()
	memory := eventstore.NewMemory()
	other := newTester(t, memory)
	other.namespace("acme")
	log := &troubled{Log: memory}
	x := newTester(t, log)
	x.submit("acme")

	sub := submission("acme")
	log.tail = sync.OnceFunc(func() { // x has decided that there is no such claim
		if _, _, err := other.claim("acme", sub); err != nil {
			t.Error(err)
		}
		eventually(t, "the follower", func() bool { return x.Position() == last(t, memory) })
	})
	if _, _, err := x.claim("acme", domain.Approve{ClaimID: sub.ClaimID}); err != nil {
		t.Errorf("approve of a claim that was submitted before the answer: %v", err)
	}
}

// A service may be younger than what this process has followed, where the claim on it is
// not: then it must not pass for one that was deleted.
func TestAServiceThatWasNotHeardOfYet(t *testing.T) {
	t.Parallel()
	memory := eventstore.NewMemory()
	other := newTester(t, memory)
	other.namespace("acme")
	log := &troubled{Log: memory}
	arrive := make(chan struct{})
	log.follow = func(eventstore.Record) { <-arrive }
	x := newTester(t, log)
	other.namespace("provider")
	sub := submission("acme")
	sub.ServiceID, sub.ServiceNamespace, sub.Service = "provider", "provider", "provider"
	if _, _, err := other.claim("acme", sub); err != nil {
		t.Fatal(err)
	}

	log.last = sync.OnceValue(func() error { close(arrive); return nil }) // x looks for the log's end
	if _, _, err := x.claim("acme", domain.Approve{ClaimID: sub.ClaimID}); err != nil {
		t.Errorf("approve: %v", err)
	}
	other.must("provider", domain.DeleteService{ServiceID: "provider"})
	if err := x.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	sub.ClaimID, sub.PublicKey, sub.Nonce, sub.SignatureNonce = "claim_2", "ed25519:2", "nonce-02", "nonce-02"
	if _, _, err := x.claim("acme", sub); err != nil {
		t.Fatal(err)
	}
	_, _, err := x.claim("acme", domain.Approve{ClaimID: "claim_2"})
	wantCode(t, "approve on a deleted service", err, domain.CodeConflict)
}

func TestAlwaysSomebodyElse(t *testing.T) {
	t.Parallel()
	log := &troubled{Log: eventstore.NewMemory()}
	x := newTester(t, log)
	x.namespace("acme")
	tries := 0
	log.append = func(_ context.Context, after eventstore.Head, c *domain.Commit) (eventstore.Record, error) {
		tries++
		return eventstore.Record{}, &eventstore.ConflictError{Boundary: c.Boundary(), Expected: after}
	}
	_, _, err := x.claim("acme", submission("acme"))
	wantCode(t, "submit", err, domain.CodeServiceUnavailable)
	if tries != maxTries {
		t.Errorf("it was tried %d times", tries)
	}

	ctx, cancel := context.WithCancel(t.Context())
	log.append = func(_ context.Context, after eventstore.Head, c *domain.Commit) (eventstore.Record, error) {
		cancel()
		return eventstore.Record{}, &eventstore.ConflictError{Boundary: c.Boundary(), Expected: after}
	}
	_, _, err = x.Claims(ctx, "acme", submission("acme"), ref("claim"))
	wantCode(t, "submit in no time", err, domain.CodeServiceUnavailable)
}

// What an append's error means to the caller, and that the process goes on well, whether
// or not the commit was recorded.
func TestOutcomeUnknown(t *testing.T) {
	t.Parallel()
	for _, recorded := range []bool{false, true} {
		log := &troubled{Log: eventstore.NewMemory()}
		x := newTester(t, log)
		x.namespace("acme")
		sub := submission("acme")
		log.append = func(ctx context.Context, after eventstore.Head, c *domain.Commit) (eventstore.Record, error) {
			if recorded {
				if _, err := log.Log.Append(ctx, after, c); err != nil {
					t.Error(err)
				}
			}
			return eventstore.Record{}, errors.Join(eventstore.ErrOutcomeUnknown, context.DeadlineExceeded)
		}
		_, _, err := x.claim("acme", sub)
		var e *domain.Error
		if !errors.As(err, &e) || e.Code != domain.CodeServiceUnavailable || !errors.Is(err, eventstore.ErrOutcomeUnknown) {
			t.Errorf("submit: %v", err)
		}
		log.append = nil
		_, r, err := x.claim("acme", sub)
		switch {
		case recorded:
			wantCode(t, "the same again", err, domain.CodeSignatureNonceReplay)
		case err != nil || !r.Appended:
			t.Errorf("the same again: %v", err)
		}
		x.submit("acme")
	}
}

func TestLogErrors(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{eventstore.ErrUnavailable, eventstore.ErrBusy, eventstore.ErrTooLarge, context.DeadlineExceeded, errors.New("?")} {
		log := &troubled{Log: eventstore.NewMemory()}
		x := newTester(t, log)
		x.namespace("acme")
		log.append = func(context.Context, eventstore.Head, *domain.Commit) (eventstore.Record, error) {
			return eventstore.Record{}, cause
		}
		_, _, err := x.claim("acme", submission("acme"))
		wantCode(t, cause.Error(), err, domain.CodeServiceUnavailable)
		if !errors.Is(err, cause) {
			t.Errorf("%v hides its cause %v", err, cause)
		}
		if _, err := x.registry("acme", domain.DeactivateNamespace{}); domain.ErrorCode(err) != domain.CodeServiceUnavailable {
			t.Errorf("%v: %v", cause, err)
		}
	}
}

// Commands wait for each other, and no longer than they have.
func TestWaitingForATurn(t *testing.T) {
	t.Parallel()
	log := &troubled{Log: eventstore.NewMemory()}
	x := newTester(t, log)
	x.namespace("acme")
	x.namespace("globex")
	entered, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	log.append = func(ctx context.Context, after eventstore.Head, c *domain.Commit) (eventstore.Record, error) {
		if c.Namespace == "acme" {
			once.Do(func() { close(entered) })
			<-leave
		}
		return log.Log.Append(ctx, after, c)
	}
	var group sync.WaitGroup
	group.Go(func() {
		if _, _, err := x.claim("acme", submission("acme")); err != nil {
			t.Errorf("the first: %v", err)
		}
	})
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, _, err := x.Claims(ctx, "acme", submission("acme"), ref("claim"))
	wantCode(t, "the second", err, domain.CodeServiceUnavailable)
	x.submit("globex") // another namespace does not wait
	if err := x.ViewClaims(t.Context(), "acme", func(*domain.Claims) uint64 { return 0 }); err != nil {
		t.Errorf("a query waits for the disk: %v", err)
	}
	close(leave)
	group.Wait()
}

func TestTooManyWaitForATurn(t *testing.T) {
	t.Parallel()
	b := newBoundary(domain.ClaimsOf("acme"), eventstore.NewMemory(), domain.NewClaims("acme"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := b.lock(ctx); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range maxWaiting {
		group.Go(func() { wantCode(t, "one that waits", b.lock(ctx), domain.CodeServiceUnavailable) })
	}
	eventually(t, "all to wait", func() bool { return b.waiting.Load() == maxWaiting })
	wantCode(t, "one more", b.lock(t.Context()), domain.CodeServiceUnavailable)
	cancel()
	group.Wait()
	b.unlock()
	if err := b.lock(t.Context()); err != nil {
		t.Errorf("when nobody waits: %v", err)
	}
}
