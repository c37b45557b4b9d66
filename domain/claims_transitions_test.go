package domain

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// givenStates says how a claim c1 on svc by key comes into each state. The overdue
// ones are past their time an hour after start, and that is not recorded yet.
var givenStates = map[string][]Payload{
	"none":             nil,
	"pending":          {asked("c1", "svc", "key", in(48*time.Hour))},
	"pending for ever": {asked("c1", "svc", "key", nil)},
	"approved":         {asked("c1", "svc", "key", in(time.Hour)), ClaimApproved{ClaimID: "c1"}},
	"rejected":         {asked("c1", "svc", "key", in(time.Hour)), ClaimRejected{ClaimID: "c1"}},
	"revoked":          {asked("c1", "svc", "key", nil), ClaimApproved{ClaimID: "c1", ExpiresAt: in(time.Hour)}, ClaimRevoked{ClaimID: "c1"}},
	"expired":          {asked("c1", "svc", "key", in(time.Minute)), ClaimExpired{ClaimID: "c1", Cause: ExpiredUndecided}},
	"expired approval": {asked("c1", "svc", "key", nil), ClaimApproved{ClaimID: "c1", ExpiresAt: in(time.Minute)}, ClaimExpired{ClaimID: "c1", Cause: ExpiredApproval}},
	"overdue pending":  {asked("c1", "svc", "key", in(time.Hour))},
	"overdue approval": {asked("c1", "svc", "key", nil), ClaimApproved{ClaimID: "c1", ExpiresAt: in(time.Hour)}},
}

// TestEveryCommandInEveryState is the state diagram with all its refusals. Where a
// command is refused for the claim's state, the message names it.
func TestEveryCommandInEveryState(t *testing.T) {
	commands := map[string]ClaimCommand{
		"approve": Approve{ClaimID: "c1", Reason: "r"},
		"reject":  Reject{"c1", "r"},
		"revoke":  Revoke{"c1", "r"},
		"expire":  Expire{"c1", "r"},
	}
	// What each command leads to in the states where it is not refused.
	leads := map[string]Payload{
		"approve/pending":          ClaimApproved{ClaimID: "c1", Reason: "r"},
		"approve/pending for ever": ClaimApproved{ClaimID: "c1", Reason: "r"},
		"reject/pending":           ClaimRejected{ClaimID: "c1", Reason: "r"},
		"reject/pending for ever":  ClaimRejected{ClaimID: "c1", Reason: "r"},
		"revoke/approved":          ClaimRevoked{ClaimID: "c1", Reason: "r"},
		"expire/pending":           ClaimExpired{ClaimID: "c1", Cause: ExpiredByRequest, Reason: "r"},
		"expire/pending for ever":  ClaimExpired{ClaimID: "c1", Cause: ExpiredByRequest, Reason: "r"},
		"expire/approved":          ClaimExpired{ClaimID: "c1", Cause: ExpiredByRequest, Reason: "r"},
	}
	ends := map[string]Status{"approve": StatusApproved, "reject": StatusRejected, "revoke": StatusRevoked, "expire": StatusExpired}
	for state, given := range givenStates {
		for name, cmd := range commands {
			t.Run(name+"/"+state, func(t *testing.T) {
				h := inState(t, given)
				if p := leads[name+"/"+state]; p != nil {
					answer := h.then(cmd, p)
					if answer.ClaimID != "c1" || answer.Status != ends[name] || answer.Service != "svc-slug" || answer.Created {
						t.Errorf("answer %+v", answer)
					}
					return
				}
				if state == "none" {
					h.refused(cmd, CodeNotFound)
					return
				}
				word := strings.Fields(state)[0]
				if word == "overdue" {
					word = "expired"
				}
				if message := h.refused(cmd, CodeConflict); !strings.Contains(message, "is "+word) {
					t.Errorf("%q does not name the state %s", message, word)
				}
			})
		}
	}
}

func inState(t *testing.T, given []Payload) *claimsHistory {
	h := newClaimsHistory(t)
	if len(given) > 0 {
		h.given(given...)
	}
	h.after(time.Hour)
	return h
}

// An agent that asks again gets its active claim, or a new one where there is none.
func TestSubmitInEveryState(t *testing.T) {
	again, until := ask("c2", "svc", "key"), in(25*time.Hour)
	for state, given := range givenStates {
		t.Run(state, func(t *testing.T) {
			h := inState(t, given)
			switch state {
			case "pending", "pending for ever", "approved":
				answer := h.then(again)
				if answer.ClaimID != "c1" || answer.Status != h.status("c1") || answer.Created || answer.Service != "svc-slug" {
					t.Errorf("answer %+v", answer)
				}
				return
			case "overdue pending":
				h.then(again, ClaimExpired{ClaimID: "c1", Cause: ExpiredUndecided}, asked("c2", "svc", "key", until))
			case "overdue approval":
				h.then(again, ClaimExpired{ClaimID: "c1", Cause: ExpiredApproval}, asked("c2", "svc", "key", until))
			default:
				answer := h.then(again, asked("c2", "svc", "key", until))
				if answer.ClaimID != "c2" || answer.Status != StatusPending || !answer.Created || answer.Service != "svc-slug" || answer.Message == "" {
					t.Errorf("answer %+v", answer)
				}
			}
		})
	}
}

func TestVerifyInEveryState(t *testing.T) {
	reasons := map[string]string{
		"none": "no_approved_claim", "pending": "pending", "pending for ever": "pending", "approved": "", "rejected": "rejected", "revoked": "revoked",
		"expired": "expired", "expired approval": "expired", "overdue pending": "expired", "overdue approval": "expired",
	}
	for state, given := range givenStates {
		h := inState(t, given)
		v := h.live.Verify("svc", "key", h.now)
		want := Verdict{ServiceID: "svc", Reason: reasons[state]}
		if state != "none" {
			want.ClaimID, want.Version = "c1", h.live.Version()
		}
		if state == "approved" {
			want.Authorized, want.ApprovedAt = true, start
		}
		if v != want {
			t.Errorf("%s: got %+v, want %+v", state, v, want)
		}
		if h.live.Has("c1") != (state != "none") {
			t.Errorf("%s: Has", state)
		}
	}
}

// The diagram allows what the commands use, and Apply holds every commit to it.
func TestApplyHoldsToTheDiagram(t *testing.T) {
	moves := map[Status]Payload{
		StatusApproved: ClaimApproved{ClaimID: "c1"}, StatusRejected: ClaimRejected{ClaimID: "c1"},
		StatusRevoked: ClaimRevoked{ClaimID: "c1"}, StatusExpired: ClaimExpired{ClaimID: "c1"},
	}
	allowed := []string{"pending approved", "pending rejected", "pending expired", "approved revoked", "approved expired"}
	for _, from := range Statuses {
		for to, move := range moves {
			h := newClaimsHistory(t)
			h.given(givenStates[string(from)]...)
			err := h.record(CommandRef{}, h.terms.Basis(), []Payload{move})
			if good := slices.Contains(allowed, fmt.Sprint(from, " ", to)); (err == nil) != good {
				t.Errorf("%s to %s: %v", from, to, err)
			}
		}
	}
}

func TestApproveUntil(t *testing.T) {
	zone := time.FixedZone("x", -5*3600)
	for name, c := range map[string]struct {
		until *time.Time
		want  *time.Time // nil: refused
	}{
		"the past":             {in(-time.Hour), nil},
		"now":                  {in(0), nil},
		"the next nanosecond":  {in(1), in(1)},
		"another zone":         {new(start.Add(time.Hour).In(zone)), in(time.Hour)},
		"the last second":      {new(time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)), new(time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC))},
		"no year of 4 digits":  {new(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)), nil},
		"that year in UTC":     {new(time.Date(9999, 12, 31, 23, 0, 0, 0, zone)), nil},
		"an offset of a day":   {new(start.Add(time.Hour).In(time.FixedZone("y", 24*3600))), in(time.Hour)},
		"a monotonic reading":  {new(time.Now().AddDate(100, 0, 0)), nil}, // replaced below
		"an offset of seconds": {new(start.Add(time.Hour).In(time.FixedZone("z", 17))), in(time.Hour)},
	} {
		if name == "a monotonic reading" {
			far := time.Now().Add(time.Until(start) + 24*time.Hour)
			utc := far.Round(0).UTC()
			c.until, c.want = &far, &utc
		}
		t.Run(name, func(t *testing.T) {
			h := newClaimsHistory(t)
			h.given(asked("c1", "svc", "key", nil))
			cmd := Approve{ClaimID: "c1", ExpiresAt: c.until}
			if c.want == nil {
				_, err := h.when(cmd)
				expectFields(t, name, err, "expires_at")
				return
			}
			h.then(cmd, ClaimApproved{ClaimID: "c1", ExpiresAt: c.want})
			if v := h.live.Verify("svc", "key", h.now); !v.Authorized || !v.ExpiresAt.Equal(*c.until) || !v.ApprovedAt.Equal(start) {
				t.Errorf("%+v", v)
			}
		})
	}
}

// Syntax comes before existence, and existence before state.
func TestApproveOrderOfChecks(t *testing.T) {
	h := newClaimsHistory(t)
	h.refused(Approve{ClaimID: "nobody", ExpiresAt: in(0)}, CodeInvalidRequest)
	h.refused(Approve{ClaimID: "nobody"}, CodeNotFound)
	h.given(asked("c1", "svc", "key", nil), ClaimRejected{ClaimID: "c1"})
	h.deleted["svc"] = true
	if message := h.refused(Approve{ClaimID: "c1"}, CodeConflict); !strings.Contains(message, "is rejected") {
		t.Error(message)
	}
}

// A claim on a deleted service cannot be approved any more, but ended.
func TestDeletedService(t *testing.T) {
	h := newClaimsHistory(t)
	h.given(asked("c1", "svc", "key-1", nil), asked("c2", "svc", "key-2", nil), ClaimApproved{ClaimID: "c2"}, asked("c3", "svc", "key-3", nil))
	h.deleted["svc"] = true
	if message := h.refused(Approve{ClaimID: "c1"}, CodeConflict); !strings.Contains(message, "deleted") || !strings.Contains(message, "is pending") {
		t.Error(message)
	}
	h.then(Reject{ClaimID: "c1"}, ClaimRejected{ClaimID: "c1"})
	h.then(Revoke{ClaimID: "c2"}, ClaimRevoked{ClaimID: "c2"})
	h.then(Expire{ClaimID: "c3"}, ClaimExpired{ClaimID: "c3", Cause: ExpiredByRequest})
}

func TestUnknownClaimCommand(t *testing.T) {
	newClaimsHistory(t).refused(nil, CodeInternal)
}

func TestServicesOf(t *testing.T) {
	h := newClaimsHistory(t)
	mine, theirs := asked("c1", "svc-1", "key", nil), asked("c2", "svc-2", "key", nil)
	mine.Service, theirs.Service = "openai", "openai"
	h.given(mine, theirs, ClaimRejected{ClaimID: "c2"}, asked("c3", "svc-3", "key", nil), asked("c4", "svc-1", "another", nil))
	again := asked("c5", "svc-2", "key", nil)
	again.Service = "renamed"
	for slug, want := range map[string][]string{"": {"svc-1", "svc-2", "svc-3"}, "openai": {"svc-1", "svc-2"}, "svc-3-slug": {"svc-3"}, "renamed": nil} {
		if got := h.live.ServicesOf("key", slug); !slices.Equal(got, want) {
			t.Errorf("%q: %v", slug, got)
		}
	}
	h.given(again)
	if got := h.live.ServicesOf("key", "renamed"); !slices.Equal(got, []string{"svc-2"}) {
		t.Errorf("the slug of the latest claim: %v", got)
	}
	if got := h.live.ServicesOf("nobody", ""); got != nil {
		t.Errorf("%v", got)
	}
}
