package api_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/api/client"
	"github.com/claimledger/claimledger/api/openapi"
	"github.com/claimledger/claimledger/domain"
)

// notCalled are operations that the client has no method for, and why.
var notCalled = map[string]string{
	"metrics":   "is for Prometheus",
	"openapi":   "is for tools that read descriptions",
	"docs":      "is a page for a browser",
	"docsFile":  "is part of that page",
	"loginPage": "is a page for a browser",

	"listManagementKeysAtRoot":      "is another path to listManagementKeys",
	"createManagementKeyAtRoot":     "is another path to createManagementKey",
	"deactivateManagementKeyAtRoot": "is another path to deactivateManagementKey",
	"deleteManagementKeyAtRoot":     "is another path to deleteManagementKey",
}

// answerless says that an operation answers nothing but that it is done.
func answerless(err error) (any, error) { return nil, err }

// given makes a pair of values one, for the answers of operations.
func given[T any](v T, err error) (any, error) { return v, err }

// clientCalls call each operation once, with the names of things that paths have in braces.
func clientCalls(t *testing.T, c *client.Client) map[string]func() (any, error) {
	ctx := t.Context()
	const claim, svc, hook, del, key = "{claimId}", "{serviceId}", "{webhookId}", "{deliveryId}", "{keyId}"
	id := func(name string) string { return strings.Trim(name, "{}") }
	made := client.Credential{Token: "token", Credential: json.RawMessage(`{}`)}
	ask := func(id string, err error) (any, error) { return map[string]any{"id": id}, err }
	return map[string]func() (any, error){
		"submitClaim": func() (any, error) {
			return given(c.SubmitClaim(ctx, client.Submission{Namespace: "acme", Service: "mail", AgentIP: "203.0.113.45"}))
		},
		"getClaim": func() (any, error) { return given(c.GetClaim(ctx, id(claim))) },
		"approveClaim": func() (any, error) {
			return given(c.ApproveClaim(ctx, id(claim), client.Approval{Reason: "known"}))
		},
		"rejectClaim": func() (any, error) { return given(c.RejectClaim(ctx, id(claim), "unknown")) },
		"revokeClaim": func() (any, error) { return given(c.RevokeClaim(ctx, id(claim), "")) },
		"expireClaim": func() (any, error) { return given(c.ExpireClaim(ctx, id(claim), "")) },
		"getClaimEvents": func() (any, error) {
			return given(c.GetClaimEvents(ctx, id(claim), client.HistoryQuery{NewestFirst: true}))
		},

		"getNamespace": func() (any, error) { return given(c.GetNamespace(ctx, "namespace")) },
		"listClaims":   func() (any, error) { return given(c.ListClaims(ctx, "namespace", client.ClaimsQuery{})) },
		"listEvents":   func() (any, error) { return given(c.ListEvents(ctx, "namespace", client.HistoryQuery{})) },
		"getPolicy":    func() (any, error) { return given(c.GetPolicy(ctx, "namespace")) },
		"changePolicy": func() (any, error) {
			return given(c.ChangePolicy(ctx, "namespace", client.PolicyChange{}))
		},
		"getFeed": func() (any, error) { return given(c.GetFeed(ctx, client.FeedQuery{})) },
		"getFeedChanges": func() (any, error) {
			return given(c.GetFeedChanges(ctx, client.ChangesQuery{}))
		},
		"verify": func() (any, error) {
			return given(c.Verify(ctx, client.VerifyQuery{Namespace: "acme", PublicKey: "ed25519:"}))
		},
		"getLogHead": func() (any, error) { return given(c.GetLogHead(ctx)) },

		"listServices":  func() (any, error) { return given(c.ListServices(ctx, client.Page{})) },
		"createService": func() (any, error) { return given(c.CreateService(ctx, client.NewService{Slug: "mail"})) },
		"getService":    func() (any, error) { return given(c.GetService(ctx, id(svc))) },
		"updateService": func() (any, error) {
			return given(c.UpdateService(ctx, id(svc), client.ServiceChange{}))
		},
		"deleteService":        func() (any, error) { return answerless(c.DeleteService(ctx, id(svc))) },
		"listServiceKeys":      func() (any, error) { return given(c.ListServiceKeys(ctx, id(svc), client.Page{})) },
		"createServiceKey":     func() (any, error) { return given(c.CreateServiceKey(ctx, id(svc), "")) },
		"deactivateServiceKey": func() (any, error) { return answerless(c.DeactivateServiceKey(ctx, id(svc), id(key))) },
		"revokeServiceKey":     func() (any, error) { return answerless(c.RevokeServiceKey(ctx, id(svc), id(key))) },

		"listManagementKeys": func() (any, error) { return given(c.ListManagementKeys(ctx)) },
		"createManagementKey": func() (any, error) {
			return given(c.CreateManagementKey(ctx, client.NewManagementKey{Permissions: []domain.Permission{domain.PermissionRead}}))
		},
		"deactivateManagementKey": func() (any, error) { return answerless(c.DeactivateManagementKey(ctx, id(key))) },
		"deleteManagementKey":     func() (any, error) { return answerless(c.DeleteManagementKey(ctx, id(key))) },

		"listWebhooks": func() (any, error) { return given(c.ListWebhooks(ctx, id(svc), client.Page{})) },
		"createWebhook": func() (any, error) {
			return given(c.CreateWebhook(ctx, id(svc), client.NewWebhook{URL: "https://hooks.example"}))
		},
		"getWebhook": func() (any, error) { return given(c.GetWebhook(ctx, id(svc), id(hook))) },
		"updateWebhook": func() (any, error) {
			return given(c.UpdateWebhook(ctx, id(svc), id(hook), client.WebhookChange{}))
		},
		"deleteWebhook":       func() (any, error) { return answerless(c.DeleteWebhook(ctx, id(svc), id(hook))) },
		"rotateWebhookSecret": func() (any, error) { return given(c.RotateWebhookSecret(ctx, id(svc), id(hook), "")) },
		"listDeliveries": func() (any, error) {
			return given(c.ListDeliveries(ctx, id(svc), id(hook), client.DeliveriesQuery{}))
		},
		"getDelivery":   func() (any, error) { return given(c.GetDelivery(ctx, id(svc), id(hook), id(del))) },
		"redeliver":     func() (any, error) { return ask(c.Redeliver(ctx, id(svc), id(hook), id(del))) },
		"pingWebhook":   func() (any, error) { return ask(c.PingWebhook(ctx, id(svc), id(hook))) },
		"replayWebhook": func() (any, error) { return ask(c.ReplayWebhook(ctx, id(svc), id(hook), client.AtPosition(7))) },
		"pullEvents":    func() (any, error) { return given(c.PullEvents(ctx, id(svc), id(hook), 7, 0)) },

		"login":               func() (any, error) { return given(c.Login(ctx, "token")) },
		"logout":              func() (any, error) { return answerless(c.Logout(ctx)) },
		"getCaller":           func() (any, error) { return given(c.GetCaller(ctx)) },
		"passkeyLoginOptions": func() (any, error) { return given(c.PasskeyLoginOptions(ctx)) },
		"passkeyLogin":        func() (any, error) { return given(c.PasskeyLogin(ctx, made)) },
		"listPasskeys": func() (any, error) {
			list, err := c.ListPasskeys(ctx)
			return map[string]any{"passkeys": list}, err
		},
		"passkeyOptions": func() (any, error) { return given(c.PasskeyOptions(ctx)) },
		"addPasskey":     func() (any, error) { return given(c.AddPasskey(ctx, made, "phone")) },
		"removePasskey":  func() (any, error) { return answerless(c.RemovePasskey(ctx, "passkeyId")) },
		"signUpOptions":  func() (any, error) { return given(c.SignUpOptions(ctx, "acme")) },
		"signUp":         func() (any, error) { return given(c.SignUp(ctx, made, "phone", "")) },

		"health": func() (any, error) { return given(c.Health(ctx)) },
		"ready":  func() (any, error) { return given(c.Ready(ctx)) },
	}
}

// The client has a method for every operation of the description, which sends its request
// and loses nothing of its answer.
func TestClientCallsEveryOperation(t *testing.T) {
	doc := readSamples(t)
	var method, path string
	var body []byte
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method, path = r.Method, r.URL.Path
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if _, err := w.Write(body); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	a := (&ledger{t: t, clock: &clock{}}).agent(t, "acme")
	c, err := client.New(client.Config{URL: server.URL, Signer: a.Signer, ServiceKey: "sk_live_x", Session: "session"})
	if err != nil {
		t.Fatal(err)
	}
	calls := clientCalls(t, c)
	for _, id := range slices.Sorted(maps.Keys(doc.operations)) {
		op := doc.operations[id]
		call, called := calls[id]
		if _, excepted := notCalled[id]; excepted || !called {
			if excepted == called {
				t.Errorf("%s: called %t, excepted %t", id, called, excepted)
			}
			continue
		}
		delete(calls, id)
		var sample any
		status, sample = doc.answer(t, op)
		if body, err = json.Marshal(sample); err != nil {
			t.Fatal(err)
		}
		got, err := call()
		if err != nil {
			t.Errorf("%s: %v, of %s", id, err, body)
			continue
		}
		if want := strings.NewReplacer("{", "", "}", "").Replace(op.path); method != op.method || path != want {
			t.Errorf("%s: sent %s %s, want %s %s", id, method, path, op.method, want)
		}
		if got == nil {
			got = map[string]any{"success": true}
		}
		if read := reread(t, got); !reflect.DeepEqual(read, reread(t, sample)) {
			t.Errorf("%s: of\n%v the client has\n%v", id, reread(t, sample), read)
		}
	}
	for id := range calls {
		t.Errorf("%s is no operation", id)
	}
}

func reread(t *testing.T, v any) (again any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &again)
	}
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// samples make up answers from the API's own description.
type samples struct {
	root       map[string]any
	operations map[string]describedOperation
}

type describedOperation struct {
	method, path string
	responses    map[string]any
}

func readSamples(t *testing.T) *samples {
	t.Helper()
	text, err := openapi.Document("https://ledger.example")
	if err != nil {
		t.Fatal(err)
	}
	d := &samples{operations: map[string]describedOperation{}}
	if err := json.Unmarshal(text, &d.root); err != nil {
		t.Fatal(err)
	}
	for path, item := range d.root["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			if op, ok := op.(map[string]any); ok && op["operationId"] != nil {
				d.operations[op["operationId"].(string)] = describedOperation{strings.ToUpper(method), path, op["responses"].(map[string]any)}
			}
		}
	}
	return d
}

// follow is what a node refers to, or itself.
func (d *samples) follow(node any) map[string]any {
	m, _ := node.(map[string]any)
	for m["$ref"] != nil {
		var at any = d.root
		for name := range strings.SplitSeq(strings.TrimPrefix(m["$ref"].(string), "#/"), "/") {
			at = at.(map[string]any)[name]
		}
		m = at.(map[string]any)
	}
	return m
}

// answer makes up a good answer to an operation, with every field that it can have.
func (d *samples) answer(t *testing.T, op describedOperation) (status int, body any) {
	t.Helper()
	for code, n := range map[string]int{"200": 200, "201": 201, "202": 202} {
		if op.responses[code] == nil {
			continue
		}
		content, _ := d.follow(op.responses[code])["content"].(map[string]any)
		media, ok := content["application/json"].(map[string]any)
		if !ok {
			t.Fatalf("%s %s has no answer in JSON", op.method, op.path)
		}
		return n, d.sample(t, media["schema"])
	}
	t.Fatalf("%s %s has no good answer", op.method, op.path)
	return 0, nil
}

// texts are samples for texts of a form, where nothing else is told.
var texts = map[string]string{
	"date-time": "2026-03-02T10:30:00.25Z", "uuid": "0d9f4c6e-2b75-4f0e-9c3a-8e1d5b7a6f42",
	"^[0-9a-f]{64}$": strings.Repeat("0a", 32), "^[A-Za-z0-9+/]{86}==$": strings.Repeat("A", 86) + "==",
	"^(0|[1-9][0-9]*)$": "43", "^[1-9][0-9]*$": "43",
}

func (d *samples) sample(t *testing.T, schema any) any {
	t.Helper()
	s := d.follow(schema)
	if alternatives := firstOf(s, "oneOf", "anyOf"); alternatives != nil && s["properties"] == nil {
		return d.sample(t, alternatives[0])
	}
	kind, _ := s["type"].(string)
	if kinds, ok := s["type"].([]any); ok {
		kind = kinds[0].(string)
	}
	switch {
	case s["const"] != nil:
		return s["const"]
	case s["enum"] != nil:
		return s["enum"].([]any)[0]
	case kind == "array":
		return []any{d.sample(t, s["items"])}
	case s["properties"] != nil:
		object := map[string]any{}
		for name, property := range s["properties"].(map[string]any) {
			object[name] = d.sample(t, property)
		}
		return object
	case s["additionalProperties"] != nil && kind == "object" && reflect.TypeOf(s["additionalProperties"]).Kind() == reflect.Map:
		return map[string]any{"name": d.sample(t, s["additionalProperties"])}
	case kind == "object":
		return map[string]any{"some": "thing"}
	case s["example"] != nil:
		return s["example"]
	case kind == "integer":
		return 7
	case kind == "number":
		return 7.5
	case kind == "boolean":
		return true
	case kind == "null":
		return nil
	}
	for _, form := range []string{"format", "pattern"} {
		if text, ok := texts[textOf(s[form])]; ok {
			return text
		}
	}
	if pattern, ok := s["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString("text") {
		return pattern // the client takes texts as they are
	}
	return "text"
}

func textOf(v any) string {
	text, _ := v.(string)
	return text
}

func firstOf(s map[string]any, names ...string) []any {
	for _, name := range names {
		if list, ok := s[name].([]any); ok {
			return list
		}
	}
	return nil
}

// What an operation needs to show and the client lacks, what is no name and what has no
// meaning is refused before anything is sent.
func TestClientRefusesBeforeItSends(t *testing.T) {
	t.Parallel()
	transport := roundTrip(func(r *http.Request) (*http.Response, error) {
		t.Errorf("sent %s %s", r.Method, r.URL)
		return nil, io.EOF
	})
	bare, err := client.New(client.Config{URL: "https://ledger.example", HTTP: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	for id, call := range clientCalls(t, bare) {
		switch id {
		case "login", "passkeyLoginOptions", "passkeyLogin", "signUpOptions", "signUp", "health", "ready", "getLogHead":
			continue
		}
		if _, err := call(); err == nil || !strings.HasPrefix(err.Error(), id+": ") || !strings.Contains(err.Error(), client.ErrCredential.Error()) {
			t.Errorf("%s without credentials: %v", id, err)
		}
	}
	owner := bare.WithSession("session")
	for _, name := range []string{"", ".", "..", "a/b", "a%2Fb", "a?b", "a b", "ä"} {
		if _, err := owner.GetClaim(t.Context(), name); err == nil {
			t.Errorf("there is a claim %q", name)
		}
	}
	if _, err := owner.GetClaim(t.Context(), "claim", client.IdempotencyKey("key")); err == nil {
		t.Error("a read took an Idempotency-Key")
	}
	if err := owner.DeleteService(t.Context(), "service", client.AtLeast(7)); err == nil {
		t.Error("a command waits for a position")
	}
	for _, c := range []client.Config{
		{}, {URL: "ledger.example"}, {URL: "ftp://ledger.example"}, {URL: "https://"}, {URL: "https://a:b@ledger.example"}, {URL: "https://ledger.example?a=b"},
		{URL: "https://ledger.example", ServiceKey: "a\nb"}, {URL: "https://ledger.example", Attempts: -1}, {URL: "https://ledger.example", Timeout: -time.Second},
	} {
		if _, err := client.New(c); err == nil {
			t.Errorf("%+v makes a client", c)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
