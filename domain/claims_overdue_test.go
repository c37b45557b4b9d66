package domain

import (
	"fmt"
	"testing"
	"time"
)

// A claim that was approved until the very moment at which it would have ended
// undecided waits for that moment twice. It expires once.
func TestApprovedUntilThePendingExpiry(t *testing.T) {
	h := newClaimsHistory(t)
	h.given(asked("c1", "svc", "key", in(time.Hour)))
	h.accepted(Approve{ClaimID: "c1", ExpiresAt: in(time.Hour)})
	h.after(time.Hour)
	h.then(ExpireOverdue{}, ClaimExpired{ClaimID: "c1", Cause: ExpiredApproval})
	h.then(ExpireOverdue{})
}

// Deciding on more overdue claims than one commit may expire could record what the
// next replay refuses. The caller must sweep first.
func TestBacklogMustBeSweptFirst(t *testing.T) {
	h := newClaimsHistory(t)
	const n = 2*MaxExpiriesPerCommit + 1
	pendingClaims(h, 0, n, "svc", in(time.Hour))
	h.after(time.Hour)
	for i, left := range []int{n, n - MaxExpiriesPerCommit} {
		if !h.live.Backlog(h.now) {
			t.Fatalf("sweep %d: no backlog with %d overdue", i, left)
		}
		h.refused(ask("new", "svc", "key-0"), CodeServiceUnavailable)
		h.refused(Approve{ClaimID: "c0"}, CodeServiceUnavailable)
		d, err := h.when(ExpireOverdue{})
		if err != nil || len(d.Payloads) != MaxExpiriesPerCommit {
			t.Fatalf("sweep %d: %d events, %v", i, len(d.Payloads), err)
		}
	}
	if h.live.Backlog(h.now) {
		t.Fatal("backlog with 1 overdue")
	}
	d, err := h.when(ask("new", "svc", "key-0"))
	if err != nil || len(d.Payloads) != 2 {
		t.Fatalf("%d events, %v", len(d.Payloads), err)
	}
	if due, ok := h.live.NextDue(); !ok || !due.Equal(h.now.Add(24*time.Hour)) {
		t.Fatalf("next due %v, %t", due, ok)
	}
}

func TestBacklogBoundary(t *testing.T) {
	h := newClaimsHistory(t)
	pendingClaims(h, 0, MaxExpiriesPerCommit, "svc", in(time.Hour))
	h.after(time.Hour)
	if h.live.Backlog(h.now) {
		t.Fatalf("%d overdue are no backlog", MaxExpiriesPerCommit)
	}
	// All of them are expired beside the submit, which then finds room.
	h.terms.Policy.MaxPending = 1
	d, err := h.when(ask("new", "svc", "key-7"))
	if err != nil || len(d.Payloads) != MaxExpiriesPerCommit+1 || d.Answer.Status != StatusPending {
		t.Fatalf("%d events, %+v, %v", len(d.Payloads), d.Answer, err)
	}
	if _, last := d.Payloads[MaxExpiriesPerCommit].(ClaimSubmitted); !last {
		t.Fatal("the claim was submitted before what is overdue expired")
	}
}

func TestNextDue(t *testing.T) {
	h := newClaimsHistory(t)
	expect := func(want *time.Time) {
		t.Helper()
		if at, ok := h.live.NextDue(); ok != (want != nil) || (ok && !at.Equal(*want)) {
			t.Fatalf("got %v %t, want %v", at, ok, want)
		}
	}
	expect(nil)
	h.given(asked("c1", "svc", "key-1", nil))
	expect(nil)
	h.given(asked("c2", "svc", "key-2", in(2*time.Hour)))
	expect(in(2 * time.Hour))
	h.given(asked("c3", "svc", "key-3", in(time.Hour)))
	expect(in(time.Hour))
	h.given(ClaimApproved{ClaimID: "c3"})
	expect(in(2 * time.Hour))
	h.given(ClaimRejected{ClaimID: "c2"})
	expect(nil)
	h.given(ClaimApproved{ClaimID: "c1", ExpiresAt: in(3 * time.Hour)})
	expect(in(3 * time.Hour))
	h.given(ClaimRevoked{ClaimID: "c1"})
	expect(nil)
}

// Nothing waits for claims that moved on.
func TestNothingWaitsForWhatHasEnded(t *testing.T) {
	h := newClaimsHistory(t)
	h.given(asked("first", "svc", "key-first", in(time.Minute))) // keeps the top live
	for i := range 200 {
		id := fmt.Sprint("c", i)
		h.given(asked(id, "svc", id, in(time.Hour)), ClaimRejected{ClaimID: id})
	}
	if n := len(h.live.claims.due); n != 1 {
		t.Fatalf("%d waits for 1 claim", n)
	}
}

// From the instant of its end on, a claim is expired for every decision and for
// Verify; one nanosecond before it is not.
func TestTheInstantOfExpiry(t *testing.T) {
	for _, status := range []Status{StatusPending, StatusApproved} {
		given := func(t *testing.T, at time.Duration) *claimsHistory {
			h := newClaimsHistory(t)
			if status == StatusPending {
				h.given(asked("c1", "svc", "key", in(time.Hour)))
			} else {
				approvedClaim(h, "c1", "svc", "key", in(time.Hour))
			}
			h.now = start.Add(at)
			return h
		}
		t.Run(string(status), func(t *testing.T) {
			before, at := time.Hour-1, time.Hour
			given(t, before).then(ExpireOverdue{})
			if got := given(t, before).then(ask("c2", "svc", "key")); got.ClaimID != "c1" || got.Status != status {
				t.Errorf("a nanosecond before: %+v", got)
			}
			expired := ClaimExpired{ClaimID: "c1", Cause: map[Status]ExpiryCause{StatusPending: ExpiredUndecided, StatusApproved: ExpiredApproval}[status]}
			given(t, at).then(ExpireOverdue{}, expired)
			given(t, at).then(ask("c2", "svc", "key"), expired, asked("c2", "svc", "key", in(25*time.Hour)))

			h := given(t, before)
			if v := h.live.Verify("svc", "key", h.now); v.Authorized != (status == StatusApproved) {
				t.Errorf("a nanosecond before: %+v", v)
			}
			h.after(1)
			if v := h.live.Verify("svc", "key", h.now); v.Authorized || v.Reason != "expired" || v.ClaimID != "c1" {
				t.Errorf("at the instant: %+v", v)
			}
		})
	}
}

// What is overdue is recorded with whatever comes next, before it.
func TestOverdueIsRecordedFirst(t *testing.T) {
	expired := ClaimExpired{ClaimID: "old", Cause: ExpiredApproval}
	for name, c := range map[string]struct {
		cmd  ClaimCommand
		want Payload
	}{
		"submit":  {ask("new", "svc", "key"), asked("new", "svc", "key", in(25*time.Hour))},
		"approve": {Approve{ClaimID: "p"}, ClaimApproved{ClaimID: "p"}},
		"reject":  {Reject{ClaimID: "p"}, ClaimRejected{ClaimID: "p"}},
		"revoke":  {Revoke{ClaimID: "a"}, ClaimRevoked{ClaimID: "a"}},
		"expire":  {Expire{ClaimID: "a"}, ClaimExpired{ClaimID: "a", Cause: ExpiredByRequest}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newClaimsHistory(t)
			approvedClaim(h, "old", "svc-1", "key-1", in(time.Hour))
			h.given(asked("p", "svc-2", "key-2", nil))
			approvedClaim(h, "a", "svc-3", "key-3", nil)
			h.after(time.Hour)
			h.then(c.cmd, expired, c.want)
		})
	}
}

// A refusal and an answer that rests on what is there record nothing, not even what
// is overdue.
func TestOverdueIsNotRecordedByRefusals(t *testing.T) {
	h := newClaimsHistory(t)
	approvedClaim(h, "old", "svc-1", "key-1", in(time.Hour))
	approvedClaim(h, "a", "svc-3", "key-3", nil)
	h.after(time.Hour)
	h.refused(Approve{ClaimID: "a"}, CodeConflict)
	h.then(ask("again", "svc-3", "key-3"))
	if h.status("old") != StatusApproved {
		t.Error("something was recorded")
	}
}
