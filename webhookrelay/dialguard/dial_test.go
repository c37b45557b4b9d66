package dialguard

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/claimledger/claimledger/domain"
)

// privateHosts are the notations that lead, or could lead, somewhere private.
var privateHosts = []string{
	"127.0.0.1", "127.0.0.3", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1",
	"169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "198.18.0.1", "192.0.2.1", "224.0.0.1",
	"240.0.0.1", "255.255.255.255",
	"::1", "::", "::ffff:127.0.0.1", "::ffff:7f00:1", "0:0:0:0:0:ffff:7f00:1", "::127.0.0.1", "64:ff9b::7f00:1",
	"64:ff9b:1::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::", "fe80::1%lo", "fec0::1", "fd00:ec2::254", "ff02::1",
	"2001:db8::1",
}

func TestTheDialerRefusesPrivateAddresses(t *testing.T) {
	trap := newTrap(t)
	opts := Options{Policy: domain.TargetPolicy{Ports: []int{trap.port()}}}
	dialer := newDialer(opts, guard{policy: opts.Policy, public: domain.PublicAddress})
	for _, host := range privateHosts {
		conn, err := dialer.DialContext(withDeadline(t), "tcp", net.JoinHostPort(host, strconv.Itoa(trap.port())))
		if conn != nil {
			conn.Close()
		}
		if !errors.Is(err, ErrRefused) {
			t.Errorf("%s: got %v, want a refusal", host, err)
		}
	}
	trap.assertUntouched(t)
}

// Whatever resolver reads them: one that takes them for addresses runs into the guard,
// one that takes them for names finds none.
func TestNumbersForHostsLeadNowhere(t *testing.T) {
	trap := newTrap(t)
	policy := domain.TargetPolicy{Ports: []int{trap.port()}}
	for _, resolver := range []*net.Resolver{nil, resolve(t, []string{"127.0.0.1", "::1"})} {
		opts := Options{Policy: policy, Resolver: resolver}
		dialer := newDialer(opts, guard{policy: policy, public: domain.PublicAddress})
		for _, host := range []string{
			"2130706433", "0x7f000001", "017700000001", "127.1", "127.0.1", "0177.0.0.1", "0x7f.0.0.1", "127.0.0.01",
			"0", "localhost", "LOCALHOST", "localhost.",
		} {
			conn, err := dialer.DialContext(withDeadline(t), "tcp", net.JoinHostPort(host, strconv.Itoa(trap.port())))
			if err == nil {
				conn.Close()
				t.Errorf("%s led to %s", host, conn.RemoteAddr())
			}
			t.Logf("%s: %v", host, err)
		}
	}
	trap.assertUntouched(t)
}

func TestTheClientRefusesPrivateURLs(t *testing.T) {
	trap := newTrap(t)
	transport := NewTransport(Options{Policy: domain.TargetPolicy{Ports: []int{trap.port()}}})
	for _, host := range append([]string{"localhost", "2130706433", "0x7f.1", "127.1", "127.0.0.1."}, privateHosts...) {
		host = strings.ReplaceAll(host, "%", "%25")
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		assertRefused(t, transport, fmt.Sprintf("https://%s:%d/", host, trap.port()))
	}
	trap.assertUntouched(t)
}

func TestNamesThatResolveToPrivateAddresses(t *testing.T) {
	trap := newTrap(t)
	for _, answers := range [][]string{
		{"127.0.0.1"}, {"0.0.0.0"}, {"10.1.2.3"}, {"169.254.169.254"}, {"100.100.100.200"}, {"168.63.129.16"},
		{"::1"}, {"::"}, {"::ffff:127.0.0.1"}, {"::127.0.0.1"}, {"64:ff9b::7f00:1"}, {"2002:7f00:1::"},
		{"2001:0:7f00:1::"}, {"fe80::1"}, {"fec0::1"}, {"fd00:ec2::254"},
		{"127.0.0.1", "::1", "10.0.0.1"},
	} {
		transport := NewTransport(Options{
			Policy:   domain.TargetPolicy{Ports: []int{trap.port()}},
			Resolver: resolve(t, answers),
		})
		assertRefused(t, transport, fmt.Sprintf("https://hook.example.com:%d/", trap.port()))
	}
	trap.assertUntouched(t)
}

func assertRefused(t *testing.T, transport http.RoundTripper, url string) {
	t.Helper()
	request, err := http.NewRequestWithContext(withDeadline(t), http.MethodPost, url, strings.NewReader("{}"))
	if err != nil {
		return // not even a URL
	}
	response, err := transport.RoundTrip(request)
	if err == nil {
		response.Body.Close()
	}
	if !errors.Is(err, ErrRefused) {
		t.Errorf("%s: got %v, want a refusal", url, err)
	}
}

func get(t *testing.T, transport http.RoundTripper, url string) (*http.Response, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(withDeadline(t), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err == nil {
		t.Cleanup(func() { response.Body.Close() })
	}
	return response, err
}

// One address of several is private: it is passed over, the public one is used.
func TestMixedAnswers(t *testing.T) {
	for _, answers := range [][]string{
		{"127.0.0.1", "127.0.0.2"}, {"127.0.0.2", "127.0.0.1"}, {"::1", "127.0.0.2"}, {"127.0.0.2", "::1", "10.0.0.1"},
	} {
		var delivered counter
		listener, private := neighbours(t)
		_, roots, port := receiver(t, delivered.handler, func(s *httptest.Server) { s.Listener = listener })
		transport := guarded(roots, resolve(t, answers), port)
		if _, err := get(t, transport, fmt.Sprintf("https://hook.example.com:%d/", port)); err != nil {
			t.Errorf("%v: %v", answers, err)
		}
		if delivered.Load() != 1 {
			t.Errorf("%v: delivered %d times", answers, delivered.Load())
		}
		private.assertUntouched(t)
	}
}

// The name is public at first, when anything could have checked it, and private when
// the next connection is made.
func TestRebinding(t *testing.T) {
	var delivered counter
	listener, private := neighbours(t)
	_, roots, port := receiver(t, delivered.handler, func(s *httptest.Server) { s.Listener = listener })
	transport := guarded(roots, resolve(t, []string{"127.0.0.2"}, []string{"127.0.0.1"}), port)
	url := fmt.Sprintf("https://hook.example.com:%d/", port)
	if _, err := get(t, transport, url); err != nil {
		t.Fatal(err)
	}
	transport.CloseIdleConnections()
	assertRefused(t, transport, url)
	if delivered.Load() != 1 {
		t.Errorf("delivered %d times", delivered.Load())
	}
	private.assertUntouched(t)
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	trap := newTrap(t)
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, target := range []string{"https://127.0.0.1:%d/", "http://localhost:%d/", "https://other.example.com:%d/"} {
			_, roots, port := receiver(t, func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, fmt.Sprintf(target, trap.port()), status)
			}, nil)
			transport := guarded(roots, resolve(t, []string{"127.0.0.2"}), port, trap.port())
			response, err := get(t, transport, fmt.Sprintf("https://hook.example.com:%d/", port))
			if err != nil || response.StatusCode != status {
				t.Errorf("%d to %s: got %v, %v", status, target, response, err)
			}
		}
	}
	trap.assertUntouched(t)
}

func TestProxiesFromTheEnvironmentAreIgnored(t *testing.T) {
	trap := newTrap(t)
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"} {
		t.Setenv(name, fmt.Sprintf("http://127.0.0.1:%d", trap.port()))
	}
	var delivered counter
	_, roots, port := receiver(t, delivered.handler, nil)
	url := fmt.Sprintf("https://hook.example.com:%d/", port)
	request, _ := http.NewRequest(http.MethodGet, url, nil)
	if proxy, err := http.ProxyFromEnvironment(request); proxy == nil || err != nil {
		t.Fatalf("another transport would not use the proxy either: %v, %v", proxy, err)
	}
	if _, err := get(t, guarded(roots, resolve(t, []string{"127.0.0.2"}), port), url); err != nil {
		t.Error(err)
	}
	if delivered.Load() != 1 {
		t.Errorf("delivered %d times", delivered.Load())
	}
	trap.assertUntouched(t)
}

func TestPortsAndSchemes(t *testing.T) {
	var delivered counter
	_, roots, port := receiver(t, delivered.handler, nil)
	resolver := resolve(t, []string{"127.0.0.2"})
	assertRefused(t, guarded(roots, resolver), fmt.Sprintf("https://hook.example.com:%d/", port))
	assertRefused(t, guarded(roots, resolver, port), fmt.Sprintf("http://hook.example.com:%d/", port))
	assertRefused(t, guarded(roots, resolver, port), fmt.Sprintf("https://user:password@hook.example.com:%d/", port))
	if delivered.Load() != 0 {
		t.Errorf("delivered %d times", delivered.Load())
	}
	// The dialer judges ports on its own, whatever the URL's check let pass.
	g := guard{public: func(netip.Addr) bool { return true }}
	address := netip.AddrPortFrom(outside, uint16(port)).String()
	if err := g.control(t.Context(), "tcp4", address, nil); !errors.Is(err, ErrRefused) {
		t.Errorf("got %v", err)
	}
}

func TestTheHookRefusesWhatItDoesNotKnow(t *testing.T) {
	g := guard{policy: domain.TargetPolicy{AllowPrivate: true}, public: func(netip.Addr) bool { return true }}
	for _, c := range []struct{ network, address string }{
		{"udp4", "8.8.8.8:443"}, {"unix", "/run/docker.sock"}, {"tcp", "8.8.8.8:443"}, {"tcp4", "8.8.8.8"},
		{"tcp4", "example.com:443"}, {"tcp4", ""}, {"tcp6", "[::1]:0"},
	} {
		if err := g.control(t.Context(), c.network, c.address, nil); !errors.Is(err, ErrRefused) {
			t.Errorf("%s %s: got %v", c.network, c.address, err)
		}
	}
	if err := g.control(t.Context(), "tcp4", "127.0.0.1:80", nil); err != nil {
		t.Errorf("development: %v", err)
	}
	g = guard{public: domain.PublicAddress}
	for _, address := range []string{"[::ffff:127.0.0.1]:443", "[::ffff:a9fe:a9fe]:443", "[2606:4700::1%1]:443"} {
		if err := g.control(t.Context(), "tcp6", address, nil); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: got %v", address, err)
		}
	}
	for network, address := range map[string]string{"tcp4": "8.8.8.8:443", "tcp6": "[2606:4700::1]:8443"} {
		if err := g.control(t.Context(), network, address, nil); err != nil {
			t.Errorf("production: %v", err)
		}
	}
}

func TestTLS(t *testing.T) {
	resolver := resolve(t, []string{"127.0.0.2"})
	for _, c := range []struct {
		version uint16
		good    bool
	}{{tls.VersionTLS10, false}, {tls.VersionTLS11, false}, {tls.VersionTLS12, true}, {tls.VersionTLS13, true}} {
		var delivered counter
		_, roots, port := receiver(t, delivered.handler, func(s *httptest.Server) {
			s.TLS = &tls.Config{MinVersion: c.version, MaxVersion: c.version}
			s.Config.ErrorLog = quiet()
		})
		_, err := get(t, guarded(roots, resolver, port), fmt.Sprintf("https://hook.example.com:%d/", port))
		if (err == nil) != c.good || (delivered.Load() == 1) != c.good {
			t.Errorf("%s: %v, delivered %d times", tls.VersionName(c.version), err, delivered.Load())
		}
	}
	var delivered counter
	_, roots, port := receiver(t, delivered.handler, func(s *httptest.Server) { s.Config.ErrorLog = quiet() })
	if _, err := get(t, guarded(nil, resolver, port), fmt.Sprintf("https://hook.example.com:%d/", port)); err == nil {
		t.Error("a certificate of an unknown authority was accepted")
	}
	if _, err := get(t, guarded(roots, resolver, port), fmt.Sprintf("https://hook.example.org:%d/", port)); err == nil {
		t.Error("a certificate for another name was accepted")
	}
	if delivered.Load() != 0 {
		t.Errorf("delivered %d times", delivered.Load())
	}
}

func TestOneExchangeAtATimeOnKeptConnections(t *testing.T) {
	var connections counter
	_, roots, port := receiver(t, func(http.ResponseWriter, *http.Request) {}, func(s *httptest.Server) {
		s.EnableHTTP2 = true
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				connections.Add(1)
			}
		}
	})
	transport := guarded(roots, resolve(t, []string{"127.0.0.2"}), port)
	for range 3 {
		response, err := get(t, transport, fmt.Sprintf("https://hook.example.com:%d/", port))
		if err != nil || response.ProtoMajor != 1 {
			t.Fatalf("got %v, %v", response, err)
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
	if connections.Load() != 1 {
		t.Errorf("%d connections", connections.Load())
	}
}

func TestDevelopment(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	transport := NewTransport(Options{Policy: domain.TargetPolicy{AllowPrivate: true}})
	if response, err := get(t, transport, server.URL); err != nil || response.StatusCode != http.StatusNotFound {
		t.Errorf("got %v, %v", response, err)
	}
}
