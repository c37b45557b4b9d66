// Package httpsig is the signed-header profile of the API: HTTP message signatures
// (RFC 9421) made with an Ed25519 key that a self-signed certificate binds to a
// namespace, for the server that verifies them and the client that makes them.
// It never decides what a caller may do, and never remembers a nonce: a verified
// signature says who holds which key, and the caller of this package does the rest.
package httpsig

import (
	"crypto/ed25519"
	"time"

	"github.com/claimledger/claimledger/domain"
)

const (
	// MaxAge is how old a signature may be. It bounds how long nonces have to be
	// remembered, and leaves room for a client whose clock is slow.
	MaxAge = 300 * time.Second
	// MaxAhead is how far in the future a signature or a certificate may have been
	// made. It only has to cover the skew of clocks that are kept by NTP.
	MaxAhead = 5 * time.Second
	// MaxNonceLength bounds what a replay check has to store for each request.
	MaxNonceLength = 256
)

// label is the only signature label of the profile. A second signature is refused:
// nobody could tell which of the two speaks for the caller.
const label = "sig1"

// algorithm is the name of Ed25519 in RFC 9421 (section 6.2.2), and in certificates.
const algorithm = "ed25519"

// Signed is what a verified signature proves: that the holder of PublicKey sent this
// request, as Namespace and Subject. It does not prove that the owner of the
// namespace knows this key; nothing may be granted on it alone.
type Signed struct {
	Namespace string // as sent; the certificate names the same one, byte for byte
	Subject   string
	AgentID   string // empty when the request names no agent

	AgentKey  string // as FormatKey writes it
	PublicKey ed25519.PublicKey
	KeyID     string

	// Nonce is 1 to MaxNonceLength printable ASCII characters. The caller must
	// refuse the same one again in the same namespace before FreshUntil.
	Nonce   string
	Created time.Time
	// FreshUntil is the first moment at which this signature is too old to pass.
	FreshUntil time.Time

	Certificate Certificate
}

// invalid is the refusal for everything that has no code of its own.
func invalid(format string, args ...any) error {
	return domain.Errorf(domain.CodeSignatureInvalid, format, args...)
}
