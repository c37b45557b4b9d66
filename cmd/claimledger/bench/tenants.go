package bench

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/claimledger/claimledger/api/httpsig"
)

const (
	maxNamespaces = 10_000
	slug          = "weather"
	// setupConnections is how many requests go at once while something is prepared.
	setupConnections = 256
	// generous is the highest that a limit of a policy may be.
	generous = 10_000_000
)

func namespaceName(i int) string { return fmt.Sprintf("bench-%05d", i) }

// tenant is a namespace with what its owner and its gateway need: a service, its key,
// and a gateway's key that signs for the namespace's agents.
type tenant struct {
	base, namespace string
	session         string
	service, key    string
	gateway         *httpsig.Signer
}

// writers are the tenants that writing spreads over.
func (b *bench) writers(ctx context.Context) ([]*tenant, error) {
	if b.tenants == nil {
		var err error
		if b.tenants, err = b.newTenants(ctx, 0, b.Namespaces, nil); err != nil {
			return nil, err
		}
	}
	return b.tenants, nil
}

// newTenants makes namespaces, numbered from first, with limits that no load reaches.
// auto makes their policies approve by themselves.
func (b *bench) newTenants(ctx context.Context, first, n int, auto func(*tenant) map[string]any) ([]*tenant, error) {
	names := make([]string, n)
	for i := range names {
		names[i] = namespaceName(first + i)
	}
	tokens, err := b.Program.Register(ctx, b.ledger.commits, names)
	if err != nil {
		return nil, err
	}
	tenants := make([]*tenant, n)
	_, err = closedLoop(ctx, min(n, b.connections(setupConnections)), n, forever, func(_, i int) (err error) {
		tenants[i], err = newTenant(ctx, b.ledger.base, names[i], tokens[i], auto)
		return err
	})
	return tenants, err
}

// approving is a policy that approves claims on the namespace's own service.
func approving(t *tenant) map[string]any {
	return map[string]any{"service_ids": []string{t.service}, "cidrs": []string{}}
}

func newTenant(ctx context.Context, base, namespace, token string, auto func(*tenant) map[string]any) (*tenant, error) {
	t := &tenant{base: base, namespace: namespace}
	var login struct {
		Session string `json:"session_token"`
	}
	if err := t.call(ctx, "POST", "/v1/auth/login", map[string]any{"token": token}, &login); err != nil {
		return nil, err
	}
	t.session = login.Session
	var service struct{ ID string }
	if err := t.call(ctx, "POST", "/v1/services", map[string]any{"slug": slug, "name": "Weather"}, &service); err != nil {
		return nil, err
	}
	t.service = service.ID
	var key struct{ Key string }
	if err := t.call(ctx, "POST", "/v1/services/"+service.ID+"/keys", map[string]any{"name": "bench"}, &key); err != nil {
		return nil, err
	}
	t.key = key.Key
	policy := map[string]any{"max_pending": generous, "max_agents": generous, "max_services": generous}
	if auto != nil {
		policy["auto_approve"] = auto(t)
	}
	if err := t.call(ctx, "PATCH", "/v1/namespaces/"+namespace+"/policy", policy, nil); err != nil {
		return nil, err
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	t.gateway = newSigner(namespace, private)
	return t, nil
}

func newSigner(namespace string, key ed25519.PrivateKey) *httpsig.Signer {
	now := time.Now()
	expires := now.Add(24 * time.Hour)
	return &httpsig.Signer{
		Namespace: namespace, Subject: "agent@example.com", Key: key,
		Certificate: httpsig.NewCertificate(namespace, key, now, &expires).Encode(),
	}
}

// newAgent makes up an agent's public key.
func newAgent() string {
	var key [ed25519.PublicKeySize]byte
	rand.Read(key[:])
	return httpsig.FormatKey(key[:])
}

// submitBy is a signed request for an agent's access. Without a signer the namespace's
// gateway signs for the agent.
func (t *tenant) submitBy(signer *httpsig.Signer, agent string) (*http.Request, error) {
	body, err := json.Marshal(map[string]any{
		"namespace": t.namespace, "public_key": agent, "service": slug, "agent_ip": "203.0.113.45",
		"nonce": rand.Text(), "subject": "agent@example.com", "agent_name": "An agent",
	})
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequest("POST", t.base+"/v1/claims", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+t.key)
	if signer == nil {
		signer = t.gateway
		r.Header.Set("X-Sigilum-Claim-Binding", "namespace-only")
	}
	return r, signer.Sign(r, body)
}

// decide is the owner's request about a claim.
func (t *tenant) decide(claimID, decision string) (*http.Request, error) {
	r, err := http.NewRequest("POST", t.base+"/v1/claims/"+claimID+"/"+decision, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+t.session)
	return r, nil
}

func (t *tenant) call(ctx context.Context, method, path string, body, into any) error {
	return call(ctx, method, t.base+path, t.session, body, into)
}

// call sends one request, as preparing needs some, and reads the answer.
func call(ctx context.Context, method, url, session string, body, into any) error {
	var payload []byte
	var err error
	if body != nil {
		if payload, err = json.Marshal(body); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(payload))
	if err != nil {
		return err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if session != "" {
		r.Header.Set("Authorization", "Bearer "+session)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s %s was answered %d %s", method, r.URL.Path, resp.StatusCode, bytes.TrimSpace(answer))
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}
