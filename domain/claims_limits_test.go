package domain

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestMaxPending(t *testing.T) {
	given := func(t *testing.T) *claimsHistory {
		h := newClaimsHistory(t)
		h.terms.Policy.MaxPending = 3
		for i := range 3 {
			if got := h.accepted(ask(fmt.Sprint("c", i), "svc", fmt.Sprint("key-", i))); got.Status != StatusPending {
				t.Fatalf("claim %d: %+v", i, got)
			}
		}
		return h
	}
	h := given(t)
	answer := h.then(ask("new", "svc", "key"), asked("new", "svc", "key", in(24*time.Hour)),
		ClaimRejected{ClaimID: "new", Reason: "max_pending reached: 3 claims are pending and the limit is 3", ByPolicy: true})
	if answer.Status != StatusRejected || !answer.Created || answer.ClaimID != "new" {
		t.Errorf("%+v", answer)
	}
	if !strings.Contains(answer.Message, "max_pending") || !strings.Contains(answer.Message, "3 claims") || !strings.Contains(answer.Message, "limit is 3") {
		t.Errorf("the message does not name the limit and the count: %s", answer.Message)
	}
	// Each way of leaving frees a place: exactly one.
	for name, free := range map[string]func(*claimsHistory){
		"approve": func(h *claimsHistory) { h.accepted(Approve{ClaimID: "c0"}) },
		"reject":  func(h *claimsHistory) { h.accepted(Reject{ClaimID: "c0"}) },
		"expire":  func(h *claimsHistory) { h.accepted(Expire{ClaimID: "c0"}) },
	} {
		t.Run(name, func(t *testing.T) {
			h := given(t)
			free(h)
			for i, want := range []Status{StatusPending, StatusRejected} {
				if got := h.accepted(ask(fmt.Sprint("n", i), "svc", fmt.Sprint("new-", i))); got.Status != want {
					t.Errorf("claim %d: %+v", i, got)
				}
			}
		})
	}
	t.Run("overdue", func(t *testing.T) {
		h := given(t)
		h.after(24 * time.Hour)
		if got := h.accepted(ask("new", "svc", "key")); got.Status != StatusPending {
			t.Errorf("%+v", got)
		}
	})
}

// approvals is a boundary with pending claims p<i> of key-<i> on service svc-<i>.
func approvals(t *testing.T, agents, services, pending int) *claimsHistory {
	h := newClaimsHistory(t)
	h.terms.Policy.MaxAgents, h.terms.Policy.MaxServices = agents, services
	for i := range pending {
		h.given(asked(fmt.Sprint("p", i), fmt.Sprint("svc-", i), fmt.Sprint("key-", i), nil))
	}
	return h
}

func TestMaxAgents(t *testing.T) {
	h := approvals(t, 2, 100, 5)
	for i := range 2 {
		answer := h.accepted(Approve{ClaimID: fmt.Sprint("p", i)})
		if answer.AgentsApproved != i+1 || answer.AgentsLimit != 2 {
			t.Errorf("approval %d: %+v", i, answer)
		}
	}
	if m := h.refused(Approve{ClaimID: "p2"}, CodeAgentLimitReached); !strings.Contains(m, "2 agents") || !strings.Contains(m, "limit is 2") {
		t.Errorf("the message lacks the figures: %s", m)
	}
	// A key that is approved elsewhere counts once.
	h.given(asked("more", "svc-9", "key-0", nil))
	if answer := h.accepted(Approve{ClaimID: "more"}); answer.AgentsApproved != 2 || answer.AgentsLimit != 2 {
		t.Errorf("%+v", answer)
	}
	// And goes on counting until its last approval ends.
	h.accepted(Revoke{ClaimID: "p0"})
	h.refused(Approve{ClaimID: "p2"}, CodeAgentLimitReached)
	h.accepted(Revoke{ClaimID: "more"})
	if answer := h.accepted(Approve{ClaimID: "p2"}); answer.AgentsApproved != 2 {
		t.Errorf("%+v", answer)
	}
	h.accepted(Expire{ClaimID: "p1"})
	h.accepted(Approve{ClaimID: "p3", ExpiresAt: in(time.Hour)})
	h.refused(Approve{ClaimID: "p4"}, CodeAgentLimitReached)
	h.after(time.Hour)
	h.then(Approve{ClaimID: "p4"}, ClaimExpired{ClaimID: "p3", Cause: ExpiredApproval}, ClaimApproved{ClaimID: "p4"})
}

func TestMaxServices(t *testing.T) {
	h := approvals(t, 100, 2, 5)
	h.accepted(Approve{ClaimID: "p0"})
	h.accepted(Approve{ClaimID: "p1"})
	if m := h.refused(Approve{ClaimID: "p2"}, CodeServiceLimitReached); !strings.Contains(m, "2 services") || !strings.Contains(m, "limit is 2") {
		t.Errorf("the message lacks the figures: %s", m)
	}
	h.given(asked("more", "svc-0", "key-9", nil))
	if answer := h.accepted(Approve{ClaimID: "more"}); answer.AgentsApproved != 3 {
		t.Errorf("%+v", answer)
	}
	h.accepted(Revoke{ClaimID: "p0"})
	h.refused(Approve{ClaimID: "p2"}, CodeServiceLimitReached)
	h.accepted(Expire{ClaimID: "more"})
	h.accepted(Approve{ClaimID: "p2", ExpiresAt: in(time.Hour)})
	h.refused(Approve{ClaimID: "p3"}, CodeServiceLimitReached)
	h.after(time.Hour)
	h.accepted(Approve{ClaimID: "p3"})
	h.refused(Approve{ClaimID: "p4"}, CodeServiceLimitReached)
}

// With both limits in the way the agents' is named.
func TestBothLimits(t *testing.T) {
	h := approvals(t, 1, 1, 2)
	h.accepted(Approve{ClaimID: "p0"})
	h.refused(Approve{ClaimID: "p1"}, CodeAgentLimitReached)
}

// One key with two approvals of which one is overdue still counts, and so does a
// service.
func TestPartlyOverdue(t *testing.T) {
	h := approvals(t, 1, 100, 1)
	approvedClaim(h, "a1", "svc-a", "key", in(time.Hour))
	approvedClaim(h, "a2", "svc-b", "key", in(2*time.Hour))
	h.after(time.Hour)
	h.refused(Approve{ClaimID: "p0"}, CodeAgentLimitReached)
	h.after(time.Hour)
	if answer := h.accepted(Approve{ClaimID: "p0"}); answer.AgentsApproved != 1 {
		t.Errorf("%+v", answer)
	}

	h = approvals(t, 100, 1, 1)
	approvedClaim(h, "a1", "svc", "key-a", in(time.Hour))
	approvedClaim(h, "a2", "svc", "key-b", in(2*time.Hour))
	h.after(time.Hour)
	h.refused(Approve{ClaimID: "p0"}, CodeServiceLimitReached)
	h.after(time.Hour)
	h.accepted(Approve{ClaimID: "p0"})
}

// A key whose only approval is overdue is new again, also for its own next claim.
func TestApproveAgainAfterItsTime(t *testing.T) {
	h := approvals(t, 1, 1, 0)
	approvedClaim(h, "old", "svc", "key", in(time.Hour))
	h.given(asked("next", "svc-2", "key", nil))
	h.after(time.Hour)
	if answer := h.accepted(Approve{ClaimID: "next"}); answer.AgentsApproved != 1 || answer.AgentsLimit != 1 {
		t.Errorf("%+v", answer)
	}
}

// What was approved once but is overdue has no place any more where another took it.
func TestOverdueKeepsNoPlace(t *testing.T) {
	for name, c := range map[string]struct {
		limits Limits
		claims [3][2]string // service and key: overdue, approved, asked for
		code   Code
	}{
		"key":     {Limits{MaxPending: 9, MaxAgents: 1, MaxServices: 9}, [3][2]string{{"svc", "key"}, {"svc", "another"}, {"svc-2", "key"}}, CodeAgentLimitReached},
		"service": {Limits{MaxPending: 9, MaxAgents: 9, MaxServices: 1}, [3][2]string{{"svc", "key"}, {"another", "key"}, {"svc", "key-2"}}, CodeServiceLimitReached},
	} {
		t.Run(name, func(t *testing.T) {
			h := newClaimsHistory(t)
			h.terms.Policy.Limits = c.limits
			approvedClaim(h, "old", c.claims[0][0], c.claims[0][1], in(time.Hour))
			approvedClaim(h, "other", c.claims[1][0], c.claims[1][1], nil)
			h.given(asked("new", c.claims[2][0], c.claims[2][1], nil))
			h.after(time.Hour)
			h.refused(Approve{ClaimID: "new"}, c.code)
		})
	}
}

// A limit below what is there ends nothing, and lets nothing new in until there is room.
func TestLimitsLoweredBelowTheCounts(t *testing.T) {
	h := approvals(t, 100, 100, 3)
	for i := range 3 {
		approvedClaim(h, fmt.Sprint("a", i), fmt.Sprint("svc-a", i), fmt.Sprint("key-a", i), nil)
	}
	h.terms.Policy.Limits = Limits{MaxPending: 1, MaxAgents: 1, MaxServices: 1, PendingExpiryHours: 24}
	for i := range 3 {
		if v := h.live.Verify(fmt.Sprint("svc-a", i), fmt.Sprint("key-a", i), h.now); !v.Authorized {
			t.Errorf("claim %d: %+v", i, v)
		}
	}
	if m := h.refused(Approve{ClaimID: "p0"}, CodeAgentLimitReached); !strings.Contains(m, "3 agents") || !strings.Contains(m, "limit is 1") {
		t.Error(m)
	}
	if got := h.accepted(ask("new", "svc", "key")); got.Status != StatusRejected {
		t.Errorf("%+v", got)
	}
	// What counts already stays possible: the same key and the same service.
	h.given(asked("same", "svc-a0", "key-a1", nil))
	if answer := h.accepted(Approve{ClaimID: "same"}); answer.AgentsApproved != 3 || answer.AgentsLimit != 1 {
		t.Errorf("%+v", answer)
	}
	h.given(asked("half", "svc-new", "key-a1", nil))
	h.refused(Approve{ClaimID: "half"}, CodeServiceLimitReached)
}

func TestAutoApprove(t *testing.T) {
	rule := AutoApprove{ServiceIDs: []string{"svc"}, CIDRs: []string{"203.0.113.0/24"}}
	until := in(24 * time.Hour)
	at := func(ip string) (Submit, ClaimSubmitted) {
		cmd, event := ask("c1", "svc", "key"), asked("c1", "svc", "key", until)
		cmd.AgentIP, event.AgentIP = ip, ip
		return cmd, event
	}
	for ip, approved := range map[string]bool{"203.0.113.45": true, "::ffff:203.0.113.45": true, "203.0.114.1": false, "2001:db8::1": false} {
		h := newClaimsHistory(t)
		h.terms.Policy.AutoApprove = rule
		cmd, event := at(ip)
		if !approved {
			if got := h.then(cmd, event); got.Status != StatusPending {
				t.Errorf("%s: %+v", ip, got)
			}
			continue
		}
		got := h.then(cmd, event, ClaimApproved{ClaimID: "c1", AutoApproved: true})
		if got.Status != StatusApproved || !got.Created || got.Message == "" {
			t.Errorf("%s: %+v", ip, got)
		}
		// The time for deciding has no meaning for it any more.
		if v := h.live.Verify("svc", "key", start.AddDate(10, 0, 0)); !v.Authorized || v.ExpiresAt != nil || !v.ApprovedAt.Equal(start) {
			t.Errorf("%s: %+v", ip, v)
		}
	}
	h := newClaimsHistory(t)
	h.terms.Policy.AutoApprove = AutoApprove{CIDRs: rule.CIDRs}
	if got := h.accepted(ask("c1", "svc", "key")); got.Status != StatusPending {
		t.Errorf("an address alone: %+v", got)
	}
}

// Where a limit stands in the way of an approval by policy, the owner is asked.
func TestAutoApproveAtALimit(t *testing.T) {
	for name, limits := range map[string]Limits{
		"agents":   {MaxPending: 1, MaxAgents: 1, MaxServices: 9},
		"services": {MaxPending: 1, MaxAgents: 9, MaxServices: 1},
	} {
		t.Run(name, func(t *testing.T) {
			h := newClaimsHistory(t)
			h.terms.Policy.Limits = limits
			h.terms.Policy.AutoApprove.ServiceIDs = []string{"svc-1", "svc-2", "svc-3"}
			for i, want := range []Status{StatusApproved, StatusPending, StatusRejected} {
				id := fmt.Sprint("c", i+1)
				if got := h.accepted(ask(id, fmt.Sprint("svc-", i+1), "key-"+id)); got.Status != want {
					t.Errorf("claim %s: %+v", id, got)
				}
			}
			// Neither asks the owner nor counts as pending: what the policy approves.
			h.accepted(Revoke{ClaimID: "c1"})
			if got := h.accepted(ask("c4", "svc-1", "key-c4")); got.Status != StatusApproved {
				t.Errorf("with max_pending reached: %+v", got)
			}
		})
	}
}

// The policy is looked at when the agent asks, and never again.
func TestPolicyDoesNotReachBack(t *testing.T) {
	h := newClaimsHistory(t)
	h.accepted(ask("c1", "svc", "key"))
	h.terms.Policy.AutoApprove.ServiceIDs = []string{"svc"}
	h.terms.Policy.PendingExpiryHours = 1
	if got := h.then(ask("c2", "svc", "key")); got.Status != StatusPending || got.ClaimID != "c1" {
		t.Errorf("%+v", got)
	}
	h.after(2 * time.Hour)
	h.then(ExpireOverdue{})
	h.after(22 * time.Hour)
	h.then(ExpireOverdue{}, ClaimExpired{ClaimID: "c1", Cause: ExpiredUndecided})
}
