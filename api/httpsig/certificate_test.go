package httpsig

import (
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
)

func TestVerifyCertificate(t *testing.T) {
	key := testKey(1)
	cases := []struct {
		name   string
		change func(testCertificate) string // the header's text
		ok     bool
	}{
		{"good", testCertificate.encode, true},
		{"no expiresAt is null", func(c testCertificate) string { delete(c, "expiresAt"); return c.encode() }, true},
		{"other fields are ignored", func(c testCertificate) string { c["note"] = "x"; return c.encode() }, true},
		{"another version", func(c testCertificate) string { c["version"] = 2; return c.encode() }, false},
		{"no version", func(c testCertificate) string { delete(c, "version"); return c.encode() }, false},
		{"another did", func(c testCertificate) string { return c.with("did", "did:sigilum:other", key).encode() }, false},
		{"another keyId", func(c testCertificate) string { return c.with("keyId", "did:sigilum:acme-corp#k", key).encode() }, false},
		{"a bad namespace", func(c testCertificate) string { return newTestCertificate("a_b", key).encode() }, false},
		{"namespace not signed", func(c testCertificate) string { c["namespace"] = "other"; return c.encode() }, false},
		{"another publicKey", func(c testCertificate) string {
			return c.with("publicKey", FormatKey(testKey(9).Public().(ed25519.PublicKey)), key).encode()
		}, false},
		{"publicKey of another kind", func(c testCertificate) string { return c.with("publicKey", "rsa:AAAA", key).encode() }, false},
		{"publicKey of 31 bytes", func(c testCertificate) string {
			return c.with("publicKey", "ed25519:"+base64.StdEncoding.EncodeToString(make([]byte, 31)), key).encode()
		}, false},
		{"issuedAt changed", func(c testCertificate) string { c["issuedAt"] = "2025-01-02T00:00:00Z"; return c.encode() }, false},
		{"issuedAt not a time", func(c testCertificate) string { return c.with("issuedAt", "yesterday", key).encode() }, false},
		{"issuedAt with a line break", func(c testCertificate) string {
			return c.with("issuedAt", "2025-01-01T00:00:00Z\nexpires-at:", key).encode()
		}, false},
		{"expiresAt changed", func(c testCertificate) string { c["expiresAt"] = "2999-01-01T00:00:00Z"; return c.encode() }, false},
		{"expiresAt empty", func(c testCertificate) string { return c.with("expiresAt", "", key).encode() }, false},
		{"expiresAt not a time", func(c testCertificate) string { return c.with("expiresAt", "never", key).encode() }, false},
		{"proof by another key", func(c testCertificate) string { c.prove(testKey(9)); return c.encode() }, false},
		{"proof alg", func(c testCertificate) string { c.proof()["alg"] = "ED25519"; return c.encode() }, false},
		{"proof sig padded", func(c testCertificate) string { c.proof()["sig"] = c.proof()["sig"].(string) + "=="; return c.encode() }, false},
		{"proof sig too short", func(c testCertificate) string { c.proof()["sig"] = "AAAA"; return c.encode() }, false},
		{"no proof", func(c testCertificate) string { delete(c, "proof"); return c.encode() }, false},
		{"cut short", func(c testCertificate) string { return c.encode()[:100] }, false},
		{"not JSON", func(testCertificate) string { return base64.RawURLEncoding.EncodeToString([]byte("{")) }, false},
		{"two documents", func(c testCertificate) string { return c.encode() + base64.RawURLEncoding.EncodeToString([]byte("{}")) }, false},
		{"a field of another type", func(c testCertificate) string { c["namespace"] = 1; return c.encode() }, false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			_, err := verifyCertificate(tc.change(newTestCertificate("acme-corp", key)))
			want := domain.CodeSignatureInvalid
			if tc.ok {
				want = ""
			}
			requireCode(t, err, want)
		})
	}
}

// TestCertificateSpelling takes certificates that are good but for how they are written.
func TestCertificateSpelling(t *testing.T) {
	for _, note := range []string{"", "?", "??", "???>>>~~~"} {
		c := newTestCertificate("acme-corp", testKey(1))
		c["note"] = note
		encoded := c.encode()
		if _, err := verifyCertificate(encoded); err != nil {
			t.Fatalf("the certificate itself is refused: %v", err)
		}
		raw, err := base64.RawURLEncoding.DecodeString(encoded)
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range []string{
			base64.URLEncoding.EncodeToString(raw),
			base64.RawStdEncoding.EncodeToString(raw),
			encoded[:8] + "\n" + encoded[8:],
			encoded + "\r\n",
		} {
			if other == encoded {
				continue // this length needs no padding, or no letter differs
			}
			_, err := verifyCertificate(other)
			requireCode(t, err, domain.CodeSignatureInvalid)
			if !strings.Contains(err.Error(), "base64url") {
				t.Errorf("refused for another reason: %v", err)
			}
		}
	}
}

func (c testCertificate) proof() map[string]any { return c["proof"].(map[string]any) }

func TestCertificateTimes(t *testing.T) {
	const code = domain.CodeSignatureInvalid
	dated := func(field, value string) func(*draft) {
		return func(d *draft) {
			d.identity(newTestCertificate("acme-corp", d.key).with(field, value, d.key), d.key)
		}
	}
	runVerifyCases(t, []verifyCase{
		{name: "expires later", before: dated("expiresAt", "2025-06-15T15:06:41Z")},
		{name: "expires later, in another zone", before: dated("expiresAt", "2025-06-15T17:06:41+02:00")},
		{name: "expired", before: dated("expiresAt", "2025-06-15T15:06:40Z"), code: code},
		{name: "expires this moment", before: dated("expiresAt", "2025-06-15T15:06:40.6Z"), code: code},
		{name: "issued 5 s ahead", before: dated("issuedAt", "2025-06-15T15:06:45.6Z")},
		{name: "issued more than 5 s ahead", before: dated("issuedAt", "2025-06-15T15:06:45.601Z"), code: code},
	})
}

func TestCertificateCache(t *testing.T) {
	key := testKey(1)
	d := newDraft()
	d.identity(newTestCertificate("acme-corp", key).with("expiresAt", "2025-06-15T15:06:42Z", key), key)
	v := newTestVerifier(t, 1)

	forged := d.sign()
	forged.Header.Set("sigilum-subject", "eve@example.com")
	_, err := v.Verify(forged, []byte(d.body), testNow)
	requireCode(t, err, domain.CodeSignatureInvalid)
	if n := v.certificates.Len(); n != 0 {
		t.Fatalf("a request that was refused left %d certificates in the cache", n)
	}

	for range 2 {
		signed, err := v.Verify(d.sign(), []byte(d.body), testNow)
		requireCode(t, err, "")
		if signed.Certificate.Encode() == "" || signed.Certificate.Namespace != "acme-corp" {
			t.Fatalf("got the certificate %+v", signed.Certificate)
		}
	}
	_, err = v.Verify(d.sign(), []byte(d.body), testNow.Add(2*time.Second))
	requireCode(t, err, domain.CodeSignatureInvalid)

	stolen := newDraft()
	stolen.headers["sigilum-agent-cert"] = d.headers["sigilum-agent-cert"]
	stolen.headers["sigilum-namespace"] = "other"
	_, err = v.Verify(stolen.sign(), []byte(stolen.body), testNow)
	requireCode(t, err, domain.CodeSignatureInvalid)

	other := newDraft()
	other.identity(newTestCertificate("other", testKey(9)), testKey(9))
	_, err = v.Verify(other.sign(), []byte(other.body), testNow)
	requireCode(t, err, "")
	if n := v.certificates.Len(); n != 1 {
		t.Fatalf("a cache for one certificate holds %d", n)
	}
}

func TestNewCertificateRoundTrip(t *testing.T) {
	expires := testNow.Add(time.Hour)
	for _, expiresAt := range []*time.Time{nil, &expires} {
		made := NewCertificate("acme-corp", testKey(1), testNow, expiresAt)
		read, err := verifyCertificate(made.Encode())
		requireCode(t, err, "")
		if read.Encode() != made.Encode() {
			t.Errorf("got %+v, want %+v", read.Certificate, made)
		}
		if expiresAt != nil && !read.expiresAt.Equal(expires.Truncate(time.Second)) {
			t.Errorf("got the expiry %v", read.expiresAt)
		}
		if strings.Contains(made.Encode(), "=") {
			t.Error("the header's text is padded")
		}
	}
}
