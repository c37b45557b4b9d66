package domain

import (
	"maps"
	"strings"
	"testing"
	"time"
)

// What Apply lets pass and nobody can have decided is found. That nothing else is, every
// other test of decisions shows.
func TestRecheckFindsWhatWasNotDecided(t *testing.T) {
	hour, day := in(time.Hour), in(24*time.Hour)
	auto := DefaultPolicy()
	auto.AutoApprove.ServiceIDs = []string{"svc"}
	approved := ClaimApproved{ClaimID: "new", AutoApproved: true}
	tests := []struct {
		name     string
		policy   Policy
		after    time.Duration
		payloads []Payload
		want     string // empty: nothing
	}{
		{"a submit", DefaultPolicy(), 0, []Payload{asked("new", "svc", "k", day)}, ""},
		{"for ever", DefaultPolicy(), 0, []Payload{asked("new", "svc", "k", nil)}, "until for ever, and the limits say 2026-03-02T12:00:00Z"},
		{"for less", DefaultPolicy(), 0, []Payload{asked("new", "svc", "k", hour)}, "until 2026-03-01T13:00:00Z"},
		{"by the policy", auto, 0, []Payload{asked("new", "svc", "k", day), approved}, ""},
		{"by another policy", DefaultPolicy(), 0, []Payload{asked("new", "svc", "k", day), approved}, "the policy did not approve claim new"},
		{"by the policy, later", auto, 0, []Payload{ClaimApproved{ClaimID: "waits", AutoApproved: true}}, "the policy did not approve claim waits"},
		{"in time", DefaultPolicy(), time.Hour - 1, []Payload{ClaimApproved{ClaimID: "waits"}}, ""},
		{"too late", DefaultPolicy(), time.Hour, []Payload{ClaimApproved{ClaimID: "waits"}}, "was past its time, and claim.approved is recorded of it"},
		{"ended too late", DefaultPolicy(), time.Hour, []Payload{ClaimExpired{ClaimID: "waits", Cause: ExpiredByRequest}}, "was past its time"},
		{"by the clock", DefaultPolicy(), time.Hour, []Payload{ClaimExpired{ClaimID: "waits", Cause: ExpiredUndecided}}, ""},
		{"by the clock, too early", DefaultPolicy(), time.Hour - 1, []Payload{ClaimExpired{ClaimID: "waits", Cause: ExpiredUndecided}}, "was ended before its time"},
		{"revoked too late", DefaultPolicy(), time.Hour, []Payload{ClaimRevoked{ClaimID: "works"}}, "was past its time"},
		{"of nothing", DefaultPolicy(), time.Hour, []Payload{ClaimExpired{ClaimID: "none", Cause: ExpiredApproval}}, "before its time"},
	}
	for _, test := range tests {
		h := newClaimsHistory(t)
		h.given(asked("waits", "svc", "key-1", hour))
		approvedClaim(h, "works", "svc", "key-2", hour)
		h.after(test.after)
		c := NewCommit("01J", h.boundary, h.now, Actor{Kind: ActorClock}, CommandRef{}, nil, test.payloads)
		err := h.live.Recheck(c, test.policy)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		h.same()
	}
}

func TestEachClaim(t *testing.T) {
	h := newClaimsHistory(t)
	pendingClaims(h, 0, 2, "svc", nil)
	approvedClaim(h, "a", "svc", "key-a", nil)
	h.given(ClaimRejected{ClaimID: "c1"})
	got := map[string]Status{}
	h.live.Each(func(id string, status Status) { got[id] = status })
	if want := (map[string]Status{"c0": StatusPending, "c1": StatusRejected, "a": StatusApproved}); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
