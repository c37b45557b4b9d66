package domain

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// SealNonceSize is how many random bytes a seal needs.
const SealNonceSize = 12

// SealKeySize is the size of a sealing key: AES-256.
const SealKeySize = 32

// Sealed is a secret encrypted with AES-256-GCM. KeyID says with which key; Data is
// the nonce, the ciphertext and the tag.
type Sealed struct {
	KeyID string `json:"key_id"`
	Data  []byte `json:"data"`
}

// SealKey encrypts secrets at rest.
type SealKey struct {
	id   string
	aead cipher.AEAD
}

// NewSealKey makes a key of SealKeySize secret bytes. Its id is a fingerprint.
func NewSealKey(secret []byte) (*SealKey, error) {
	if len(secret) != SealKeySize {
		return nil, fmt.Errorf("a sealing key has %d bytes, not %d", SealKeySize, len(secret))
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append([]byte("claimledger sealing key "), secret...))
	return &SealKey{id: hex.EncodeToString(sum[:8]), aead: aead}, nil
}

// ID names the key without telling anything about it.
func (k *SealKey) ID() string { return k.id }

// Seal encrypts a secret. The nonce must be random and used once; context (the id of
// what the secret belongs to) must be given again to Open.
func (k *SealKey) Seal(nonce [SealNonceSize]byte, secret, context string) Sealed {
	data := k.aead.Seal(nonce[:], nonce[:], []byte(secret), []byte(context))
	return Sealed{KeyID: k.id, Data: data}
}

// Open decrypts what Seal made. The error tells nothing about the secret.
func (k *SealKey) Open(s Sealed, context string) (string, error) {
	if s.KeyID != k.id {
		return "", fmt.Errorf("sealed with key %s, not %s", s.KeyID, k.id)
	}
	if len(s.Data) < SealNonceSize {
		return "", fmt.Errorf("a sealed value of %d bytes is too short", len(s.Data))
	}
	plain, err := k.aead.Open(nil, s.Data[:SealNonceSize], s.Data[SealNonceSize:], []byte(context))
	if err != nil {
		return "", fmt.Errorf("the sealed value was altered or belongs to something else")
	}
	return string(plain), nil
}
