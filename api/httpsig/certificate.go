package httpsig

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/claimledger/claimledger/domain"
)

const certificateVersion = 1

// Certificate is a key's own statement that it belongs to a namespace, with every text
// as received: the proof covers the texts, not what they mean. It proves possession
// of the key alone; anybody can make one for any namespace.
type Certificate struct {
	Version   int     `json:"version"`
	Namespace string  `json:"namespace"`
	DID       string  `json:"did"`
	KeyID     string  `json:"keyId"`
	PublicKey string  `json:"publicKey"`
	IssuedAt  string  `json:"issuedAt"`
	ExpiresAt *string `json:"expiresAt"` // nil: never
	Proof     Proof   `json:"proof"`
}

// Proof is the signature over a certificate, made with the key that it names.
type Proof struct {
	Alg string `json:"alg"`
	Sig string `json:"sig"` // base64url without padding
}

// NewCertificate makes and signs a certificate. A nil expiresAt makes one that never
// expires. Times are kept to the second.
func NewCertificate(namespace string, key ed25519.PrivateKey, issuedAt time.Time, expiresAt *time.Time) Certificate {
	pub := key.Public().(ed25519.PublicKey)
	c := Certificate{
		Version:   certificateVersion,
		Namespace: namespace,
		DID:       did(namespace),
		KeyID:     KeyID(namespace, pub),
		PublicKey: FormatKey(pub),
		IssuedAt:  issuedAt.UTC().Format(time.RFC3339),
	}
	if expiresAt != nil {
		text := expiresAt.UTC().Format(time.RFC3339)
		c.ExpiresAt = &text
	}
	c.Proof = Proof{
		Alg: algorithm,
		Sig: base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, c.payload())),
	}
	return c
}

// Encode is the certificate as the sigilum-agent-cert header carries it.
func (c Certificate) Encode() string {
	text, err := json.Marshal(c)
	if err != nil {
		// A struct of strings and one int always has a JSON form.
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// payload is what the proof signs. No value can hold a line break: each is compared
// with a derived text or parsed before the proof is looked at.
func (c Certificate) payload() []byte {
	var expiresAt string
	if c.ExpiresAt != nil {
		expiresAt = *c.ExpiresAt
	}
	return []byte(strings.Join([]string{
		"sigilum-certificate-v1",
		"namespace:" + c.Namespace,
		"did:" + c.DID,
		"key-id:" + c.KeyID,
		"public-key:" + c.PublicKey,
		"issued-at:" + c.IssuedAt,
		"expires-at:" + expiresAt,
	}, "\n"))
}

// verifiedCertificate is a certificate whose proof holds. Whether it is valid now is
// asked on each use, because a verified one may be kept for long.
type verifiedCertificate struct {
	Certificate
	key       ed25519.PublicKey
	issuedAt  time.Time
	expiresAt time.Time // zero: never
}

// verifyCertificate reads the header's text and checks everything but the time.
func verifyCertificate(encoded string) (*verifiedCertificate, error) {
	text, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	// The comparison of lengths refuses line breaks, which the decoder skips.
	if err != nil || base64.RawURLEncoding.EncodedLen(len(text)) != len(encoded) {
		return nil, invalid("sigilum-agent-cert is not base64url without padding")
	}
	c := &verifiedCertificate{}
	if err := json.Unmarshal(text, &c.Certificate); err != nil {
		return nil, &domain.Error{
			Code: domain.CodeSignatureInvalid, Message: "sigilum-agent-cert is not a certificate in JSON", Err: err,
		}
	}
	if err := c.checkFields(); err != nil {
		return nil, err
	}
	sig, ok := decodeExact(base64.RawURLEncoding, c.Proof.Sig, ed25519.SignatureSize)
	if !ok {
		return nil, invalid("the certificate's proof.sig is not a 64-byte signature in base64url without padding")
	}
	if !ed25519.Verify(c.key, c.payload(), sig) {
		return nil, invalid("the certificate's proof does not verify with its publicKey")
	}
	return c, nil
}

// checkFields compares what follows from other fields, and fills in what is parsed.
func (c *verifiedCertificate) checkFields() error {
	switch {
	case c.Version != certificateVersion:
		return invalid("the certificate's version is not %d", certificateVersion)
	case c.Proof.Alg != algorithm:
		return invalid("the certificate's proof.alg is not %s", algorithm)
	case !validNamespace(c.Namespace):
		return invalid("the certificate's namespace is not a namespace")
	case c.DID != did(c.Namespace):
		return invalid("the certificate's did is not that of its namespace")
	}
	key, err := ParseKey(c.PublicKey)
	if err != nil {
		return invalid("the certificate's publicKey is refused: %v", err)
	}
	c.key = key
	if c.KeyID != KeyID(c.Namespace, key) {
		return invalid("the certificate's keyId is not that of its publicKey")
	}
	return c.parseTimes()
}

func (c *verifiedCertificate) parseTimes() error {
	var err error
	if c.issuedAt, err = domain.ParseTime(c.IssuedAt); err != nil {
		return invalid("the certificate's issuedAt is not a time (RFC 3339)")
	}
	if c.ExpiresAt == nil {
		return nil
	}
	// An empty text is refused here, too: the proof cannot tell it from null.
	if c.expiresAt, err = domain.ParseTime(*c.ExpiresAt); err != nil {
		return invalid("the certificate's expiresAt is neither null nor a time (RFC 3339)")
	}
	return nil
}

func (c *verifiedCertificate) checkTime(now time.Time) error {
	if c.issuedAt.After(now.Add(MaxAhead)) {
		return invalid("the certificate was issued in the future")
	}
	if c.ExpiresAt != nil && !now.Before(c.expiresAt) {
		return invalid("the certificate has expired")
	}
	return nil
}

// checkBinding ties the certificate to the request that carries it.
func (c *verifiedCertificate) checkBinding(f *fields, keyID string) error {
	switch {
	case c.Namespace != f.namespace:
		return invalid("the certificate is for another namespace than sigilum-namespace")
	case c.PublicKey != f.agentKey:
		return invalid("the certificate's publicKey is not sigilum-agent-key")
	case c.KeyID != keyID:
		return invalid("the keyid parameter is not the certificate's keyId")
	}
	return nil
}
