package api_test

import (
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/claimledger/claimledger/api"
	"github.com/claimledger/claimledger/domain"
)

// limited makes sure that a request is one too many, for so long.
func limited(t *testing.T, r *reply, wait string) {
	t.Helper()
	r.want(http.StatusTooManyRequests, domain.CodeRateLimited)
	if got := r.header.Get("Retry-After"); got != wait {
		t.Errorf("%s: Retry-After is %q, not %s", r.what, got, wait)
	}
}

// Each key and each session has an allowance of its own, on all endpoints together, and
// gets it back with time.
func TestRateLimitOfKeys(t *testing.T) {
	l := newLedger(t)
	free := l.start()
	o := free.owner(t, "acme")
	read, _ := o.key("read")
	other, _ := o.key("read")
	n := l.start(func(s *settings) { s.publicURL, s.rates = free.public, api.RateLimits{Key: 0.01} })
	with := func(key option) *reply { return n.send(t, "GET", "/v1/services", nil, key) }
	with(read).want(http.StatusOK)
	limited(t, with(read), "100")
	limited(t, n.send(t, "GET", "/v1/api-keys", nil, read), "100")
	with(other).want(http.StatusOK)
	o.on(n).ask("GET", "/v1/services", nil).want(http.StatusOK)
	limited(t, o.on(n).ask("GET", "/v1/services", nil), "100")
	// Who has no key has no allowance to use up.
	for range 3 {
		with(set("X-Sigma-ApiKey", "sigma_sk_live_0123456789")).want(http.StatusUnauthorized, domain.CodeUnauthorized)
	}
	l.clock.advance(101 * time.Second)
	with(read).want(http.StatusOK)
	limited(t, with(read), "100")
}

// An address has one allowance for all that comes from it, before anything else is looked
// at; a proxy that is believed has none for its clients.
func TestRateLimitOfAddresses(t *testing.T) {
	l := newLedger(t)
	n := l.start(func(s *settings) { s.rates = api.RateLimits{Address: 0.01} })
	from := func(n *node, client string) *reply {
		return n.send(t, "GET", "/v1/auth/me", nil, set("X-Forwarded-For", client))
	}
	from(n, "192.0.2.1").want(http.StatusUnauthorized, domain.CodeUnauthorized)
	limited(t, from(n, "192.0.2.2"), "100")
	n.send(t, "GET", "/v1/nowhere", nil).want(http.StatusNotFound, domain.CodeNotFound)

	behind := l.start(func(s *settings) {
		s.rates = api.RateLimits{Address: 0.01, Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	})
	for _, client := range []string{"192.0.2.1", "192.0.2.2", "2001:db8:1:1::1", "2001:db8:1:2::1"} {
		from(behind, client).want(http.StatusUnauthorized, domain.CodeUnauthorized)
		limited(t, from(behind, client), "100")
	}
	limited(t, from(behind, "2001:db8:1:1:2::2"), "100")
	limited(t, from(behind, "203.0.113.9, 192.0.2.1"), "100")
	l.clock.advance(101 * time.Second)
	from(behind, "192.0.2.1").want(http.StatusUnauthorized, domain.CodeUnauthorized)
}
