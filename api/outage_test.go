package api_test

import (
	"context"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore/logtest"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// Without its database a node takes commands and verifies; what it reads from there it
// honestly cannot answer.
func TestDatabaseAway(t *testing.T) {
	server := pgtest.Server(t)
	l := newLedger(t)
	l.db = server.URL()
	n := l.start()
	o := n.owner(t, "acme")
	s := o.service("weather")
	globex := n.owner(t, "globex")
	theirs := globex.service("weather").pending(l.agent(t, "globex"))
	a := l.agent(t, "acme")
	known := s.approved(o, a)
	o.ask("GET", "/v1/claims/"+known, nil).want(200)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := server.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	const away = domain.CodeServiceUnavailable
	for _, target := range []string{
		"/v1/claims/" + known, "/v1/claims/" + known + "/events", "/v1/namespaces/acme/claims",
		"/v1/services", "/v1/services/" + s.id, "/v1/services/" + s.id + "/keys", "/v1/services/" + s.id + "/webhooks", "/v1/api-keys",
	} {
		o.refused(503, away, "GET", target, nil)
	}
	s.feed(a, "").want(503, away)
	n.send(t, "GET", "/v1/namespaces/acme", nil, signedBy(a.Signer)).want(503, away)
	if got := verdict(s.verify(a)); got != "authorized" {
		t.Errorf("verify says %s", got)
	}
	o.ask("GET", "/v1/namespaces/acme/policy", nil).want(200)
	id := s.pending(l.agent(t, "acme"))
	o.decide(id, "approve", nil).want(200)
	o.decide(known, "revoke", nil).want(200)
	o.service("news")
	o.refused(404, domain.CodeNotFound, "POST", "/v1/claims/"+theirs+"/approve", nil) // whose it is cannot be told

	pgtest.Restart(t, server)
	eventually(t, "reads to come back", func() bool { return o.ask("GET", "/v1/claims/"+id, nil, l.latest()).status == 200 })
	if got := o.ask("GET", "/v1/claims/"+known, nil, l.latest()).want(200).text("status"); got != "revoked" {
		t.Errorf("the claim is %s", got)
	}
	o.refused(403, domain.CodeForbidden, "POST", "/v1/claims/"+theirs+"/approve", nil)
}

// noUsage forgets when keys were used.
type noUsage struct{}

func (noUsage) Touch(context.Context, map[string]time.Time) error { return nil }
func (noUsage) All(context.Context) (map[string]time.Time, error) { return nil, nil }

// overFaultyNetwork is a node that reaches the log through a network that can fail.
func overFaultyNetwork(t *testing.T) (*node, *logtest.Proxy) {
	t.Parallel()
	h := logtest.OnEmbedded(t)
	l := &ledger{t: t, log: h.Log, usage: noUsage{}, db: pgtest.New(t), clock: &clock{}}
	n := l.start(func(s *settings) { s.log, s.staleAfter = h.Faulty, 30*time.Second })
	n.cutOff = true
	return n, h.Proxy
}

// Cut off from the log, a node takes no commands, and authorizes on what it knows for
// half a minute.
func TestLogAway(t *testing.T) {
	n, proxy := overFaultyNetwork(t)
	o := n.owner(t, "acme")
	s := o.service("weather")
	a := n.agent(t, "acme")
	id := s.approved(o, a)
	s.feed(a, "", n.latest()).want(200)

	proxy.Refuse()
	const away = domain.CodeServiceUnavailable
	eventually(t, "the connection to break", func() bool { return o.decide(id, "revoke", nil).status == 503 })
	began := time.Now()
	o.refused(503, away, "POST", "/v1/claims/"+id+"/revoke", nil)
	o.refused(503, away, "POST", "/v1/claims/"+id+"/approve", nil) // not even a refusal is certain
	o.refused(503, away, "POST", "/v1/services", map[string]any{"slug": "news", "name": "n"})
	b := n.agent(t, "acme")
	n.refuse(t, 503, away, "POST", "/v1/claims", s.claim(b), bearer(s.key), signedBy(b.Signer))
	n.refuse(t, 503, away, "POST", "/v1/claims", s.claim(a), bearer(s.key), signedBy(a.Signer))
	// What is not known here may have been made elsewhere.
	n.refuse(t, 503, away, "GET", "/v1/auth/me", nil, managementKey("sigma_sk_live_0000"))
	n.refuse(t, 503, away, "POST", "/v1/auth/login", map[string]any{"token": "login_elsewhere_XYZ"})
	o.ask("GET", "/v1/claims/"+id, nil).want(200)
	s.feed(a, "").want(200)
	if got := verdict(s.verify(a)); got != "authorized" {
		t.Errorf("verify says %s", got)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("without a log that took %v", took)
	}
	n.clock.advance(31 * time.Second)
	s.verify(a).want(503, away)
	s.feed(a, "").want(503, away)

	proxy.Heal()
	eventually(t, "the log to be back", func() bool { return s.verify(a).status == 200 })
	eventually(t, "commands to be taken", func() bool { return o.decide(id, "revoke", nil).status != 503 })
	if got := verdict(s.verify(a)); got != "revoked" {
		t.Errorf("verify says %s", got)
	}
}

// A log that says nothing keeps nobody waiting for long; whether the command was recorded
// shows when the same one is sent again.
func TestSilentLog(t *testing.T) {
	n, proxy := overFaultyNetwork(t)
	o := n.owner(t, "acme")
	s := o.service("weather")
	a := n.agent(t, "acme")
	body, key := s.claim(a), set("Idempotency-Key", "once")
	submit := func() *reply {
		return n.send(t, "POST", "/v1/claims", body, bearer(s.key), signedBy(a.Signer), key)
	}
	proxy.Stall()
	began := time.Now()
	submit().want(503, domain.CodeServiceUnavailable)
	if took := time.Since(began); took > 12*time.Second {
		t.Errorf("the answer took %v", took)
	}
	proxy.Heal()
	var r *reply
	eventually(t, "the log to be back", func() bool { r = submit(); return r.status != 503 })
	before := n.last()
	if again := submit().want(201); again.text("claim_id") != r.want(201).text("claim_id") || n.last() != before {
		t.Errorf("%s, then %s", r.body, again.body)
	}
}
