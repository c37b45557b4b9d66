package dialguard

import (
	"context"
	"crypto/x509"
	"encoding/binary"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// TestMain makes a build with cgo ask the system's resolver where a test does not
// bring its own: getaddrinfo reads 127.1 and 0x7f000001 as addresses, Go's does not.
// Package net prefers cgo when this variable is set; it reads it once, at first use.
func TestMain(m *testing.M) {
	os.Setenv("RES_OPTIONS", "timeout:1 attempts:1")
	os.Exit(m.Run())
}

// trap listens on every address of this machine and must not be connected to.
type trap struct{ net.Listener }

func newTrap(t *testing.T) trap {
	t.Helper()
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return trap{listener}
}

func (l trap) port() int { return l.Addr().(*net.TCPAddr).Port }

// assertUntouched connects once itself. Connections are accepted in the order in which
// they were made, so one that came before would be accepted first.
func (l trap) assertUntouched(t *testing.T) {
	t.Helper()
	marker, err := net.Dial("tcp", netip.AddrPortFrom(loopback, uint16(l.port())).String())
	if err != nil {
		t.Fatal(err)
	}
	defer marker.Close()
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if got, want := first.RemoteAddr().(*net.TCPAddr).AddrPort().Port(), marker.LocalAddr().(*net.TCPAddr).AddrPort().Port(); got != want {
		t.Errorf("somebody connected to the trap")
	}
}

// loopback is private to every guard. outside stands for the public internet, which
// tests cannot reach: guards made by guarded take it for public.
var (
	loopback = netip.MustParseAddr("127.0.0.1")
	outside  = netip.MustParseAddr("127.0.0.2")
)

// guarded is a transport as in production, but that it takes outside for public and
// allows these ports.
func guarded(roots *x509.CertPool, resolver *net.Resolver, ports ...int) *transport {
	opts := Options{Policy: domain.TargetPolicy{Ports: ports}, RootCAs: roots, Resolver: resolver}
	return newTransport(opts, func(a netip.Addr) bool { return a == outside || domain.PublicAddress(a) })
}

// listen binds a port of this address; 0 means any.
func listen(t *testing.T, address netip.Addr, port uint16) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", netip.AddrPortFrom(address, port).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

// neighbours are a listener on the outside address and a trap on the same port of the
// private one.
func neighbours(t *testing.T) (net.Listener, trap) {
	t.Helper()
	for range 20 { // another process may have the one port where the other is free
		public := listen(t, outside, 0)
		port := public.Addr().(*net.TCPAddr).AddrPort().Port()
		if private, err := net.Listen("tcp", netip.AddrPortFrom(loopback, port).String()); err == nil {
			t.Cleanup(func() { private.Close() })
			return public, trap{private}
		}
	}
	t.Fatal("no port is free on both addresses")
	return nil, trap{}
}

// receiver is a TLS server on the outside address for *.example.com.
func receiver(t *testing.T, handler http.HandlerFunc, change func(*httptest.Server)) (*httptest.Server, *x509.CertPool, int) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener = nil
	if change != nil {
		change(server)
	}
	if server.Listener == nil {
		server.Listener = listen(t, outside, 0)
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return server, roots, server.Listener.Addr().(*net.TCPAddr).Port
}

// withDeadline is only there so that a broken test ends.
func withDeadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// resolve makes a resolver whose DNS server gives the answers of each lookup in turn,
// and the last ones for ever.
func resolve(t *testing.T, lookups ...[]string) *net.Resolver {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	go serveDNS(socket, lookups)
	return &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "udp", socket.LocalAddr().String())
		},
	}
}

const (
	dnsHeader = 12 // octets, RFC 1035 section 4.1.1
	typeA     = 1
	typeAAAA  = 28 // RFC 3596
)

// serveDNS answers A and AAAA questions for any name. Go asks for both at once, in any
// order, so each type counts its own questions.
func serveDNS(socket net.PacketConn, lookups [][]string) {
	asked := map[uint16]int{}
	packet := make([]byte, 1500)
	for {
		n, from, err := socket.ReadFrom(packet)
		if err != nil {
			return
		}
		end := dnsHeader
		for end < n && packet[end] != 0 {
			end += int(packet[end]) + 1
		}
		if end += 5; end > n {
			continue
		}
		kind := binary.BigEndian.Uint16(packet[end-4:])
		answers := lookups[min(asked[kind], len(lookups)-1)]
		asked[kind]++
		socket.WriteTo(dnsReply(packet[:end], kind, answers), from)
	}
}

func dnsReply(question []byte, kind uint16, answers []string) []byte {
	reply := append([]byte{}, question...)
	binary.BigEndian.PutUint16(reply[2:], 0x8180) // a response, recursion available, no error
	records := uint16(0)
	for _, text := range answers {
		// Decided on the text, so that ::ffff:127.0.0.1 can be sent as an AAAA record.
		if isAAAA := strings.Contains(text, ":"); isAAAA != (kind == typeAAAA) || kind != typeA && !isAAAA {
			continue
		}
		data := netip.MustParseAddr(text).AsSlice()
		reply = append(reply, 0xc0, dnsHeader) // the name: see the question
		reply = binary.BigEndian.AppendUint16(reply, kind)
		reply = append(reply, 0, 1, 0, 0, 0, 0) // class IN, time to live 0
		reply = binary.BigEndian.AppendUint16(reply, uint16(len(data)))
		reply = append(reply, data...)
		records++
	}
	binary.BigEndian.PutUint16(reply[6:], records)
	copy(reply[8:12], make([]byte, 4)) // nothing in the other sections
	return reply
}

// counter counts what reached a receiver.
type counter struct{ atomic.Int64 }

func (c *counter) handler(w http.ResponseWriter, _ *http.Request) { c.Add(1) }

// quiet drops what a server logs of handshakes that are meant to fail.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
