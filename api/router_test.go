package api_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/claimledger/claimledger/api"
)

func TestPagesOfOtherOrigins(t *testing.T) {
	router := api.NewRouter()
	router.AllowOrigins([]string{"https://console.example"})
	router.Handle("GET", "/v1/things", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	router.Handle("POST", "/v1/things", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }))

	for name, c := range map[string]struct {
		method, origin, asks string
		status               int
		allowed, methods     string
	}{
		"allowed":            {"GET", "https://console.example", "", 200, "https://console.example", ""},
		"preflight":          {"OPTIONS", "https://console.example", "POST", 204, "https://console.example", "GET, HEAD, POST"},
		"refused is visible": {"PUT", "https://console.example", "", 405, "https://console.example", ""},
		"other origin":       {"GET", "https://evil.example", "", 200, "", ""},
		"other scheme":       {"GET", "http://console.example", "", 200, "", ""},
		"other preflight":    {"OPTIONS", "https://evil.example", "POST", 204, "", ""},
		"no browser":         {"POST", "", "", 201, "", ""},
		"null":               {"GET", "null", "", 200, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			req := httptest.NewRequest(c.method, "/v1/things", nil)
			if c.origin != "" {
				req.Header.Set("Origin", c.origin)
			}
			if c.asks != "" {
				req.Header.Set("Access-Control-Request-Method", c.asks)
			}
			got := httptest.NewRecorder()
			router.ServeHTTP(got, req)
			h := got.Header()
			if got.Code != c.status || h.Get("Access-Control-Allow-Origin") != c.allowed || h.Get("Access-Control-Allow-Methods") != c.methods {
				t.Errorf("%d %v", got.Code, h)
			}
			if h.Get("Vary") != "Origin" {
				t.Error("a cache would give one origin's answer to another")
			}
			if h.Get("Access-Control-Allow-Credentials") != "" {
				t.Error("other origins must not use a browser's session")
			}
		})
	}
}

// Pages of allowed origins may send every header that is described, and see every one
// that an answer is described to have.
func TestPagesSeeWhatIsDescribed(t *testing.T) {
	const console = "https://console.example"
	s := newScene(t)
	s.router.AllowOrigins([]string{console})
	var sent, seen []string
	collect := func(v any) {
		p, _ := v.(map[string]any)
		if p["in"] == "header" {
			sent = append(sent, p["name"].(string))
		}
	}
	components := s.document.root["components"].(map[string]any)
	for _, section := range []string{"parameters", "securitySchemes"} {
		for _, v := range components[section].(map[string]any) {
			collect(v)
		}
	}
	paths := s.document.root["paths"].(map[string]any)
	for op, o := range s.document.operations {
		method, path, _ := strings.Cut(op, " ")
		list, _ := s.document.get(paths, path, strings.ToLower(method), "parameters").([]any)
		for _, p := range list {
			collect(s.document.get(p))
		}
		for _, response := range o.Responses {
			headers, _ := s.document.get(response, "headers").(map[string]any)
			for name := range headers {
				seen = append(seen, name)
			}
		}
	}
	sent = append(sent, "Authorization", "Content-Type", "X-Request-ID", "Content-Digest", "Signature-Input",
		"Sigilum-Namespace", "Sigilum-Subject", "Sigilum-Agent-Id", "Sigilum-Agent-Key", "Sigilum-Agent-Cert")
	allows := func(r *reply, header, name string) bool {
		return slices.ContainsFunc(strings.Split(r.header.Get(header), ", "), func(h string) bool { return strings.EqualFold(h, name) })
	}
	preflight := s.send(t, "OPTIONS", "/v1/services", nil, set("Origin", console), set("Access-Control-Request-Method", "POST"),
		set("Access-Control-Request-Headers", strings.ToLower(strings.Join(sent, ",")))).want(204)
	for _, name := range sent {
		if !allows(preflight, "Access-Control-Allow-Headers", name) {
			t.Errorf("a page may not send %s", name)
		}
	}
	answer := s.own.ask("GET", "/v1/services", nil, set("Origin", console)).want(200)
	refusal := s.send(t, "GET", "/v1/services", nil, set("Origin", console)).want(401)
	for _, name := range slices.Compact(slices.Sorted(slices.Values(append(seen, "Allow")))) {
		if name == "Set-Cookie" { // no page may ever see it
			continue
		}
		if !allows(answer, "Access-Control-Expose-Headers", name) || !allows(refusal, "Access-Control-Expose-Headers", name) {
			t.Errorf("a page does not see %s", name)
		}
	}
	for _, path := range []string{"/openapi.json", "/docs", "/v1/auth/login"} {
		if r := s.send(t, "PUT", path, nil, set("Origin", console)); r.header.Get("Access-Control-Allow-Origin") != console {
			t.Errorf("%s: %v", r.what, r.header)
		}
	}
}
