package api_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
)

func idempotent(key string) option { return set("Idempotency-Key", key) }

// withoutSecrets is an answer's body but for what it shows once.
func withoutSecrets(r *reply) map[string]any {
	r.t.Helper()
	var body map[string]any
	r.into(&body)
	for _, secret := range []string{"key", "rawKey", "secret"} {
		delete(body, secret)
	}
	return body
}

// command is a request that appends.
type command struct {
	method, target string
	body           any
}

// give gives the command under a key of its own.
func (c command) give(o *owner) *reply {
	return o.ask(c.method, c.target, c.body, idempotent(c.method+" "+c.target))
}

// TestRepeatsAreAnsweredAlike: each command that an owner has, again after all that it
// was about has changed and is gone, on the node that did it, on another, and on one that
// has read it all from the log.
func TestRepeatsAreAnsweredAlike(t *testing.T) {
	l := newLedger(t)
	n, m := l.start(), l.start()
	o := n.owner(t, "acme")
	weather := o.service("weather")
	claim := func() string { return "/v1/claims/" + weather.pending(l.agent(t, "acme")) }
	approved, rejected, expired := claim(), claim(), claim()

	var given []command
	var first []*reply
	give := func(method, target string, body any) *reply {
		c := command{method, target, body}
		r := c.give(o)
		given, first = append(given, c), append(first, r)
		return r
	}
	service := "/v1/services/" + give("POST", "/v1/services", map[string]any{"slug": "news", "name": "News", "description": "All of it"}).want(201).text("id")
	key := service + "/keys/" + give("POST", service+"/keys", map[string]any{"name": "k"}).want(201).text("id")
	give("PATCH", service, map[string]any{"name": "Old news"}).want(200)
	hook := service + "/webhooks/" + give("POST", service+"/webhooks", map[string]any{"url": "https://example.com/hook", "description": "d"}).want(201).text("id")
	give("PATCH", hook, map[string]any{"active": false, "events": []string{"request.approved"}}).want(200)
	give("POST", hook+"/rotate-secret", nil).want(200)
	manager := "/v1/api-keys/" + give("POST", "/v1/api-keys", map[string]any{"name": "k", "permissions": []string{"read"}}).want(201).text("id")
	give("PATCH", "/v1/namespaces/acme/policy", map[string]any{"max_agents": 7, "auto_approve": map[string]any{"cidrs": []string{"203.0.113.0/24"}}}).want(200)
	give("POST", approved+"/approve", map[string]any{"reason": "r"}).want(200)
	give("POST", approved+"/revoke", nil).want(200)
	give("POST", rejected+"/reject", nil).want(200)
	give("POST", expired+"/expire", nil).want(200)
	give("POST", key+"/deactivate", nil).want(200)
	give("DELETE", key, nil).want(200)
	give("POST", manager+"/deactivate", nil).want(200)
	give("DELETE", manager, nil).want(200)
	give("DELETE", hook, nil).want(200)
	give("DELETE", service, nil).want(200)
	o.policy(map[string]any{"max_agents": 8})
	o.service("news")

	after := l.last()
	eventually(t, "the other node to know", func() bool { return m.x.Position() >= after })
	again := func(n *node) {
		t.Helper()
		for i, c := range given {
			r := c.give(o.on(n)).want(first[i].status)
			if got, want := withoutSecrets(r), withoutSecrets(first[i]); !reflect.DeepEqual(got, want) || r.at("key") != nil || r.at("rawKey") != nil || r.at("secret") != nil {
				t.Errorf("%s: %s, at first %s", r.what, r.body, first[i].body)
			}
		}
	}
	again(n)
	again(m)
	n.stop()
	m.stop()
	again(l.start())
	if l.last() != after {
		t.Errorf("the log went from %d to %d", after, l.last())
	}
}

// Two at once under one key, at two nodes: one of them is recorded, and both are told
// the same. A secret is shown to the one alone.
func TestRepeatsAtOnce(t *testing.T) {
	l := newLedger(t)
	nodes := []*node{l.start(), l.start()}
	o := nodes[0].owner(t, "acme")
	s := o.service("weather")
	o.policy(map[string]any{"max_pending": 1000})
	hook := "/v1/services/" + s.id + "/webhooks/" + o.ask("POST", "/v1/services/"+s.id+"/webhooks", map[string]any{"url": "https://example.com"}).want(201).text("id")
	at := func(n *node, c command, key string) *reply {
		return o.on(n).ask(c.method, c.target, c.body, idempotent(key))
	}
	for i := range 10 {
		claim := "/v1/claims/" + s.pending(l.agent(t, "acme"))
		a := l.agent(t, "acme")
		submit := s.claim(a)
		for what, c := range map[string]command{
			"submit":   {target: "/v1/claims"},
			"approve":  {"POST", claim + "/approve", nil},
			"service":  {"POST", "/v1/services", map[string]any{"slug": fmt.Sprint("s", i), "name": "s"}},
			"key":      {"POST", "/v1/services/" + s.id + "/keys", map[string]any{"name": fmt.Sprint(i)}},
			"renaming": {"PATCH", "/v1/services/" + s.id, map[string]any{"name": fmt.Sprint(i)}},
			"hook":     {"PATCH", hook, map[string]any{"description": fmt.Sprint(i)}},
			"manager":  {"POST", "/v1/api-keys", map[string]any{"name": "m", "permissions": []string{"read"}}},
			"policy":   {"PATCH", "/v1/namespaces/acme/policy", map[string]any{"max_agents": 101 + i}},
		} {
			if i >= 8 && what == "key" {
				continue // a service has ten
			}
			before := l.last()
			key := fmt.Sprint(what, i)
			got := make([]*reply, 4)
			parallel(len(got), len(got), func(i int) {
				if n := nodes[i%2]; what == "submit" {
					got[i] = n.send(t, "POST", "/v1/claims", submit, bearer(s.key), signedBy(a.Signer), idempotent(key))
				} else {
					got[i] = at(n, c, key)
				}
			})
			shown := 0
			for _, r := range got {
				if r.status > 201 || r.status != got[0].status || !reflect.DeepEqual(withoutSecrets(r), withoutSecrets(got[0])) {
					t.Errorf("%s: %d %s, and %d %s", what, got[0].status, got[0].body, r.status, r.body)
				}
				if r.at("key") != nil || r.at("rawKey") != nil {
					shown++
				}
			}
			if secret := what == "key" || what == "manager"; secret != (shown == 1) || shown > 1 {
				t.Errorf("%s: %d were shown a secret", what, shown)
			}
			if now := l.last(); now != before+1 {
				t.Errorf("%s: %d commits", what, now-before)
			}
		}
	}
}

// A key is refused that is none, and one that is sent twice.
func TestBadIdempotencyKeys(t *testing.T) {
	l := newLedger(t)
	o := l.start().owner(t, "acme")
	body := map[string]any{"slug": "s", "name": "s"}
	for name, values := range map[string][]string{
		"empty": {""}, "two": {"a", "b"}, "the same twice": {"a", "a"}, "too long": {strings.Repeat("x", 256)}, "no text": {"\xff"},
	} {
		t.Run(name, func(t *testing.T) {
			r := o.refused(400, domain.CodeInvalidRequest, "POST", "/v1/services", body, tampered(func(s *sending) { s.Header["Idempotency-Key"] = values }))
			if r.fields() != "Idempotency-Key" {
				t.Errorf("refused because of %s", r.fields())
			}
		})
	}
	for _, key := range []string{"x", strings.Repeat("x", 255), "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", "ключ с пробелами"} {
		body["slug"] = fmt.Sprint("s", len(key))
		o.ask("POST", "/v1/services", body, idempotent(key)).want(201)
	}
}

// followed waits until a node knows all that is in the log.
func (n *node) followed() *node {
	n.t.Helper()
	last := n.last()
	eventually(n.t, "the node to know", func() bool { return n.x.Position() >= last })
	return n
}

// A key is one caller's for one request, whatever the request is about: his namespace's
// claims or anything else of it.
func TestIdempotencyKeyOfAnOwnersOtherCommand(t *testing.T) {
	l := newLedger(t)
	n, m := l.start(), l.start()
	o := n.owner(t, "acme")
	s := o.service("weather")
	show, _ := o.key("update-model", "update-data", "read")
	approve, create := command{"POST", "/v1/claims/" + s.pending(l.agent(t, "acme")) + "/approve", nil}, command{"POST", "/v1/services", map[string]any{"slug": "news", "name": "News"}}
	give := func(n *node, c command, key string, as ...option) *reply {
		return o.on(n).ask(c.method, c.target, c.body, append(as, idempotent(key))...)
	}
	give(n, approve, "a").want(200)
	give(n, create, "b").want(201)
	after := l.last()
	other := command{"POST", "/v1/services/" + s.id + "/keys", nil}
	revoke := command{"POST", approve.target[:len(approve.target)-len("approve")] + "revoke", nil}
	check := func(n *node) {
		t.Helper()
		for _, c := range []command{create, other} {
			give(n, c, "a").want(409, domain.CodeIdempotencyMismatch)
		}
		for _, c := range []command{approve, revoke} {
			give(n, c, "b").want(409, domain.CodeIdempotencyMismatch)
		}
		give(n, approve, "a").want(200)
		give(n, create, "b").want(201)
	}
	check(n)
	check(m.followed())
	n.stop()
	m.stop()
	n = l.start()
	check(n)
	if l.last() != after {
		t.Errorf("the log went from %d to %d", after, l.last())
	}
	// Another caller's key is another key.
	give(n, create, "a", set("Authorization", ""), show).want(409, domain.CodeConflict)
	give(n, other, "a", set("Authorization", ""), show).want(201)
	l.clock.advance(24 * time.Hour)
	o.node = n
	o.signInAgain()
	give(n, other, "b").want(201)
}

// A service's submits go to any namespace, and its key is for one of them.
func TestIdempotencyKeyInAnotherNamespace(t *testing.T) {
	l := newLedger(t)
	n, m := l.start(), l.start()
	n.owner(t, "acme")
	n.owner(t, "globex")
	s := n.owner(t, "provider").service("weather")
	a := l.agent(t, "acme")
	b := a.as("globex")
	toAcme, toGlobex := s.claim(a), s.claim(b)
	submit := func(n *node, a *agent, body any, key string) *reply {
		t.Helper()
		return n.send(t, "POST", "/v1/claims", body, bearer(s.key), signedBy(a.Signer), idempotent(key))
	}
	first := submit(n, a, toAcme, "one").want(201)
	after := l.last()
	check := func(n *node) {
		t.Helper()
		submit(n, b, toGlobex, "one").want(409, domain.CodeIdempotencyMismatch)
		submit(n, a, s.claim(a), "one").want(409, domain.CodeIdempotencyMismatch)
		if r := submit(n, a, toAcme, "one").want(201); string(r.body) != string(first.body) {
			t.Errorf("again: %s, at first: %s", r.body, first.body)
		}
	}
	check(n)
	check(m.followed())
	n.stop()
	m.stop()
	n = l.start()
	check(n)
	if l.last() != after {
		t.Errorf("the log went from %d to %d", after, l.last())
	}
	submit(n, b, toGlobex, "two").want(201)
	submit(n, a, toAcme, "two").want(409, domain.CodeIdempotencyMismatch)
	l.clock.advance(24 * time.Hour)
	submit(n, b, s.claim(b), "one").want(201)
}

// One key for two requests at once on one node: one of them is recorded.
func TestIdempotencyKeyForTwoThingsAtOnce(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	n.owner(t, "globex")
	s := o.service("weather")
	o.policy(map[string]any{"max_pending": 1000})
	submit := func(a *agent, key string) *reply {
		return n.send(t, "POST", "/v1/claims", s.claim(a), bearer(s.key), signedBy(a.Signer), idempotent(key))
	}
	for i := range 20 {
		a := l.agent(t, "acme")
		approve := "/v1/claims/" + s.pending(l.agent(t, "acme")) + "/approve"
		requests := []func(key string) *reply{
			func(key string) *reply { return submit(a, key) },
			func(key string) *reply { return submit(a.as("globex"), key) },
			func(key string) *reply { return o.ask("POST", approve, nil, idempotent(key)) },
			func(key string) *reply {
				return o.ask("POST", "/v1/services", map[string]any{"slug": fmt.Sprint("s", i), "name": "s"}, idempotent(key))
			},
		}
		before := l.last()
		got := make([]*reply, len(requests))
		parallel(len(got), len(got), func(j int) { got[j] = requests[j](fmt.Sprint("key", i)) })
		if now := l.last(); now != before+2 {
			t.Errorf("%d commits", now-before)
		}
		for _, pair := range [][]*reply{got[:2], got[2:]} {
			winner, loser := pair[0], pair[1]
			if winner.status == 409 {
				winner, loser = loser, winner
			}
			if winner.status > 201 {
				t.Errorf("%s: %d %s", winner.what, winner.status, winner.body)
			}
			loser.want(409, domain.CodeIdempotencyMismatch)
		}
	}
}
