package domain

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// LogHead says, signed, what the log was at a time: whoever keeps one can tell later
// whether the log that he is shown is the same and goes on from there. Its JSON is what
// is stored and what the API answers.
type LogHead struct {
	Position  uint64    `json:"position,string"`
	Count     uint64    `json:"count"`
	Hash      Hash      `json:"hash"`
	Time      time.Time `json:"time"`
	KeyID     string    `json:"key_id"`
	PublicKey string    `json:"public_key"` // that KeyID is the hash of
	Signature []byte    `json:"signature"`
}

// Chain is the log that the head is of.
func (h LogHead) Chain() Chain { return Chain{h.Position, h.Count, h.Hash} }

// publicKeyPrefix says what kind of key the base64 after it is.
const publicKeyPrefix = "ed25519:"

// text is what is signed: lines without a newline at the end, of which the first says
// what they are. The public key stands in it by its hash.
func (h LogHead) text() []byte {
	return []byte(strings.Join([]string{
		"claimledger-log-head-v1",
		"position:" + strconv.FormatUint(h.Position, 10),
		"count:" + strconv.FormatUint(h.Count, 10),
		"hash:" + h.Hash.String(),
		"time:" + h.Time.UTC().Format(time.RFC3339Nano),
		"key_id:" + h.KeyID,
	}, "\n"))
}

// Verify checks that the head was signed with the private half of the key that it
// shows. Whose key that is it cannot tell: compare KeyID with one that was learned in
// another way.
func (h LogHead) Verify() error {
	public, ok := parsePublicKey(h.PublicKey)
	switch {
	case !ok:
		return fmt.Errorf("the log head at position %d shows no Ed25519 key", h.Position)
	case h.KeyID != headKeyID(public):
		return fmt.Errorf("the log head at position %d shows another key than that with the id %s", h.Position, h.KeyID)
	case !ed25519.Verify(public, h.text(), h.Signature):
		return fmt.Errorf("the log head at position %d was not signed with the key %s", h.Position, h.KeyID)
	}
	return nil
}

// parsePublicKey reads a key that is written in the one way that it is shown in: base64
// has others, such as with line breaks in it.
func parsePublicKey(shown string) (public ed25519.PublicKey, ok bool) {
	encoded, _ := strings.CutPrefix(shown, publicKeyPrefix)
	public, err := base64.StdEncoding.DecodeString(encoded)
	return public, err == nil && len(public) == ed25519.PublicKeySize && showPublicKey(public) == shown
}

func showPublicKey(public ed25519.PublicKey) string {
	return publicKeyPrefix + base64.StdEncoding.EncodeToString(public)
}

// ParseHeadKeyID reads what an auditor was told of a key that signs heads: its id, or the
// key as heads show it.
func ParseHeadKeyID(told string) (id string, err error) {
	if public, ok := parsePublicKey(told); ok {
		return headKeyID(public), nil
	}
	var hash Hash
	digits, ok := strings.CutPrefix(told, keyIDPrefix)
	if err := hash.UnmarshalText([]byte(digits)); !ok || err != nil || keyIDPrefix+hash.String() != told {
		return "", fmt.Errorf("%q is neither the id of a key (ed25519- and 64 hex digits, in lower case) nor a key (ed25519: and base64)", told)
	}
	return told, nil
}

// keyIDPrefix says what kind of key the hash after it is of.
const keyIDPrefix = "ed25519-"

// headKeyID is a whole hash, so that knowing the id is as good as knowing the key.
func headKeyID(public ed25519.PublicKey) string {
	sum := sha256.Sum256(public)
	return keyIDPrefix + hex.EncodeToString(sum[:])
}

// HeadKey signs heads of the log.
type HeadKey struct {
	private   ed25519.PrivateKey
	id, shown string
}

// HeadKeySize is the size of the secret that a HeadKey is made of.
const HeadKeySize = ed25519.SeedSize

// NewHeadKey makes the key of HeadKeySize secret bytes.
func NewHeadKey(secret []byte) (*HeadKey, error) {
	if len(secret) != HeadKeySize {
		return nil, fmt.Errorf("a key for log heads has %d bytes, not %d", HeadKeySize, len(secret))
	}
	private := ed25519.NewKeyFromSeed(secret)
	public := private.Public().(ed25519.PublicKey)
	return &HeadKey{private, headKeyID(public), showPublicKey(public)}, nil
}

// ID is the id of the key in the heads that it signs.
func (k *HeadKey) ID() string { return k.id }

// Sign signs what the log is at a time, which is kept to the millisecond.
func (k *HeadKey) Sign(c Chain, at time.Time) LogHead {
	h := LogHead{
		Position: c.Position, Count: c.Count, Hash: c.Hash,
		Time:  storedTime(at.Truncate(time.Millisecond)),
		KeyID: k.id, PublicKey: k.shown,
	}
	h.Signature = ed25519.Sign(k.private, h.text())
	return h
}
