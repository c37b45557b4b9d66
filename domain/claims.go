package domain

import (
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

	claims  claimStore
	pending int
	// Approved claims of each agent and of each service.
	approvedAgents, approvedServices tally

	nonces          window // service and nonce of submits
	signatureNonces window // signer and nonce of signatures
	answers         answers

	ahead []step // of the commits that may come to nothing, oldest first
}

// NewClaims is the state of a claims boundary with no commits.
func NewClaims(namespace string) *Claims {
	return &Claims{
		namespace:       namespace,
		nonces:          newWindow(ReplayWindow),
		signatureNonces: newWindow(SignatureWindow),
		answers:         newAnswers(),
	}
}

// Version is the version of the last commit applied.
func (s *Claims) Version() uint64 { return s.version }

// Len is how many claims there are in it, of all that were ever submitted.
func (s *Claims) Len() int { return s.claims.len() }

// Size is about how many bytes the state takes in memory.
func (s *Claims) Size() int64 {
	return s.claims.size() + s.approvedAgents.size() + s.approvedServices.size() +
		s.nonces.size() + s.signatureNonces.size() + s.answers.size()
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
	done := step{before: s.time, time: c.Time, extent: s.claims.extent()}
	s.version, s.time = c.Version, c.Time
	err := s.evolveAll(c, &done)
	if err == nil {
		err = s.checkLimits(c)
	}
	done.answerBefore, done.answered = s.answers.record(c)
	if err != nil {
		s.takeBack(done)
		return step{}, fmt.Errorf("%s version %d: %w", c.Boundary(), c.Version, err)
	}
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
		return s.move(p.ClaimID, codeApproved, p.ExpiresAt, at, done)
	case ClaimRejected:
		return s.move(p.ClaimID, codeRejected, nil, at, done)
	case ClaimRevoked:
		return s.move(p.ClaimID, codeRevoked, nil, at, done)
	case ClaimExpired:
		return s.move(p.ClaimID, codeExpired, nil, at, done)
	}
	return fmt.Errorf("%s does not belong to a claims boundary", p.EventType())
}

func (s *Claims) submitted(p ClaimSubmitted, at time.Time, done *step) error {
	if s.Has(p.ClaimID) {
		return fmt.Errorf("claim %s was submitted before", p.ClaimID)
	}
	if before, ok := s.claims.latestOf(p.ServiceID, p.PublicKey); ok && s.claims.standings[before].active() {
		return fmt.Errorf("claim %s is active for the same service and key as %s", s.claims.id(before), p.ClaimID)
	}
	seen := instantOf(at)
	claim, before := s.claims.add(p.ClaimID, p.ServiceID, p.Service, p.PublicKey)
	done.changes = append(done.changes, claimChange{
		claim: claim, made: true, latest: before,
		nonce:          s.nonces.add(digestOf(p.ServiceID, p.Nonce), seen),
		signatureNonce: s.signatureNonces.add(digestOf(p.Signer, p.SignatureNonce), seen),
	})
	s.stand(claim, standing{status: codePending, until: instantOfEnd(p.ExpiresAt), version: s.version})
	return nil
}

func (s *Claims) move(id string, to statusCode, until *time.Time, at time.Time, done *step) error {
	claim, ok := s.claims.find(id)
	if !ok {
		return fmt.Errorf("claim %s was never submitted", id)
	}
	was := s.claims.standings[claim]
	if !slices.Contains(transitions[was.status.status()], to.status()) {
		return fmt.Errorf("claim %s cannot go from %s to %s", id, was.status.status(), to.status())
	}
	done.changes = append(done.changes, claimChange{claim: claim, was: was})
	next := standing{status: to, until: instantOfEnd(until), approvedAt: was.approvedAt, version: s.version}
	if to == codeApproved {
		next.approvedAt = instantOf(at)
	}
	s.count(claim, -1)
	s.stand(claim, next)
	return nil
}

// stand has a claim stand so, where what it stood for before does not count any more.
func (s *Claims) stand(claim uint32, now standing) {
	s.claims.standings[claim] = now
	s.count(claim, 1)
	s.claims.await(claim)
}

// count adds n for the claim to what is counted of its state.
func (s *Claims) count(claim uint32, n int) {
	switch s.claims.standings[claim].status {
	case codePending:
		s.pending += n
	case codeApproved:
		s.approvedAgents.add(s.claims.agentOf(claim), n)
		s.approvedServices.add(s.claims.serviceOf(claim), n)
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
		claim, _ := s.claims.find(ClaimOf(e.Payload)) // it is there, for the event was applied
		switch e.Payload.(type) {
		case ClaimSubmitted:
			if s.claims.standings[claim].status == codePending && s.pending > limits.MaxPending {
				return fmt.Errorf("%d claims are pending, past the limit of %d", s.pending, limits.MaxPending)
			}
		case ClaimApproved:
			agents, services := &s.approvedAgents, &s.approvedServices
			if agents.of(s.claims.agentOf(claim)) == 1 && agents.some > limits.MaxAgents {
				return fmt.Errorf("%d agents are approved, past the limit of %d", agents.some, limits.MaxAgents)
			}
			if services.of(s.claims.serviceOf(claim)) == 1 && services.some > limits.MaxServices {
				return fmt.Errorf("%d services are approved, past the limit of %d", services.some, limits.MaxServices)
			}
		}
	}
	return nil
}

// NextDue is when the first active claim expires by itself; false when none does.
func (s *Claims) NextDue() (time.Time, bool) {
	if len(s.claims.due) == 0 {
		return time.Time{}, false
	}
	return s.claims.due[0].until.time(), true
}

// Backlog reports whether more is overdue than one commit may expire beside its own
// purpose: ExpireOverdue must then go first, until it is not.
func (s *Claims) Backlog(now time.Time) bool {
	return len(s.claims.overdue(now, MaxExpiriesPerCommit+1)) > MaxExpiriesPerCommit
}
