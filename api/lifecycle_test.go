package api_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/domain"
)

// verbs are the owner's commands on a claim, with the state that each leads to.
var verbs = map[string]string{"approve": "approved", "reject": "rejected", "revoke": "revoked", "expire": "expired"}

// allowed are the arrows of the state diagram that a command follows.
var allowed = map[string][]string{
	"pending":  {"approve", "reject", "expire"},
	"approved": {"revoke", "expire"},
}

// stage is a way to bring a claim into a state.
type stage struct {
	name, status string
	verdict      string
	reach        func(*testing.T, *service, *agent) string
}

var soon = 90 * time.Minute // later than what stages let expire, sooner than a session's end

func stages() []stage {
	after := func(decisions ...string) func(*testing.T, *service, *agent) string {
		return func(_ *testing.T, s *service, a *agent) string {
			id := s.pending(a)
			for _, verb := range decisions {
				s.decide(id, verb, nil).want(200)
			}
			return id
		}
	}
	return []stage{
		{"pending", "pending", "pending", after()},
		{"approved", "approved", "authorized", after("approve")},
		{"rejected", "rejected", "rejected", after("reject")},
		{"revoked", "revoked", "revoked", after("approve", "revoke")},
		{"expired while pending", "expired", "expired", after("expire")},
		{"expired when approved", "expired", "expired", after("approve", "expire")},
		{"undecided for too long", "expired", "expired", overduePending},
		{"approved for some time that is over", "expired", "expired", overdueApproved},
		{"undecided for too long, and recorded", "expired", "expired", recorded(overduePending)},
		{"approved for some time that is over, and recorded", "expired", "expired", recorded(overdueApproved)},
	}
}

func overduePending(_ *testing.T, s *service, a *agent) string {
	s.policy(map[string]any{"pending_expiry_hours": 1})
	id := s.pending(a)
	s.clock.advance(soon)
	return id
}

func overdueApproved(_ *testing.T, s *service, a *agent) string {
	id := s.pending(a)
	until := s.clock.Now().Add(time.Hour)
	r := s.decide(id, "approve", map[string]any{"expires_at": until.Format(time.RFC3339Nano)}).want(200)
	if s.verify(a).text("expires_at") == "" || r.text("status") != "approved" {
		a.t.Errorf("an approval with an end: %s", r.body)
	}
	s.clock.advance(soon)
	return id
}

// recorded has the clock record what is due.
func recorded(reach func(*testing.T, *service, *agent) string) func(*testing.T, *service, *agent) string {
	return func(t *testing.T, s *service, a *agent) string {
		id := reach(t, s, a)
		s.node.tick(s.namespace)
		return id
	}
}

// tick is the clock's command.
func (n *node) tick(namespace string) {
	n.t.Helper()
	meta := commands.Meta{Actor: domain.Actor{Kind: domain.ActorClock}, Ref: domain.CommandRef{Name: commands.ExpireOverdue}}
	if _, _, err := n.x.Claims(n.t.Context(), namespace, domain.ExpireOverdue{}, meta); err != nil {
		n.t.Fatal(err)
	}
}

func TestEveryTransition(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	for i, stage := range stages() {
		t.Run(stage.name, func(t *testing.T) {
			o := n.owner(t, "acme-"+string(rune('a'+i)))
			s := o.service("weather")
			for verb, becomes := range verbs {
				a := l.agent(t, o.namespace)
				o.signInAgain()
				id := stage.reach(t, s, a)
				if got := verdict(s.verify(a)); got != stage.verdict {
					t.Errorf("before %s verify says %s, want %s", verb, got, stage.verdict)
				}
				if slices.Contains(allowed[stage.status], verb) {
					decided(t, s, a, id, verb, becomes)
				} else {
					refusedAsConflict(t, s, id, verb, stage.status)
				}
			}
		})
	}
}

// decided gives a command that the diagram allows.
func decided(t *testing.T, s *service, a *agent, id, verb, becomes string) {
	t.Helper()
	before := s.last()
	r := s.decide(id, verb, map[string]any{"reason": "because of " + verb}).want(200)
	if r.text("claim_id") != id || r.text("status") != becomes {
		t.Errorf("%s answers %s", verb, r.body)
	}
	anchored := verb == "approve" || verb == "revoke"
	if got := r.text("blockchain_tx_status"); anchored != (got == "disabled") {
		t.Errorf("%s answers %s", verb, r.body)
	}
	if r.position() != before+1 || s.last() != before+1 {
		t.Errorf("%s is at %d, and the log went from %d to %d", verb, r.position(), before, s.last())
	}
	claim := s.ask("GET", "/v1/claims/"+id, nil).want(200)
	if claim.text("status") != becomes || claim.text("reason") != "because of "+verb || claim.text(becomes+"_at") == "" {
		t.Errorf("after %s the claim is %s", verb, claim.body)
	}
	want := becomes
	if want == "approved" {
		want = "authorized"
	}
	if got := verdict(s.verify(a)); got != want {
		t.Errorf("after %s verify says %s", verb, got)
	}
}

// refusedAsConflict gives a command that the diagram does not have.
func refusedAsConflict(t *testing.T, s *service, id, verb, status string) {
	t.Helper()
	r := s.refused(409, domain.CodeConflict, "POST", "/v1/claims/"+id+"/"+verb, nil)
	if r.position() != s.last() {
		t.Errorf("the refusal of %s rests on position %d, and the log is at %d", verb, r.position(), s.last())
	}
	if !strings.Contains(r.text("error"), status) {
		t.Errorf("%s of a claim that is %s: the error is %q", verb, status, r.text("error"))
	}
}

func TestTheClockExpiresOnceWhoeverNotices(t *testing.T) {
	l := newLedger(t)
	n, m := l.start(), l.start()
	o := n.owner(t, "acme")
	s := o.service("weather")
	id := overduePending(t, s, l.agent(t, "acme"))
	eventually(t, "the read model to know what is due", func() bool {
		return o.ask("GET", "/v1/claims/"+id, nil).status == 200
	})
	before := l.last()
	for range 3 {
		n.tick("acme")
		m.tick("acme")
	}
	if l.last() != before+1 {
		t.Errorf("%d commits expire one claim", l.last()-before)
	}
	c := l.at(before + 1)
	want := domain.ClaimExpired{ClaimID: id, Cause: domain.ExpiredUndecided}
	if len(c.Events) != 1 || c.Events[0].Payload != domain.Payload(want) || c.Actor.Kind != domain.ActorClock {
		t.Errorf("recorded was %+v", c)
	}
}

// What is overdue is expired in the commit of the decision that rests on it.
func TestADecisionExpiresWhatItRestsOn(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	s := o.service("weather")
	a := l.agent(t, "acme")
	first := overduePending(t, s, a)

	again := s.submit(a).want(201)
	if again.text("claim_id") == first || again.text("status") != "pending" {
		t.Errorf("asked again: %s", again.body)
	}
	c := l.at(again.position())
	if len(c.Events) != 2 || c.Events[0].Type() != domain.ClaimExpiredType || c.Events[1].Type() != domain.ClaimSubmittedType {
		t.Errorf("recorded was %+v", c.Events)
	}
	if got := o.ask("GET", "/v1/claims/"+first, nil, set("Ledger-Min-Position", again.header.Get("Ledger-Position"))).text("status"); got != "expired" {
		t.Errorf("the first claim is %s", got)
	}
}

func TestAskAgainAfterTheEnd(t *testing.T) {
	l := newLedger(t)
	o := l.start().owner(t, "acme")
	s := o.service("weather")
	a := l.agent(t, "acme")
	seen := map[string]bool{}
	for _, end := range [][]string{{"reject"}, {"approve", "revoke"}, {"expire"}, {"approve", "expire"}} {
		id := s.pending(a)
		if seen[id] {
			t.Fatalf("%s came back", id)
		}
		seen[id] = true
		for _, verb := range end {
			o.decide(id, verb, nil).want(200)
		}
	}
}

// Decisions carry a body, which may be left out.
func TestBodiesOfDecisions(t *testing.T) {
	l := newLedger(t)
	o := l.start().owner(t, "acme")
	s := o.service("weather")
	id := s.pending(l.agent(t, "acme"))
	past, future := l.clock.Now().Add(-time.Second), l.clock.Now().Add(time.Hour)
	for _, bad := range []struct {
		verb, fields string
		body         any
	}{
		{"approve", "expires_at", map[string]any{"expires_at": past}},
		{"approve", "expires_at", map[string]any{"expires_at": "tomorrow"}},
		{"approve", "expires_at", map[string]any{"expires_at": future.Unix()}},
		{"approve", "expires_at", map[string]any{"expires_at": "2030-01-31"}},
		{"approve", "reason expires_at", map[string]any{"reason": 1, "expires_at": true}},
		{"approve", "reason", map[string]any{"reason": strings.Repeat("x", domain.MaxReason+1)}},
		{"reject", "reason", map[string]any{"reason": ""}},
		{"revoke", "reason", map[string]any{"reason": []string{"a"}}},
		{"expire", "reason", map[string]any{"reason": "a\u0000b"}},
	} {
		r := o.refused(400, domain.CodeInvalidRequest, "POST", "/v1/claims/"+id+"/"+bad.verb, bad.body)
		if got := r.fields(); got != bad.fields {
			t.Errorf("%s %v: details about %q, want %q", bad.verb, bad.body, got, bad.fields)
		}
	}
	for _, verb := range []string{"approve", "reject", "revoke", "expire"} {
		o.refused(400, domain.CodeInvalidJSON, "POST", "/v1/claims/"+id+"/"+verb, "{")
		o.refused(404, domain.CodeNotFound, "POST", "/v1/claims/claim_01jzzzzzzzzzzzzzzzzzzzzzzz/"+verb, nil)
	}
	reason := strings.Repeat("é", domain.MaxReason)
	o.decide(id, "approve", map[string]any{"reason": reason, "expires_at": future, "colour": "blue"}).want(200)
	claim := o.ask("GET", "/v1/claims/"+id, nil)
	if claim.text("reason") != reason || !strings.HasPrefix(claim.text("expires_at"), future.UTC().Format("2006-01-02T15:04:05")) {
		t.Errorf("the claim is %s", claim.body)
	}
}
