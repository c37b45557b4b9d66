package domain

import (
	"fmt"
	"time"
)

// Each calls f with every claim and its state as it was recorded, in no order.
func (s *Claims) Each(f func(id string, status Status)) {
	for claim := range s.claims.facts {
		f(s.claims.id(uint32(claim)), s.claims.standings[claim].status.status())
	}
}

// Recheck finds in a commit what Apply lets pass and no decision on this state and policy
// can have led to: a claim past its time that was decided on as if it were not, or ended
// by a clock that had not come to it; a time to decide that the limits do not give; an
// approval that the policy is said to have given. It is asked before the commit is applied.
// Who only follows a log has no need of it; who doubts it has.
func (s *Claims) Recheck(c *Commit, policy Policy) error {
	made := map[string]ClaimSubmitted{}
	for _, e := range c.Events {
		if err := s.recheck(e.Payload, c.Time, policy, made); err != nil {
			return fmt.Errorf("%s version %d: %w", c.Boundary(), c.Version, err)
		}
	}
	return nil
}

func (s *Claims) recheck(p Payload, at time.Time, policy Policy, made map[string]ClaimSubmitted) error {
	if p, ok := p.(ClaimSubmitted); ok {
		made[p.ClaimID] = p
		if want := policy.pendingUntil(at); !sameTime(p.ExpiresAt, want) {
			return fmt.Errorf("claim %s is to be decided on until %s, and the limits say %s", p.ClaimID, orNever(p.ExpiresAt), orNever(want))
		}
		return nil
	}
	id := ClaimOf(p)
	if p, ok := p.(ClaimApproved); ok && p.AutoApproved {
		if asked, ok := made[id]; !ok || !policy.Approves(asked.ServiceID, asked.AgentIP) {
			return fmt.Errorf("the policy did not approve claim %s", id)
		}
	}
	known, ok := s.claims.find(id)
	overdue := ok && s.claims.standings[known].overdue(at)
	byClock := false
	if p, ok := p.(ClaimExpired); ok {
		byClock = p.Cause != ExpiredByRequest
	}
	switch {
	case byClock && !overdue:
		return fmt.Errorf("claim %s was ended before its time", id)
	case overdue && !byClock:
		return fmt.Errorf("claim %s was past its time, and %s is recorded of it", id, p.EventType())
	}
	return nil
}

func sameTime(a, b *time.Time) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Equal(*b)
}

func orNever(t *time.Time) string {
	if t == nil {
		return "for ever"
	}
	return moment(*t)
}
