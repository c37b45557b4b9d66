package httpsig

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
)

func newTestSigner() *Signer {
	key := testKey(1)
	return &Signer{
		Namespace:   "acme-corp",
		Subject:     "ada@example.com",
		Key:         key,
		Certificate: NewCertificate("acme-corp", key, testNow, nil).Encode(),
		Now:         func() time.Time { return testNow },
		Nonce:       func() string { return "n-1" },
	}
}

func TestRoundTrip(t *testing.T) {
	var got *Signed
	srv := serve(t, func(signed *Signed, err error) {
		got = signed
		if err != nil {
			t.Errorf("refused: %v", err)
		}
	})
	cases := []struct {
		name, method, target, body string
		change                     func(*Signer)
	}{
		{"plain", "GET", "/v1/namespaces/acme-corp", "", nil},
		{"no path", "GET", "", "", nil},
		{"escapes, query and fragment", "GET", "/v1/a%2Fb%20c/%C3%A9?x=%20&y=a+b&z#fragment", "", nil},
		{"empty query", "GET", "/v1/verify?", "", nil},
		{"unescaped letters", "GET", "/v1/é?q=\"x\"", "", nil},
		{"body", "POST", "/v1/claims", `{"a":1}`, nil},
		{"empty body", "POST", "/v1/claims", "", nil},
		{"agent id", "PATCH", "/v1/claims", `{"a":1}`, func(s *Signer) { s.AgentID = "agent-001" }},
		{"lower case method", "DELETE", "/v1/claims", "", func(s *Signer) { s.LowerCaseMethod = true }},
		{"own nonce", "GET", "/", "", func(s *Signer) { s.Nonce = nil }},
		{"a nonce to be quoted", "GET", "/", "", func(s *Signer) { s.Nonce = func() string { return `";\` } }},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			got = nil
			signer := newTestSigner()
			if tc.change != nil {
				tc.change(signer)
			}
			r, err := http.NewRequestWithContext(t.Context(), tc.method, srv.URL+tc.target, strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			if err := signer.Sign(r, []byte(tc.body)); err != nil {
				t.Fatal(err)
			}
			resp, err := srv.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if got == nil || got.Nonce == "" || got.AgentID != signer.AgentID || got.Subject != signer.Subject {
				t.Fatalf("got %+v", got)
			}
		})
	}
}

func TestRoundTripAbsoluteForm(t *testing.T) {
	srv := serve(t, func(_ *Signed, err error) {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
	})
	target := srv.URL + "/v1/a%2Fb?x=%20"
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := newTestSigner().Sign(r, nil); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// Raw, because net/http's client sends this form to proxies alone.
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", target, r.Host)
	if err := r.Header.Write(conn); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("got status %d", resp.StatusCode)
	}
}

func TestSignReplacesStaleHeaders(t *testing.T) {
	r := signedGet(t, newTestSigner(), http.Header{
		"Content-Digest":    {"sha-256=:AA==:"},
		"Sigilum-Agent-Id":  {"stale"},
		"Sigilum-Namespace": {"stale", "twice"},
	})
	if r.Header.Get("content-digest") != "" || r.Header.Get("sigilum-agent-id") != "" {
		t.Errorf("stale headers stayed: %v", r.Header)
	}
	r.RequestURI = r.URL.RequestURI()
	_, err := newTestVerifier(t, 0).Verify(r, nil, testNow)
	requireCode(t, err, "")
}

func TestSignDefaults(t *testing.T) {
	signer := newTestSigner()
	signer.Now, signer.Nonce = nil, nil
	v, now := newTestVerifier(t, 0), time.Now()
	signer.Certificate = NewCertificate("acme-corp", signer.Key, now, nil).Encode()
	var nonces [2]string
	for i := range nonces {
		r := signedGet(t, signer, nil)
		r.RequestURI = r.URL.RequestURI()
		signed, err := v.Verify(r, nil, now)
		requireCode(t, err, "")
		nonces[i] = signed.Nonce
	}
	if nonces[0] == nonces[1] {
		t.Errorf("the nonce %q came twice", nonces[0])
	}
}

// signedGet leaves the method empty, which net/http reads as GET.
func signedGet(t *testing.T, signer *Signer, header http.Header) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "", testPublicURL+"/v1/verify?namespace=acme-corp", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	if err := signer.Sign(r, nil); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSignRefuses(t *testing.T) {
	cases := []struct {
		name   string
		url    string
		change func(*Signer)
	}{
		{"a relative URL", "/v1/claims", nil},
		{"another scheme", "ftp://ledger.example/", nil},
		{"an opaque URL", "https:ledger", nil},
		{"no key", testPublicURL, func(s *Signer) { s.Key = nil }},
		{"a bad namespace", testPublicURL, func(s *Signer) { s.Namespace = "a" }},
		{"no subject", testPublicURL, func(s *Signer) { s.Subject = "" }},
		{"a subject with spaces around", testPublicURL, func(s *Signer) { s.Subject = " a " }},
		{"a long agent id", testPublicURL, func(s *Signer) { s.AgentID = strings.Repeat("a", 129) }},
		{"a certificate with a line break", testPublicURL, func(s *Signer) { s.Certificate = "a\nb" }},
		{"a nonce that no field can carry", testPublicURL, func(s *Signer) { s.Nonce = func() string { return "é" } }},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			signer := newTestSigner()
			if tc.change != nil {
				tc.change(signer)
			}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tc.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := signer.Sign(r, nil); err == nil {
				t.Fatal("it was signed")
			}
			if len(r.Header) != 0 {
				t.Errorf("a refusal left headers: %v", r.Header)
			}
		})
	}
}

func TestVerifyRefusesWhatIsNotSigned(t *testing.T) {
	r := signedGet(t, newTestSigner(), nil)
	r.RequestURI = "/v1/verify?namespace=other"
	_, err := newTestVerifier(t, 0).Verify(r, nil, testNow)
	requireCode(t, err, domain.CodeSignatureInvalid)
}
