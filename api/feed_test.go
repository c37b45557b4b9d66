package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// latest asks for what the log holds now.
func (l *ledger) latest() option { return set("Ledger-Min-Position", fmt.Sprint(l.last())) }

// fed are the ids of the claims in an answer of the feed.
func fed(r *reply) []string {
	r.t.Helper()
	var page struct {
		Claims []struct {
			ID string `json:"claim_id"`
		}
	}
	r.want(200).into(&page)
	ids := []string{}
	for _, c := range page.Claims {
		ids = append(ids, c.ID)
	}
	return ids
}

func TestFeed(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	acme, globex := n.owner(t, "acme"), n.owner(t, "globex")
	s := n.owner(t, "provider").service("weather")
	a := l.agent(t, "acme")
	until := l.clock.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	id := s.submit(a, map[string]any{"subject": "u@example.com", "agent_id": "agent-001", "agent_name": "Agent"}).want(201).text("claim_id")
	acme.decide(id, "approve", map[string]any{"expires_at": until}).want(200)
	other := s.approved(globex, l.agent(t, "globex"))
	s.pending(l.agent(t, "acme"))
	rejected := s.pending(l.agent(t, "acme"))
	acme.decide(rejected, "reject", nil).want(200)

	r := s.feed(a, "", l.latest())
	if got := fed(r); !slices.Equal(got, []string{id, other}) {
		t.Fatalf("fed are %v, want %v in the order of their approval", got, []string{id, other})
	}
	for name, want := range map[string]any{
		"claim_id": id, "namespace": "acme", "public_key": a.public, "service": "weather", "service_id": s.id,
		"subject": "u@example.com", "agent_id": "agent-001", "agent_name": "Agent", "expires_at": until.Format("2006-01-02T15:04:05.999Z07:00"),
	} {
		if got := r.at("claims.0." + name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if r.text("claims.0.approved_at") == "" || r.at("claims.1.subject") != nil {
		t.Errorf("fed was %s", r.body)
	}
	n.operator("globex", domain.DeactivateNamespace{})
	if got := fed(s.feed(a, "", l.latest())); !slices.Equal(got, []string{id}) {
		t.Errorf("with a namespace that is not active: %v", got)
	}
	n.operator("globex", domain.ActivateNamespace{})
	if got := fed(s.feed(a, "", l.latest())); len(got) != 2 {
		t.Errorf("when it is active again: %v", got)
	}
	acme.decide(id, "revoke", nil).want(200)
	if got := fed(s.feed(a, "", l.latest())); !slices.Equal(got, []string{other}) {
		t.Errorf("after a revocation: %v", got)
	}
}

func TestPagesOfTheFeed(t *testing.T) {
	l := newLedger(t)
	o := l.start().owner(t, "acme")
	s := o.service("weather")
	a := l.agent(t, "acme")
	var ids []string
	for range 5 {
		ids = append(ids, s.approved(o, l.agent(t, "acme")))
	}
	for query, want := range map[string][]string{
		"": ids, "?limit=2": ids[:2], "?limit=2&offset=2": ids[2:4], "?limit=2&offset=4": ids[4:], "?offset=5": {}, "?limit=5&service=weather": ids,
	} {
		r := s.feed(a, query, l.latest())
		if got := fed(r); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", query, got, want)
		}
		more := strings.HasPrefix(query, "?limit=2") && query != "?limit=2&offset=4"
		if r.at("pagination.total") != 5.0 || r.at("pagination.has_more") != more {
			t.Errorf("%q: %v", query, r.at("pagination"))
		}
	}
}

// A cache is told "not modified" until its own set changes.
func TestEntityTags(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	s, other := o.service("weather"), o.service("news")
	a := l.agent(t, "acme")
	s.approved(o, l.agent(t, "acme"))
	first := s.feed(a, "", l.latest()).want(200)
	tag := first.header.Get("ETag")
	if !strings.HasPrefix(tag, `"`) || first.header.Get("Cache-Control") != "private, no-cache" {
		t.Errorf("the tag is %s, to be kept %s", tag, first.header.Get("Cache-Control"))
	}
	unchanged := func(what string) {
		t.Helper()
		r := s.feed(a, "", l.latest(), set("If-None-Match", tag)).want(304)
		if r.position() != l.last() || r.header.Get("ETag") != tag || len(r.body) > 0 {
			t.Errorf("%s: at %d with %s", what, r.position(), r.header.Get("ETag"))
		}
	}
	unchanged("at once")
	other.approved(o, l.agent(t, "acme"))
	unchanged("after another service's approval")
	s.pending(l.agent(t, "acme"))
	o.policy(map[string]any{"max_pending": 50})
	o.ask("POST", "/v1/services/"+s.id+"/keys", nil).want(201)
	unchanged("after what does not change the set")
	for _, header := range []string{`"x", ` + tag, "W/" + tag, "*"} {
		s.feed(a, "", set("If-None-Match", header)).want(304)
	}
	for _, header := range []string{`"x"`, strings.Trim(tag, `"`), ""} {
		s.feed(a, "", set("If-None-Match", header)).want(200)
	}
	for _, query := range []string{"?limit=1", "?offset=1"} {
		if r := s.feed(a, query, set("If-None-Match", tag)).want(200); r.header.Get("ETag") == tag {
			t.Errorf("%s has the tag of another page", query)
		}
	}
	if r := other.feed(a, "", set("If-None-Match", tag)).want(200); r.header.Get("ETag") == tag {
		t.Error("another service's feed has the same tag")
	}
	if r := s.feed(a, "?limit=500&offset=0").want(200); r.header.Get("ETag") != tag {
		t.Error("the same page, asked for in more words, has another tag")
	}
	s.approved(o, l.agent(t, "acme"))
	if r := s.feed(a, "", l.latest(), set("If-None-Match", tag)).want(200); r.header.Get("ETag") == tag || len(fed(r)) != 2 {
		t.Error("a change of the set goes unnoticed")
	}
}

// Two owners have a service of the same name. Neither sees, is fed or is authorized by
// the other's claims.
func TestSameSlugOfTwoOwners(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	one, two := n.owner(t, "provider").service("openai"), n.owner(t, "rival").service("openai")
	a, b := l.agent(t, "acme"), l.agent(t, "acme")
	idA, idB := one.approved(o, a), two.pending(b)

	if got := fed(one.feed(a, "", l.latest())); !slices.Equal(got, []string{idA}) {
		t.Errorf("the one is fed %v", got)
	}
	if got := fed(two.feed(a, "?service=openai", l.latest())); len(got) != 0 {
		t.Errorf("the other is fed %v", got)
	}
	check := func(what string, r *reply, want string) {
		t.Helper()
		if got := verdict(r); got != want {
			t.Errorf("%s: verify says %s, want %s", what, got, want)
		}
	}
	check("with the one's key", one.verify(a), "authorized")
	check("with the other's key", two.verify(a), "no_approved_claim")
	check("with the other's key, and the slug", two.node.verify(a, "&service=openai", bearer(two.key)), "no_approved_claim")
	check("by slug", n.verify(a, "&service=openai"), "authorized")
	check("by slug, another agent", n.verify(b, "&service=openai"), "pending")

	two.pending(a) // now the slug means two services
	n.verify(a, "&service=openai").want(409, domain.CodeAmbiguousService)
	n.operator("acme", domain.DeactivateNamespace{})
	check("by slug, where nothing is authorized", n.verify(a, "&service=openai"), "namespace_inactive")
	n.operator("acme", domain.ActivateNamespace{})
	check("by id, the one", n.verify(a, "&service=openai&service_id="+one.id), "authorized")
	check("by id, the other", n.verify(a, "&service_id="+two.id), "pending")
	check("by id, and another slug", n.verify(a, "&service=news&service_id="+one.id), "no_approved_claim")
	check("with the other's key still", two.verify(a), "pending")
	o.decide(idB, "approve", nil).want(200)
	if got := fed(one.feed(a, "", l.latest())); !slices.Equal(got, []string{idA}) {
		t.Errorf("the one is fed %v", got)
	}
	for _, s := range []*service{one, two} {
		s.owner.refused(403, domain.CodeForbidden, "GET", "/v1/namespaces/acme/claims", nil)
		s.owner.refused(403, domain.CodeForbidden, "GET", "/v1/claims/"+idA, nil)
	}
}

func TestVerify(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	s := n.owner(t, "provider").service("weather")
	a := l.agent(t, "acme")
	check := func(want string) *reply {
		t.Helper()
		r := s.verify(a)
		if got := verdict(r); got != want {
			t.Errorf("verify says %s, want %s", got, want)
		}
		if want != "authorized" && (r.at("claim_id") != nil || r.at("approved_at") != nil) {
			t.Errorf("it says too much: %s", r.body)
		}
		return r
	}
	check("no_approved_claim")
	id := s.pending(a)
	check("pending")
	o.decide(id, "reject", nil).want(200)
	check("rejected")
	id = s.approved(o, a)
	r := check("authorized")
	if r.text("claim_id") != id || r.text("service_id") != s.id || r.text("approved_at") == "" || r.at("expires_at") != nil || r.at("reason") != nil {
		t.Errorf("verify answers %s", r.body)
	}
	n.operator("acme", domain.DeactivateNamespace{})
	check("namespace_inactive")
	n.operator("acme", domain.ActivateNamespace{})
	check("authorized")
	o.decide(id, "revoke", nil).want(200)
	check("revoked")
	id = s.pending(a)
	check("pending") // the latest claim counts
	o.decide(id, "expire", nil).want(200)
	check("expired")
	id = s.approved(o, a)
	s.owner.ask("DELETE", "/v1/services/"+s.id, nil).want(200)
	for _, query := range []string{"&service=weather", "&service_id=" + s.id} {
		if got := verdict(n.verify(a, query)); got != "service_deleted" {
			t.Errorf("verify%s says %s", query, got)
		}
	}
	o.decide(id, "revoke", nil).want(200)
	if got := verdict(n.verify(a, "&service=never")); got != "no_approved_claim" {
		t.Errorf("verify says %s", got)
	}
	if got := verdict(n.verify(a.as("ACME"), "&service=never")); got != "no_approved_claim" {
		t.Errorf("verify in upper case says %s", got)
	}
	nobody := l.agent(t, "nobody")
	n.verify(nobody, "&service=weather").want(404, domain.CodeNotFound)
}
