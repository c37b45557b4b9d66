package domain

import (
	"slices"
	"strings"
)

const (
	// maxAuthHeader and maxAuthValue leave room for any token in use (a signed JWT
	// with certificates included) under the 8 KiB that most servers take for all
	// headers together.
	maxAuthHeader = 128
	maxAuthValue  = 4096
)

// reservedAuthHeaders would change the message that a delivery is, how the
// connection is used, or who a receiver believes is calling.
var reservedAuthHeaders = []string{
	// The connection's: RFC 9110, section 7.6.1, RFC 9112, and HTTP/2's upgrade.
	"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings", "expect",
	// The message's own.
	"host", "user-agent", "accept-encoding", "date",
	// Who calls, as proxies report it: a receiver behind one trusts them.
	"forwarded", "via", "x-real-ip", "true-client-ip", "cf-connecting-ip",
	// Another method than the POST that was asked for.
	"x-method-override",
	// Where Go's client finds it, a request may be sent twice.
	"idempotency-key", "x-idempotency-key",
}

var reservedAuthHeaderPrefixes = []string{
	"content-", "proxy-", "webhook-", "x-sigilum-", "x-forwarded-", "x-http-method", "sec-",
}

// CheckAuthHeader refuses, with CodeInvalidRequest, a header that a webhook's owner
// may not add to deliveries. Two empty strings mean that there is none.
func CheckAuthHeader(name, value string) error {
	var v Violations
	if reason := authNameRefusal(name, value); reason != "" {
		v.Add("auth_header", reason)
	}
	if reason := authValueRefusal(name, value); reason != "" {
		v.Add("auth_value", reason)
	}
	return v.Err()
}

func authNameRefusal(name, value string) string {
	lower := strings.ToLower(name)
	switch {
	case name == "" && value == "":
		return ""
	case name == "":
		return "is required with auth_value"
	case len(name) > maxAuthHeader:
		return "must have at most 128 characters"
	case strings.ContainsFunc(name, notTokenCharacter):
		return "is not a header name"
	case slices.Contains(reservedAuthHeaders, lower) || hasReservedPrefix(lower):
		return "is reserved"
	}
	return ""
}

// authValueRefusal never repeats the value, which is a secret.
func authValueRefusal(name, value string) string {
	switch {
	case value == "" && name != "":
		return "is required with auth_header"
	case len(value) > maxAuthValue:
		return "must have at most 4096 characters"
	case strings.ContainsFunc(value, notFieldCharacter):
		return "must be ASCII without control characters"
	case strings.Trim(value, " \t") != value:
		return "must not begin or end with a space"
	}
	return ""
}

func hasReservedPrefix(name string) bool {
	return slices.ContainsFunc(reservedAuthHeaderPrefixes, func(prefix string) bool {
		return strings.HasPrefix(name, prefix)
	})
}

// notTokenCharacter is the complement of tchar, RFC 9110 section 5.6.2.
func notTokenCharacter(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

// notFieldCharacter is the complement of what RFC 9110, section 5.5, lets a sender
// put in a field value: obs-text is for recipients to tolerate only.
func notFieldCharacter(r rune) bool {
	return r < ' ' && r != '\t' || r >= 0x7f
}
