package main

import (
	"strings"
	"testing"

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
		c.expect(404, "GET", path+"/", nil)
	}
	if r := c.expect(200, "GET", "/openapi.json", nil); !strings.Contains(string(r.body), `"url": "http://`+p.address+`"`) {
		t.Errorf("the description does not name the server %s", p.address)
	}
}
