package domain

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func TestCheckTargetURL(t *testing.T) {
	production, development := TargetPolicy{}, TargetPolicy{AllowPrivate: true}
	// Where a URL is good: nowhere, in development only, or everywhere.
	const nowhere, dev, both = 0, 1, 2
	for _, c := range []struct {
		url  string
		good int
	}{
		{"https://example.com", both},
		{"https://example.com/hooks/1?token=a%20b&x={}", nowhere},
		{"https://example.com/hooks/1?token=a%20b", both},
		{"HTTPS://Hooks.Example.COM:443/", both},
		{"https://example.com:8443/", both},
		{"https://xn--bcher-kva.example.com/", both},
		{"https://example.xn--p1ai/", both},
		{"https://my_hook.example.com/", both},
		{"https://8.8.8.8/", both},
		{"https://[2606:4700:4700::1111]/", both},
		{"https://[2606:4700:4700::1111]:8443/", both},
		{"https://1.example.com/", both},
		{"https://127.0.0.1.nip.io/", both}, // the dial guard's to refuse
		{"https://localhost.example.com/", both},

		// Schemes and shapes.
		{"", nowhere},
		{"http://example.com/", dev},
		{"ftp://example.com/", nowhere},
		{"file:///etc/passwd", nowhere},
		{"gopher://example.com/", nowhere},
		{"javascript:alert(1)", nowhere},
		{"//example.com/", nowhere},
		{"example.com", nowhere},
		{"https:example.com", nowhere},
		{"https:/example.com", nowhere},
		{"https://", nowhere},
		{"https:///path", nowhere},
		{"https://:443/", nowhere},
		{"https://?x", nowhere},
		{"https://example.com/" + strings.Repeat("a", 2048-len("https://example.com/")), both},
		{"https://example.com/" + strings.Repeat("a", 2049-len("https://example.com/")), nowhere},
		{"https://example.com/%zz", nowhere},

		// User information, fragments, characters that parsers disagree on.
		{"https://user@example.com/", nowhere},
		{"https://user:password@example.com/", nowhere},
		{"https://@example.com/", nowhere},
		{"https://example.com@127.0.0.1/", nowhere},
		{"https://example.com/#fragment", nowhere},
		{"https://example.com/#", nowhere},
		{"https://example.com#@127.0.0.1/", nowhere},
		{"https://example.com\\@127.0.0.1/", nowhere},
		{"https:\\\\example.com/", nowhere},
		{"https://example.com/a b", nowhere},
		{" https://example.com/", nowhere},
		{"https://example.com/\r\nHost: internal", nowhere},
		{"https://example.com/\t", nowhere},
		{"https://example.com/\x00", nowhere},
		{"https://exam\x7fple.com/", nowhere},

		// Ports.
		{"https://example.com:80/", dev},
		{"https://example.com:22/", dev},
		{"https://example.com:5432/", dev},
		{"https://example.com:0/", nowhere},
		{"https://example.com:65536/", nowhere},
		{"https://example.com:0443/", nowhere},
		{"https://example.com:+443/", nowhere},
		{"https://example.com:-1/", nowhere},
		{"https://example.com:https/", nowhere},
		{"https://example.com:/", nowhere},
		{"https://example.com:99999999999999999999/", nowhere},

		// Names that are no public name.
		{"https://localhost/", dev},
		{"https://LOCALHOST/", dev},
		{"https://localhost./", nowhere},
		{"https://a.localhost/", dev},
		{"https://localhost.localdomain/", dev},
		{"https://localhost6.localdomain6/", dev},
		{"https://ip6-localhost/", dev},
		{"https://ip6-loopback/", dev},
		{"https://printer.local/", dev},
		{"https://metadata.google.internal/", dev},
		{"https://db.corp/", dev},
		{"https://nas.home.arpa/", dev},
		{"https://router.lan/", dev},
		{"https://kubernetes.default.svc.cluster.local/", dev},
		{"https://postgres/", dev},
		{"https://example.com./", nowhere},
		{"https://example.com../", nowhere},
		{"https://.example.com/", nowhere},
		{"https://example..com/", nowhere},
		{"https://./", nowhere},
		{"https://-a.example.com/", nowhere},
		{"https://a-.example.com/", nowhere},
		{"https://ex*mple.com/", nowhere},
		{"https://exam%70le.com/", nowhere},
		{"https://" + strings.Repeat("a", 63) + ".example.com/", both},
		{"https://" + strings.Repeat("a", 64) + ".example.com/", nowhere},
		{"https://" + strings.Repeat("a.", 125) + "com/", both},
		{"https://" + strings.Repeat("a.", 126) + "com/", nowhere},

		// Addresses that are not public, in the canonical notation.
		{"https://127.0.0.1/", dev},
		{"https://0.0.0.0/", dev},
		{"https://10.0.0.1/", dev},
		{"https://169.254.169.254/latest/meta-data/", dev},
		{"https://100.100.100.200/", dev},
		{"https://168.63.129.16/", dev},
		{"https://[::1]/", dev},
		{"https://[::]/", dev},
		{"https://[fd00:ec2::254]/", dev},
		{"https://[fe80::1]/", dev},
		{"https://[fec0::1]/", dev},
		{"https://[::ffff:127.0.0.1]/", dev},
		{"https://[::ffff:7f00:1]/", dev},
		{"https://[::ffff:8.8.8.8]/", dev},
		{"https://[0:0:0:0:0:ffff:127.0.0.1]/", dev},
		{"https://[::127.0.0.1]/", dev},
		{"https://[::8.8.8.8]/", dev},
		{"https://[64:ff9b::7f00:1]/", dev},
		{"https://[64:ff9b:1::7f00:1]/", dev},
		{"https://[2002:7f00:1::]/", dev},
		{"https://[2001:0:7f00:1::]/", dev},
		{"https://[fe80::1%25eth0]/", nowhere},
		{"https://[fe80::1%eth0]/", nowhere},
		{"https://[2606:4700:4700::1111%251]/", nowhere},
		{"https://[8.8.8.8]/", nowhere},
		{"https://[v1.8]/", nowhere},
		{"https://[::1/", nowhere},
		{"https://::1/", nowhere},
		{"https://[]/", nowhere},
		{"https://[::1]x/", nowhere},

		// Numbers in any other form.
		{"https://2130706433/", nowhere},
		{"https://134744072/", nowhere},
		{"https://0x7f000001/", nowhere},
		{"https://0X7F000001/", nowhere},
		{"https://017700000001/", nowhere},
		{"https://0/", nowhere},
		{"https://0x/", nowhere},
		{"https://127.1/", nowhere},
		{"https://127.0.1/", nowhere},
		{"https://8.8/", nowhere},
		{"https://0177.0.0.1/", nowhere},
		{"https://0x7f.0.0.1/", nowhere},
		{"https://127.0.0.0x1/", nowhere},
		{"https://127.0.0.01/", nowhere},
		{"https://08.8.8.8/", nowhere},
		{"https://127.0.0.1./", nowhere},
		{"https://256.256.256.256/", nowhere},
		{"https://1.2.3.4.5/", nowhere},
		{"https://example.123/", nowhere},
		{"https://99999999999999999999/", nowhere},
		{"https://example.1com/", dev}, // no such top-level name can exist

		// Characters that normalise to something else (UTS 46).
		{"https://１２７.０.０.１/", nowhere},
		{"https://127。0。0。1/", nowhere},
		{"https://ⓔxample.com/", nowhere},
		{"https://bücher.example.com/", nowhere},
		{"https://%EF%BC%91%32%37.0.0.1/", nowhere},
		{"https://local\u00adhost/", nowhere},
	} {
		for policy, want := range map[*TargetPolicy]bool{&production: c.good == both, &development: c.good >= dev} {
			err := CheckTargetURL(c.url, *policy)
			if got := err == nil; got != want {
				t.Errorf("%q with %+v: accepted %v, want %v (%v)", c.url, *policy, got, want, err)
			}
			if err != nil && ErrorCode(err) != CodeInvalidWebhookURL {
				t.Errorf("%q: code %s", c.url, ErrorCode(err))
			}
		}
	}
}

func TestTargetPorts(t *testing.T) {
	for _, c := range []struct {
		policy        TargetPolicy
		allow, refuse []int
	}{
		{TargetPolicy{}, []int{443, 8443}, []int{-1, 0, 80, 444, 65536}},
		{TargetPolicy{Ports: []int{}}, []int{443}, []int{8443}},
		{TargetPolicy{Ports: []int{9443, 0, 70000}}, []int{443, 9443}, []int{8443, 0, 70000}},
		{TargetPolicy{AllowPrivate: true}, []int{1, 80, 443, 65535}, []int{-1, 0, 65536}},
	} {
		for _, port := range c.allow {
			if !c.policy.AllowsPort(port) {
				t.Errorf("%+v refuses %d", c.policy, port)
			}
		}
		for _, port := range c.refuse {
			if c.policy.AllowsPort(port) {
				t.Errorf("%+v allows %d", c.policy, port)
			}
		}
	}
}

func TestTargetRefusalDoesNotRepeatTheURL(t *testing.T) {
	err := CheckTargetURL("http://example.com/?token=hunter2", TargetPolicy{})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Fatalf("got %v", err)
	}
}

// What is accepted at creation is checked again, as net/url writes it, before each
// delivery: it must not be refused then.
func FuzzCheckTargetURL(f *testing.F) {
	f.Add("https://example.com/a?b=c")
	f.Add("https://8.8.8.8:8443/%41")
	f.Add("https://[2606:4700:4700::1111]")
	f.Add("https://Example.com/[a]'!$&;=~:@?q=[1]")
	f.Fuzz(func(t *testing.T, raw string) {
		for _, policy := range []TargetPolicy{{}, {AllowPrivate: true}} {
			if CheckTargetURL(raw, policy) != nil {
				continue
			}
			u, err := url.Parse(raw)
			if err != nil {
				t.Fatalf("%q was accepted and does not parse: %v", raw, err)
			}
			if err := CheckTargetURL(u.String(), policy); err != nil {
				t.Fatalf("%q was accepted and %q is not: %v", raw, u, err)
			}
			addr, err := netip.ParseAddr(u.Hostname())
			if err == nil && !policy.AllowPrivate && !PublicAddress(addr) {
				t.Fatalf("%q was accepted", raw)
			}
		}
	})
}
