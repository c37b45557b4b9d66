package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// Who may sign a submit: the agent itself in the namespace that is asked, a gateway
// of that namespace, or whoever owns the service.
func TestWhoMaySignASubmit(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	n.owner(t, "acme")
	n.owner(t, "globex")
	s := n.owner(t, "provider").service("weather")
	gateway := set("X-Sigilum-Claim-Binding", "namespace-only")
	const ok, key, namespace = "", domain.CodeSignatureKeyMismatch, domain.CodeSignatureNamespaceMismatch
	tests := []struct {
		name   string
		signer string // the namespace that signs
		own    bool   // with the key that the claim is for
		option option
		code   domain.Code
	}{
		{"the agent", "acme", true, nil, ok},
		{"the agent, writing its namespace in upper case", "ACME", true, nil, ok},
		{"another key of the namespace", "acme", false, nil, key},
		{"a gateway of the namespace", "acme", false, gateway, ok},
		{"a gateway that says so in another way", "acme", false, set("X-Sigilum-Claim-Binding", "namespace"), key},
		{"the service, for the agent", "provider", false, nil, ok},
		{"the service, with the agent's key", "provider", true, nil, ok},
		{"the service, as a gateway", "provider", false, gateway, ok},
		{"somebody else", "globex", false, nil, namespace},
		{"somebody else, with the agent's key", "globex", true, nil, namespace},
		{"a gateway of somebody else", "globex", false, gateway, namespace},
		{"nobody that is known", "nobody", false, nil, namespace},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := l.agent(t, "acme")
			signer := a.as(test.signer)
			if !test.own {
				signer = l.agent(t, test.signer)
			}
			options := []option{bearer(s.key)}
			if test.option != nil {
				options = append(options, test.option)
			}
			options = append(options, signedBy(signer.Signer))
			if test.code == ok {
				n.send(t, "POST", "/v1/claims", s.claim(a), options...).want(201)
			} else {
				n.refuse(t, 403, test.code, "POST", "/v1/claims", s.claim(a), options...)
			}
		})
	}
}

// Reads are signed for the namespace that they are about; on the feed the key decides.
func TestWhoMaySignARead(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	n.owner(t, "acme")
	s := n.owner(t, "provider").service("weather")
	a, other := l.agent(t, "acme"), l.agent(t, "provider")
	about := "/v1/verify?namespace=acme&service=weather&public_key=" + escape(a.public)

	n.send(t, "GET", "/v1/namespaces/acme", nil, signedBy(a.Signer)).want(200)
	n.send(t, "GET", "/v1/namespaces/ACME", nil, signedBy(a.as("Acme").Signer)).want(200)
	n.refuse(t, 403, domain.CodeSignatureNamespaceMismatch, "GET", "/v1/namespaces/acme", nil, signedBy(other.Signer))
	n.send(t, "GET", about, nil, signedBy(a.Signer)).want(200)
	n.send(t, "GET", about, nil, signedBy(l.agent(t, "acme").Signer)).want(200)
	n.refuse(t, 403, domain.CodeSignatureNamespaceMismatch, "GET", about, nil, signedBy(other.Signer))
	n.refuse(t, 403, domain.CodeSignatureNamespaceMismatch, "GET", about, nil, signedBy(other.Signer), bearer(s.key))
	for _, namespace := range []string{"acme", "provider", "nobody-at-all"} {
		n.send(t, "GET", "/v1/namespaces/claims", nil, signedBy(l.agent(t, namespace).Signer), bearer(s.key)).want(200)
	}
}

// The path and the query are signed byte for byte.
func TestTargetTampering(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	n.owner(t, "acme")
	n.owner(t, "globex")
	a := l.agent(t, "acme")
	about := "/v1/verify?namespace=acme&service=weather&public_key=" + escape(a.public)
	n.send(t, "GET", about, nil, signedBy(a.Signer)).want(200)
	n.send(t, "GET", about+"&", nil, signedBy(a.Signer)).want(200)
	for _, other := range []string{
		about + "&x=1", about + "&", strings.Replace(about, "weather", "wea%74her", 1), strings.Replace(about, "acme", "globex", 1),
		strings.Replace(about, "/v1/verify?namespace=acme&service=weather", "/v1/verify?service=weather&namespace=acme", 1),
	} {
		n.refuse(t, 401, domain.CodeSignatureInvalid, "GET", about, nil, signedBy(a.Signer), to(other))
	}
	n.refuse(t, 401, domain.CodeSignatureInvalid, "GET", "/v1/namespaces/acme", nil, signedBy(a.Signer), to("/v1/namespaces/acme?"))
}

// Behind a proxy, what clients call is configured and never taken from a header.
func TestPublicURL(t *testing.T) {
	l := newLedger(t)
	n := l.start(func(s *settings) { s.publicURL = "https://Ledger.Example:443/base/" })
	n.public = "https://ledger.example/base"
	s := n.owner(t, "acme").service("weather")
	a := l.agent(t, "acme")
	host := func(h string) option { return tampered(func(s *sending) { s.Host = h }) }

	s.submit(a).want(201)
	n.send(t, "GET", "/v1/namespaces/acme", nil, signedBy(a.Signer), host("internal:8080")).want(200)
	direct := *n
	direct.public = "http://" + n.addr
	direct.refuse(t, 401, domain.CodeSignatureInvalid, "GET", "/v1/namespaces/acme", nil, signedBy(a.Signer))
	direct.refuse(t, 401, domain.CodeSignatureInvalid, "GET", "/v1/namespaces/acme", nil, signedBy(a.Signer),
		set("X-Forwarded-Host", n.addr), set("X-Forwarded-Proto", "http"), set("Forwarded", "proto=http;host="+n.addr))
	evil := *n
	evil.public = "https://evil.example/base"
	evil.refuse(t, 401, domain.CodeSignatureInvalid, "GET", "/v1/namespaces/acme", nil, signedBy(a.Signer), host("evil.example"))
}

// A signature is good once, per namespace. What appended is remembered with its commit,
// by every node and across restarts.
func TestReplayedSignatures(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	n.owner(t, "globex")
	s := n.owner(t, "acme").service("weather")
	const replay = domain.CodeSignatureNonceReplay

	t.Run("of a read", func(t *testing.T) {
		a := l.agent(t, "acme")
		for _, target := range []string{
			"/v1/namespaces/acme", "/v1/namespaces/claims", "/v1/verify?namespace=acme&service=weather&public_key=" + escape(a.public),
		} {
			r := n.prepare(t, "GET", target, nil, []option{bearer(s.key), signedBy(a.Signer)})
			n.do(t, r).want(200)
			n.do(t, r).want(409, replay)
		}
	})
	t.Run("of another request with the same nonce", func(t *testing.T) {
		a := l.agent(t, "acme")
		a.Nonce = func() string { return "one and the same" }
		n.send(t, "GET", "/v1/namespaces/acme", nil, signedBy(a.Signer)).want(200)
		n.refuse(t, 409, replay, "POST", "/v1/claims", s.claim(a), bearer(s.key), signedBy(a.Signer))
		b := a.as("globex") // the nonces of another namespace are its own
		n.send(t, "GET", "/v1/namespaces/globex", nil, signedBy(b.Signer)).want(200)
	})
	t.Run("of a request that was refused before the nonce was looked at", func(t *testing.T) {
		a := l.agent(t, "acme")
		r := n.prepare(t, "GET", "/v1/namespaces/acme", nil, []option{signedBy(a.Signer), set("Ledger-Min-Position", "x")})
		n.do(t, r).want(400)
		r.Header.Del("Ledger-Min-Position")
		n.do(t, r).want(200)
	})
	t.Run("of a submit, on every node and after a restart", func(t *testing.T) {
		a := l.agent(t, "acme")
		options := []option{bearer(s.key), signedBy(a.Signer)}
		first := n.prepare(t, "POST", "/v1/claims", s.claim(a), options)
		send := func(n *node) *reply { // as the same bytes, on the public URL that was signed
			again := first.Clone(t.Context())
			again.URL.Host = n.addr
			again.Body, _ = first.GetBody()
			return n.do(t, again)
		}
		send(n).want(201)
		before := l.last()
		send(n).want(409, replay)
		send(l.start()).want(409, replay)
		n.stop()
		l.clock.advance(4 * time.Minute)
		send(l.start()).want(409, replay)
		if l.last() != before {
			t.Errorf("the replays appended %d commits", l.last()-before)
		}
	})
}
