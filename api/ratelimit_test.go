package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"
)

func TestClientAddress(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, test := range []struct {
		remote    string
		forwarded []string
		want      string
	}{
		{"192.0.2.1:1", nil, "192.0.2.1"},
		{"192.0.2.1:1", []string{"198.51.100.1"}, "192.0.2.1"}, // anybody can say so
		{"[2001:db8:1:2:3:4:5:6]:1", nil, "2001:db8:1:2::/64"},
		{"[2001:db8:1:2:ffff::1]:1", nil, "2001:db8:1:2::/64"},
		{"[2001:db8:1:3::1]:1", nil, "2001:db8:1:3::/64"},
		{"[::ffff:192.0.2.1]:1", nil, "192.0.2.1"},
		{"[fe80::1%eth0]:1", nil, "fe80::/64"},
		{"10.0.0.1:1", nil, "10.0.0.1"},
		{"10.0.0.1:1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"10.0.0.1:1", []string{"203.0.113.1, 198.51.100.1"}, "198.51.100.1"}, // the first is the client's own word
		{"10.0.0.1:1", []string{"203.0.113.1", "198.51.100.1, 10.1.1.1"}, "198.51.100.1"},
		{"10.0.0.1:1", []string{"10.0.0.3,10.0.0.2"}, "10.0.0.3"},
		{"10.0.0.1:1", []string{"198.51.100.1, nobody"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{"198.51.100.1, nobody, 10.0.0.2"}, "10.0.0.2"},
		{"10.0.0.1:1", []string{""}, "10.0.0.1"},
		{"[fd00::1]:1", []string{"2001:db8:1:2::9"}, "2001:db8:1:2::/64"},
		{"[::ffff:10.0.0.1]:1", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"a pipe", []string{"198.51.100.1"}, "a pipe"},
	} {
		r := &http.Request{RemoteAddr: test.remote, Header: http.Header{forwardedHeader: test.forwarded}}
		if got := clientAddress(r, proxies); got != test.want {
			t.Errorf("%s for %q is %s, not %s", test.remote, test.forwarded, got, test.want)
		}
	}
}

// However many come, no more of them are remembered than may be.
func TestRateLimiterForgets(t *testing.T) {
	now := time.Now()
	l, err := newRateLimiter(1, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	const crowd = 2 * maxLimited
	for n := range crowd {
		if err := l.allow(w, fmt.Sprint(n), "address"); err != nil {
			t.Fatalf("the first request of address %d: %v", n, err)
		}
	}
	if n := l.counts.Len(); n != maxLimited {
		t.Errorf("%d are remembered", n)
	}
	if l.allow(w, fmt.Sprint(crowd-1), "address") == nil {
		t.Error("the last one to come is not remembered")
	}
}
