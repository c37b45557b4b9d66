package openapi_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/claimledger/claimledger/api"
	"github.com/claimledger/claimledger/api/openapi"
	"github.com/claimledger/claimledger/domain"
)

const publicURL = "https://ledger.example"

// document reads what is served with a library that knows nothing of how it is made.
func document(t *testing.T) *openapi3.T {
	t.Helper()
	text, err := openapi.Document(publicURL)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// each calls f with every operation, its path item's parameters among its own.
func each(doc *openapi3.T, f func(name string, op *openapi3.Operation)) {
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			op.Parameters = append(op.Parameters, item.Parameters...)
			f(method+" "+path, op)
		}
	}
}

// It is OpenAPI 3.1, and every example is what its schema says.
func TestDocumentIsValid(t *testing.T) {
	doc := document(t)
	if err := doc.Validate(t.Context(), openapi3.EnableExamplesValidation(), openapi3.EnableSchemaFormatValidation()); err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("it is OpenAPI %s", doc.OpenAPI)
	}
	if len(doc.Servers) != 1 || doc.Servers[0].URL != publicURL {
		t.Errorf("its servers are %v", doc.Servers)
	}
	each(doc, func(name string, op *openapi3.Operation) {
		if op.OperationID == "" || op.Summary == "" || len(op.Tags) != 1 || doc.Tags.Get(op.Tags[0]) == nil {
			t.Errorf("%s: id %q, summary %q, tags %q", name, op.OperationID, op.Summary, op.Tags)
		}
	})
}

// processPaths are what a process serves beside the API; anyone may look.
var processPaths = []string{"GET /health", "GET /health/ready", "GET /metrics", "GET /openapi.json", "GET /docs", "GET /docs/{}"}

var braces = regexp.MustCompile(`\{[^}]*\}`)

// The API's table and the document have the same rows: path and method, who may call,
// and the permission.
func TestEveryEndpointIsDescribed(t *testing.T) {
	type row struct {
		security   string
		permission domain.Permission
	}
	want := map[string]row{}
	for _, e := range api.Endpoints() {
		name := e.Method + " " + braces.ReplaceAllString(e.Path, "{}")
		want[name] = row{alternatives(api.Credentials[e.Who]), e.Permission}
	}
	for _, name := range processPaths {
		want[name] = row{}
	}
	doc := document(t)
	got := map[string]row{}
	each(doc, func(name string, op *openapi3.Operation) {
		permission, _ := op.Extensions["x-permission"].(string)
		security := doc.Security
		if op.Security != nil {
			security = *op.Security
		}
		var credentials [][]string
		for _, requirement := range security {
			credentials = append(credentials, slices.Sorted(maps.Keys(requirement)))
		}
		got[braces.ReplaceAllString(name, "{}")] = row{alternatives(credentials), domain.Permission(permission)}
	})
	for name, w := range want {
		if g, ok := got[name]; !ok {
			t.Errorf("%s is not described", name)
		} else if g != w {
			t.Errorf("%s is described with %+v, and is %+v", name, g, w)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is described, and is not there", name)
		}
	}
}

// alternatives writes what a caller has to show in one line.
func alternatives(credentials [][]string) string {
	var lines []string
	for _, c := range credentials {
		c = slices.Sorted(slices.Values(c))
		lines = append(lines, strings.Join(c, "+"))
	}
	return strings.Join(lines, " | ")
}

// Every code has the status that the API gives it, and is promised by an operation, or
// for every request, or reserved.
func TestEveryCodeIsDescribed(t *testing.T) {
	doc := document(t)
	statuses := api.Statuses()
	promised := map[string]bool{}
	look := func(where string, status int, response *openapi3.Response) {
		for _, code := range codes(response) {
			promised[code] = true
			if statuses[domain.Code(code)] != status {
				t.Errorf("%s: %s under %d; the API has it under %d", where, code, status, statuses[domain.Code(code)])
			}
		}
	}
	each(doc, func(name string, op *openapi3.Operation) {
		for status, response := range op.Responses.Map() {
			n, err := strconv.Atoi(status)
			if err != nil {
				t.Errorf("%s answers %s", name, status)
			}
			look(name, n, response.Value)
			if n >= 400 && len(codes(response.Value)) == 0 && name != "GET /health/ready" {
				t.Errorf("%s: %d promises no code", name, n)
			}
		}
	})
	for name, status := range map[string]int{"NoSuchPath": 404, "MethodNotAllowed": 405, "Defect": 500} {
		look(name, status, doc.Components.Responses[name].Value)
	}
	known := doc.Components.Schemas["Error"].Value.Properties["code"].Value
	var listed []string
	for _, code := range known.Enum {
		listed = append(listed, code.(string))
	}
	for _, code := range reserved(known) {
		if promised[code.(string)] {
			t.Errorf("%s is promised, and not reserved any more", code)
		}
		promised[code.(string)] = true
	}
	for code := range statuses {
		if !slices.Contains(listed, string(code)) || !promised[string(code)] {
			t.Errorf("%s: listed %t, promised or reserved %t", code, slices.Contains(listed, string(code)), promised[string(code)])
		}
		if !strings.Contains(doc.Info.Description, "`"+string(code)+"`") {
			t.Errorf("the introduction does not mention %s", code)
		}
	}
	if len(listed) != len(statuses) {
		t.Errorf("%d codes are listed; the API has %d", len(listed), len(statuses))
	}
}

// reserved are codes that no operation answers yet.
func reserved(code *openapi3.Schema) []any {
	list, _ := code.Extensions["x-reserved"].([]any)
	return list
}

// codes are what a response promises, written as Error and the codes that it can have.
func codes(response *openapi3.Response) (list []string) {
	media := response.Content["application/json"]
	if media == nil || len(media.Schema.Value.AllOf) != 2 {
		return nil
	}
	for _, code := range media.Schema.Value.AllOf[1].Value.Properties["code"].Value.Enum {
		list = append(list, code.(string))
	}
	return list
}

// What every operation has in common.
func TestOperationsAreAlike(t *testing.T) {
	each(document(t), func(name string, op *openapi3.Operation) {
		method, path, _ := strings.Cut(name, " ")
		if !strings.Contains(path, "/v1/") && !strings.HasPrefix(path, "/api-keys") || name == "GET /v1/auth/login" {
			return
		}
		has := func(in, parameter string) bool { return op.Parameters.GetByInAndName(in, parameter) != nil }
		command := method != http.MethodGet && !strings.HasPrefix(path, "/v1/auth/")
		read := method == http.MethodGet && path != "/v1/auth/me"
		if has("header", "Idempotency-Key") != command || has("header", "Ledger-Min-Position") != read {
			t.Errorf("%s: Idempotency-Key %t, Ledger-Min-Position %t", name, has("header", "Idempotency-Key"), has("header", "Ledger-Min-Position"))
		}
		for status, response := range op.Responses.Map() {
			h := response.Value.Headers
			// Beside these, a refusal may have a position, where it rests on a state.
			checks := map[string]bool{
				"X-Request-ID":     true,
				"Ledger-Position":  status < "400",
				"WWW-Authenticate": status == "401",
				"Retry-After":      status == "429" || status == "503",
			}
			for header, want := range checks {
				if got := h[header] != nil && h[header].Value.Required; got != want {
					t.Errorf("%s: %s: header %s is promised: %t, want %t", name, status, header, got, want)
				}
			}
		}
		for _, status := range []string{"413", "429", "503"} {
			if op.Responses.Value(status) == nil {
				t.Errorf("%s is not described to answer %s", name, status)
			}
		}
		if (op.RequestBody != nil) != (op.Responses.Value("415") != nil) {
			t.Errorf("%s: a body %t, 415 %t", name, op.RequestBody != nil, op.Responses.Value("415") != nil)
		}
	})
}

// Objects in answers are closed, so that a field that is not described fails.
func TestAnswersAreClosed(t *testing.T) {
	text, err := openapi.Document(publicURL)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	var open func(where string, v any)
	open = func(where string, v any) {
		switch v := v.(type) {
		case map[string]any:
			_, object := v["properties"].(map[string]any)
			_, closed := v["additionalProperties"]
			if object && v["type"] == "object" && !closed {
				t.Errorf("%s is open", where)
			}
			for name, inner := range v {
				open(where+"/"+name, inner)
			}
		case []any:
			for _, inner := range v {
				open(where, inner)
			}
		}
	}
	requests := []string{"Submit", "Decision", "Approval", "PolicyChange", "NewService", "ServiceChange", "NewServiceKey", "NewManagementKey", "NewWebhook", "Login",
		"WebhookChange", "NewSecret", "Replay", "NewPasskey", "PasskeyLogin", "SignUpStart", "SignUp"}
	for name, schema := range doc.Components.Schemas {
		if !slices.Contains(requests, name) {
			open(name, schema)
		}
	}
}

// The events of webhooks are the domain's, and a test.
func TestEveryWebhookEventIsDescribed(t *testing.T) {
	doc := document(t)
	if n := len(doc.Webhooks); n != 6 {
		t.Errorf("%d webhooks are described", n)
	}
	for name, item := range doc.Webhooks {
		if _, ok := domain.WebhookEvent(name); !ok && name != "ping" {
			t.Errorf("there is no event %s", name)
		}
		var headers []string
		for _, p := range item.Post.Parameters {
			headers = append(headers, p.Value.Name)
		}
		if len(headers) != 6 {
			t.Errorf("%s has the headers %q", name, headers)
		}
	}
}
