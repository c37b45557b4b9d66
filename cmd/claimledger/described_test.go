package main

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/claimledger/claimledger/api"
	"github.com/claimledger/claimledger/api/openapi/openapitest"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// What a process serves beside the API is there as its description says, and only where
// it says so. The client holds every answer to the description.
func TestProcessServesWhatIsDescribed(t *testing.T) {
	t.Parallel()
	p := serve(t, "--data-dir", pgtest.Dir(t), "--listen", "127.0.0.1:0")
	c := newClient(t, p.address)
	c.awaitStatus("ready")
	for _, path := range []string{
		"/health", "/health/ready", "/metrics", "/openapi.json", "/docs",
		"/docs/page.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/v1/auth/login",
	} {
		c.expect(200, "GET", path, nil)
		c.expect(200, "HEAD", path, nil)
		c.expect(405, "PUT", path, nil)
		c.expect(204, "OPTIONS", path, nil)
		for _, other := range []string{path + "/", "/" + path, path + "/../health", "/." + path, "/%" + "68ealth", strings.ToUpper(path), path + ".json"} {
			c.expect(404, "GET", other, nil)
		}
	}
	// Anyone may look, whatever else he shows.
	for _, path := range []string{"/health", "/health/ready", "/metrics"} {
		r := c.expect(200, "GET", path, nil, func(r *http.Request, _ []byte) error {
			r.Header = http.Header{"Authorization": {"Bearer sk_live_x"}, "X-Sigma-Apikey": {"sigma_sk_live_x"}, "Cookie": {"sigilum_token=x"},
				"Signature": {"sig1=:x:"}, "X-Request-Id": {"mine"}}
			return nil
		})
		if r.header.Get("X-Request-ID") != "mine" || r.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, r.header)
		}
	}
	if r := c.expect(200, "GET", "/openapi.json", nil); !strings.Contains(string(r.body), `"url": "http://`+p.address+`"`) {
		t.Errorf("the description does not name the server %s", p.address)
	}
}

// What the process has beside the API is what is described, and no more.
func TestProcessRoutes(t *testing.T) {
	router := api.NewRouter()
	new(health).routes(router, prometheus.NewRegistry())
	if got := router.Routes(); !slices.Equal(got, []string{"GET /health", "GET /health/ready", "GET /metrics"}) {
		t.Errorf("there are %q", got)
	}
}

// A process that starts says so, as it says everything else: with an id, and to pages of
// allowed origins too.
func TestStartingIsAnswered(t *testing.T) {
	const console = "https://console.example"
	h := &health{roles: []string{roleAPI}}
	server := httptest.NewServer(h.starting(prometheus.NewRegistry(), []string{console}))
	t.Cleanup(server.Close)
	client := &http.Client{Transport: openapitest.Transport(t, nil)}
	for request, want := range map[string]int{
		"GET /health": 200, "GET /health/ready": 503, "GET /metrics": 200, "GET /v1/services": 503, "POST /v1/claims": 503, "GET /docs": 503,
		"PUT /health": 405, "GET /nothing": 503, "GET /%68ealth": 503, "OPTIONS /health": 204,
	} {
		method, path, _ := strings.Cut(request, " ")
		r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", console)
		w, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		w.Body.Close()
		if w.StatusCode != want || w.Header.Get("X-Request-ID") == "" || w.Header.Get("X-Frame-Options") != "DENY" || w.Header.Get("Access-Control-Allow-Origin") != console {
			t.Errorf("%s: %d %v, want %d", request, w.StatusCode, w.Header, want)
		}
		if (w.Header.Get("Retry-After") != "") != (want == 503) {
			t.Errorf("%s: Retry-After is %q", request, w.Header.Get("Retry-After"))
		}
	}
}
