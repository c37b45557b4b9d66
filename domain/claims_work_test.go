package domain

import (
	"fmt"
	"testing"
	"time"
)

// withClaims is a boundary with so many claims in its history, some in each state.
func withClaims(t *testing.T, n int) *claimsHistory {
	h := newClaimsHistory(t)
	h.terms.Policy.Limits = Limits{MaxPending: MaxPolicyValue, MaxAgents: MaxPolicyValue, MaxServices: MaxPolicyValue}
	for i := range n {
		id := fmt.Sprint("c", i)
		payloads := []Payload{ClaimSubmitted{
			ClaimID: id, ServiceID: "svc", PublicKey: fmt.Sprint("key-", i), Nonce: id, SignatureNonce: id, ExpiresAt: new(start.Add(100 * 24 * time.Hour)),
		}}
		switch i % 4 {
		case 1:
			payloads = append(payloads, ClaimApproved{ClaimID: id})
		case 2:
			payloads = append(payloads, ClaimRejected{ClaimID: id})
		case 3:
			payloads = append(payloads, ClaimApproved{ClaimID: id}, ClaimRevoked{ClaimID: id})
		}
		c := NewCommit("01J", h.boundary, h.now, Actor{Kind: ActorClock}, CommandRef{Name: "x"}, h.terms.Basis(), payloads)
		c.Version = h.live.Version() + 1
		if err := h.live.Apply(c); err != nil {
			t.Fatal(err)
		}
		h.now = h.now.Add(time.Second)
	}
	return h
}

// A decision takes as much work with 100,000 claims in the history as with a few, and so
// does what makes it part of the state. Work that grows with the history would allocate
// with it, or be noticed by `claimledger bench --workload submit-large`.
func TestDecidingTakesTheSameWork(t *testing.T) {
	work := func(claims int) (allocs map[string]float64) {
		h := withClaims(t, claims)
		allocs = map[string]float64{}
		for name, cmd := range map[string]ClaimCommand{
			"submit": ask("new", "svc", "key-new"), "submit again": ask("again", "svc", "key-0"), "approve": Approve{ClaimID: "c0"},
			"reject": Reject{ClaimID: "c4"}, "revoke": Revoke{ClaimID: "c1"}, "sweep": ExpireOverdue{}, "unknown": Approve{ClaimID: "none"},
		} {
			allocs[name] = testing.AllocsPerRun(100, func() {
				if _, err := h.live.Decide(cmd, CommandRef{Name: "x"}, h.terms, h.now); err != nil && ErrorCode(err) == CodeInternal {
					t.Fatal(err)
				}
			})
		}
		allocs["verify"] = testing.AllocsPerRun(100, func() { h.live.Verify("svc", "key-1", h.now) })
		allocs["snapshot"] = testing.AllocsPerRun(100, func() { h.live.Snapshot() })
		c := NewCommit("01J", h.boundary, h.now, Actor{Kind: ActorClock}, CommandRef{Name: "x"}, h.terms.Basis(), []Payload{ClaimApproved{ClaimID: "c0"}})
		c.Version = h.live.Version() + 1
		allocs["approve ahead and back"] = testing.AllocsPerRun(100, func() {
			if err := h.live.ApplyAhead(c); err != nil {
				t.Fatal(err)
			}
			h.live.Withdraw()
		})
		return allocs
	}
	few, many := work(100), work(100_000)
	for name, n := range many {
		if n > few[name] {
			t.Errorf("%s: %v allocations with 100,000 claims, %v with 100", name, n, few[name])
		}
	}
}
