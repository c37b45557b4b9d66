package httpsig

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
)

const testPublicURL = "https://ledger.example"

// testNow is the server's clock, with a fraction: created has none.
var testNow = time.Date(2025, 6, 15, 15, 6, 40, 600_000_000, time.UTC)

func testKey(seed byte) ed25519.PrivateKey {
	raw := make([]byte, ed25519.SeedSize)
	for i := range raw {
		raw[i] = seed + byte(i)
	}
	return ed25519.NewKeyFromSeed(raw)
}

// draft is a request before it is signed. It builds the signature base on its own, so
// that a mistake in the package is not repeated here.
type draft struct {
	method     string // on the wire
	baseMethod string // in the base
	target     string // on the wire
	baseTarget string // in the base
	body       string
	headers    map[string]string // by component name
	components []string
	list       string // the inner list as written; empty: from components
	params     string
	key        ed25519.PrivateKey
}

// newDraft is a request that passes, to be changed in one place.
func newDraft() *draft {
	key := testKey(1)
	body := `{"namespace":"acme-corp"}`
	cert := newTestCertificate("acme-corp", key)
	d := &draft{
		method: "POST", baseMethod: "post",
		target: "/v1/claims", baseTarget: testPublicURL + "/v1/claims",
		body: body,
		headers: map[string]string{
			"content-digest":     testDigest(body),
			"sigilum-namespace":  "acme-corp",
			"sigilum-subject":    "ada@example.com",
			"sigilum-agent-key":  cert["publicKey"].(string),
			"sigilum-agent-cert": cert.encode(),
		},
		components: []string{
			"@method", "@target-uri", "content-digest",
			"sigilum-namespace", "sigilum-subject", "sigilum-agent-key", "sigilum-agent-cert",
		},
		key: key,
	}
	d.setParams(testNow.Unix(), cert["keyId"].(string))
	return d
}

func (d *draft) setParams(created int64, keyID string) {
	d.params = fmt.Sprintf(`;created=%d;keyid="%s";alg="ed25519";nonce="n-1"`, created, keyID)
}

// noBody makes it a request without a body.
func (d *draft) noBody() {
	d.method, d.baseMethod, d.body = "GET", "get", ""
	delete(d.headers, "content-digest")
	d.components = append(d.components[:2:2], d.components[3:]...)
}

// agent names an agent id, covered where the profile has it.
func (d *draft) agent(id string) {
	d.headers["sigilum-agent-id"] = id
	d.components = append(d.components[:5:5], append([]string{"sigilum-agent-id"}, d.components[5:]...)...)
}

// identity takes another certificate, with the headers and the key that go with it.
func (d *draft) identity(cert testCertificate, key ed25519.PrivateKey) {
	d.key = key
	d.headers["sigilum-namespace"] = cert["namespace"].(string)
	d.headers["sigilum-agent-key"] = cert["publicKey"].(string)
	d.headers["sigilum-agent-cert"] = cert.encode()
	d.setParams(testNow.Unix(), cert["keyId"].(string))
}

// sign writes the base line by line and signs it.
func (d *draft) sign() *http.Request {
	list := d.list
	if list == "" {
		list = `("` + strings.Join(d.components, `" "`) + `")`
	}
	var base strings.Builder
	for _, name := range d.components {
		value := d.headers[name]
		switch name {
		case "@method":
			value = d.baseMethod
		case "@target-uri":
			value = d.baseTarget
		}
		fmt.Fprintf(&base, "\"%s\": %s\n", name, value)
	}
	base.WriteString(`"@signature-params": ` + list + d.params)
	sig := ed25519.Sign(d.key, []byte(base.String()))

	r := &http.Request{Method: d.method, RequestURI: d.target, Header: http.Header{}}
	for name, value := range d.headers {
		r.Header.Set(name, value)
	}
	r.Header.Set("signature-input", "sig1="+list+d.params)
	r.Header.Set("signature", "sig1=:"+base64.StdEncoding.EncodeToString(sig)+":")
	return r
}

// testCertificate is the JSON of a certificate, free to be wrong.
type testCertificate map[string]any

func newTestCertificate(namespace string, key ed25519.PrivateKey) testCertificate {
	pub := key.Public().(ed25519.PublicKey)
	sum := sha256.Sum256(pub)
	c := testCertificate{
		"version":   1,
		"namespace": namespace,
		"did":       "did:sigilum:" + namespace,
		"keyId":     "did:sigilum:" + namespace + "#ed25519-" + hex.EncodeToString(sum[:8]),
		"publicKey": "ed25519:" + base64.StdEncoding.EncodeToString(pub),
		"issuedAt":  "2025-01-01T00:00:00.000Z",
		"expiresAt": nil,
	}
	c.prove(key)
	return c
}

func (c testCertificate) prove(key ed25519.PrivateKey) {
	expires := ""
	if c["expiresAt"] != nil {
		expires = c["expiresAt"].(string)
	}
	payload := fmt.Sprintf("sigilum-certificate-v1\nnamespace:%s\ndid:%s\nkey-id:%s\npublic-key:%s\nissued-at:%s\nexpires-at:%s",
		c["namespace"], c["did"], c["keyId"], c["publicKey"], c["issuedAt"], expires)
	c["proof"] = map[string]any{
		"alg": "ed25519",
		"sig": base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(payload))),
	}
}

// with changes one field and proves the certificate again.
func (c testCertificate) with(field string, value any, key ed25519.PrivateKey) testCertificate {
	c[field] = value
	c.prove(key)
	return c
}

func (c testCertificate) encode() string {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func testDigest(body string) string {
	sum := sha256.Sum256([]byte(body))
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

func newTestVerifier(t testing.TB, cacheSize int) *Verifier {
	t.Helper()
	v, err := NewVerifier(testPublicURL, cacheSize)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// requireCode fails the test unless err has the code; an empty code is success.
func requireCode(t testing.TB, err error, want domain.Code) {
	t.Helper()
	if got := domain.ErrorCode(err); got != want {
		t.Fatalf("got code %q, want %q (error: %v)", got, want, err)
	}
}

// serve starts a server that verifies each request at its own URL with the clock of
// the test, and hands what it found to check.
func serve(t *testing.T, check func(*Signed, error)) *httptest.Server {
	t.Helper()
	var v *Verifier
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("reading the body: %v", err)
		}
		check(v.Verify(r, body, testNow))
	}))
	srv.Start()
	t.Cleanup(srv.Close)
	var err error
	if v, err = NewVerifier(srv.URL, 8); err != nil {
		t.Fatal(err)
	}
	return srv
}
