// Package commands carries a command from its caller to a commit: it keeps the
// states that decisions rest on, asks package domain to decide, appends, and decides
// again when somebody else was first. It never reads a read model to decide, and
// never answers on what is not durable.
package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

const (
	// maxTries bounds how often a command is decided again because others were first.
	maxTries = 50
	// maxBackoff bounds the pause before deciding again: enough to let a rival on
	// another node finish, short beside a command's deadline.
	maxBackoff = 20 * time.Millisecond
	// loadTimeout bounds reading one boundary from the log.
	loadTimeout = 30 * time.Second
)

// Config is what an Executor needs.
type Config struct {
	Log     eventstore.Log
	Fence   *eventstore.Fence // nil: none; closed, nothing is appended
	Limits  domain.OwnerLimits
	Now     func() time.Time
	NewID   func() string // ULIDs
	Metrics *Metrics
	Logger  *slog.Logger

	Snapshots     Snapshots // nil: none are kept
	SnapshotEvery uint64    // commits between two of the same at least; 0: DefaultSnapshotEvery
	ClaimsMemory  int64     // bytes that claims in memory may take; 0: DefaultClaimsMemory

	// Jitter draws a pause between 0 and most, so that rivals do not meet again; nil: at
	// random. A simulation draws what it can draw again.
	Jitter func(ctx context.Context, most time.Duration) time.Duration
	// Gather returns when all who are about to ask where the log ends have asked, so that
	// it does not depend on chance who shares an answer; nil: at once. It is for simulations.
	Gather func()
}

// Executor executes commands and answers from the states it keeps for them. Run must
// be running. It is safe for concurrent use.
type Executor struct {
	Config
	directory *Directory
	claims    *claimsCache
	saver     *saver
	keys      *usedKeys

	directoryNew    atomic.Uint64 // commits of registries that its snapshot does not have
	directoryQueued atomic.Bool   // to be saved

	position  atomic.Uint64 // followed up to here
	confirmed atomic.Int64  // Unix nanoseconds of the last contact with the log's end
	refusedAt atomic.Int64  // Unix nanoseconds of an append that failed since the last success; 0: none
	moved     broadcast
}

// NewExecutor makes an Executor.
func NewExecutor(c Config) *Executor {
	c.Log = c.Fence.Guard(c.Log)
	if c.Gather != nil {
		c.Log = gathering{c.Log, c.Gather}
	}
	if c.Jitter == nil {
		c.Jitter = func(_ context.Context, most time.Duration) time.Duration { return rand.N(most) + 1 }
	}
	return &Executor{
		Config: c, directory: newDirectory(c.Log), claims: newClaimsCache(c.ClaimsMemory), saver: newSaver(c.Logger), keys: newUsedKeys(),
	}
}

// Directory is the registries of all namespaces.
func (x *Executor) Directory() *Directory { return x.directory }

// Load reads the directory; commands and queries may start when it returns.
func (x *Executor) Load(ctx context.Context) error {
	last, err := x.loadDirectory(ctx)
	if err != nil {
		return logError(err)
	}
	x.advance(last)
	x.confirm()
	x.offerDirectory()
	return nil
}

// Meta says who gives a command and how to recognise a retry of it.
type Meta struct {
	Actor domain.Actor
	Ref   domain.CommandRef // without Answer
}

// Result is where a command's outcome stands in the ledger.
type Result struct {
	Position uint64 // of its commit, or of the state that the answer rests on
	Appended bool
	Time     time.Time // of the commit
}

// Claims executes a command on a namespace's claims.
func (x *Executor) Claims(ctx context.Context, namespace string, cmd domain.ClaimCommand, meta Meta) (domain.ClaimAnswer, Result, error) {
	var answer domain.ClaimAnswer
	release, err := x.begin(ctx, domain.ClaimsOf(namespace), meta)
	if err != nil {
		return answer, Result{Position: x.Position()}, x.Metrics.outcome(meta.Ref.Name, err)
	}
	defer release()
	defer x.claims.pin(namespace)()
	result, err := certain(ctx, x, func(atLeast uint64) (*boundary[*domain.Claims], decision) {
		b, err := x.claimsOf(ctx, namespace)
		if err == nil {
			err = b.lock(ctx)
		}
		if err != nil {
			return nil, decision{err: err}
		}
		defer b.unlock()
		if err := b.reach(ctx, atLeast); err != nil {
			return nil, decision{err: err}
		}
		var d decision
		answer, d = x.decideClaims(ctx, b, namespace, cmd, meta)
		return b, d
	})
	x.close(err)
	return answer, result, x.Metrics.outcome(meta.Ref.Name, err)
}

// ExpireOverdue is the name of the clock's command.
const ExpireOverdue = "claim.expire_overdue"

func (x *Executor) decideClaims(ctx context.Context, b *boundary[*domain.Claims], namespace string, cmd domain.ClaimCommand, meta Meta) (domain.ClaimAnswer, decision) {
	var terms domain.Terms
	if !x.directory.View(namespace, func(r *domain.Registry) { terms = r.Terms() }) {
		return domain.ClaimAnswer{}, decision{err: domain.Errorf(domain.CodeNotFound, "There is no such namespace.")}
	}
	unheard := false
	terms.ServiceExists = func(id string) bool {
		unheard = unheard || !x.directory.Knows(id)
		return x.directory.ServiceExists(id)
	}
	if err := x.sweep(ctx, b, terms); err != nil {
		return domain.ClaimAnswer{}, decision{err: err}
	}
	answer, d := x.decideOn(ctx, b, cmd, meta, terms)
	if d.err != nil && unheard {
		// The claim was made elsewhere, on a service that is younger than what this
		// process has followed: not one that was deleted.
		if err := x.Sync(ctx); err != nil {
			return domain.ClaimAnswer{}, decision{err: err}
		}
		return x.decideOn(ctx, b, cmd, meta, terms)
	}
	return answer, d
}

func (x *Executor) decideOn(ctx context.Context, b *boundary[*domain.Claims], cmd domain.ClaimCommand, meta Meta, terms domain.Terms) (answer domain.ClaimAnswer, d decision) {
	d = execute(ctx, x, b, meta, terms.Basis(), func(s *domain.Claims, now time.Time) ([]domain.Payload, any, error) {
		d, err := s.Decide(cmd, meta.Ref, terms, now)
		answer = d.Answer
		return d.Payloads, d.Answer, err
	})
	return answer, d
}

// sweep expires what is overdue while that is more than one commit may expire beside
// its own purpose, as after a long stop.
func (x *Executor) sweep(ctx context.Context, b *boundary[*domain.Claims], terms domain.Terms) error {
	meta := Meta{Actor: domain.Actor{Kind: domain.ActorClock}, Ref: domain.CommandRef{Name: ExpireOverdue}}
	for {
		backlog := false
		b.view(func(s *domain.Claims) { backlog = s.Backlog(x.now(s.Time())) })
		if !backlog {
			return nil
		}
		if err := b.room(ctx); err != nil {
			return err
		}
		_, d := x.decideOn(ctx, b, domain.ExpireOverdue{}, meta, terms)
		if d.err != nil {
			return d.err
		}
		if d.sent != nil {
			go func() { _, _ = outcome(context.WithoutCancel(ctx), x, b, d) }()
		}
	}
}

// Registry executes a command on a namespace's registry.
func (x *Executor) Registry(ctx context.Context, namespace string, cmd domain.RegistryCommand, meta Meta) (domain.RegistryAnswer, Result, error) {
	var answer domain.RegistryAnswer
	release, err := x.begin(ctx, domain.RegistryOf(namespace), meta)
	if err != nil {
		return answer, Result{Position: x.Position()}, x.Metrics.outcome(meta.Ref.Name, err)
	}
	defer release()
	result, err := certain(ctx, x, func(atLeast uint64) (*boundary[*domain.Registry], decision) {
		b, err := x.directory.lock(ctx, namespace)
		if err != nil {
			return nil, decision{err: err}
		}
		defer b.unlock()
		defer x.directory.forget(namespace)
		if err := b.reach(ctx, atLeast); err != nil {
			return nil, decision{err: err}
		}
		return b, execute(ctx, x, b, meta, nil, func(r *domain.Registry, now time.Time) ([]domain.Payload, any, error) {
			d, err := r.Decide(cmd, meta.Ref, x.Limits, now)
			answer = d.Answer
			return d.Payloads, d.Answer, err
		})
	})
	x.close(err)
	return answer, result, x.Metrics.outcome(meta.Ref.Name, err)
}

// decision is how one turn at a command ended: a commit is on its way, or there is
// nothing to append, because of what stands last in the state.
type decision struct {
	result Result
	sent   *eventstore.Pending
	began  time.Time // when it was sent

	rests  *eventstore.Head // what is answered without a commit; nil: not on a state
	behind *link            // the commit at that head, where it is ahead of the disk
	err    error
}

// certain takes turns at a command until what it is told stands: its commit was recorded
// behind the very state that it was decided on, or it rests on a state that was the log's
// last. The waiting is done when the next command has its turn already, so that any
// number of commands share what it costs.
func certain[S folded](ctx context.Context, x *Executor, turn func(atLeast uint64) (*boundary[S], decision)) (Result, error) {
	var atLeast uint64 // the version that is known to be there
	for try := range maxTries {
		if err := x.pause(ctx, try); err != nil {
			return Result{}, err
		}
		b, d := turn(atLeast)
		switch {
		case d.sent != nil:
			r, err := outcome(ctx, x, b, d)
			var conflict *eventstore.ConflictError
			switch {
			case err == nil:
				d.result.Position = r.Position
				return d.result, nil
			case errors.As(err, &conflict):
				x.Metrics.conflicts.Inc()
				atLeast = conflict.Actual.Version
			case !errors.Is(err, eventstore.ErrFell) || errors.Is(err, eventstore.ErrOutcomeUnknown):
				return Result{}, logError(err)
			}
		case d.rests == nil:
			return d.result, d.err
		case d.behind != nil:
			r, stood, err := b.await(ctx, d.behind.Pending)
			if stood {
				stood, err = b.stood(ctx, d.behind)
			}
			if err != nil {
				return Result{}, err
			}
			if stood {
				d.result.Position = max(d.result.Position, r.Position)
				return d.result, d.err
			}
		default:
			latest, err := b.current(ctx, *d.rests)
			if err != nil {
				return Result{}, err
			}
			if latest {
				return d.result, d.err
			}
		}
	}
	return Result{}, errTooManyOthers
}

var errTooManyOthers = unavailable("Too many others are changing this namespace at the same time.", nil)

// execute decides, and begins to append what is decided. The caller holds b.deciding.
func execute[S folded](ctx context.Context, x *Executor, b *boundary[S], meta Meta, basis *domain.Basis,
	decide func(S, time.Time) ([]domain.Payload, any, error)) decision {
	b.settle()
	var (
		payloads []domain.Payload
		answer   any
		err      error
		now      time.Time
		head     eventstore.Head
		behind   *link
		position = x.Position() // before looking: what is seen is no older
	)
	b.view(func(s S) {
		now = x.now(s.Time())
		head, behind = b.last()
		payloads, answer, err = decide(s, now)
	})
	if err != nil || len(payloads) == 0 {
		return decision{result: Result{Position: max(head.Position, position), Time: now}, rests: &head, behind: behind, err: err}
	}
	commit := domain.NewCommit(x.NewID(), b.id, now, meta.Actor, meta.Ref, basis, payloads)
	if meta.Ref.Key != "" {
		if commit.Command.Answer, err = json.Marshal(answer); err != nil {
			return decision{err: err}
		}
	}
	if err := x.Fence.Broken(); err != nil {
		return decision{err: logError(err)}
	}
	d := decision{result: Result{Appended: true, Time: now}, began: time.Now()}
	if b.tentative() {
		d.sent = x.send(ctx, head, behind, commit)
		b.goAhead(d.sent)
		return d
	}
	d.sent = x.Log.Begin(ctx, head, commit)
	if r, err := d.sent.Wait(); err == nil {
		x.recorded(r)
	}
	return d
}

// send hands a commit over. Others go on from it, so it is not called back when its caller
// goes away; only his deadline holds.
func (x *Executor) send(ctx context.Context, head eventstore.Head, behind *link, commit *domain.Commit) *eventstore.Pending {
	lasting := context.WithoutCancel(ctx)
	cancel := func() {}
	if deadline, ok := ctx.Deadline(); ok {
		lasting, cancel = context.WithDeadline(lasting, deadline)
	}
	var p *eventstore.Pending
	if behind != nil {
		p = x.Log.Chain(lasting, behind.Pending, commit)
	} else {
		p = x.Log.Begin(lasting, head, commit)
	}
	p.WhenDone(cancel)
	return p
}

// outcome waits for the end of a commit that was sent. With a caller who has gone away it
// does not wait, and the state hears of it all the same.
func outcome[S folded](ctx context.Context, x *Executor, b *boundary[S], d decision) (eventstore.Record, error) {
	if !ended(ctx, d.sent) && errors.Is(ctx.Err(), context.Canceled) {
		go func() { _, _ = outcome(context.WithoutCancel(ctx), x, b, d) }()
		return eventstore.Record{}, fmt.Errorf("%w: %w", eventstore.ErrOutcomeUnknown, ctx.Err())
	}
	r, err := d.sent.Wait() // which has the caller's deadline
	x.noteAppend(err)
	if err == nil {
		x.Metrics.appendSeconds.Observe(time.Since(d.began).Seconds())
		x.keys.note(r.Commit)
	}
	b.settle()
	return r, err
}

// recorded folds in a registry's commit that this process has appended, ahead of the
// follower.
func (x *Executor) recorded(r eventstore.Record) {
	if err := x.directory.follow(r); err != nil {
		x.Logger.Error("a commit was recorded that cannot be folded", "boundary", r.Commit.Boundary().String(), "position", r.Position, "error", err)
	}
}

// now is the time of a decision: never before the commit that it follows.
func (x *Executor) now(last time.Time) time.Time {
	now := x.Now().UTC().Truncate(time.Millisecond)
	if now.Before(last) {
		return last
	}
	return now
}

// pause backs off before every try but the first.
func (x *Executor) pause(ctx context.Context, try int) error {
	if try == 0 {
		return nil
	}
	timer := time.NewTimer(x.Jitter(ctx, min(maxBackoff, time.Duration(try)*time.Millisecond)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return unavailable("The command did not finish in time; nothing was recorded.", ctx.Err())
	}
}

// claimsOf finds or loads a namespace's claims.
func (x *Executor) claimsOf(ctx context.Context, namespace string) (*boundary[*domain.Claims], error) {
	if _, ok := x.directory.find(namespace); !ok {
		return nil, domain.Errorf(domain.CodeNotFound, "There is no such namespace.")
	}
	h, fresh := x.claims.get(namespace, x.Log)
	if fresh {
		go func() {
			// Not the caller's context: others may wait for the same load.
			ctx, cancel := context.WithTimeout(context.Background(), loadTimeout)
			defer cancel()
			x.loadClaims(ctx, h)
		}()
	}
	if err := h.wait(ctx); err != nil {
		x.claims.remove(h) // the next caller tries again
		x.close(err)
		return nil, logError(err)
	}
	return h.boundary, nil
}

// ViewClaims runs f on the state of a namespace's claims, which holds commits that are on
// their way to the disk. f gives the version of the last commit that what it saw rests on;
// when ViewClaims returns, that one is recorded. If it turns out that it is not, f is run
// again.
func (x *Executor) ViewClaims(ctx context.Context, namespace string, f func(*domain.Claims) (version uint64)) error {
	defer x.claims.pin(namespace)()
	b, err := x.claimsOf(ctx, namespace)
	if err != nil {
		return err
	}
	return b.certain(ctx, f)
}

// Heads are the positions of a namespace's last known commits, the later of its two
// boundaries; 0 where this process holds neither.
func (x *Executor) Heads(namespace string) uint64 {
	var at uint64
	if b, ok := x.directory.find(namespace); ok {
		at = b.at().Position
	}
	if b, ok := x.claims.Peek(namespace); ok {
		at = max(at, b.at().Position)
	}
	return at
}

// logError says in the caller's terms what an error of the log means.
func logError(err error) error {
	var known *domain.Error
	var broken *eventstore.BrokenError
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, eventstore.ErrBusy):
		return unavailable("Too many commands are waiting to be recorded; nothing was recorded.", err)
	case errors.As(err, &broken):
		return unavailable("The ledger's log is not what it was, so nothing is recorded and nobody is authorized; its operator has to look at it.", err)
	case errors.Is(err, eventstore.ErrOutcomeUnknown):
		return unavailable("It is not known whether the command was recorded: look, or send it again with the same Idempotency-Key.", err)
	default:
		return unavailable("The ledger's log cannot be reached; nothing was recorded.", err)
	}
}

func unavailable(message string, cause error) error {
	return &domain.Error{Code: domain.CodeServiceUnavailable, Message: message, Err: cause}
}
