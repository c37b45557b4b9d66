package api_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/api/httpsig"
	"github.com/claimledger/claimledger/domain"
)

// owner is somebody who may decide for a namespace, at one node.
type owner struct {
	*node
	t         *testing.T
	namespace string
	session   string
}

// operator gives an operator's command, as the command line would.
func (n *node) operator(namespace string, cmd domain.RegistryCommand) {
	n.t.Helper()
	meta := commands.Meta{Actor: domain.Actor{Kind: domain.ActorOperator}, Ref: domain.CommandRef{Name: "operator"}}
	if _, _, err := n.x.Registry(n.t.Context(), namespace, cmd, meta); err != nil {
		n.t.Fatalf("%T: %v", cmd, err)
	}
}

// loginToken is a new one-time token and how it is recorded.
func (n *node) loginToken(namespace string) (string, domain.LoginToken) {
	token := domain.FormatLoginToken(namespace, rand.Text())
	return token, domain.LoginToken{Hash: domain.HashOf([]byte(token)), ExpiresAt: n.clock.Now().Add(15 * time.Minute)}
}

// owner registers a namespace and signs its owner in.
func (n *node) owner(t *testing.T, namespace string) *owner {
	t.Helper()
	token, recorded := n.loginToken(namespace)
	n.operator(namespace, domain.RegisterNamespace{OwnerID: "owner_" + newID(), Token: recorded})
	o := &owner{node: n, t: t, namespace: namespace}
	o.session = n.send(t, "POST", "/v1/auth/login", map[string]any{"token": token}).want(200).text("session_token")
	return o
}

// signInAgain makes another session, for when the clock has outrun the first.
func (o *owner) signInAgain() {
	o.t.Helper()
	token, recorded := o.loginToken(o.namespace)
	o.operator(o.namespace, domain.IssueLoginToken{Token: recorded})
	o.session = o.node.send(o.t, "POST", "/v1/auth/login", map[string]any{"token": token}).want(200).text("session_token")
}

// on is the same owner at another node.
func (o *owner) on(n *node) *owner {
	c := *o
	c.node = n
	return &c
}

// ask sends a request as the owner.
func (o *owner) ask(method, target string, body any, options ...option) *reply {
	o.t.Helper()
	return o.node.send(o.t, method, target, body, append([]option{bearer(o.session)}, options...)...)
}

func (o *owner) refused(status int, code domain.Code, method, target string, body any, options ...option) *reply {
	o.t.Helper()
	return o.node.refuse(o.t, status, code, method, target, body, append([]option{bearer(o.session)}, options...)...)
}

// decide gives a command on a claim.
func (o *owner) decide(claimID, verb string, body any) *reply {
	o.t.Helper()
	return o.ask("POST", "/v1/claims/"+claimID+"/"+verb, body)
}

// policy changes the namespace's policy.
func (o *owner) policy(change map[string]any) *reply {
	o.t.Helper()
	return o.ask("PATCH", "/v1/namespaces/"+o.namespace+"/policy", change).want(200)
}

// key makes a management key and gives the option that shows it.
func (o *owner) key(permissions ...string) (show option, id string) {
	o.t.Helper()
	r := o.ask("POST", "/v1/api-keys", map[string]any{"name": strings.Join(permissions, "+"), "permissions": permissions}).want(201)
	return managementKey(r.text("rawKey")), r.text("id")
}

// service is something that agents ask access to, with a key for it.
type service struct {
	*owner
	id, slug, key, keyID string
}

func (o *owner) service(slug string) *service {
	o.t.Helper()
	s := &service{owner: o, slug: slug}
	s.id = o.ask("POST", "/v1/services", map[string]any{"slug": slug, "name": slug}).want(201).text("id")
	key := o.ask("POST", "/v1/services/"+s.id+"/keys", nil).want(201)
	s.key, s.keyID = key.text("key"), key.text("id")
	return s
}

// agent holds a key and signs as a namespace with it.
type agent struct {
	*httpsig.Signer
	t      *testing.T
	public string
}

// agent makes a key with a certificate for the namespace.
func (l *ledger) agent(t *testing.T, namespace string) *agent {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	expires := l.clock.Now().Add(365 * 24 * time.Hour)
	return &agent{t: t, public: httpsig.FormatKey(public), Signer: &httpsig.Signer{
		Namespace: namespace, Subject: "tester@example.com", Key: private, Now: l.clock.Now,
		Certificate: httpsig.NewCertificate(namespace, private, l.clock.Now(), &expires).Encode(),
	}}
}

// as is the same key with a certificate for another namespace.
func (a *agent) as(namespace string) *agent {
	signer := *a.Signer
	signer.Namespace = namespace
	signer.Certificate = httpsig.NewCertificate(namespace, a.Key, a.Now(), nil).Encode()
	return &agent{Signer: &signer, t: a.t, public: a.public}
}

// claim is the body of a submit, with changes; a nil value takes a field away.
func (s *service) claim(a *agent, changes ...map[string]any) map[string]any {
	body := map[string]any{
		"namespace": a.Namespace, "public_key": a.public, "service": s.slug,
		"agent_ip": "203.0.113.45", "nonce": rand.Text(),
	}
	for _, c := range changes {
		maps.Copy(body, c)
	}
	maps.DeleteFunc(body, func(_ string, v any) bool { return v == nil })
	return body
}

// submit submits a claim for the agent with the service's key, signed by the agent.
func (s *service) submit(a *agent, changes ...map[string]any) *reply {
	a.t.Helper()
	return s.node.send(a.t, "POST", "/v1/claims", s.claim(a, changes...), bearer(s.key), signedBy(a.Signer))
}

// pending submits and gives the id of the claim, which waits for a decision.
func (s *service) pending(a *agent) string {
	a.t.Helper()
	r := s.submit(a).want(201)
	if r.text("status") != "pending" {
		a.t.Fatalf("the claim is %s", r.body)
	}
	return r.text("claim_id")
}

// approved submits a claim and approves it.
func (s *service) approved(o *owner, a *agent) string {
	a.t.Helper()
	id := s.pending(a)
	o.decide(id, "approve", nil).want(200)
	return id
}

// verify asks whether the agent may use the service.
func (s *service) verify(a *agent, options ...option) *reply {
	a.t.Helper()
	return s.node.verify(a, "", append([]option{bearer(s.key)}, options...)...)
}

// verify asks without a service key, or with one among the options.
func (n *node) verify(a *agent, query string, options ...option) *reply {
	a.t.Helper()
	target := "/v1/verify?namespace=" + a.Namespace + "&public_key=" + escape(a.public) + query
	return n.send(a.t, "GET", target, nil, append([]option{signedBy(a.Signer)}, options...)...)
}

// verdict is what verify says, in a word.
func verdict(r *reply) string {
	r.t.Helper()
	r.want(200)
	if r.at("authorized") == true {
		return "authorized"
	}
	return r.text("reason")
}

func escape(text string) string { return url.QueryEscape(text) }
