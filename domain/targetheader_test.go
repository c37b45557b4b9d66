package domain

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckAuthHeader(t *testing.T) {
	const nameField, valueField = "auth_header", "auth_value"
	for _, c := range []struct{ name, value, field string }{
		{"", "", ""},
		{"Authorization", "Bearer abc.def-ghi", ""},
		{"X-Api-Key", "a\tb c", ""},
		{"X_Key", "1", ""},
		{strings.Repeat("a", 128), strings.Repeat("v", 4096), ""},

		{"", "value", nameField},
		{"Authorization", "", valueField},
		{strings.Repeat("a", 129), "v", nameField},
		{"X-Key", strings.Repeat("v", 4097), valueField},

		// Injection.
		{"X-Key\r\nHost", "v", nameField},
		{"X-Key:", "v", nameField},
		{":authority", "v", nameField},
		{"X Key", "v", nameField},
		{"X-K\u00e9y", "v", nameField},
		{"X-Key", "v\r\nHost: internal", valueField},
		{"X-Key", "v\nHost: internal", valueField},
		{"X-Key", "v\rw", valueField},
		{"X-Key", "v\x00w", valueField},
		{"X-Key", "v\x7f", valueField},
		{"X-Key", "v\u00e9", valueField},
		{"X-Key", " v", valueField},
		{"X-Key", "v\t", valueField},

		// Reserved names, in any case.
		{"Host", "v", nameField},
		{"HOST", "v", nameField},
		{"Content-Length", "0", nameField},
		{"Content-Type", "text/plain", nameField},
		{"content-encoding", "gzip", nameField},
		{"Transfer-Encoding", "chunked", nameField},
		{"Connection", "close", nameField},
		{"Keep-Alive", "1", nameField},
		{"TE", "trailers", nameField},
		{"Trailer", "x", nameField},
		{"Upgrade", "h2c", nameField},
		{"HTTP2-Settings", "x", nameField},
		{"Expect", "100-continue", nameField},
		{"Proxy-Authorization", "Basic x", nameField},
		{"Proxy-Connection", "close", nameField},
		{"User-Agent", "x", nameField},
		{"Accept-Encoding", "gzip", nameField},
		{"webhook-id", "x", nameField},
		{"Webhook-Signature", "v1,x", nameField},
		{"X-Sigilum-Signature", "sha256=x", nameField},
		{"X-Forwarded-For", "127.0.0.1", nameField},
		{"Forwarded", "for=127.0.0.1", nameField},
		{"X-HTTP-Method-Override", "DELETE", nameField},
		{"Idempotency-Key", "x", nameField},
	} {
		err := CheckAuthHeader(c.name, c.value)
		if c.field == "" {
			if err != nil {
				t.Errorf("%q: %q: %v", c.name, c.value, err)
			}
			continue
		}
		var refusal *Error
		if !errors.As(err, &refusal) || refusal.Code != CodeInvalidRequest || len(refusal.Details) != 1 || refusal.Details[0].Field != c.field {
			t.Errorf("%q: %q: got %+v, want a refusal of %s", c.name, c.value, err, c.field)
		}
	}
}
