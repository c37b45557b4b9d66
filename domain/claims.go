package domain

import (
	"container/heap"
	"fmt"
	"slices"
	"time"
)

// Status is the state of a claim.
type Status string

// The states of a claim. It starts pending; nothing leaves the last three.
const (
	StatusPending  Status = "pending"
	StatusApproved Status = "approved"
	StatusRejected Status = "rejected"
	StatusRevoked  Status = "revoked"
	StatusExpired  Status = "expired"
)

// Statuses lists the states in the order in which a claim can take them.
var Statuses = []Status{StatusPending, StatusApproved, StatusRejected, StatusRevoked, StatusExpired}

// transitions is the whole state diagram: where each state may be left for.
var transitions = map[Status][]Status{
	StatusPending:  {StatusApproved, StatusRejected, StatusExpired},
	StatusApproved: {StatusRevoked, StatusExpired},
}

const (
	// ReplayWindow is how long a service's nonces and the callers' idempotency keys
	// are remembered.
	ReplayWindow = 24 * time.Hour
	// SignatureWindow is how long the nonce of a recorded signature is remembered. A
	// signature is good for 305 s; the rest covers clocks that differ between nodes.
	SignatureWindow = 10 * time.Minute
	// MaxExpiriesPerCommit bounds what one commit expires beside its own purpose, so
	// that a commit stays far below the largest message a stream takes.
	MaxExpiriesPerCommit = 500
)

// Claims is the state of a claims boundary: what decisions about its claims need
// and no more. It is not safe for concurrent use.
type Claims struct {
	namespace string
	version   uint64
	time      time.Time // of the last commit

	claims    map[string]*claim
	all       []*claim    // in the order in which they were submitted
	standings []*standing // theirs, in the same order
	latest    map[pair]*claim
	services  map[string][]string // key → services that it has a claim on, by first claim

	pending         int
	approved        int
	approvedAgents  map[string]int // key → approved claims
	approvedService map[string]int // service → approved claims
	due             dueHeap
	waits           uint64 // how many waits were ever put into due

	nonces          window // service and nonce of submits
	signatureNonces window // signer and nonce of signatures
	answers         answers

	ahead []step // of the commits that may come to nothing, oldest first
}

// pair is what at most one active claim exists for.
type pair struct{ service, key string }

type claim struct {
	id     string
	pair   pair
	slug   string
	number int // of claims before it

	*standing
	wait uint64 // for the end of its state; 0: it does not end by itself
}

// standing is what changes of a claim. It is replaced and never changed itself, so that a
// snapshot can be written while the claim goes on.
type standing struct {
	status     Status
	until      *time.Time // when the state ends by itself; pending and approved only
	approvedAt time.Time
	version    uint64 // of the commit that changed it last
}

func (c *standing) active() bool { return c.status == StatusPending || c.status == StatusApproved }

func (c *standing) overdue(now time.Time) bool {
	return c.active() && c.until != nil && !now.Before(*c.until)
}

// statusAt is the state as every decision must see it: past its time, an active
// claim is expired whether or not that has been recorded.
func (c *standing) statusAt(now time.Time) Status {
	if c.overdue(now) {
		return StatusExpired
	}
	return c.status
}

// NewClaims is the state of a claims boundary with no commits.
func NewClaims(namespace string) *Claims {
	return &Claims{
		namespace:       namespace,
		claims:          map[string]*claim{},
		latest:          map[pair]*claim{},
		services:        map[string][]string{},
		approvedAgents:  map[string]int{},
		approvedService: map[string]int{},
		nonces:          newWindow(ReplayWindow),
		signatureNonces: newWindow(SignatureWindow),
		answers:         newAnswers(),
	}
}

// Version is the version of the last commit applied.
func (s *Claims) Version() uint64 { return s.version }

// Len is how many claims there are in it, of all that were ever submitted.
func (s *Claims) Len() int { return len(s.all) }

// About what it takes to hold something in memory, in bytes: of what is remembered, beside
// the texts, whose length callers choose.
const (
	claimSize    = 600
	sightingSize = 90
	answerSize   = 250
)

// Size is about how many bytes the state takes in memory.
func (s *Claims) Size() int64 {
	seen := len(s.nonces.order) + len(s.signatureNonces.order) + len(s.answers.order)
	texts := s.nonces.bytes + s.signatureNonces.bytes + s.answers.bytes + s.answers.size
	return int64(len(s.all))*claimSize + int64(seen)*sightingSize + int64(len(s.answers.told))*answerSize + int64(texts)
}

// Apply brings the state to just after the commit. A commit that could not have
// been decided on this state (a gap, a transition outside the diagram, a second
// active claim for one service and key, a limit exceeded, time going backwards, while
// others are ahead) is an error and changes nothing.
func (s *Claims) Apply(c *Commit) error {
	if len(s.ahead) > 0 {
		return fmt.Errorf("%s version %d: %d commits may come to nothing before it", c.Boundary(), c.Version, len(s.ahead))
	}
	if _, err := s.apply(c); err != nil {
		return err
	}
	s.prune(c.Time)
	return nil
}

// apply does it and tells how it is taken back. It forgets nothing yet.
func (s *Claims) apply(c *Commit) (step, error) {
	if err := checkOrder(c, Boundary{s.namespace, KindClaims}, s.version, s.time); err != nil {
		return step{}, err
	}
	done := step{before: s.time, time: c.Time}
	s.version, s.time = c.Version, c.Time
	err := s.evolveAll(c, &done)
	if err == nil {
		err = s.checkLimits(c)
	}
	done.answer = s.answers.record(c)
	if err != nil {
		s.takeBack(done)
		return step{}, fmt.Errorf("%s version %d: %w", c.Boundary(), c.Version, err)
	}
	s.due.compact(s.pending + s.approved)
	return done, nil
}

// prune forgets what is past its time at a commit that is recorded.
func (s *Claims) prune(at time.Time) {
	s.answers.forget(at)
	s.nonces.prune(at)
	s.signatureNonces.prune(at)
}

func checkOrder(c *Commit, b Boundary, version uint64, last time.Time) error {
	switch {
	case c.Boundary() != b:
		return fmt.Errorf("a commit of %s was applied to %s", c.Boundary(), b)
	case c.Version != version+1:
		return fmt.Errorf("%s: version %d follows version %d", b, c.Version, version)
	case c.Time.Before(last):
		return fmt.Errorf("%s version %d: its time is before its predecessor's", b, c.Version)
	}
	return nil
}

func (s *Claims) evolveAll(c *Commit, done *step) error {
	for _, e := range c.Events {
		if err := s.evolve(e.Payload, c.Time, done); err != nil {
			return err
		}
	}
	return nil
}

func (s *Claims) evolve(p Payload, at time.Time, done *step) error {
	switch p := p.(type) {
	case ClaimSubmitted:
		return s.submitted(p, at, done)
	case ClaimApproved:
		return s.move(p.ClaimID, StatusApproved, p.ExpiresAt, at, done)
	case ClaimRejected:
		return s.move(p.ClaimID, StatusRejected, nil, at, done)
	case ClaimRevoked:
		return s.move(p.ClaimID, StatusRevoked, nil, at, done)
	case ClaimExpired:
		return s.move(p.ClaimID, StatusExpired, nil, at, done)
	}
	return fmt.Errorf("%s does not belong to a claims boundary", p.EventType())
}

func (s *Claims) submitted(p ClaimSubmitted, at time.Time, done *step) error {
	if s.claims[p.ClaimID] != nil {
		return fmt.Errorf("claim %s was submitted before", p.ClaimID)
	}
	k := pair{p.ServiceID, p.PublicKey}
	before := s.latest[k]
	if before != nil && before.active() {
		return fmt.Errorf("claim %s is active for the same service and key as %s", before.id, p.ClaimID)
	}
	if before == nil {
		s.services[p.PublicKey] = append(s.services[p.PublicKey], p.ServiceID)
	}
	c := &claim{id: p.ClaimID, pair: k, slug: p.Service, number: len(s.all)}
	done.changes = append(done.changes, claimChange{
		claim: c, latest: before,
		nonce:          s.nonces.add(joinKey(p.ServiceID, p.Nonce), at),
		signatureNonce: s.signatureNonces.add(joinKey(p.Signer, p.SignatureNonce), at),
	})
	s.add(c, &standing{status: StatusPending, until: p.ExpiresAt, version: s.version})
	return nil
}

// add takes in a claim that is the last.
func (s *Claims) add(c *claim, first *standing) {
	s.claims[c.id], s.latest[c.pair] = c, c
	s.all, s.standings = append(s.all, c), append(s.standings, nil)
	s.stand(c, first)
}

func (s *Claims) move(id string, to Status, until *time.Time, at time.Time, done *step) error {
	c := s.claims[id]
	if c == nil {
		return fmt.Errorf("claim %s was never submitted", id)
	}
	if !slices.Contains(transitions[c.status], to) {
		return fmt.Errorf("claim %s cannot go from %s to %s", id, c.status, to)
	}
	done.changes = append(done.changes, claimChange{claim: c, was: c.standing})
	next := &standing{to, until, c.approvedAt, s.version}
	if to == StatusApproved {
		next.approvedAt = at
	}
	s.count(c, -1)
	s.stand(c, next)
	return nil
}

// stand has a claim stand so, where what it stood for before does not count any more.
func (s *Claims) stand(c *claim, now *standing) {
	c.standing, s.standings[c.number] = now, now
	s.count(c, 1)
	s.await(c)
}

// count adds n for the claim to what is counted of its state.
func (s *Claims) count(c *claim, n int) {
	switch c.status {
	case StatusPending:
		s.pending += n
	case StatusApproved:
		s.approved += n
		add(s.approvedAgents, c.pair.key, n)
		add(s.approvedService, c.pair.service, n)
	}
}

func add(counts map[string]int, key string, n int) {
	if counts[key] += n; counts[key] == 0 {
		delete(counts, key)
	}
}

// await puts the end of the claim's state in the place of what was waited for before.
func (s *Claims) await(c *claim) {
	c.wait = 0
	if c.active() && c.until != nil {
		s.waits++
		c.wait = s.waits
		heap.Push(&s.due, dueAt{*c.until, c, c.wait})
	}
}

// checkLimits checks the limits that the commit was decided on. They bind what a
// commit adds: a limit set below what is there already ends nothing.
func (s *Claims) checkLimits(c *Commit) error {
	for _, e := range c.Events {
		if c.Basis == nil {
			return fmt.Errorf("it does not say which limits it was decided on")
		}
		limits := c.Basis.Limits
		switch p := e.Payload.(type) {
		case ClaimSubmitted:
			if s.claims[p.ClaimID].status == StatusPending && s.pending > limits.MaxPending {
				return fmt.Errorf("%d claims are pending, past the limit of %d", s.pending, limits.MaxPending)
			}
		case ClaimApproved:
			k := s.claims[p.ClaimID].pair
			if n := len(s.approvedAgents); s.approvedAgents[k.key] == 1 && n > limits.MaxAgents {
				return fmt.Errorf("%d agents are approved, past the limit of %d", n, limits.MaxAgents)
			}
			if n := len(s.approvedService); s.approvedService[k.service] == 1 && n > limits.MaxServices {
				return fmt.Errorf("%d services are approved, past the limit of %d", n, limits.MaxServices)
			}
		}
	}
	return nil
}

// NextDue is when the first active claim expires by itself; false when none does.
func (s *Claims) NextDue() (time.Time, bool) {
	// Every change leaves the heap with a live entry on top.
	if len(s.due) == 0 {
		return time.Time{}, false
	}
	return s.due[0].at, true
}

// overdue lists the active claims that are past their time, those first that were due
// first, but at most limit of them.
func (s *Claims) overdue(now time.Time, limit int) []*claim {
	return s.due.first(now, limit)
}

// Backlog reports whether more is overdue than one commit may expire beside its own
// purpose: ExpireOverdue must then go first, until it is not.
func (s *Claims) Backlog(now time.Time) bool {
	return len(s.overdue(now, MaxExpiriesPerCommit+1)) > MaxExpiriesPerCommit
}
