package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/api"
	"github.com/claimledger/claimledger/api/openapi"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

// who may call an operation.
type who string

const (
	anyone       who = "anyone"
	signingIn    who = "anyone, but no page of another site" // it would sign a browser in as somebody else
	signer       who = "whoever signs"
	serviceOf    who = "a service: signed, with its key"
	maybeService who = "whoever signs, as a service where it shows a key"
	ownerOf      who = "an owner: a session or a management key"
	session      who = "an owner's session alone"
)

// others is what an owner of another namespace is told.
type others string

const (
	theirOwn  others = ""          // the operation is about what the caller has
	forbidden others = "FORBIDDEN" // whose it is may be known
	unknown   others = "NOT_FOUND" // nothing is told
)

// rule is who may call one operation. The table is written down apart from the program
// and from its description: all three have to agree. A new operation needs a row here;
// what its path names, scene.target makes.
type rule struct {
	op         string // as it is described
	who        who
	permission domain.Permission
	others     others
	body       map[string]any // what the description's example needs to be valid here; see scene.body
}

const webhookPath = "/v1/services/{serviceId}/webhooks/{webhookId}"

var rules = []rule{
	{"POST /v1/claims", serviceOf, "", theirOwn, map[string]any{"namespace": "$namespace", "public_key": "$agent", "service": "$slug", "nonce": "$new"}},
	{"GET /v1/claims/{claimId}", ownerOf, "read", forbidden, nil},
	{"GET /v1/claims/{claimId}/events", ownerOf, "read", forbidden, nil},
	{"POST /v1/claims/{claimId}/approve", ownerOf, "update-data", forbidden, map[string]any{"expires_at": "$later"}},
	{"POST /v1/claims/{claimId}/reject", ownerOf, "update-data", forbidden, nil},
	{"POST /v1/claims/{claimId}/revoke", ownerOf, "delete-data", forbidden, nil},
	{"POST /v1/claims/{claimId}/expire", ownerOf, "delete-data", forbidden, nil},

	{"GET /v1/namespaces/claims", serviceOf, "", theirOwn, nil},
	{"GET /v1/namespaces/claims/changes", serviceOf, "", theirOwn, nil},
	{"GET /v1/namespaces/{namespace}", signer, "", theirOwn, nil},
	{"GET /v1/namespaces/{namespace}/claims", ownerOf, "read", forbidden, nil},
	{"GET /v1/namespaces/{namespace}/events", ownerOf, "read", forbidden, nil},
	{"GET /v1/namespaces/{namespace}/policy", ownerOf, "read", forbidden, nil},
	{"PATCH /v1/namespaces/{namespace}/policy", ownerOf, "update-model", forbidden, map[string]any{"max_agents": 1000}},
	{"GET /v1/verify", maybeService, "", theirOwn, nil},

	{"GET /v1/services", ownerOf, "read", theirOwn, nil},
	{"POST /v1/services", ownerOf, "update-model", theirOwn, map[string]any{"slug": "$new"}},
	{"GET /v1/services/{serviceId}", ownerOf, "read", unknown, nil},
	{"PATCH /v1/services/{serviceId}", ownerOf, "update-model", unknown, nil},
	{"DELETE /v1/services/{serviceId}", ownerOf, "delete-model", unknown, nil},
	{"GET /v1/services/{serviceId}/keys", ownerOf, "read", unknown, nil},
	{"POST /v1/services/{serviceId}/keys", ownerOf, "update-model", unknown, nil},
	{"POST /v1/services/{serviceId}/keys/{keyId}/deactivate", ownerOf, "update-model", unknown, nil},
	{"DELETE /v1/services/{serviceId}/keys/{keyId}", ownerOf, "delete-model", unknown, nil},
	{"GET /v1/services/{serviceId}/webhooks", ownerOf, "read", unknown, nil},
	{"POST /v1/services/{serviceId}/webhooks", ownerOf, "update-model", unknown, nil},
	{"GET " + webhookPath, ownerOf, "read", unknown, nil},
	{"PATCH " + webhookPath, ownerOf, "update-model", unknown, map[string]any{"active": false}},
	{"DELETE " + webhookPath, ownerOf, "delete-model", unknown, nil},
	{"POST " + webhookPath + "/rotate-secret", ownerOf, "update-model", unknown, nil},
	{"GET " + webhookPath + "/deliveries", ownerOf, "read", unknown, nil},
	{"GET " + webhookPath + "/deliveries/{deliveryId}", ownerOf, "read", unknown, nil},
	{"POST " + webhookPath + "/deliveries/{deliveryId}/redeliver", ownerOf, "update-model", unknown, nil},
	{"POST " + webhookPath + "/replay", ownerOf, "update-model", unknown, nil},
	{"POST " + webhookPath + "/ping", ownerOf, "update-model", unknown, nil},
	{"GET " + webhookPath + "/events", ownerOf, "read", unknown, nil},

	{"GET /v1/api-keys", ownerOf, "read", theirOwn, nil},
	{"POST /v1/api-keys", ownerOf, "update-model", theirOwn, map[string]any{"permissions": []string{"update-model"}}},
	{"POST /v1/api-keys/{keyId}/deactivate", ownerOf, "update-model", unknown, nil},
	{"DELETE /v1/api-keys/{keyId}", ownerOf, "delete-model", unknown, nil},
	{"GET /api-keys", ownerOf, "read", theirOwn, nil},
	{"POST /api-keys", ownerOf, "update-model", theirOwn, map[string]any{"permissions": []string{"update-model"}}},
	{"POST /api-keys/{keyId}/deactivate", ownerOf, "update-model", unknown, nil},
	{"DELETE /api-keys/{keyId}", ownerOf, "delete-model", unknown, nil},

	{"GET /v1/auth/login", anyone, "", theirOwn, nil},
	{"POST /v1/auth/login", signingIn, "", theirOwn, map[string]any{"token": "$token"}},
	{"POST /v1/auth/login/passkey/options", anyone, "", theirOwn, nil},
	{"POST /v1/auth/login/passkey", signingIn, "", theirOwn, nil},
	{"POST /v1/auth/signup/options", anyone, "", theirOwn, map[string]any{"namespace": "$new"}},
	{"POST /v1/auth/signup", signingIn, "", theirOwn, nil},
	{"POST /v1/auth/logout", session, "", theirOwn, nil},
	{"GET /v1/auth/me", ownerOf, "", theirOwn, nil},
	{"GET /v1/auth/passkeys", session, "", theirOwn, nil},
	{"POST /v1/auth/passkeys/options", session, "", theirOwn, nil},
	{"POST /v1/auth/passkeys", session, "", forbidden, nil}, // the options are the owner's who asked for them
	{"DELETE /v1/auth/passkeys/{passkeyId}", session, "", unknown, nil},

	{"GET /v1/log/head", anyone, "", theirOwn, nil},
	{"GET /openapi.json", anyone, "", theirOwn, nil},
	{"GET /docs", anyone, "", theirOwn, nil},
	{"GET /docs/{file}", anyone, "", theirOwn, nil},
}

// ofTheProcess are operations that the process has beside the API; the tests of the
// command call them.
var ofTheProcess = []string{"GET /health", "GET /health/ready", "GET /metrics"}

func ruleOf(t *testing.T, op string) rule {
	t.Helper()
	i := slices.IndexFunc(rules, func(r rule) bool { return r.op == op })
	if i < 0 {
		t.Fatalf("nobody has said who may call %s", op)
	}
	return rules[i]
}

// operation is what the description says of one.
type operation struct {
	ID          string
	Permission  string                `json:"x-permission"`
	Security    []map[string][]string // absent: the document's own
	RequestBody struct {
		Required bool
		Content  map[string]struct{ Schema schemaRef }
	}
	Responses map[string]any
}

type schemaRef struct {
	Ref string `json:"$ref"`
}

// description is the document that a node serves.
type description struct {
	operations map[string]operation
	security   []map[string][]string
	root       map[string]any
}

// described reads the document as a client does.
func (n *node) described(t *testing.T) *description {
	t.Helper()
	r := n.send(t, "GET", "/openapi.json", nil).want(http.StatusOK)
	var doc struct {
		Security []map[string][]string
		Paths    map[string]map[string]json.RawMessage
	}
	d := &description{operations: map[string]operation{}}
	r.into(&doc)
	r.into(&d.root)
	d.security = doc.Security
	for path, item := range doc.Paths {
		for method, raw := range item {
			if method == "parameters" {
				continue
			}
			var op operation
			if err := json.Unmarshal(raw, &op); err != nil {
				t.Fatalf("%s %s: %v", method, path, err)
			}
			d.operations[strings.ToUpper(method)+" "+path] = op
		}
	}
	return d
}

// get goes down by names, and along references.
func (d *description) get(v any, names ...string) any {
	for _, name := range append(names, "") {
		m, _ := v.(map[string]any)
		if ref, ok := m["$ref"].(string); ok {
			v = d.get(d.root, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
			m, _ = v.(map[string]any)
		}
		if name != "" {
			v = m[name]
		}
	}
	return v
}

// example is the body that the document shows for an operation; nil for none.
func (d *description) example(op string) map[string]any {
	o := d.operations[op]
	ref := o.RequestBody.Content["application/json"].Schema.Ref
	if ref == "" {
		return nil
	}
	example, _ := d.get(map[string]any{"$ref": ref}, "example").(map[string]any)
	return example
}

// promises are the codes that an operation can answer, with their statuses.
func (d *description) promises(op string) map[string]string {
	codes := map[string]string{}
	for status, response := range d.operations[op].Responses {
		all, _ := d.get(response, "content", "application/json", "schema", "allOf").([]any)
		if len(all) != 2 { // an error, and which codes it can have
			continue
		}
		list, _ := d.get(all[1], "properties", "code", "enum").([]any)
		for _, code := range list {
			codes[code.(string)] = status
		}
	}
	return codes
}

// scene is what operations are called on: two owners who have the same, and a node that
// serves its own description.
type scene struct {
	*node
	t           *testing.T
	own, other  *owner
	service     *service // own's
	same        *service // other's, with the same slug
	news        *service // own's second
	agent       *agent
	document    *description
	claim       string // pending, as it is only read
	webhook     string
	passkey     *authenticator // own's
	deliveries  *delivered
	nonexistent bool // names in paths are those of nothing
}

// delivered has the one delivery that is asked for, and refuses what its contract says.
type delivered struct {
	*asked
	busy bool // with what was asked for before
}

func (d *delivered) Ask(ctx context.Context, r api.DeliveryRequest) (string, error) {
	if d.busy {
		return "", domain.Errorf(domain.CodeConflict, "Another replay is not finished.")
	}
	d.mu.Lock()
	before := slices.Clone(d.requests)
	d.mu.Unlock()
	for _, b := range before {
		if b.ID == r.ID && !bytes.Equal(b.Fingerprint, r.Fingerprint) {
			return "", domain.Errorf(domain.CodeIdempotencyMismatch, "This Idempotency-Key was used for another request.")
		}
	}
	return d.asked.Ask(ctx, r)
}

func (d *delivered) Delivery(_ context.Context, _, id string) (api.Delivery, []api.Attempt, error) {
	if id != deliveryID {
		return api.Delivery{}, nil, domain.Errorf(domain.CodeNotFound, "There is no delivery %s of this webhook.", id)
	}
	return api.Delivery{ID: id, Event: "request.submitted", State: "delivered", OccurredAt: time.Unix(0, 0).UTC(), CreatedAt: time.Unix(0, 0).UTC()}, []api.Attempt{}, nil
}

const deliveryID = "evt_01kjpzqz7w1n8t5r4e3d2c1b0a_1"

func newScene(t *testing.T) *scene {
	l := newLedger(t)
	l.public = passkeyURL
	d := &delivered{asked: &asked{ledger: l}}
	return d.scene(t, l.start(d.settings))
}

// headAt is a position that no test comes to, but that of tests of what is too early.
const headAt = 1 << 40

// settings of a node that has the deliveries and all that can be switched on, and limits
// that no test comes to.
func (d *delivered) settings(s *settings) {
	s.deliveries, s.signUp = d, true
	heads := &eventstore.MemoryHeads{}
	if _, err := heads.Append(d.t.Context(), eventstore.StoredHead{}, logtest.Head(d.t, headAt)); err != nil {
		d.t.Fatal(err)
	}
	s.heads = heads
	s.limits = domain.OwnerLimits{Services: 10_000, KeysPerService: 10_000, WebhooksPerService: 10_000, ManagementKeys: 10_000}
}

// scene makes the owners and what they have.
func (d *delivered) scene(t *testing.T, n *node) *scene {
	t.Helper()
	if err := openapi.Routes(n.router, n.public); err != nil {
		t.Fatal(err)
	}
	s := &scene{node: n, t: t, deliveries: d, document: n.described(t), own: n.owner(t, "acme"), other: n.owner(t, "globex"), agent: n.agent(t, "acme")}
	s.own.policy(map[string]any{"max_pending": 10_000, "max_agents": 10_000})
	s.service, s.same, s.news = s.own.service("weather"), s.other.service("weather"), s.own.service("news")
	s.passkey = newAuthenticator(t)
	s.own.addPasskey(s.passkey)
	s.claim, s.webhook = s.service.pending(n.agent(t, "acme")), s.hook()
	return s
}

func (s *scene) hook() string {
	s.t.Helper()
	return s.own.ask("POST", "/v1/services/"+s.service.id+"/webhooks", map[string]any{"url": "https://example.com/hook"}).want(201).text("id")
}

// target fills an operation's path and query with what exists in acme, made anew for
// whatever the operation uses up.
func (s *scene) target(r rule) (method, target string) {
	s.t.Helper()
	method, path, _ := strings.Cut(r.op, " ")
	writes := method != http.MethodGet
	fill := func(name string, value func() string) {
		if !strings.Contains(path, name) {
			return
		}
		if s.nonexistent {
			path = strings.Replace(path, name, "nothing", 1)
			return
		}
		path = strings.Replace(path, name, value(), 1)
	}
	fill("{claimId}", func() string {
		if strings.HasSuffix(path, "/revoke") {
			return s.service.approved(s.own, s.node.agent(s.t, "acme"))
		}
		if writes {
			return s.service.pending(s.node.agent(s.t, "acme"))
		}
		return s.claim
	})
	fill("{keyId}", func() string {
		if strings.HasPrefix(path, "/v1/services/") {
			return s.own.ask("POST", "/v1/services/"+s.service.id+"/keys", nil).want(201).text("id")
		}
		// A key may only end one that has nothing which it lacks itself.
		_, id := s.own.key(string(r.permission))
		return id
	})
	fill("{webhookId}", func() string {
		if writes {
			return s.hook()
		}
		return s.webhook
	})
	fill("{serviceId}", func() string {
		if method == http.MethodDelete && strings.HasSuffix(path, "{serviceId}") {
			return s.own.service("a" + strings.ToLower(rand.Text()[:8])).id
		}
		return s.service.id
	})
	fill("{passkeyId}", func() string { return s.own.addPasskey(newAuthenticator(s.t)).text("id") })
	fill("{deliveryId}", func() string { return deliveryID })
	fill("{file}", func() string { return "page.js" })
	path = strings.Replace(path, "{namespace}", "acme", 1)
	switch path {
	case "/v1/verify":
		path += "?namespace=acme&service=weather&public_key=" + escape(s.agent.public)
	case "/v1/namespaces/claims":
		path += "?service=weather"
	case "/v1/namespaces/claims/changes":
		path += "?service=weather&since=" + strconv.FormatUint(s.last(), 10)
	}
	return method, path
}

// body is the document's example, made valid here, or what an authenticator answers.
func (s *scene) body(r rule) any {
	s.t.Helper()
	switch r.op {
	case "POST /v1/auth/passkeys":
		return newAuthenticator(s.t).create(s.own.ask("POST", passkeysPath+"/options", nil).want(200))
	case "POST /v1/auth/login/passkey":
		s.passkey.count++
		return s.passkey.get(s.send(s.t, "POST", signInPath+"/options", nil).want(200))
	case "POST /v1/auth/signup":
		start := map[string]any{"namespace": "n" + strings.ToLower(rand.Text())}
		return newAuthenticator(s.t).create(s.send(s.t, "POST", signUpPath+"/options", start).want(200))
	}
	example := s.document.example(r.op)
	if example == nil {
		return nil
	}
	body := map[string]any{}
	for name, value := range example {
		body[name] = value
	}
	for name, value := range r.body {
		switch value {
		case "$namespace":
			value = "acme"
		case "$agent":
			value = s.agent.public
		case "$slug":
			value = "weather"
		case "$new":
			value = "n" + strings.ToLower(rand.Text())
		case "$later":
			value = s.clock.Now().Add(time.Hour).Format(time.RFC3339)
		case "$token":
			token, recorded := s.loginToken("acme")
			s.operator("acme", domain.IssueLoginToken{Token: recorded})
			value = token
		}
		body[name] = value
	}
	return body
}

// as is how the rightful caller of an operation shows who it is. What ends a session
// gets one of its own.
func (s *scene) as(r rule) []option {
	switch r.who {
	case signer:
		return []option{signedBy(s.agent.Signer)}
	case serviceOf, maybeService:
		return []option{bearer(s.service.key), signedBy(s.agent.Signer)}
	case ownerOf:
		return []option{bearer(s.own.session)}
	case session:
		o := *s.own
		o.signInAgain()
		return []option{bearer(o.session)}
	}
	return nil
}
