package signature_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain/signature"
)

const (
	body    = `{"event":"request.approved","data":{"claim_id":"claim_01"}}`
	event   = "01JEVENT"
	current = "whsec_+wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAP8="
	own     = "my own secret, with spaces"
)

var at = time.Unix(1700000000, 0)

// The expected values are from openssl dgst -sha256 -mac HMAC; the last from the test
// suites of the Standard Webhooks libraries.
func TestVectors(t *testing.T) {
	if got, want := signature.Body(current, []byte(body)), "sha256=8357ac8ffcde6673ae7461b52d9d9a036e00dee348a43540568c078378f9f5cb"; got != want {
		t.Errorf("body: got %s, want %s", got, want)
	}
	if got, want := signature.Body(own, []byte(body)), "sha256=daa0ed8f924d4a1c40bc2ce5cae881ea64864a3d4c3938dec7206b33a81d1774"; got != want {
		t.Errorf("body, own secret: got %s, want %s", got, want)
	}
	got, err := signature.Standard([]string{current, own}, event, at, []byte(body))
	want := "v1,KbrU1qMs4RhMw0tj3Q22isr6VxbqX2HQ+67M+sTTNh4= v1,/na3+Lu+DoyWW1WB6Mm/UagHPsYb9SoWHy0vcFfk3dc="
	if err != nil || got != want {
		t.Errorf("standard: got %s, %v, want %s", got, err, want)
	}
	got, err = signature.Standard([]string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
		"msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; err != nil || got != want {
		t.Errorf("published vector: got %s, %v, want %s", got, err, want)
	}
}

// Written out from RFC 2104, for a key no longer than the hash's block.
func hmacByDefinition(key, message []byte) []byte {
	inner, outer := bytes.Repeat([]byte{0x36}, 64), bytes.Repeat([]byte{0x5c}, 64)
	for i, b := range key {
		inner[i] ^= b
		outer[i] ^= b
	}
	hash := sha256.Sum256(append(inner, message...))
	hash = sha256.Sum256(append(outer, hash[:]...))
	return hash[:]
}

func TestAgainstTheDefinition(t *testing.T) {
	for n := 16; n <= 64; n++ {
		secret, payload := strings.Repeat("k", n), bytes.Repeat([]byte{0, 0xff, '.'}, n)
		if want := "sha256=" + hex.EncodeToString(hmacByDefinition([]byte(secret), payload)); signature.Body(secret, payload) != want {
			t.Errorf("body with a key of %d bytes", n)
		}
		signed := append([]byte(event+".1700000000."), payload...)
		want := "v1," + base64.StdEncoding.EncodeToString(hmacByDefinition([]byte(secret), signed))
		if got, err := signature.Standard([]string{secret}, event, at, payload); err != nil || got != want {
			t.Errorf("standard with a key of %d bytes: %v", n, err)
		}
	}
}

func signed(t *testing.T, secrets ...string) http.Header {
	t.Helper()
	standard, err := signature.Standard(secrets, event, at, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	h.Set("X-Sigilum-Signature", signature.Body(secrets[0], []byte(body)))
	h.Set("webhook-id", event)
	h.Set("webhook-timestamp", signature.Timestamp(at))
	h.Set("webhook-signature", standard)
	return h
}

func TestVerify(t *testing.T) {
	const tolerance = signature.DefaultTolerance
	set := func(name string, values ...string) func(http.Header) {
		return func(h http.Header) { h[http.CanonicalHeaderKey(name)] = values }
	}
	real := signed(t, current).Get("webhook-signature")
	for _, c := range []struct {
		name    string
		change  func(http.Header)
		body    string
		secrets []string
		now     time.Time
		want    error
	}{
		{name: "as sent"},
		{name: "the older secret during a rotation", secrets: []string{own}},
		{name: "one of several secrets", secrets: []string{"another secret of mine", own}},
		{name: "late within the tolerance", now: at.Add(tolerance)},
		{name: "early within the tolerance", now: at.Add(-tolerance)},
		{name: "beside signatures of other versions", change: set("webhook-signature", "v1a,xyz "+real+" v2,abc")},
		{name: "in a header of its own", change: set("webhook-signature", "v2,abc", real)},

		{name: "too late", now: at.Add(tolerance + time.Second), want: signature.ErrTimestamp},
		{name: "too early", now: at.Add(-tolerance - time.Second), want: signature.ErrTimestamp},
		{name: "another body", body: body + " ", want: signature.ErrMismatch},
		{name: "another secret", secrets: []string{"another secret of mine"}, want: signature.ErrMismatch},
		{name: "no secret", secrets: []string{}, want: signature.ErrNoSecret},
		{name: "another id", change: set("webhook-id", "01JOTHER"), want: signature.ErrMismatch},
		{name: "another time", change: set("webhook-timestamp", "1700000001"), want: signature.ErrMismatch},
		{name: "the same time, written otherwise", change: set("webhook-timestamp", "01700000000"), want: signature.ErrMismatch},
		{name: "not the version", change: set("webhook-signature", strings.Replace(real, "v1,", "v2,", 1)), want: signature.ErrMismatch},
		{name: "cut short", change: set("webhook-signature", real[:20]), want: signature.ErrMismatch},
		{name: "empty signature", change: set("webhook-signature", "v1,"), want: signature.ErrMismatch},

		{name: "no id", change: set("webhook-id"), want: signature.ErrMissing},
		{name: "two ids", change: set("webhook-id", event, event), want: signature.ErrMissing},
		{name: "no time", change: set("webhook-timestamp"), want: signature.ErrMissing},
		{name: "two times", change: set("webhook-timestamp", "1700000000", "1700000000"), want: signature.ErrMissing},
		{name: "not a time", change: set("webhook-timestamp", "now"), want: signature.ErrMissing},
		{name: "a negative time", change: set("webhook-timestamp", "-1"), want: signature.ErrMissing},
		{name: "the end of time", change: set("webhook-timestamp", "9223372036854775807"), want: signature.ErrTimestamp},
		{name: "beyond time", change: set("webhook-timestamp", "9223372036854775808"), want: signature.ErrMissing},
		{name: "no signature", change: set("webhook-signature"), want: signature.ErrMissing},
		{name: "blank signature", change: set("webhook-signature", " "), want: signature.ErrMissing},
		{name: "too many signatures", change: set("webhook-signature", strings.Repeat("v1,x ", 16)+real), want: signature.ErrMissing},
	} {
		h := signed(t, current, own)
		if c.change != nil {
			c.change(h)
		}
		if c.body == "" {
			c.body = body
		}
		if c.secrets == nil {
			c.secrets = []string{current}
		}
		if c.now.IsZero() {
			c.now = at
		}
		if err := signature.Verify(h, []byte(c.body), c.secrets, c.now, tolerance); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}

func TestVerifyBody(t *testing.T) {
	h := signed(t, current)
	good := h.Get("X-Sigilum-Signature")
	for _, c := range []struct {
		name, header, body string
		secrets            []string
		want               error
	}{
		{"as sent", good, body, []string{current}, nil},
		{"one of several secrets", good, body, []string{own, current}, nil},
		{"upper case", "sha256=" + strings.ToUpper(good[7:]), body, []string{current}, nil},
		{"another body", good, body + " ", []string{current}, signature.ErrMismatch},
		{"another secret", good, body, []string{own}, signature.ErrMismatch},
		{"no secret", good, body, nil, signature.ErrNoSecret},
		{"cut short", good[:20] + "0", body, []string{current}, signature.ErrMismatch},
		{"empty", "sha256=", body, []string{current}, signature.ErrMismatch},
		{"missing", "", body, []string{current}, signature.ErrMissing},
		{"another scheme", "sha1=" + good[7:], body, []string{current}, signature.ErrMissing},
		{"not hexadecimal", "sha256=xyz", body, []string{current}, signature.ErrMissing},
	} {
		h.Set("X-Sigilum-Signature", c.header)
		if err := signature.VerifyBody(h, []byte(c.body), c.secrets); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}

func TestASecretThatCannotSign(t *testing.T) {
	const bad = "whsec_tooshort"
	for _, secrets := range [][]string{nil, {bad}, {current, bad}} {
		if got, err := signature.Standard(secrets, event, at, []byte(body)); err == nil || got != "" {
			t.Errorf("%q signed: %q", secrets, got)
		}
	}
	err := signature.Verify(signed(t, current), []byte(body), []string{bad}, at, time.Minute)
	if err == nil || strings.Contains(err.Error(), "tooshort") {
		t.Errorf("got %v", err)
	}
}
