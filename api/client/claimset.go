package client

import (
	"math"
	"sync"
)

// claimSet is a service's approved claims. Measured against sync.Map and maps that are
// copied on each write, a lock for reading costs the reader least.
type claimSet struct {
	mu      sync.RWMutex
	byID    map[string]*entry
	byAgent map[agent]*entry
}

// agent is who a claim is for: a claim is for one agent, and an agent has one approved
// claim at most in a namespace.
type agent struct{ namespace, publicKey string }

type entry struct {
	FeedClaim
	ends int64 // by itself, in nanoseconds of Unix time
}

func newClaimSet() *claimSet {
	return &claimSet{byID: map[string]*entry{}, byAgent: map[agent]*entry{}}
}

func (s *claimSet) find(a agent) *entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byAgent[a]
}

func (s *claimSet) len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.byID)
}

func (s *claimSet) all() []FeedClaim {
	s.mu.RLock()
	defer s.mu.RUnlock()
	claims := make([]FeedClaim, 0, len(s.byID))
	for _, e := range s.byID {
		claims = append(claims, e.FeedClaim)
	}
	return claims
}

// add puts a claim in. While a full read and what changed meanwhile are put together, two
// claims of one agent may meet; the one that stays is added last.
func (s *claimSet) add(claim FeedClaim) (grown bool) {
	e := &entry{claim, math.MaxInt64}
	if claim.ExpiresAt != nil {
		e.ends = claim.ExpiresAt.UnixNano()
		if claim.ExpiresAt.Year() > 2200 { // beyond what nanoseconds can count
			e.ends = math.MaxInt64
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.byID[claim.ClaimID]
	s.byID[claim.ClaimID] = e
	s.byAgent[agent{claim.Namespace, claim.PublicKey}] = e
	return !known
}

// remove takes a claim out.
func (s *claimSet) remove(claimID string) (shrunk bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byID[claimID]
	if e == nil {
		return false
	}
	delete(s.byID, claimID)
	if a := (agent{e.Namespace, e.PublicKey}); s.byAgent[a] == e {
		delete(s.byAgent, a)
	}
	return true
}
