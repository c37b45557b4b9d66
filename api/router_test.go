package api_test

import (
	"net/http"
	"net/http/httptest"
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
