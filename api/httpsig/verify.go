package httpsig

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Verifier checks signatures for one server. It may be used by any number of
// goroutines at once.
type Verifier struct {
	publicURL string
	// certificates holds verified certificates by the header's exact text, so that an
	// agent's second request costs one signature check instead of two. Nil: no cache.
	certificates *lru.Cache[string, *verifiedCertificate]
}

// NewVerifier makes a Verifier for the server that clients reach at publicURL; a path
// in it is one that a proxy takes off. It keeps up to cacheSize verified
// certificates, of which each takes about 2 KiB and never more than 10; 0 keeps none.
func NewVerifier(publicURL string, cacheSize int) (*Verifier, error) {
	base, err := parsePublicURL(publicURL)
	if err != nil {
		return nil, err
	}
	v := &Verifier{publicURL: base}
	if cacheSize > 0 {
		if v.certificates, err = lru.New[string, *verifiedCertificate](cacheSize); err != nil {
			return nil, fmt.Errorf("certificate cache: %w", err)
		}
	}
	return v, nil
}

// Verify checks the signature of a request that the server received and whose whole
// body is body. An error is a *domain.Error with one of the SIGNATURE_ codes. The
// nonce is not compared with anything: see Signed.Nonce.
func (v *Verifier) Verify(r *http.Request, body []byte, now time.Time) (*Signed, error) {
	f, err := readFields(r.Header, len(body) > 0)
	if err != nil {
		return nil, err
	}
	targetURI, err := receivedTargetURI(v.publicURL, r.RequestURI)
	if err != nil {
		return nil, err
	}
	covered := f.covered(r.Method, targetURI)
	in, err := parseInput(f.input, covered, now)
	if err != nil {
		return nil, err
	}
	if err := f.checkDigest(body); err != nil {
		return nil, err
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	cert, err := v.certificate(f, in.keyID, now)
	if err != nil {
		return nil, err
	}
	if err := checkSignature(f.signature, cert.key, covered, in.text); err != nil {
		return nil, err
	}
	v.keep(f.agentCert, cert)
	return newSigned(f, in, cert), nil
}

// certificate answers with the request's certificate when it is good for this request
// at this time. Both are asked of a kept one, too.
func (v *Verifier) certificate(f *fields, keyID string, now time.Time) (*verifiedCertificate, error) {
	cert, err := v.kept(f.agentCert)
	if err != nil {
		return nil, err
	}
	if err := cert.checkTime(now); err != nil {
		return nil, err
	}
	if err := cert.checkBinding(f, keyID); err != nil {
		return nil, err
	}
	return cert, nil
}

func (v *Verifier) kept(encoded string) (*verifiedCertificate, error) {
	if v.certificates != nil {
		if cert, ok := v.certificates.Get(encoded); ok {
			return cert, nil
		}
	}
	return verifyCertificate(encoded)
}

// keep is called after the request's own signature was good: whoever wants to push
// others out of the cache has to sign each request for it.
func (v *Verifier) keep(encoded string, cert *verifiedCertificate) {
	if v.certificates != nil {
		v.certificates.ContainsOrAdd(encoded, cert)
	}
}

// checkSignature tries the method in lower case first, as the clients that exist sign
// it, and then as it stands, as RFC 9421, section 2.2.1, has it.
func checkSignature(header string, key ed25519.PublicKey, covered []component, params string) error {
	sig, err := parseSignature(header)
	if err != nil {
		return err
	}
	if err := checkPrintable(covered); err != nil {
		return err
	}
	method := covered[methodIndex].value
	covered[methodIndex].value = strings.ToLower(method)
	if ed25519.Verify(key, signatureBase(covered, params), sig) {
		return nil
	}
	if covered[methodIndex].value != method {
		covered[methodIndex].value = method
		if ed25519.Verify(key, signatureBase(covered, params), sig) {
			return nil
		}
	}
	return invalid("the signature does not verify with sigilum-agent-key")
}

// parseSignature takes the one spelling of a dictionary with one byte sequence, which
// leaves no room for a second label or for parameters.
func parseSignature(header string) ([]byte, error) {
	encoded, prefix := strings.CutPrefix(header, label+"=:")
	encoded, suffix := strings.CutSuffix(encoded, ":")
	sig, ok := decodeExact(base64.StdEncoding, encoded, ed25519.SignatureSize)
	if !prefix || !suffix || !ok {
		return nil, invalid("signature is not exactly one 64-byte signature, labelled %s", label)
	}
	return sig, nil
}

func newSigned(f *fields, in *input, cert *verifiedCertificate) *Signed {
	return &Signed{
		Namespace:   f.namespace,
		Subject:     f.subject,
		AgentID:     f.agentID,
		AgentKey:    f.agentKey,
		PublicKey:   cert.key,
		KeyID:       in.keyID,
		Nonce:       in.nonce,
		Created:     in.created,
		FreshUntil:  in.created.Add(MaxAge + time.Second),
		Certificate: cert.Certificate,
	}
}
