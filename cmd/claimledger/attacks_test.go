package main

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// attackTargets are URLs that would have deliveries go where they must not, or that others
// read otherwise than this ledger. %d is the port of a listener that would notice.
var attackTargets = []string{
	// Hosts that are a number in any form.
	"https://2130706433/", "https://0x7f000001/", "https://0X7F000001/", "https://017700000001/", "https://0/",
	"https://127.1/", "https://127.0.1/", "https://0177.0.0.1/", "https://0x7f.0.0.1/", "https://127.0.0.01/",
	"https://127.0.0.0x1/", "https://256.256.256.256/", "https://1.2.3.4.5/", "https://99999999999999999999/",
	"https://2130706433:%d/", "https://127.1:%d/",
	// Addresses that are not public.
	"https://127.0.0.1/", "https://127.0.0.1:%d/", "https://0.0.0.0/", "https://0.1.2.3/", "https://10.0.0.1/", "https://172.16.0.1/",
	"https://192.168.0.1/", "https://100.64.0.1/", "https://169.254.0.1/", "https://169.254.169.254/latest/meta-data/",
	"https://100.100.100.200/", "https://168.63.129.16/", "https://192.0.0.192/", "https://192.0.2.1/", "https://198.18.0.1/",
	"https://224.0.0.1/", "https://240.0.0.1/", "https://255.255.255.255/",
	// The same in IPv6, and IPv4 within it.
	"https://[::]/", "https://[::1]/", "https://[::1]:%d/", "https://[fd00:ec2::254]/", "https://[fe80::1]/", "https://[fec0::1]/",
	"https://[ff02::1]/", "https://[2001:db8::1]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:127.0.0.1]:%d/",
	"https://[::ffff:7f00:1]/", "https://[0:0:0:0:0:ffff:7f00:1]/", "https://[::127.0.0.1]/", "https://[64:ff9b::7f00:1]/",
	"https://[64:ff9b:1::7f00:1]/", "https://[2002:7f00:1::]/", "https://[2001:0:7f00:1::]/", "https://[fe80::1%%25lo]/", "https://[fe80::1%%lo]/",
	// Names of this machine and of others nearby.
	"https://localhost/", "https://LOCALHOST:%d/", "https://localhost./", "https://a.localhost/", "https://localhost.localdomain/",
	"https://ip6-localhost/", "https://postgres/", "https://metadata.google.internal/", "https://kubernetes.default.svc.cluster.local/",
	"https://hooks.example.com./", "https://127.0.0.1./", "https://１２７.0.０.１/", "https://127。0。0。1/", "https://%%31%%32%%37.0.0.1/",
	// Schemes, ports, users, fragments.
	"http://hooks.example.com/", "http://127.0.0.1:%d/", "ftp://hooks.example.com/", "file:///etc/passwd", "gopher://127.0.0.1:%d/", "//127.0.0.1:%d/",
	"https://hooks.example.com:22/", "https://hooks.example.com:80/", "https://hooks.example.com:5432/", "https://hooks.example.com:0/",
	"https://hooks.example.com:0443/", "https://hooks.example.com:/", "https://user:password@hooks.example.com/", "https://hooks.example.com@127.0.0.1:%d/",
	"https://hooks.example.com#@127.0.0.1:%d/", "https://hooks.example.com/#x", `https://hooks.example.com\@127.0.0.1:%d/`,
}

// attackTexts are no text for any field.
var attackTexts = []string{"https://hooks.example.com/\r\nHost: internal", "https://hooks.example.com/\x00"}

// attackHeaders are headers that would make another message of a delivery.
var attackHeaders = [][2]string{
	{"X-Key\r\nHost", "v"}, {"X-Key: a\r\nX-Other", "v"}, {"X-Key:", "v"}, {"X Key", "v"}, {":authority", "v"}, {"X-Këy", "v"},
	{"X-Key", "v\r\nHost: internal"}, {"X-Key", "v\nHost: internal"}, {"X-Key", "v\rw"}, {"X-Key", "v\x00"}, {"X-Key", "v\u2028w"},
	{"Host", "internal"}, {"HOST", "internal"}, {"Content-Length", "0"}, {"Content-Type", "text/plain"}, {"Transfer-Encoding", "chunked"},
	{"Connection", "close"}, {"Keep-Alive", "1"}, {"TE", "trailers"}, {"Trailer", "x"}, {"Upgrade", "h2c"}, {"Expect", "100-continue"},
	{"Proxy-Authorization", "Basic x"}, {"User-Agent", "x"}, {"webhook-id", "x"}, {"Webhook-Timestamp", "1"}, {"webhook-signature", "v1,x"},
	{"X-Sigilum-Signature", "sha256=x"}, {"X-Sigilum-Event", "x"}, {"X-Forwarded-For", "127.0.0.1"}, {"Forwarded", "for=127.0.0.1"},
	{"X-HTTP-Method-Override", "DELETE"},
}

// No webhook can be made, or made into one, that would reach into the operator's network
// or forge a delivery; and nothing is called to find that out.
func TestWebhookAttacksAreRefused(t *testing.T) {
	t.Parallel()
	trap, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { trap.Close() })
	port := trap.Addr().(*net.TCPAddr).Port

	dir := pgtest.Dir(t)
	p := serve(t, "--data-dir", dir, "--listen", freeAddress(t))
	tn := newTenant(t, newClient(t, p.address), "acme", "--data-dir", dir)
	webhooks := "/v1/services/" + tn.service + "/webhooks"
	var made struct{ ID, URL string }
	tn.expect(201, "POST", webhooks, map[string]any{"url": "https://hooks.example.com/"}, tn.asOwner).decode(t, &made)

	refuse := func(code string, body map[string]any) {
		t.Helper()
		for _, try := range []struct{ method, path string }{{"POST", webhooks}, {"PATCH", webhooks + "/" + made.ID}} {
			r, err := tn.send(try.method, try.path, body, tn.asOwner)
			if err != nil {
				t.Fatal(err)
			}
			if r.status != 400 || r.code != code {
				t.Errorf("%s %v: %s", try.method, body, r)
			}
		}
	}
	for _, format := range attackTargets {
		url := strings.ReplaceAll(format, "%%", "%")
		if strings.Contains(url, "%d") {
			url = fmt.Sprintf(format, port)
		}
		refuse("INVALID_WEBHOOK_URL", map[string]any{"url": url})
	}
	for _, url := range attackTexts {
		refuse("INVALID_REQUEST", map[string]any{"url": url})
	}
	for _, header := range attackHeaders {
		refuse("INVALID_REQUEST", map[string]any{"url": "https://hooks.example.com/", "auth_header": header[0], "auth_value": header[1]})
	}

	var list struct{ Webhooks []json.RawMessage }
	tn.expect(200, "GET", webhooks, nil, tn.asOwner).decode(t, &list)
	if len(list.Webhooks) != 1 || !strings.Contains(string(list.Webhooks[0]), made.URL) {
		t.Errorf("there are now %s", list.Webhooks)
	}
	untouched(t, trap)
}

// untouched connects once itself. Connections are accepted in the order in which they were
// made, so one that came before would be accepted first.
func untouched(t *testing.T, trap net.Listener) {
	t.Helper()
	marker, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", trap.Addr().(*net.TCPAddr).Port))
	if err != nil {
		t.Fatal(err)
	}
	defer marker.Close()
	first, err := trap.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if first.RemoteAddr().String() != marker.LocalAddr().String() {
		t.Errorf("%s connected to the trap", first.RemoteAddr())
	}
}
