package commands

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// slow is a log whose appends wait until a test lets them through.
type slow struct {
	*troubled
	arrived chan *domain.Commit // each that is on its way
	verdict chan error          // what becomes of it; nil: it is recorded
}

func newSlow() *slow {
	l := &slow{&troubled{Log: eventstore.NewMemory()}, make(chan *domain.Commit, 100), make(chan error)}
	return l
}

// slowly begins to hold up what is appended.
func (l *slow) slowly() {
	l.append = func(ctx context.Context, after eventstore.Head, c *domain.Commit) (eventstore.Record, error) {
		l.arrived <- c
		if err := <-l.verdict; err != nil {
			return eventstore.Record{}, err
		}
		return l.Log.Append(ctx, after, c)
	}
}

// asked is a command that is under way.
type asked struct {
	done   chan struct{}
	answer domain.ClaimAnswer
	result Result
	err    error
}

func (x *tester) ask(cmd domain.ClaimCommand) *asked {
	a := &asked{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.answer, a.result, a.err = x.claim("acme", cmd)
	}()
	return a
}

func (a *asked) waits(t *testing.T, what string) {
	t.Helper()
	select {
	case <-a.done:
		t.Errorf("%s was answered before what it rests on is recorded: %+v, %v", what, a.answer, a.err)
	default:
	}
}

// runsAhead waits until so many commits are decided that may come to nothing.
func (x *tester) runsAhead(n int) {
	x.t.Helper()
	eventually(x.t, "decisions ahead of the disk", func() bool {
		b, _ := x.claims.Peek("acme")
		b.mu.RLock()
		defer b.mu.RUnlock()
		return len(b.ahead) == n
	})
}

// Decisions go on from what is not on the disk yet; nobody hears of them before it is.
func TestDecisionsRunAheadOfTheDisk(t *testing.T) {
	t.Parallel()
	log := newSlow()
	x := newTester(t, log)
	x.namespace("acme")
	old := x.submit("acme")
	log.slowly()

	sub := submission("acme")
	submitted := x.ask(sub)
	<-log.arrived
	x.runsAhead(1)
	approved := x.ask(domain.Approve{ClaimID: sub.ClaimID})
	x.runsAhead(2)
	refused := x.ask(domain.Reject{ClaimID: sub.ClaimID})
	again := submission("acme")
	again.PublicKey = sub.PublicKey
	same := x.ask(again) // the agent has a claim
	var verdict domain.Verdict
	verify := func(id, key string) error {
		return x.ViewClaims(t.Context(), "acme", func(s *domain.Claims) uint64 {
			verdict = s.Verify("acme", key, x.Now())
			return verdict.Version
		})
	}
	seen := make(chan error, 1)
	go func() { seen <- verify(sub.ClaimID, sub.PublicKey) }()
	if err := x.ViewClaims(t.Context(), "acme", func(s *domain.Claims) uint64 {
		if !s.Has(old) {
			t.Error("the claim of before is gone")
		}
		return s.Settled()
	}); err != nil {
		t.Errorf("what rests on the disk waits for it: %v", err)
	}
	for what, a := range map[string]*asked{"submit": submitted, "approve": approved, "reject": refused, "another submit": same} {
		a.waits(t, what)
	}
	select {
	case err := <-seen:
		t.Errorf("a verdict before the disk has what it rests on: %+v, %v", verdict, err)
	default:
	}

	log.verdict <- nil
	<-submitted.done
	if submitted.err != nil || !submitted.result.Appended {
		t.Errorf("submit: %+v, %v", submitted.result, submitted.err)
	}
	approved.waits(t, "approve")
	<-log.arrived
	log.verdict <- nil
	for _, a := range []*asked{approved, refused, same} {
		<-a.done
	}
	if approved.err != nil || approved.result.Position != submitted.result.Position+1 {
		t.Errorf("approve: %+v, %v", approved.result, approved.err)
	}
	wantCode(t, "reject", refused.err, domain.CodeConflict)
	if same.err != nil || same.answer.ClaimID != sub.ClaimID || same.answer.Status != domain.StatusApproved || same.result.Appended || same.result.Position != approved.result.Position {
		t.Errorf("another submit: %+v, %+v, %v", same.answer, same.result, same.err)
	}
	if err := <-seen; err != nil || !verdict.Authorized {
		t.Errorf("verify: %+v, %v", verdict, err)
	}
}

// What rested on a commit that fell is decided again, on what there is instead.
func TestWhatRestedOnAFallenCommitIsDecidedAgain(t *testing.T) {
	t.Parallel()
	for _, fate := range []error{eventstore.ErrUnavailable, eventstore.ErrOutcomeUnknown} {
		log := newSlow()
		x := newTester(t, log)
		x.namespace("acme")
		x.submit("acme")
		log.slowly()
		sub := submission("acme")
		submitted := x.ask(sub)
		<-log.arrived
		x.runsAhead(1)
		approved, other := x.ask(domain.Approve{ClaimID: sub.ClaimID}), submission("acme")
		x.runsAhead(2)
		next := x.ask(other)
		x.runsAhead(3)
		refused := x.ask(domain.Reject{ClaimID: sub.ClaimID})

		log.verdict <- fate
		<-submitted.done
		if !errors.Is(submitted.err, fate) {
			t.Errorf("submit: %v", submitted.err)
		}
		<-log.arrived
		log.verdict <- nil
		for _, a := range []*asked{approved, next, refused} {
			<-a.done
		}
		wantCode(t, "approve", approved.err, domain.CodeNotFound)
		wantCode(t, "reject", refused.err, domain.CodeNotFound)
		if next.err != nil || !next.result.Appended {
			t.Errorf("the other submit: %+v, %v", next.result, next.err)
		}
	}
}

// A rival's commit takes the place of all that is ahead.
func TestARivalComesBetween(t *testing.T) {
	t.Parallel()
	log := newSlow()
	x, rival := newTester(t, log), newTester(t, log.Log)
	x.namespace("acme")
	if err := rival.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.submit("acme")
	log.slowly()
	sub := submission("acme")
	submitted := x.ask(sub)
	<-log.arrived
	x.runsAhead(1)
	approved := x.ask(domain.Approve{ClaimID: sub.ClaimID})
	x.runsAhead(2)
	theirs := rival.submit("acme")
	x.runsAhead(0) // by the follower
	log.append = nil
	log.verdict <- nil // and is refused
	<-submitted.done
	<-approved.done
	if submitted.err != nil {
		t.Errorf("submit: %v", submitted.err)
	}
	// It may have come again before the claim did.
	if approved.err != nil && domain.ErrorCode(approved.err) != domain.CodeNotFound {
		t.Errorf("approve: %v", approved.err)
	}
	if _, _, err := x.claim("acme", domain.Approve{ClaimID: theirs}); err != nil {
		t.Errorf("approve of the rival's: %v", err)
	}
}

// Others go on from a commit whose caller has gone away.
func TestACallerGoesAway(t *testing.T) {
	t.Parallel()
	log := newSlow()
	x := newTester(t, log)
	x.namespace("acme")
	x.submit("acme")
	log.slowly()
	ctx, cancel := context.WithCancel(t.Context())
	sub := submission("acme")
	var group sync.WaitGroup
	group.Go(func() {
		_, _, err := x.Claims(ctx, "acme", sub, ref("claim"))
		if !errors.Is(err, eventstore.ErrOutcomeUnknown) {
			t.Errorf("submit: %v", err)
		}
	})
	<-log.arrived
	x.runsAhead(1)
	approved := x.ask(domain.Approve{ClaimID: sub.ClaimID})
	x.runsAhead(2)
	cancel()
	group.Wait()
	log.verdict <- nil
	<-log.arrived
	log.verdict <- nil
	if <-approved.done; approved.err != nil {
		t.Errorf("approve: %v", approved.err)
	}
	x.runsAhead(0)
}

// Decisions run ahead only so far.
func TestNoRoomAhead(t *testing.T) {
	t.Parallel()
	log := newSlow()
	x := newTester(t, log)
	x.namespace("acme")
	x.must("acme", domain.ChangePolicy{MaxPending: new(domain.MaxPolicyValue)})
	x.submit("acme")
	log.slowly()
	var all []*asked
	for range maxAhead + 10 {
		all = append(all, x.ask(submission("acme")))
	}
	<-log.arrived
	x.runsAhead(maxAhead)
	go func() {
		for range len(all) - 1 {
			log.verdict <- nil
			<-log.arrived
		}
		log.verdict <- nil
	}()
	for _, a := range all {
		if <-a.done; a.err != nil {
			t.Fatalf("submit: %v", a.err)
		}
	}
}
