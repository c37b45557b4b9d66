package api_test

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
)

func TestSubmit(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	s := n.owner(t, "provider").service("weather")
	a := l.agent(t, "acme")
	before := l.last()
	all := map[string]any{"subject": "user@example.com", "agent_id": "agent-001", "agent_name": "Ægent №1 & <søn>", "unknown": []int{1}}
	r := s.submit(a, all).want(201)
	id := r.text("claim_id")
	if !strings.HasPrefix(id, "claim_") || id != strings.ToLower(id) || len(id) != len("claim_")+26 {
		t.Errorf("the claim's id is %q", id)
	}
	if r.text("status") != "pending" || r.text("service") != "weather" || r.text("message") == "" {
		t.Errorf("submit answers %s", r.body)
	}
	if r.position() != before+1 || l.last() != before+1 {
		t.Errorf("it is at %d, and the log went from %d to %d", r.position(), before, l.last())
	}
	claim := o.ask("GET", "/v1/claims/"+id, nil, set("Ledger-Min-Position", fmt.Sprint(r.position()))).want(200)
	for name, want := range map[string]string{
		"claim_id": id, "namespace": "acme", "service": "weather", "service_id": s.id, "public_key": a.public,
		"agent_ip": "203.0.113.45", "status": "pending", "subject": "user@example.com", "agent_id": "agent-001", "agent_name": "Ægent №1 & <søn>",
	} {
		if got := claim.text(name); got != want {
			t.Errorf("the claim's %s is %q, want %q", name, got, want)
		}
	}
	c := l.at(r.position())
	if p := c.Events[0].Payload.(domain.ClaimSubmitted); p.ServiceNamespace != "provider" || p.Signer != "acme" || c.Actor.ID != s.keyID || c.Actor.Agent != a.public {
		t.Errorf("recorded was %+v by %+v", p, c.Actor)
	}
}

// Texts at their bounds pass; testdata/fields.txt has those beyond.
func TestSubmitAtItsBounds(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	long := strings.Repeat("n", domain.MaxNamespace)
	n.owner(t, long)
	n.owner(t, "abc")
	s := n.owner(t, "provider").service(strings.Repeat("s", domain.MaxSlug))
	tests := []map[string]any{
		{"nonce": rand.Text()[:domain.MinNonce]},
		{"nonce": strings.Repeat("é", domain.MaxNonce)},
		{"subject": "s", "agent_id": "i", "agent_name": "n"},
		{"subject": strings.Repeat("é", domain.MaxSubject), "agent_id": strings.Repeat("é", domain.MaxAgentID), "agent_name": strings.Repeat("🚀", domain.MaxAgentName)},
		{"agent_ip": "2001:db8::1"},
		{"agent_ip": "::ffff:203.0.113.45"},
		{"agent_ip": "0.0.0.0"},
		{"subject": nil},
	}
	for _, change := range tests {
		for _, namespace := range []string{long, "abc"} {
			s.submit(l.agent(t, namespace), change).want(201)
		}
	}
}

func TestSubmitAgain(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	s := o.service("weather")
	other := o.service("news")
	a := l.agent(t, "acme")
	id := s.pending(a)
	known := func(status string) {
		t.Helper()
		before := l.last()
		r := s.submit(a, map[string]any{"agent_ip": "198.51.100.1", "subject": "someone else"}).want(200)
		if r.text("claim_id") != id || r.text("status") != status || r.text("service") != "weather" || r.text("message") == "" {
			t.Errorf("asked again: %s", r.body)
		}
		if l.last() != before || r.position() < before {
			t.Errorf("it is at %d, and the log went from %d to %d", r.position(), before, l.last())
		}
	}
	known("pending")
	o.decide(id, "approve", nil).want(200)
	known("approved")
	if again := other.pending(a); again == id {
		t.Error("the same claim on two services")
	}
	n.stop()
	o.node = l.start()
	known("approved")
}

func TestNonceReplay(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	n.owner(t, "globex")
	s, other := o.service("weather"), o.service("news")
	const nonce = "abc123xyz789"
	the := map[string]any{"nonce": nonce}
	again := func(n *node) {
		t.Helper()
		a := l.agent(t, "acme")
		n.refuse(t, 409, domain.CodeNonceReplay, "POST", "/v1/claims", s.claim(a, the), bearer(s.key), signedBy(a.Signer))
	}

	// What is refused uses none up, and neither does what is answered from what is there.
	n.refuse(t, 404, domain.CodeNotFound, "POST", "/v1/claims", s.claim(l.agent(t, "nobody"), the), bearer(s.key), signedBy(l.agent(t, "acme").as("acme").Signer))
	a := l.agent(t, "acme")
	n.refuse(t, 400, domain.CodeInvalidRequest, "POST", "/v1/claims", s.claim(a, the, map[string]any{"agent_ip": "x"}), bearer(s.key), signedBy(a.Signer))
	s.submit(a).want(201)
	s.submit(a, the).want(200)

	s.submit(l.agent(t, "acme"), the).want(201)
	again(n)
	other.submit(l.agent(t, "acme"), the).want(201) // another service's nonces are its own
	s.submit(l.agent(t, "globex"), the).want(201)   // and so are another namespace's
	again(l.start())
	n.stop()
	o.node = l.start()
	again(o.node)
	l.clock.advance(23 * time.Hour)
	again(o.node)
	l.clock.advance(time.Hour)
	s.submit(l.agent(t, "acme"), the).want(201)
}

// The checks come in an order: signature nonce, Idempotency-Key, body nonce, claim, limits.
func TestOrderOfSubmitsChecks(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	s := o.service("weather")
	o.policy(map[string]any{"max_pending": 1})
	a := l.agent(t, "acme")
	signature := rand.Text()
	a.Nonce = func() string { return signature }
	body := s.claim(a)
	submit := func(a *agent, body any, key string) *reply {
		t.Helper()
		return n.send(t, "POST", "/v1/claims", body, bearer(s.key), signedBy(a.Signer), set("Idempotency-Key", key))
	}
	first := submit(a, body, "one").want(201)
	before := l.last()
	unlike := s.claim(a, map[string]any{"nonce": body["nonce"], "agent_ip": "198.51.100.1"})

	submit(a, unlike, "one").want(409, domain.CodeSignatureNonceReplay)
	signature = rand.Text()
	submit(a, unlike, "one").want(409, domain.CodeIdempotencyMismatch)
	signature = rand.Text()
	if r := submit(a, body, "one").want(201); r.text("claim_id") != first.text("claim_id") {
		t.Errorf("the same again: %s", r.body)
	}
	signature = rand.Text()
	submit(a, unlike, "two").want(409, domain.CodeNonceReplay)
	signature = rand.Text()
	submit(a, s.claim(a), "two").want(200)
	if l.last() != before {
		t.Errorf("the log went from %d to %d", before, l.last())
	}
	if r := s.submit(l.agent(t, "acme")).want(201); r.text("status") != "rejected" {
		t.Errorf("past the limit: %s", r.body)
	}
}

func TestMaxPending(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	s := o.service("weather")
	o.policy(map[string]any{"max_pending": 2})
	first := s.pending(l.agent(t, "acme"))
	s.pending(l.agent(t, "acme"))
	a := l.agent(t, "acme")
	before := l.last()
	r := s.submit(a).want(201)
	if r.text("status") != "rejected" || !strings.Contains(r.text("message"), "2 claims are pending and the limit is 2") {
		t.Errorf("past the limit: %s", r.body)
	}
	types := eventTypes(l.at(r.position()))
	if types != "claim.submitted claim.rejected" || l.last() != before+1 {
		t.Errorf("recorded was %s at %d, after %d", types, l.last(), before)
	}
	claim := o.ask("GET", "/v1/claims/"+r.text("claim_id"), nil)
	if claim.text("status") != "rejected" || !strings.Contains(claim.text("reason"), "max_pending") || claim.text("rejected_at") == "" {
		t.Errorf("the claim is %s", claim.body)
	}
	if got := verdict(s.verify(a)); got != "rejected" {
		t.Errorf("verify says %s", got)
	}
	o.decide(first, "reject", nil).want(200)
	s.pending(a) // there is room again
}

func eventTypes(c *domain.Commit) string {
	var types []string
	for _, e := range c.Events {
		types = append(types, string(e.Type()))
	}
	return strings.Join(types, " ")
}

func TestAutoApprove(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	s, other := o.service("weather"), o.service("news")
	rule := func(services, cidrs []string) {
		o.policy(map[string]any{"auto_approve": map[string]any{"service_ids": services, "cidrs": cidrs}})
	}
	status := func(s *service, ip string) string {
		t.Helper()
		return s.submit(l.agent(t, "acme"), map[string]any{"agent_ip": ip}).want(201).text("status")
	}
	rule([]string{s.id}, []string{})
	a := l.agent(t, "acme")
	before := l.last()
	r := s.submit(a).want(201)
	if r.text("status") != "approved" || eventTypes(l.at(r.position())) != "claim.submitted claim.approved" || l.last() != before+1 {
		t.Errorf("%s, recorded as %s", r.body, eventTypes(l.at(r.position())))
	}
	claim := o.ask("GET", "/v1/claims/"+r.text("claim_id"), nil)
	if claim.at("auto_approved") != true || claim.text("status") != "approved" || verdict(s.verify(a)) != "authorized" {
		t.Errorf("the claim is %s", claim.body)
	}
	if got := status(other, "203.0.113.45"); got != "pending" {
		t.Errorf("a service that is not listed: %s", got)
	}

	rule([]string{s.id}, []string{"203.0.113.0/24", "2001:db8::/32"})
	for ip, want := range map[string]string{
		"203.0.113.7": "approved", "203.0.114.7": "pending", "2001:db8::7": "approved", "2001:db9::7": "pending", "::ffff:203.0.113.7": "approved",
	} {
		if got := status(s, ip); got != want {
			t.Errorf("from %s: %s, want %s", ip, got, want)
		}
	}
	rule([]string{}, []string{"0.0.0.0/0"}) // an address alone is the caller's word
	if got := status(s, "203.0.113.7"); got != "pending" {
		t.Errorf("by its address alone: %s", got)
	}
	rule([]string{s.id}, []string{})
	o.policy(map[string]any{"max_agents": 1})
	if got := status(s, "203.0.113.7"); got != "pending" {
		t.Errorf("past max_agents: %s", got)
	}
}

func TestIdempotencyKeys(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	s := o.service("weather")
	key := func(k string) option { return set("Idempotency-Key", k) }
	a := l.agent(t, "acme")
	body := s.claim(a)
	submit := func(n *node, body any, k string, serviceKey string) *reply {
		t.Helper()
		return n.send(t, "POST", "/v1/claims", body, bearer(serviceKey), signedBy(a.Signer), key(k))
	}
	first := submit(n, body, "retry-1", s.key).want(201)
	after := l.last()
	for _, n := range []*node{n, l.start()} {
		if r := submit(n, body, "retry-1", s.key).want(201); string(r.body) != string(first.body) || r.position() < first.position() {
			t.Errorf("again: %s, at first: %s", r.body, first.body)
		}
	}
	submit(n, s.claim(a), "retry-1", s.key).want(409, domain.CodeIdempotencyMismatch)
	second := o.ask("POST", "/v1/services/"+s.id+"/keys", nil).want(201).text("key")
	submit(n, body, "retry-1", second).want(409, domain.CodeNonceReplay) // another caller's key is another key

	approve := "/v1/claims/" + first.text("claim_id") + "/approve"
	one := o.ask("POST", approve, nil, key("a")).want(200)
	if again := o.ask("POST", approve, nil, key("a")).want(200); string(again.body) != string(one.body) {
		t.Errorf("again: %s, at first: %s", again.body, one.body)
	}
	o.refused(409, domain.CodeIdempotencyMismatch, "POST", "/v1/claims/"+first.text("claim_id")+"/revoke", nil, key("a"))
	o.refused(409, domain.CodeIdempotencyMismatch, "POST", approve, map[string]any{"reason": "x"}, key("a"))
	o.refused(409, domain.CodeConflict, "POST", approve, nil, key("b"))
	if l.last() != after+2 {
		t.Errorf("the log went from %d to %d", after, l.last())
	}
	l.clock.advance(24*time.Hour + time.Second)
	submit(n, s.claim(a), "retry-1", s.key).want(200) // forgotten
}

// A retry is told what was made, and never again the secret.
func TestIdempotencyShowsNoSecretTwice(t *testing.T) {
	l := newLedger(t)
	o := l.start().owner(t, "acme")
	s := o.service("weather")
	for target, creating := range map[string]struct {
		body   any
		secret string
	}{
		"/v1/services/" + s.id + "/keys":     {map[string]any{"name": "k"}, "key"},
		"/v1/services/" + s.id + "/webhooks": {map[string]any{"url": "https://example.com/hook"}, "secret"},
		"/v1/api-keys":                       {map[string]any{"name": "k", "permissions": []string{"read"}}, "rawKey"},
	} {
		key := set("Idempotency-Key", target)
		first := o.ask("POST", target, creating.body, key).want(201)
		before := l.last()
		again := o.ask("POST", target, creating.body, key).want(201)
		if first.text(creating.secret) == "" || again.at(creating.secret) != nil || first.text("id") == "" || again.text("id") != first.text("id") {
			t.Errorf("%s: %s, then %s", target, first.body, again.body)
		}
		if l.last() != before {
			t.Errorf("%s appended again", target)
		}
	}
}

func TestSubmitToWhatIsNotThere(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	s := n.owner(t, "provider").service("weather")
	nobody := l.agent(t, "nobody")
	n.refuse(t, 404, domain.CodeNotFound, "POST", "/v1/claims", s.claim(nobody), bearer(s.key), signedBy(nobody.Signer))

	a := l.agent(t, "acme")
	n.operator("acme", domain.DeactivateNamespace{})
	n.refuse(t, 403, domain.CodeForbidden, "POST", "/v1/claims", s.claim(a), bearer(s.key), signedBy(a.Signer))
	n.operator("acme", domain.ActivateNamespace{})
	s.submit(l.agent(t, "ACME"), map[string]any{"namespace": "Acme"}).want(201)
	if got := o.ask("GET", "/v1/namespaces/acme/claims", nil).at("claims.0.namespace"); got != "acme" {
		t.Errorf("recorded in the namespace %v", got)
	}

	n.refuse(t, 401, domain.CodeUnauthorized, "POST", "/v1/claims", s.claim(a), signedBy(a.Signer))
	for _, key := range []string{"sk_live_" + strings.Repeat("0", 40), "sk_live_", "x", o.session, s.key + "0", strings.ToUpper(s.key), "sk_live_" + strings.Repeat("k", 5000)} {
		n.refuse(t, 401, domain.CodeSignatureInvalid, "POST", "/v1/claims", s.claim(a), bearer(key), signedBy(a.Signer))
		n.refuse(t, 401, domain.CodeSignatureInvalid, "GET", "/v1/namespaces/claims", nil, bearer(key), signedBy(a.Signer))
		n.refuse(t, 401, domain.CodeUnauthorized, "GET", "/v1/verify", nil, bearer(key), signedBy(a.Signer))
	}
}
