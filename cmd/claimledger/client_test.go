package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/claimledger/claimledger/api/httpsig"
	"github.com/claimledger/claimledger/api/openapi/openapitest"
)

// client speaks to one ledger.
type client struct {
	t    testing.TB
	base string
	http *http.Client
}

func newClient(t testing.TB, address string) *client {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{t: t, base: "http://" + address, http: &http.Client{Transport: openapitest.Transport(t, transport), Timeout: 15 * time.Second}}
}

// response is an answer that has been read.
type response struct {
	status   int
	code     string // of an error
	position uint64
	header   http.Header
	body     []byte
}

func (r *response) String() string { return fmt.Sprintf("%d %s", r.status, r.body) }

// decode reads the answer's body.
func (r *response) decode(t testing.TB, into any) {
	t.Helper()
	if err := json.Unmarshal(r.body, into); err != nil {
		t.Fatalf("%s: %v", r, err)
	}
}

// send sends a request. An error means that no answer came.
func (c *client) send(method, path string, body any, prepare ...func(*http.Request, []byte) error) (*response, error) {
	var payload []byte
	if body != nil {
		var err error
		if payload, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	// Not the test's context: that ends before cleanups, and loads end with theirs.
	req, err := http.NewRequestWithContext(context.Background(), method, c.base+path, bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, f := range prepare {
		if err := f(req, payload); err != nil {
			return nil, err
		}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	r := &response{status: resp.StatusCode, header: resp.Header, body: answer}
	r.position, _ = strconv.ParseUint(resp.Header.Get("Ledger-Position"), 10, 64)
	var refusal struct{ Code string }
	if json.Unmarshal(answer, &refusal) == nil {
		r.code = refusal.Code
	}
	return r, nil
}

// expect sends a request whose answer is known.
func (c *client) expect(status int, method, path string, body any, prepare ...func(*http.Request, []byte) error) *response {
	c.t.Helper()
	r, err := c.send(method, path, body, prepare...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	if r.status != status {
		c.t.Fatalf("%s %s: %s, want %d", method, path, r, status)
	}
	return r
}

// readiness asks how the ledger is.
func (c *client) readiness() (readiness, int, error) {
	r, err := c.send("GET", "/health/ready", nil)
	if err != nil {
		return readiness{}, 0, err
	}
	var ready readiness
	return ready, r.status, json.Unmarshal(r.body, &ready)
}

// awaitStatus waits until the ledger says that it is ready, degraded or unready.
func (c *client) awaitStatus(want string) readiness {
	c.t.Helper()
	var ready readiness
	eventually(c.t, patience, func() (err error) {
		var status int
		ready, status, err = c.readiness()
		if err == nil && (status == http.StatusOK) != (ready.Status != "unready") {
			c.t.Fatalf("/health/ready answers %d and says %s", status, ready.Status)
		}
		if err == nil && ready.Status != want {
			err = fmt.Errorf("it is %s, not %s: %v", ready.Status, want, ready.Checks)
		}
		return err
	})
	return ready
}

// tenant is a namespace with everything that its owner and its agents need.
type tenant struct {
	*client
	namespace  string
	login      loginLink
	session    string
	service    string // id
	keyID      string
	serviceKey string
	hook       string // a webhook's id, where a test made one
	signer     *httpsig.Signer
}

const serviceSlug = "weather"

// newTenant registers a namespace on the ledger whose place the flags tell, and makes
// a service and its key.
func newTenant(t testing.TB, c *client, namespace string, place ...string) *tenant {
	t.Helper()
	tn := &tenant{client: c, namespace: namespace}
	args := append([]string{"owner", "create", namespace, "--email", "owner@example.com", "--json"}, place...)
	if err := json.Unmarshal([]byte(must(t, args...)), &tn.login); err != nil {
		t.Fatal(err)
	}
	tn.signIn(tn.login.LoginToken)
	var service struct{ ID string }
	c.expect(201, "POST", "/v1/services", map[string]any{"slug": serviceSlug, "name": "Weather"}, tn.asOwner).decode(t, &service)
	tn.service = service.ID
	var key struct{ ID, Key string }
	c.expect(201, "POST", "/v1/services/"+service.ID+"/keys", map[string]any{"name": "test"}, tn.asOwner).decode(t, &key)
	tn.keyID, tn.serviceKey = key.ID, key.Key
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tn.signer = newSigner(namespace, private)
	return tn
}

func newSigner(namespace string, key ed25519.PrivateKey) *httpsig.Signer {
	expires := time.Now().Add(time.Hour)
	return &httpsig.Signer{
		Namespace: namespace, Subject: "agent@example.com", Key: key,
		Certificate: httpsig.NewCertificate(namespace, key, time.Now(), &expires).Encode(),
	}
}

func (tn *tenant) signIn(token string) {
	tn.t.Helper()
	var login struct {
		Token string `json:"session_token"`
	}
	tn.expect(200, "POST", "/v1/auth/login", map[string]any{"token": token}).decode(tn.t, &login)
	tn.session = login.Token
}

// at is the same tenant at another process.
func (tn *tenant) at(c *client) *tenant {
	other := *tn
	other.client = c
	return &other
}

// loginAt signs the owner in at another process, by another link: a session is for the
// public URL at which it began.
func (tn *tenant) loginAt(c *client, place ...string) (session string) {
	tn.t.Helper()
	var link loginLink
	args := append([]string{"owner", "login-link", tn.namespace, "--json"}, place...)
	if err := json.Unmarshal([]byte(must(tn.t, args...)), &link); err != nil {
		tn.t.Fatal(err)
	}
	other := tn.at(c)
	other.signIn(link.LoginToken)
	return other.session
}

func (tn *tenant) asOwner(r *http.Request, _ []byte) error {
	r.Header.Set("Authorization", "Bearer "+tn.session)
	return nil
}

// asGateway signs for any agent of the namespace, and shows the service's key.
func (tn *tenant) asGateway(r *http.Request, body []byte) error {
	r.Header.Set("Authorization", "Bearer "+tn.serviceKey)
	r.Header.Set("X-Sigilum-Claim-Binding", "namespace-only")
	return tn.signer.Sign(r, body)
}

// after makes a read wait for a position.
func after(position uint64) func(*http.Request, []byte) error {
	return func(r *http.Request, _ []byte) error {
		r.Header.Set("Ledger-Min-Position", strconv.FormatUint(position, 10))
		return nil
	}
}

// policy changes the namespace's policy.
func (tn *tenant) policy(changes map[string]any) {
	tn.t.Helper()
	tn.expect(200, "PATCH", "/v1/namespaces/"+tn.namespace+"/policy", changes, tn.asOwner)
}

// webhook subscribes a receiver to everything.
func (tn *tenant) webhook(r *hooks, more map[string]any) {
	tn.t.Helper()
	body := map[string]any{"url": r.url, "secret": r.secret}
	for key, value := range more {
		body[key] = value
	}
	tn.expect(201, "POST", "/v1/services/"+tn.service+"/webhooks", body, tn.asOwner)
}

// newAgent makes up an agent's public key.
func newAgent() string {
	var key [ed25519.PublicKeySize]byte
	rand.Read(key[:])
	return httpsig.FormatKey(key[:])
}

// submitted is the answer to a submit.
type submitted struct {
	ClaimID string `json:"claim_id"`
	Status  string `json:"status"`
}

// submit asks for access for an agent, with nonces that nothing had before.
func (tn *tenant) submit(agent string) (*response, submitted, error) {
	body := map[string]any{
		"namespace": tn.namespace, "public_key": agent, "service": serviceSlug,
		"agent_ip": "203.0.113.45", "nonce": rand.Text(),
	}
	r, err := tn.send("POST", "/v1/claims", body, tn.asGateway)
	if err != nil {
		return nil, submitted{}, err
	}
	var claim submitted
	return r, claim, json.Unmarshal(r.body, &claim)
}

// mustSubmit makes a claim and gives its id and position.
func (tn *tenant) mustSubmit() (claimID string, position uint64) {
	tn.t.Helper()
	r, claim, err := tn.submit(newAgent())
	if err != nil || r.status != 201 {
		tn.t.Fatalf("submit: %v, %v", r, err)
	}
	return claim.ClaimID, r.position
}

// listed is a claim in the namespace's list.
type listed struct {
	ClaimID   string `json:"claim_id"`
	PublicKey string `json:"public_key"`
	Status    string `json:"status"`
}

// list reads all claims of the namespace from the read model.
func (tn *tenant) list(position uint64) []listed {
	tn.t.Helper()
	const page = 200
	var all []listed
	for {
		path := fmt.Sprintf("/v1/namespaces/%s/claims?limit=%d&offset=%d", tn.namespace, page, len(all))
		var got struct{ Claims []listed }
		tn.expect(200, "GET", path, nil, tn.asOwner, after(position)).decode(tn.t, &got)
		all = append(all, got.Claims...)
		if len(got.Claims) < page {
			return all
		}
	}
}
