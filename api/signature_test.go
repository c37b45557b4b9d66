package api_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/api/httpsig"
	"github.com/claimledger/claimledger/domain"
)

// Each way to sign that passes, on a submit and on a read without a body.
func TestSignaturesThatPass(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	s := o.service("weather")
	now := l.clock.Now
	tests := map[string]byHand{
		"the profile":                         {},
		"the method in lower case":            {values: map[string]string{}},
		"parameters in another order":         {order: "nonce alg keyid created"},
		"parameters in yet another order":     {order: "alg created nonce keyid"},
		"the longest nonce":                   {params: func(p *params) { p.nonce = `"` + strings.Repeat("n", 230) + rand.Text() + `"` }},
		"as old as can be":                    {params: func(p *params) { p.created = now().Unix() - 299 }},
		"as early as can be":                  {params: func(p *params) { p.created = now().Unix() + 4 }},
		"with an end that is still to come":   {params: func(p *params) { p.more = ";expires=99999999999" }},
		"a nonce with quotes and backslashes": {params: func(p *params) { p.nonce = `"a\"b\\` + rand.Text() + `"` }},
	}
	upper := func(method string) byHand { return byHand{values: map[string]string{"@method": method}} }
	for name, h := range tests {
		t.Run(name, func(t *testing.T) {
			h.agent = l.agent(t, "acme")
			n.send(t, "POST", "/v1/claims", s.claim(h.agent), bearer(s.key), h.signed()).want(201)
			o.decide(n.send(t, "POST", "/v1/claims", s.claim(h.agent), bearer(s.key), signedBy(h.agent.Signer)).want(200).text("claim_id"), "expire", nil)
			h.agent = l.agent(t, "acme")
			n.send(t, "GET", "/v1/namespaces/acme", nil, h.signed()).want(200)
		})
	}
	t.Run("the method as it stands", func(t *testing.T) {
		post, get := upper("POST"), upper("GET")
		post.agent, get.agent = l.agent(t, "acme"), l.agent(t, "acme")
		n.send(t, "POST", "/v1/claims", s.claim(post.agent), bearer(s.key), post.signed()).want(201)
		n.send(t, "GET", "/v1/namespaces/acme", nil, get.signed()).want(200)
	})
	t.Run("with an agent id", func(t *testing.T) {
		a := l.agent(t, "acme")
		a.AgentID = "agent-001"
		s.submit(a).want(201)
	})
	t.Run("with more digests than the one that is needed", func(t *testing.T) {
		a := l.agent(t, "acme")
		h := byHand{agent: a, values: map[string]string{}}
		body := string(encode(t, s.claim(a)))
		two := contentDigest(body) + ", sha-512=:" + base64.StdEncoding.EncodeToString(make([]byte, 64)) + ":"
		h.values["content-digest"] = two
		n.send(t, "POST", "/v1/claims", body, bearer(s.key), h.signed(), set("content-digest", two)).want(201)
	})
}

// Each way to sign that is refused, with its code. All of them are tried on a submit.
func TestSignaturesThatAreRefused(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	s := o.service("weather")
	const (
		invalid    = domain.CodeSignatureInvalid
		expired    = domain.CodeSignatureExpired
		components = domain.CodeSignatureComponentsInvalid
		digest     = domain.CodeSignatureDigestMismatch
	)
	covering := func(names string) byHand { return byHand{components: names} }
	param := func(f func(*params)) byHand { return byHand{params: f} }
	const all = `"@method" "@target-uri" "content-digest" "sigilum-namespace" "sigilum-subject" "sigilum-agent-key" "sigilum-agent-cert"`
	tests := []struct {
		name string
		code domain.Code
		hand byHand
		then []option
	}{
		{"301 s old", expired, param(func(p *params) { p.created = l.clock.Now().Unix() - 302 }), nil},
		{"early", expired, param(func(p *params) { p.created = l.clock.Now().Unix() + 7 }), nil},
		{"past its own end", expired, param(func(p *params) { p.more = ";expires=1700000000" }), nil},

		{"less is covered", components, covering(`"@method" "@target-uri"`), nil},
		{"no digest covered", components, covering(strings.Replace(all, `"content-digest" `, "", 1)), nil},
		{"another order", components, covering(strings.Replace(all, `"@method" "@target-uri"`, `"@target-uri" "@method"`, 1)), nil},
		{"more is covered", components, covering(all + ` "content-type"`), nil},
		{"one twice", components, covering(all + ` "sigilum-subject"`), nil},
		{"nothing covered", components, covering(" "), nil},
		{"authority and path for the URI", components, covering(strings.Replace(all, `"@target-uri"`, `"@authority" "@path"`, 1)), nil},
		{"a component with a parameter", components, covering(strings.Replace(all, `"sigilum-subject"`, `"sigilum-subject";bs`, 1)), nil},
		{"an agent id covered that is not there", components, covering(strings.Replace(all, `"sigilum-agent-key"`, `"sigilum-agent-id" "sigilum-agent-key"`, 1)), nil},
		{"an agent id there that is not covered", components, byHand{}, []option{set("sigilum-agent-id", "agent-001")}},

		{"another body", digest, byHand{}, []option{with(`{"namespace":"acme"}`)}},
		{"another digest", digest, byHand{}, []option{set("content-digest", contentDigest("another"))}},
		{"no sha-256", digest, byHand{}, []option{set("content-digest", "sha-512=:"+base64.StdEncoding.EncodeToString(make([]byte, 64))+":")}},
		{"no digest at all", digest, byHand{}, []option{set("content-digest", "sha-256")}},

		{"body and digest changed", invalid, byHand{}, []option{with("{}"), set("content-digest", contentDigest("{}"))}},
		{"another path", invalid, byHand{values: map[string]string{"@target-uri": n.public + "/v1/claim"}}, nil},
		{"a query added", invalid, byHand{}, []option{to("/v1/claims?a=b")}},
		{"another host", invalid, byHand{values: map[string]string{"@target-uri": "http://ledger.example/v1/claims"}}, nil},
		{"another method", invalid, byHand{values: map[string]string{"@method": "put"}}, nil},
		{"a method in between", invalid, byHand{values: map[string]string{"@method": "Post"}}, nil},
		{"another subject", invalid, byHand{}, []option{set("sigilum-subject", "someone@example.com")}},
		{"another label", invalid, byHand{label: "sig2"}, nil},
		{"another algorithm", invalid, param(func(p *params) { p.alg = `"hmac-sha256"` }), nil},
		{"another key id", invalid, param(func(p *params) { p.keyid = `"agent-key-1"` }), nil},
		{"no created", invalid, byHand{order: "keyid alg nonce"}, nil},
		{"no keyid", invalid, byHand{order: "created alg nonce"}, nil},
		{"no alg", invalid, byHand{order: "created keyid nonce"}, nil},
		{"no nonce", invalid, byHand{order: "created keyid alg"}, nil},
		{"an empty nonce", invalid, param(func(p *params) { p.nonce = `""` }), nil},
		{"too long a nonce", invalid, param(func(p *params) { p.nonce = `"` + strings.Repeat("n", 257) + `"` }), nil},
		{"a nonce twice", invalid, param(func(p *params) { p.more = `;nonce="another"` }), nil},
		{"an unknown parameter", invalid, param(func(p *params) { p.more = `;tag="app"` }), nil},
		{"a signature that is none", invalid, byHand{}, []option{set("signature", "sig1=:AAAA:")}},
		{"an input that is none", invalid, byHand{}, []option{set("signature-input", "sig1")}},
		{"a header twice", invalid, byHand{}, []option{tampered(func(s *sending) { s.Header.Add("sigilum-namespace", "acme") })}},
		{"a second label", invalid, byHand{}, []option{tampered(secondLabel)}},
		{"a second line of signatures", invalid, byHand{}, []option{tampered(secondLine)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.hand.agent = l.agent(t, "acme")
			options := append([]option{bearer(s.key), test.hand.signed()}, test.then...)
			n.refuse(t, 401, test.code, "POST", "/v1/claims", s.claim(test.hand.agent), options...)
		})
	}
}

func secondLabel(s *sending) {
	for _, name := range []string{"signature-input", "signature"} {
		one := s.Header.Get(name)
		s.Header.Set(name, one+", sig2"+strings.TrimPrefix(one, "sig1"))
	}
}

func secondLine(s *sending) {
	for _, name := range []string{"signature-input", "signature"} {
		s.Header.Add(name, "sig2"+strings.TrimPrefix(s.Header.Get(name), "sig1"))
	}
}

func contentDigest(body string) string {
	h := domain.HashOf([]byte(body))
	return "sha-256=:" + base64.StdEncoding.EncodeToString(h[:]) + ":"
}

func TestMissingHeaders(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	s := n.owner(t, "acme").service("weather")
	for _, name := range []string{
		"signature-input", "signature", "content-digest", "sigilum-namespace", "sigilum-subject",
		"sigilum-agent-key", "sigilum-agent-cert",
	} {
		a := l.agent(t, "acme")
		r := n.refuse(t, 401, domain.CodeSignatureMissing, "POST", "/v1/claims", s.claim(a), bearer(s.key), signedBy(a.Signer), set(name, ""))
		if !strings.Contains(r.text("error"), name) {
			t.Errorf("without %s: %q", name, r.text("error"))
		}
		if name != "content-digest" {
			n.refuse(t, 401, domain.CodeSignatureMissing, "GET", "/v1/namespaces/acme", nil, signedBy(a.Signer), set(name, ""))
		}
	}
	n.refuse(t, 401, domain.CodeSignatureMissing, "GET", "/v1/verify", nil)
	n.refuse(t, 401, domain.CodeSignatureMissing, "GET", "/v1/namespaces/claims", nil, bearer(s.key))
}

// A digest without a body must be true, is not needed, and must not be covered.
func TestDigestWithoutBody(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	n.owner(t, "acme")
	read := func(then ...option) *reply {
		return n.send(t, "GET", "/v1/namespaces/acme", nil, append([]option{signedBy(l.agent(t, "acme").Signer)}, then...)...)
	}
	read().want(200)
	read(set("content-digest", contentDigest(""))).want(200)
	read(set("content-digest", contentDigest("x"))).want(401, domain.CodeSignatureDigestMismatch)
	covered := byHand{agent: l.agent(t, "acme"), components: `"@method" "@target-uri" "content-digest" "sigilum-namespace" "sigilum-subject" "sigilum-agent-key" "sigilum-agent-cert"`}
	n.send(t, "GET", "/v1/namespaces/acme", nil, set("content-digest", contentDigest("")), covered.signed()).
		want(401, domain.CodeSignatureComponentsInvalid)
}

func TestCertificates(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	s := n.owner(t, "acme").service("weather")
	n.owner(t, "globex")
	ago, ahead := l.clock.Now().Add(-time.Minute), l.clock.Now().Add(time.Minute)
	change := func(f func(*httpsig.Certificate)) func(*agent) string {
		return func(a *agent) string {
			c := httpsig.NewCertificate("acme", a.Key, ago, nil)
			f(&c)
			return c.Encode()
		}
	}
	tests := map[string]func(*agent) string{
		"expired":               func(a *agent) string { return httpsig.NewCertificate("acme", a.Key, ago, &ago).Encode() },
		"not yet issued":        func(a *agent) string { return httpsig.NewCertificate("acme", a.Key, ahead, nil).Encode() },
		"for another namespace": func(a *agent) string { return httpsig.NewCertificate("globex", a.Key, ago, nil).Encode() },
		"of another key":        func(*agent) string { return l.agent(t, "acme").Certificate },
		"its end removed":       func(a *agent) string { return withoutEnd(t, httpsig.NewCertificate("acme", a.Key, ago, &ago)) },
		"its did changed":       change(func(c *httpsig.Certificate) { c.DID = "did:sigilum:globex" }),
		"its key id changed":    change(func(c *httpsig.Certificate) { c.KeyID = "did:sigilum:acme#ed25519-0011223344556677" }),
		"its version changed":   change(func(c *httpsig.Certificate) { c.Version = 2 }),
		"its proof changed":     change(func(c *httpsig.Certificate) { c.Proof.Sig = base64.RawURLEncoding.EncodeToString(make([]byte, 64)) }),
		"its issue time moved":  change(func(c *httpsig.Certificate) { c.IssuedAt = ago.Add(-time.Hour).Format(time.RFC3339) }),
		"no JSON":               func(*agent) string { return "bm90IGpzb24" },
		"no base64url":          func(*agent) string { return "not base64" },
	}
	for name, make := range tests {
		t.Run(name, func(t *testing.T) {
			a := l.agent(t, "acme")
			a.Certificate = make(a)
			n.refuse(t, 401, domain.CodeSignatureInvalid, "POST", "/v1/claims", s.claim(a), bearer(s.key), signedBy(a.Signer))
		})
	}
	t.Run("expires after it was seen", func(t *testing.T) {
		a := l.agent(t, "acme")
		until := l.clock.Now().Add(time.Hour)
		a.Certificate = httpsig.NewCertificate("acme", a.Key, ago, &until).Encode()
		s.submit(a).want(201)
		l.clock.advance(2 * time.Hour)
		n.refuse(t, 401, domain.CodeSignatureInvalid, "POST", "/v1/claims", s.claim(a), bearer(s.key), signedBy(a.Signer))
	})
}

func withoutEnd(t *testing.T, c httpsig.Certificate) string {
	t.Helper()
	c.ExpiresAt = nil
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// A certificate proves a key and nothing else.
func TestACertificateGrantsNothing(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	s := n.owner(t, "acme").service("weather")
	stranger := l.agent(t, "acme")
	if got := verdict(s.verify(stranger)); got != "no_approved_claim" {
		t.Errorf("verify says %s", got)
	}
	for _, target := range []string{"/v1/namespaces/acme/claims", "/v1/namespaces/acme/policy", "/v1/services"} {
		n.refuse(t, 401, domain.CodeUnauthorized, "GET", target, nil, signedBy(stranger.Signer))
	}
	n.refuse(t, 401, domain.CodeUnauthorized, "GET", "/v1/namespaces/claims", nil, signedBy(stranger.Signer))
}
