package domain

import (
	"testing"
	"time"
)

// TestApplyRefuses gives commits that no decision could have made. They differ from
// one that could in one respect.
func TestApplyRefuses(t *testing.T) {
	good := func() *Commit {
		c := NewCommit("01J", ClaimsOf("acme"), start, Actor{Kind: ActorClock}, CommandRef{},
			&Basis{Limits: Limits{MaxPending: 2, MaxAgents: 1, MaxServices: 1}}, []Payload{asked("c3", "svc", "key-3", nil)})
		c.Version = 2
		return c
	}
	events := func(payloads ...Payload) func(*Commit) {
		return func(c *Commit) {
			c.Events = nil
			for i, p := range payloads {
				c.Events = append(c.Events, NewEvent(c.ID, i, p))
			}
		}
	}
	limits := func(l Limits) func(*Commit) { return func(c *Commit) { c.Basis.Limits = l } }
	for name, c := range map[string]struct {
		edit func(*Commit)
		good bool
	}{
		"as it was":             {func(*Commit) {}, true},
		"the same version":      {func(c *Commit) { c.Version = 1 }, false},
		"a gap":                 {func(c *Commit) { c.Version = 3 }, false},
		"version 0":             {func(c *Commit) { c.Version = 0 }, false},
		"another namespace":     {func(c *Commit) { c.Namespace = "acme2" }, false},
		"the other boundary":    {func(c *Commit) { c.Kind = KindRegistry }, false},
		"time goes backwards":   {func(c *Commit) { c.Time = start.Add(-1) }, false},
		"time goes on":          {func(c *Commit) { c.Time = start.Add(time.Hour) }, true},
		"no basis":              {func(c *Commit) { c.Basis = nil }, false},
		"a registry event":      {events(NamespaceDeactivated{}), false},
		"one among its own":     {events(asked("c3", "svc", "key-3", nil), PolicyChanged{DefaultPolicy()}), false},
		"the same claim":        {events(asked("c1", "svc", "key-3", nil)), false},
		"a second active":       {events(asked("c3", "svc", "key-1", nil)), false},
		"active, approved":      {events(asked("c3", "svc", "key-2", nil)), false},
		"active, after its end": {events(ClaimRevoked{ClaimID: "c2"}, asked("c3", "svc", "key-2", nil)), true},
		"unknown, approved":     {events(ClaimApproved{ClaimID: "c9"}), false},
		"unknown, rejected":     {events(ClaimRejected{ClaimID: "c9"}), false},
		"unknown, revoked":      {events(ClaimRevoked{ClaimID: "c9"}), false},
		"unknown, expired":      {events(ClaimExpired{ClaimID: "c9"}), false},
		"twice in one commit":   {events(ClaimRejected{ClaimID: "c1"}, ClaimExpired{ClaimID: "c1"}), false},
		"too many pending":      {limits(Limits{MaxPending: 1, MaxAgents: 9, MaxServices: 9}), false},
		"pending, then not": {func(c *Commit) {
			limits(Limits{MaxPending: 1, MaxAgents: 9, MaxServices: 9})(c)
			events(asked("c3", "svc", "key-3", nil), ClaimRejected{ClaimID: "c3"})(c)
		}, true},
		"too many agents":    {events(ClaimApproved{ClaimID: "c1"}), false},
		"the agent's second": {events(asked("c3", "svc-2", "key-2", nil), ClaimApproved{ClaimID: "c3"}), false}, // on a second service
		"too many services": {func(c *Commit) {
			limits(Limits{MaxPending: 9, MaxAgents: 9, MaxServices: 1})(c)
			events(asked("c3", "svc-2", "key-2", nil), ClaimApproved{ClaimID: "c3"})(c)
		}, false},
		"a place that was freed first": {events(ClaimRevoked{ClaimID: "c2"}, ClaimApproved{ClaimID: "c1"}), true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newClaimsHistory(t)
			h.given(asked("c1", "svc", "key-1", nil), asked("c2", "svc", "key-2", nil), ClaimApproved{ClaimID: "c2"})
			commit := good()
			c.edit(commit)
			if err := h.live.Apply(commit); (err == nil) != c.good {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestApplyFirstCommitMustBeVersion1(t *testing.T) {
	c := NewCommit("01J", ClaimsOf("acme"), start, Actor{Kind: ActorClock}, CommandRef{}, &Basis{Limits: DefaultPolicy().Limits}, []Payload{asked("c1", "svc", "key", nil)})
	for version, good := range map[uint64]bool{0: false, 1: true, 2: false} {
		c.Version = version
		s := NewClaims("acme")
		if err := s.Apply(c); (err == nil) != good {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

func TestVersionAndTime(t *testing.T) {
	h := newClaimsHistory(t)
	if h.live.Version() != 0 || !h.live.Time().IsZero() {
		t.Error("a boundary without commits has a version or a time")
	}
	h.accepted(ask("c1", "svc", "key"))
	h.after(time.Hour)
	h.accepted(Reject{ClaimID: "c1"})
	if h.live.Version() != 2 || !h.live.Time().Equal(start.Add(time.Hour)) {
		t.Errorf("version %d at %s", h.live.Version(), h.live.Time())
	}
}

// The terms that a decision takes from a registry are recorded with it.
func TestBasisOfTerms(t *testing.T) {
	r := registered(t)
	terms := r.live.Terms()
	if basis := terms.Basis(); basis.RegistryVersion != 1 || basis.Limits != DefaultPolicy().Limits || !terms.Active {
		t.Errorf("%+v", basis)
	}
	limit := 3
	r.accepted(ChangePolicy{MaxAgents: &limit})
	r.accepted(DeactivateNamespace{})
	terms = r.live.Terms()
	if basis := terms.Basis(); basis.RegistryVersion != 3 || basis.Limits.MaxAgents != 3 || terms.Active {
		t.Errorf("%+v, active %t", basis, terms.Active)
	}
}

func TestWebhookNames(t *testing.T) {
	for _, p := range currentEvents() {
		name := p.EventType().WebhookName()
		if (name != "") != (ClaimOf(p) != "") {
			t.Errorf("%s: %q", p.EventType(), name)
		}
		if back, ok := WebhookEvent(name); ok != (name != "") || (ok && back != p.EventType()) {
			t.Errorf("%q: %s, %t", name, back, ok)
		}
	}
	if ClaimRevokedType.WebhookName() != "request.revoked" {
		t.Error(ClaimRevokedType.WebhookName())
	}
}

func TestClaimOf(t *testing.T) {
	for _, p := range currentEvents() {
		want := ""
		switch p.(type) {
		case ClaimSubmitted, ClaimApproved, ClaimRejected, ClaimRevoked, ClaimExpired:
			want = "claim_01j8"
		}
		if got := ClaimOf(p); got != want {
			t.Errorf("%T: %q", p, got)
		}
	}
}
