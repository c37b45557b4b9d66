// Package dialguard makes the HTTP transport that deliveries go through: it connects
// to public addresses on allowed ports and to nothing else. It never trusts a name,
// an answer of the DNS, a redirect or the environment: each address is judged at the
// moment it is dialled.
package dialguard

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/claimledger/claimledger/domain"
)

const (
	// dialTimeout and handshakeTimeout bound work that outlives its request: the
	// transport finishes a dial that was begun, in case another request can use it.
	// Together they are the deadline of one attempt.
	dialTimeout      = 5 * time.Second
	handshakeTimeout = 5 * time.Second

	// maxHeaderBytes is as much as the body that is read; receivers answer with a
	// few hundred bytes.
	maxHeaderBytes = 16 << 10

	// maxIdle bounds the file descriptors that quiet endpoints hold, in all.
	maxIdle = 1024
	// defaultMaxIdlePerHost lets a busy receiver keep a connection for each of its
	// deliveries in flight rather than shake hands anew for each event.
	defaultMaxIdlePerHost = 128
	// idleTimeout is below the 60 s after which common load balancers drop an idle
	// connection, so that few deliveries meet a dead one.
	idleTimeout = 30 * time.Second

	// keptJudgements is for how many URLs it is kept what the policy says of them.
	keptJudgements = 4096
)

// ErrRefused is in the chain of every error that the guard itself causes. Its text
// and the texts around it are for the operator: they hold the refused address.
var ErrRefused = errors.New("delivery target refused")

// Options are what differs between production, development and tests. The zero
// value is for production.
type Options struct {
	// Policy is the one that webhook URLs are checked with when they are created.
	Policy domain.TargetPolicy
	// RootCAs are the authorities to trust; nil means the system's.
	RootCAs *x509.CertPool
	// Resolver finds addresses for names; nil means the system's.
	Resolver *net.Resolver
	// MaxIdlePerHost is how many idle connections to keep to one host; zero means
	// the default.
	MaxIdlePerHost int
}

// NewTransport makes what deliveries go through. It has no timeout of its own: a request's
// context is its deadline. It follows no redirect, as no transport does. It is safe for
// concurrent use and meant to be shared.
func NewTransport(opts Options) http.RoundTripper {
	return newTransport(opts, domain.PublicAddress)
}

// newTransport takes the judgement on addresses as an argument, because tests can only
// listen on addresses that the real one refuses.
func newTransport(opts Options, public func(netip.Addr) bool) *transport {
	if opts.MaxIdlePerHost == 0 {
		opts.MaxIdlePerHost = defaultMaxIdlePerHost
	}
	g := guard{policy: opts.Policy, public: public}
	// HTTP/1.1 alone: one exchange a connection, so that closing it ends all that a
	// receiver can make us hold. HTTP/2 would take up to 4 MiB into its flow-control
	// window before the first read, and share a connection's fate between endpoints.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	judged, err := lru.New[url.URL, error](keptJudgements)
	if err != nil {
		panic(err) // of a size below one
	}
	return &transport{guard: g, judged: judged, Transport: &http.Transport{
		Proxy:                  nil, // not even from the environment: a proxy would dial for us, unguarded
		DialContext:            newDialer(opts, g).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: opts.RootCAs},
		TLSHandshakeTimeout:    handshakeTimeout,
		DisableCompression:     true, // a small answer must stay small
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    opts.MaxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		Protocols:              protocols,
	}}
}

// newDialer makes a dialer whose hook runs after resolution, once for each address
// that is tried and before its connect(2). Where a name has public and private
// addresses the private ones are just not dialled.
func newDialer(opts Options, g guard) *net.Dialer {
	return &net.Dialer{
		Timeout:        dialTimeout,
		Resolver:       opts.Resolver,
		ControlContext: g.control,
	}
}

// guard judges what is about to be dialled.
type guard struct {
	policy domain.TargetPolicy
	public func(netip.Addr) bool
}

// control is the dialer's hook. It sees the address in the form that the system will
// connect to, so no notation of a host can hide it.
func (g guard) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("%w: network %q", ErrRefused, network)
	}
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: address %q: %w", ErrRefused, address, err)
	}
	if !g.policy.AllowsPort(int(target.Port())) {
		return fmt.Errorf("%w: port of %s", ErrRefused, target)
	}
	if !g.policy.AllowPrivate && !g.public(target.Addr()) {
		return fmt.Errorf("%w: %s is not a public address", ErrRefused, target)
	}
	return nil
}

// transport also refuses what the policy of today would not let be created: a
// webhook may be older than the policy, from when plain http was allowed.
type transport struct {
	*http.Transport
	guard  guard
	judged *lru.Cache[url.URL, error] // what the policy, which does not change, says of URLs
}

// RoundTrip sends the request if its URL is within the policy.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	err, known := t.judged.Get(*r.URL)
	if !known {
		err = domain.CheckTargetURL(r.URL.String(), t.guard.policy)
		t.judged.Add(*r.URL, err)
	}
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return t.Transport.RoundTrip(r)
}
