package openapitest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/claimledger/claimledger/api/openapi/openapitest"
)

// witness takes down what a test would fail with.
type witness struct {
	testing.TB
	errors []string
}

func (w *witness) Errorf(format string, args ...any) {
	w.errors = append(w.errors, fmt.Sprintf(format, args...))
}

const (
	me = `{"namespace":"acme","kind":"owner","id":"owner_1","permissions":["read"]}`
	// notFound and the rest are errors as the API writes them.
	notFound   = `{"error":"There is nothing at this path.","code":"NOT_FOUND","request_id":"r"}`
	notAllowed = `{"error":"No.","code":"METHOD_NOT_ALLOWED","request_id":"r"}`
	refused    = `{"error":"Sign in.","code":"UNAUTHORIZED","request_id":"r"}`
	invalid    = `{"error":"Wrong.","code":"INVALID_REQUEST","details":[{"field":"slug","message":"is required"}],"request_id":"r"}`
	created    = `{"id":"0d9f4c6e-2b75-4f0e-9c3a-8e1d5b7a6f42","slug":"mail","name":"Mail","description":"","created_at":"2026-03-01T09:05:00Z","updated_at":"2026-03-01T09:05:00Z","active_key_count":0}`
	event      = `{"id":"evt_01kjpzqz7w1n8t5r4e3d2c1b0a_1","type":"claim.expired","version":1,"position":"44","cursor":"aCwA","namespace":"acme","actor":{"kind":"clock"},` +
		`"time":"2026-03-01T09:05:00Z","summary":"It ended.","data":{"claim_id":"claim_01kjpzk4m8q0a4v6h3t9c2xw7e","cause":"requested"},"commit":{"id":"01KJPZQZ7W1N8T5R4E3D2C1B0A",` +
		`"boundary":"claims","version":1,"prev":"","hash":"1a3c5e7f9b0d2f4a6c8e0b1d3f5a7c9e9f2c4e6a8b0d1f3a5c7e9b1d3f5a7c9e"}}` + "\n"
	services = `{"services":[],"pagination":{"limit":50,"offset":0,"total":0,"has_more":false}}`
)

func TestTransport(t *testing.T) {
	ok := map[string]string{"Content-Type": "application/json", "X-Request-ID": "r", "Ledger-Position": "7"}
	with := func(changes ...string) map[string]string {
		h := map[string]string{}
		for name, value := range ok {
			h[name] = value
		}
		for i := 0; i < len(changes); i += 2 {
			h[changes[i]] = changes[i+1]
		}
		return h
	}
	const nobody = "nobody"
	tests := []struct {
		name, request, sent string // sent: the request's body, or who sends it
		status              int
		headers             map[string]string
		answer              string
		want                string // part of what is found; empty: nothing
	}{
		{"as described", "GET /v1/auth/me", "", 200, ok, me, ""},
		{"HEAD as GET, without a body", "HEAD /v1/auth/me", "", 200, ok, "", ""},
		{"a field that is not described", "GET /v1/auth/me", "", 200, ok, strings.Replace(me, "{", `{"secret":"s",`, 1), "secret"},
		{"a field that is missing", "GET /v1/auth/me", "", 200, ok, strings.Replace(me, `"kind":"owner",`, "", 1), "kind"},
		{"a field of another type", "GET /v1/auth/me", "", 200, ok, strings.Replace(me, `"owner_1"`, "1", 1), "id"},
		{"a time that is none", "GET /v1/auth/me", "", 200, ok, strings.Replace(me, "{", `{"expires_at":"soon",`, 1), "date-time"},
		{"a status that is not described", "GET /v1/auth/me", "", 202, ok, me, "not described to answer 202"},
		{"a defect", "GET /v1/auth/me", "", 500, ok, me, "defect"},
		{"no content type", "GET /v1/auth/me", "", 200, with("Content-Type", ""), me, "Content-Type"},
		{"another content type", "GET /v1/auth/me", "", 200, with("Content-Type", "text/html"), me, "text/html"},
		{"no position", "GET /v1/auth/me", "", 200, with("Ledger-Position", ""), me, "Ledger-Position"},
		{"a position that is none", "GET /v1/auth/me", "", 200, with("Ledger-Position", "x"), me, "Ledger-Position"},
		{"a header that is not described", "GET /v1/auth/me", "", 200, with("X-Debug", "1"), me, "X-Debug"},
		{"not JSON", "GET /v1/auth/me", "", 200, ok, "{", "body"},
		{"without a credential", "GET /v1/auth/me", nobody, 200, ok, me, "security"},
		{"refused", "GET /v1/auth/me", nobody, 401, with("WWW-Authenticate", "Bearer", "Ledger-Position", ""), refused, ""},
		{"refused with a code for something else", "GET /v1/auth/me", nobody, 401, with("WWW-Authenticate", "Bearer"), notFound, "code"},

		{"a body as described", "POST /v1/services", `{"slug":"mail","name":"Mail","other":1,"description":null}`, 201, ok, created, ""},
		{"a body that should have been refused", "POST /v1/services", `{"slug":"Mail","name":"Mail"}`, 201, ok, created, "slug"},
		{"no body where one is required", "POST /v1/services", "", 201, ok, created, "without a body"},
		{"a bad body that is refused", "POST /v1/services", `{"name":`, 400, with("Ledger-Position", ""), invalid, ""},
		{"a query that should have been refused", "GET /v1/services?limit=201", "", 200, ok, services, "limit"},
		{"a query as described", "GET /v1/services?limit=200&offset=3&other=1", "", 200, ok, services, ""},
		{"a path that should have been refused", "GET /docs/other.js", "", 200, map[string]string{"Content-Type": "text/javascript"}, "", "file"},

		{"lines as described", "GET /v1/claims/claim_1/events", "", 200, with("Content-Type", "application/x-ndjson"), event + event, ""},
		{"no lines", "GET /v1/claims/claim_1/events", "", 200, with("Content-Type", "application/x-ndjson"), "", ""},
		{"a line that is not as described", "GET /v1/claims/claim_1/events", "", 200, with("Content-Type", "application/x-ndjson"), event + "{}\n", "line 2"},
		{"a line that broke off", "GET /v1/claims/claim_1/events", "", 200, with("Content-Type", "application/x-ndjson"), event[:40], "no end"},
		{"an event with the data of another", "GET /v1/claims/claim_1/events", "", 200, with("Content-Type", "application/x-ndjson"),
			strings.Replace(event, `"cause":"requested"`, `"by_policy":true`, 1), "by_policy"},

		{"events as described", "GET /v1/namespaces/claims/changes?since=1", "", 200, with("Content-Type", "text/event-stream"), "data: {}\n\n", "security"},
		{"events where none are described", "GET /v1/auth/me", "", 200, with("Content-Type", "text/event-stream"), "data: {}\n\n", "not described"},
		{"no path", "GET /v1/services/", "", 404, ok, notFound, "Ledger-Position, which is not described"},
		{"an escaped path is none", "GET /v1/%73ervices", "", 404, map[string]string{"Content-Type": "application/json", "X-Request-ID": "r"}, notFound, ""},
		{"an answer where there is no path", "GET /v2/services", "", 200, ok, services, "no path"},
		{"no method", "PUT /v1/services", "", 405, map[string]string{"Content-Type": "application/json", "X-Request-ID": "r", "Allow": "GET"}, notAllowed, ""},
		{"no method, without Allow", "PUT /v1/services", "", 405, map[string]string{"Content-Type": "application/json", "X-Request-ID": "r"}, notAllowed, "Allow"},
		{"OPTIONS", "OPTIONS /v1/services", "", 204, map[string]string{"Allow": "GET", "X-Request-ID": "r"}, "", ""},
		{"OPTIONS that answers", "OPTIONS /v1/services", "", 200, ok, services, "answered 200"},
		{"headers that are too large", "GET /v1/services", "", 431, map[string]string{"Content-Type": "text/plain; charset=utf-8"}, "too large", ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				for name, value := range tc.headers {
					if value != "" {
						w.Header().Set(name, value)
					} else {
						w.Header()[name] = nil // or net/http would guess a type
					}
				}
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.answer)
			}))
			defer server.Close()
			method, path, _ := strings.Cut(tc.request, " ")
			var body io.Reader
			if tc.sent != nobody {
				body = strings.NewReader(tc.sent)
			}
			r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, body)
			if err != nil {
				t.Fatal(err)
			}
			if tc.sent != nobody {
				r.Header.Set("Authorization", "Bearer session")
			}
			seen := &witness{TB: t}
			answer, err := openapitest.Transport(seen, server.Client().Transport).RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			got, err := io.ReadAll(answer.Body)
			if err != nil || method != http.MethodHead && string(got) != tc.answer {
				t.Errorf("the answer went on as %q, %v", got, err)
			}
			found := strings.Join(seen.errors, "\n")
			if tc.want == "" && found != "" || !strings.Contains(found, tc.want) {
				t.Errorf("found %q, want %q", found, tc.want)
			}
		})
	}
}
