package httpsig

import (
	"net/http"
	"strings"
	"testing"
)

// The vectors were made with OpenSSL from the profile's description, with the private
// key 01 02 … 20. They fail when both sides of this package change together.
const (
	vectorKey   = "ed25519:ebVWLo/mVPlAeLES6KmLp5AfhTrmlb7X4OORC60ElmQ="
	vectorKeyID = "did:sigilum:acme-corp#ed25519-65b60673d6ed884b"
	vectorCert  = "eyJ2ZXJzaW9uIjoxLCJuYW1lc3BhY2UiOiJhY21lLWNvcnAiLCJkaWQiOiJkaWQ6c2lnaWx1bTphY21lLWNvcnAiLCJrZXlJZCI6" +
		"ImRpZDpzaWdpbHVtOmFjbWUtY29ycCNlZDI1NTE5LTY1YjYwNjczZDZlZDg4NGIiLCJwdWJsaWNLZXkiOiJlZDI1NTE5OmViVldMby9tVlBs" +
		"QWVMRVM2S21McDVBZmhUcm1sYjdYNE9PUkM2MEVsbVE9IiwiaXNzdWVkQXQiOiIyMDI1LTAxLTAxVDAwOjAwOjAwLjAwMFoiLCJleHBpcmVz" +
		"QXQiOm51bGwsInByb29mIjp7ImFsZyI6ImVkMjU1MTkiLCJzaWciOiI0UmJQQm1RV3Q1d1luSzhMRGxCWlZUTFo1ZEppbE1reVZ0RGlzVjB3" +
		"TndUamprNGdHWUkySHJEZkVxS2taNXA4aG10RWhYdDQ3ZEdUWGVLVHFnS3lBZyJ9fQ"
)

var vectors = []struct {
	name, method, target, body string
	headers                    map[string]string
}{
	{
		name: "lower case method, no body, escapes in the query", method: "GET",
		target: "/v1/namespaces/acme-corp?x=%20y&z=a+b",
		headers: map[string]string{
			"signature-input": `sig1=("@method" "@target-uri" "sigilum-namespace" "sigilum-subject" "sigilum-agent-key" ` +
				`"sigilum-agent-cert");created=1750000000;keyid="` + vectorKeyID + `";alg="ed25519";nonce="n-1"`,
			"signature": "sig1=:suXiJC0VZ2tYdBJ8L++wUqJ3jwpcHzPzZfykIsq4qHNxDny0N86xUuPu/dDaXT7wZipzhHUIkcwKNU0wGqLJBw==:",
		},
	},
	{
		name: "method as it stands, body, agent id, other order of parameters", method: "POST",
		target: "/v1/claims", body: `{"namespace":"acme-corp"}`,
		headers: map[string]string{
			"signature-input": `sig1=("@method" "@target-uri" "content-digest" "sigilum-namespace" "sigilum-subject" ` +
				`"sigilum-agent-id" "sigilum-agent-key" "sigilum-agent-cert");nonce="n-2";alg="ed25519";keyid="` +
				vectorKeyID + `";created=1750000000`,
			"signature":        "sig1=:aCvhL+TSXSx5wsz1RS2u+3i1mZTiFVXgCrPWp7DHIkGqMOp935l7SZ6XZ+svRVmCTX7qYvl5eMiXvj/ghZPICg==:",
			"content-digest":   "sha-256=:dENjgC4hxlzUNSSUtibm+bDxQdbDZzUhIoBSsjiNqqY=:",
			"sigilum-agent-id": "agent-001",
		},
	},
}

func TestVectors(t *testing.T) {
	for _, tc := range vectors {
		t.Run(tc.name, func(t *testing.T) {
			r := &http.Request{Method: tc.method, RequestURI: tc.target, Header: http.Header{}}
			r.Header.Set("sigilum-namespace", "acme-corp")
			r.Header.Set("sigilum-subject", "ada@example.com")
			r.Header.Set("sigilum-agent-key", vectorKey)
			r.Header.Set("sigilum-agent-cert", vectorCert)
			for name, value := range tc.headers {
				r.Header.Set(name, value)
			}
			signed, err := newTestVerifier(t, 0).Verify(r, []byte(tc.body), testNow)
			requireCode(t, err, "")
			if signed.AgentKey != vectorKey || signed.KeyID != vectorKeyID || signed.Namespace != "acme-corp" ||
				signed.Subject != "ada@example.com" || signed.AgentID != tc.headers["sigilum-agent-id"] {
				t.Errorf("got %+v", signed)
			}
			if !strings.HasPrefix(signed.Nonce, "n-") || signed.Created.Unix() != 1750000000 {
				t.Errorf("got nonce %q, created %v", signed.Nonce, signed.Created)
			}
		})
	}
}

func TestSignatureBase(t *testing.T) {
	f := &fields{
		hasBody: true, digest: "sha-256=:AA==:", namespace: "acme", subject: "ada", hasAgentID: true,
		agentID: "a-1", agentKey: "ed25519:x", agentCert: "y",
	}
	got := string(signatureBase(f.covered("post", "https://ledger.example/v1/claims"), `("@method");created=1`))
	want := `"@method": post
"@target-uri": https://ledger.example/v1/claims
"content-digest": sha-256=:AA==:
"sigilum-namespace": acme
"sigilum-subject": ada
"sigilum-agent-id": a-1
"sigilum-agent-key": ed25519:x
"sigilum-agent-cert": y
"@signature-params": ("@method");created=1`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestCertificatePayload(t *testing.T) {
	key := testKey(1)
	expires := testNow
	got := string(NewCertificate("acme-corp", key, testNow, &expires).payload())
	want := `sigilum-certificate-v1
namespace:acme-corp
did:did:sigilum:acme-corp
key-id:did:sigilum:acme-corp#ed25519-65b60673d6ed884b
public-key:ed25519:ebVWLo/mVPlAeLES6KmLp5AfhTrmlb7X4OORC60ElmQ=
issued-at:2025-06-15T15:06:40Z
expires-at:2025-06-15T15:06:40Z`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	never := string(NewCertificate("acme-corp", key, testNow, nil).payload())
	if !strings.HasSuffix(never, "\nexpires-at:") {
		t.Errorf("without an expiry the payload ends with %q", never[len(never)-20:])
	}
}
