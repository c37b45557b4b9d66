package api

import (
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/claimledger/claimledger/domain"
)

// maxLimited bounds how many keys or addresses are counted at once, about 200 bytes
// each. Who is forgotten starts with a full allowance again.
const maxLimited = 100_000

// RateLimits bound how many requests a second are answered; 0 means any number.
type RateLimits struct {
	Key     float64 // for each service key, management key or owner's session
	Address float64 // for each client address, an IPv6 network of 64 bits counting as one
	// Proxies are believed when they say for whom they ask, and nobody else is.
	Proxies []netip.Prefix
}

// rateLimiter counts requests by who makes them. Each may use a second's worth at once.
type rateLimiter struct {
	perSecond rate.Limit
	burst     int
	now       func() time.Time
	counts    *lru.Cache[string, *rate.Limiter]
}

// newRateLimiter makes a limiter, nil for no limit.
func newRateLimiter(perSecond float64, now func() time.Time) (*rateLimiter, error) {
	if perSecond <= 0 {
		return nil, nil
	}
	counts, err := lru.New[string, *rate.Limiter](maxLimited)
	if err != nil {
		return nil, err
	}
	return &rateLimiter{rate.Limit(perSecond), int(math.Ceil(perSecond)), now, counts}, nil
}

// allow takes one request off who's allowance. Past it, it tells the client how long
// to wait.
func (l *rateLimiter) allow(w http.ResponseWriter, who, what string) error {
	if l == nil || who == "" {
		return nil
	}
	limiter, ok := l.counts.Get(who)
	if !ok {
		limiter = rate.NewLimiter(l.perSecond, l.burst)
		if first, found, _ := l.counts.PeekOrAdd(who, limiter); found {
			limiter = first
		}
	}
	now := l.now()
	if limiter.AllowN(now, 1) {
		return nil
	}
	missing := 1 - limiter.TokensAt(now)
	seconds := math.Max(1, math.Ceil(missing/float64(l.perSecond)))
	w.Header().Set("Retry-After", strconv.Itoa(int(seconds)))
	return domain.Errorf(domain.CodeRateLimited, "More than %g requests a second for this %s.", float64(l.perSecond), what)
}

const forwardedHeader = "X-Forwarded-For"

// clientAddress is who asks: whoever is at the other end of the connection or, where that
// is a proxy that is believed, the last in X-Forwarded-For that is none. What stands before
// that one is its own word.
func clientAddress(r *http.Request, proxies []netip.Prefix) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	hops := strings.Split(strings.Join(r.Header.Values(forwardedHeader), ","), ",")
	addr = addr.Unmap().WithZone("")
	for len(hops) > 0 && isProxy(addr, proxies) {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[len(hops)-1]))
		if err != nil {
			break // the proxy tells nothing: it counts itself
		}
		addr, hops = hop.Unmap().WithZone(""), hops[:len(hops)-1]
	}
	if addr.Is6() {
		// Whoever has one IPv6 address has the network's other 2^64.
		prefix, _ := addr.Prefix(64)
		return prefix.String()
	}
	return addr.String()
}

func isProxy(addr netip.Addr, proxies []netip.Prefix) bool {
	return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}
