package httpsig

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/claimledger/claimledger/domain"
)

// requireRefusal holds every error to the promise of Verify.
func requireRefusal(t *testing.T, err error) {
	t.Helper()
	var refusal *domain.Error
	if !errors.As(err, &refusal) || !strings.HasPrefix(string(refusal.Code), "SIGNATURE_") {
		t.Fatalf("not a refusal with a SIGNATURE_ code: %v", err)
	}
	if refusal.Message == "" {
		t.Fatal("a refusal without a message")
	}
}

func FuzzVerify(f *testing.F) {
	seed := func(d *draft) {
		r := d.sign()
		h := r.Header.Get
		f.Add(r.Method, r.RequestURI, h("signature-input"), h("signature"), h("content-digest"),
			h("sigilum-namespace"), h("sigilum-subject"), h("sigilum-agent-id"), h("sigilum-agent-key"),
			h("sigilum-agent-cert"), []byte(d.body))
	}
	for _, change := range []func(*draft){
		func(*draft) {},
		(*draft).noBody,
		func(d *draft) { d.agent("agent-001") },
		func(d *draft) { d.list = "()" },
		func(d *draft) { d.params += `;expires=1;tag="x";nonce=%"\"` },
		func(d *draft) { d.target = "https://ledger.example?x#y" },
		func(d *draft) { d.headers["content-digest"] = "sha-256=(:AAAA:), sha-512=?1" },
	} {
		d := newDraft()
		change(d)
		seed(d)
	}
	v := newTestVerifier(f, 4)
	f.Fuzz(func(t *testing.T, method, target, input, signature, digest, namespace, subject, agentID, key, cert string, body []byte) {
		r := &http.Request{Method: method, RequestURI: target, Header: http.Header{}}
		for name, value := range map[string]string{
			"Signature-Input": input, "Signature": signature, "Content-Digest": digest,
			"Sigilum-Namespace": namespace, "Sigilum-Subject": subject, "Sigilum-Agent-Id": agentID,
			"Sigilum-Agent-Key": key, "Sigilum-Agent-Cert": cert,
		} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		signed, err := v.Verify(r, body, testNow)
		if err != nil {
			requireRefusal(t, err)
			return
		}
		if signed.KeyID != KeyID(signed.Namespace, signed.PublicKey) || signed.AgentKey != FormatKey(signed.PublicKey) {
			t.Fatalf("the parts do not agree: %+v", signed)
		}
		if signed.Nonce == "" || len(signed.Nonce) > MaxNonceLength || !printable(signed.Nonce) {
			t.Fatalf("the nonce %q passed", signed.Nonce)
		}
	})
}

func FuzzCertificate(f *testing.F) {
	key := testKey(1)
	f.Add(newTestCertificate("acme-corp", key).encode())
	f.Add(newTestCertificate("acme-corp", key).with("expiresAt", "2026-01-01T00:00:00Z", key).encode())
	f.Add(newTestCertificate("acme-corp", key).with("expiresAt", "", key).encode())
	f.Add(vectorCert)
	f.Add("e30")
	f.Add("e30=")
	f.Fuzz(func(t *testing.T, encoded string) {
		cert, err := verifyCertificate(encoded)
		if err != nil {
			requireRefusal(t, err)
			return
		}
		if _, err := verifyCertificate(cert.Encode()); err != nil {
			t.Fatalf("written again, it is refused: %v", err)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(vectorKey)
	f.Add("ed25519:")
	f.Fuzz(func(t *testing.T, text string) {
		if key, err := ParseKey(text); err == nil && FormatKey(key) != text {
			t.Fatalf("%q and %q are one key", text, FormatKey(key))
		}
	})
}
