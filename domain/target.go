package domain

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxTargetURL is what common servers and proxies take in a request line.
	maxTargetURL = 2048
	// maxTargetHost and maxTargetLabel are RFC 1035, section 2.3.4: 255 octets on
	// the wire are 253 characters of text without the root's dot.
	maxTargetHost  = 253
	maxTargetLabel = 63
	// httpsPort is allowed whatever the policy says.
	httpsPort = 443
	maxPort   = 65535
)

// defaultTargetPorts are allowed beside 443 where the operator says nothing: 8443
// is where receivers without the right to bind 443 listen.
var defaultTargetPorts = []int{8443}

// localTargetSuffixes end the names that mean something only inside a host or a
// site: RFC 6761 section 6.3 (localhost), RFC 6762 section 3 and appendix G (local
// and what home and office networks use in its place), RFC 8375 (home.arpa), and
// internal, which ICANN reserved for private use in 2024. None of them will be
// delegated, so no public endpoint is lost.
var localTargetSuffixes = []string{
	"localhost", "localdomain", "local", "internal", "intranet", "private", "corp", "home", "lan", "home.arpa",
}

// TargetPolicy says where webhooks may be sent. The zero value is the policy for
// production.
type TargetPolicy struct {
	// AllowPrivate is for development: http, any port, and hosts that are not
	// public. What no client could send safely stays refused.
	AllowPrivate bool
	// Ports are allowed besides 443. Nil means 8443; an empty slice means none.
	Ports []int
}

// AllowsPort tells whether a webhook may be sent to this TCP port.
func (p TargetPolicy) AllowsPort(port int) bool {
	if port < 1 || port > maxPort {
		return false
	}
	if p.AllowPrivate || port == httpsPort {
		return true
	}
	if p.Ports == nil {
		return slices.Contains(defaultTargetPorts, port)
	}
	return slices.Contains(p.Ports, port)
}

// CheckTargetURL refuses a webhook URL that is malformed, ambiguous, or plainly
// not a public endpoint, with CodeInvalidWebhookURL. It resolves nothing: a name
// that it accepts may still lead to a private address, which only the dialer can
// see, at the moment of each dial.
func CheckTargetURL(raw string, p TargetPolicy) error {
	reason := targetURLRefusal(raw, p)
	if reason == "" {
		return nil
	}
	return &Error{
		Code:    CodeInvalidWebhookURL,
		Message: reason,
		Details: []FieldError{{Field: "url", Message: reason}},
	}
}

// targetURLRefusal is why the URL is refused, or empty. The text never repeats the
// URL, whose query may hold a credential.
func targetURLRefusal(raw string, p TargetPolicy) string {
	if raw == "" || len(raw) > maxTargetURL {
		return "the webhook URL must have 1 to 2048 characters"
	}
	if strings.ContainsFunc(raw, notURLCharacter) {
		// RFC 3986, section 2: a URL is ASCII. Parsers disagree on everything else,
		// and IDNA mapping turns fullwidth digits and ideographic full stops into
		// addresses (UTS 46), so only what needs no mapping is taken.
		return "the webhook URL must not hold spaces, control characters, any of \" < > \\ ^ ` { | } or anything beyond ASCII; write an international host in its xn-- form"
	}
	if strings.Contains(raw, "#") {
		return "the webhook URL must not have a fragment"
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return "the webhook URL cannot be parsed"
	case u.Scheme != "https" && !(u.Scheme == "http" && p.AllowPrivate):
		return "the webhook URL must begin with https://"
	case u.User != nil || strings.Contains(u.Host, "@"):
		return "the webhook URL must not hold a user name or password; use auth_header and auth_value"
	case u.Opaque != "" || u.Hostname() == "":
		return "the webhook URL must have a host"
	}
	if reason := targetPortRefusal(u, p); reason != "" {
		return reason
	}
	if strings.HasPrefix(u.Host, "[") {
		return targetIPv6Refusal(u.Hostname(), p)
	}
	return targetHostRefusal(strings.ToLower(u.Hostname()), p)
}

// notURLCharacter is what RFC 3986, section 2, has no place for. The backslash is
// the dangerous one: browsers read it as a slash (WHATWG URL, section 4.4), others as
// part of the host.
func notURLCharacter(r rune) bool {
	switch r {
	case '"', '<', '>', '\\', '^', '`', '{', '|', '}':
		return true
	}
	return r <= ' ' || r >= 0x7f
}

func targetPortRefusal(u *url.URL, p TargetPolicy) string {
	text := u.Port()
	if text == "" {
		if strings.HasSuffix(u.Host, ":") {
			return "the webhook URL has a colon and no port"
		}
		return "" // the scheme's own: 443, or 80, which only development reaches
	}
	port, err := strconv.Atoi(text)
	if err != nil || strconv.Itoa(port) != text || !p.AllowsPort(port) {
		return "the webhook URL's port is not allowed"
	}
	return ""
}

func targetIPv6Refusal(host string, p TargetPolicy) string {
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil || !addr.Is6():
		return "the webhook URL's host is not an IPv6 address"
	case addr.Zone() != "":
		// RFC 4007, section 11: a zone means something on one host only.
		return "the webhook URL's host must not have a zone"
	case p.AllowPrivate:
		return ""
	case addr.Is4In6() || !PublicAddress(addr):
		return "the webhook URL's host is not a public address"
	}
	return ""
}

func targetHostRefusal(host string, p TargetPolicy) string {
	if strings.HasSuffix(host, ".") {
		return "the webhook URL's host must not end in a dot"
	}
	if len(host) > maxTargetHost {
		return "the webhook URL's host is too long"
	}
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if !validTargetLabel(label) {
			return "the webhook URL's host is not a valid name"
		}
	}
	last := labels[len(labels)-1]
	if numericTargetLabel(last) {
		// One way to write an address: anything else (one number, short, octal or
		// hexadecimal forms) is read differently by different resolvers, RFC 6943
		// section 3.1.1. ParseAddr takes only the dotted quad without leading zeros.
		addr, err := netip.ParseAddr(host)
		if err != nil {
			return "the webhook URL's host must not be a number"
		}
		if !p.AllowPrivate && !PublicAddress(addr) {
			return "the webhook URL's host is not a public address"
		}
		return ""
	}
	if !p.AllowPrivate && (!publicTopLevel(last) || len(labels) == 1 || localTargetName(host)) {
		return "the webhook URL's host is not a public name"
	}
	return ""
}

// validTargetLabel is RFC 1123, section 2.1, and the underscore, which the names
// of containers and of some delegated zones have.
func validTargetLabel(label string) bool {
	if label == "" || len(label) > maxTargetLabel || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(label, func(r rune) bool {
		return r != '-' && r != '_' && !isLowerLetter(r) && !isDigit(r)
	})
}

// numericTargetLabel tells a host that ends in a number, which the WHATWG URL
// standard (section 3.5) and inet_aton read as an IPv4 address.
func numericTargetLabel(label string) bool {
	digits, isDigitOf := label, isDigit
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		digits = hex
		isDigitOf = func(r rune) bool { return isDigit(r) || r >= 'a' && r <= 'f' }
	}
	return !strings.ContainsFunc(digits, func(r rune) bool { return !isDigitOf(r) })
}

// publicTopLevel is RFC 3696, section 2: top-level names are alphabetic, or the
// encoding of an international one.
func publicTopLevel(label string) bool {
	return strings.HasPrefix(label, "xn--") ||
		!strings.ContainsFunc(label, func(r rune) bool { return !isLowerLetter(r) })
}

func localTargetName(host string) bool {
	return slices.ContainsFunc(localTargetSuffixes, func(suffix string) bool {
		return host == suffix || strings.HasSuffix(host, "."+suffix)
	})
}

func isLowerLetter(r rune) bool { return r >= 'a' && r <= 'z' }
func isDigit(r rune) bool       { return r >= '0' && r <= '9' }
