package httpsig

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
)

const keyPrefix = algorithm + ":"

// fingerprintLength is how many bytes of a key's SHA-256 its id shows: enough to tell
// keys apart for a person. Nothing is authorized by it, the whole key is compared.
const fingerprintLength = 8

// smallOrderPoints are the y coordinates of the eight points whose order divides the
// cofactor. A signature under such a key is valid for messages that nobody signed
// (RFC 8032 does not ask for this check), so such a key is nobody's.
var smallOrderPoints = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

// FormatKey writes a public key the way that headers, certificates and claims do.
func FormatKey(pub ed25519.PublicKey) string {
	return keyPrefix + base64.StdEncoding.EncodeToString(pub)
}

// DecodeKey reads what FormatKey writes, the name of an agent: it need not be a key that
// could sign. A key has exactly one spelling: two texts for one key would be two agents.
// The error is for a person and echoes nothing.
func DecodeKey(text string) (ed25519.PublicKey, error) {
	encoded, ok := strings.CutPrefix(text, keyPrefix)
	if !ok {
		return nil, errors.New("a key is written ed25519:<base64 of the 32 bytes>")
	}
	pub, ok := decodeExact(base64.StdEncoding, encoded, ed25519.PublicKeySize)
	if !ok {
		return nil, errors.New("after ed25519: a key is 32 bytes in standard base64 with padding")
	}
	return pub, nil
}

// ParseKey reads a key that signatures are verified with.
func ParseKey(text string) (ed25519.PublicKey, error) {
	pub, err := DecodeKey(text)
	if err != nil {
		return nil, err
	}
	if !canonicalPoint(pub) {
		return nil, errors.New("the key is not a canonical Ed25519 point (RFC 8032, section 5.1.3)")
	}
	if smallOrder(pub) {
		return nil, errors.New("the key is a point of small order, which verifies signatures that nobody made")
	}
	return pub, nil
}

// KeyID is the id of a key within a namespace, the same in the certificate and in the
// keyid parameter of a signature.
func KeyID(namespace string, pub ed25519.PublicKey) string {
	sum := sha256.Sum256(pub)
	return did(namespace) + "#" + algorithm + "-" + hex.EncodeToString(sum[:fingerprintLength])
}

func did(namespace string) string { return "did:sigilum:" + namespace }

// decodeExact decodes base64 that has one spelling only. The length is compared first
// because the decoder skips line breaks wherever they stand, even when it is strict.
func decodeExact(encoding *base64.Encoding, text string, size int) ([]byte, bool) {
	if len(text) != encoding.EncodedLen(size) {
		return nil, false
	}
	raw, err := encoding.Strict().DecodeString(text)
	return raw, err == nil && len(raw) == size
}

// canonicalPoint reports whether y < p = 2^255 - 19, as decoding requires in RFC 8032,
// section 5.1.3; crypto/ed25519 would take y + p for y.
func canonicalPoint(pub []byte) bool {
	last := len(pub) - 1
	if pub[last]&0x7f != 0x7f || pub[0] < 0xed {
		return true
	}
	return slices.ContainsFunc(pub[1:last], func(b byte) bool { return b != 0xff })
}

// smallOrder leaves the sign of x out, which makes no difference to the order.
func smallOrder(pub []byte) bool {
	y := slices.Clone(pub)
	y[len(y)-1] &= 0x7f
	return slices.Contains(smallOrderPoints, hex.EncodeToString(y))
}
