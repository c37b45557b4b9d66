package httpsig

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

func TestParseKey(t *testing.T) {
	good := testKey(1).Public().(ed25519.PublicKey)
	text := FormatKey(good)
	if text != vectorKey {
		t.Fatalf("FormatKey: got %q", text)
	}
	parsed, err := ParseKey(text)
	if err != nil || !parsed.Equal(good) {
		t.Fatalf("got %v, %v", parsed, err)
	}
	std := base64.StdEncoding.EncodeToString
	for name, text := range map[string]string{
		"empty":                  "",
		"no prefix":              std(good),
		"prefix in upper case":   "ED25519:" + std(good),
		"no padding":             strings.TrimSuffix(text, "="),
		"more padding":           text + "=",
		"base64url":              "ed25519:" + base64.URLEncoding.EncodeToString(good),
		"bits after the end":     text[:len(text)-2] + "R=",
		"a line break":           text[:20] + "\n" + text[20:],
		"a line break, 31 bytes": "ed25519:" + std(good[:30]) + "\nAA=",
		"31 bytes":               "ed25519:" + std(good[:31]),
		"33 bytes":               "ed25519:" + std(append(bytes.Clone(good), 0)),
		"a space in front":       "ed25519: " + std(good),
		"y = p":                  "ed25519:" + std(noncanonical(0xed)),
		"y = p + 18":             "ed25519:" + std(noncanonical(0xff)),
	} {
		if _, err := ParseKey(text); err == nil {
			t.Errorf("%s: %q was accepted", name, text)
		}
	}
}

// noncanonical is y = p + (low - 0xed).
func noncanonical(low byte) []byte {
	raw := bytes.Repeat([]byte{0xff}, ed25519.PublicKeySize)
	raw[0], raw[31] = low, 0x7f
	return raw
}

// TestSmallOrderKeys shows for each refused point why it is refused: crypto/ed25519
// takes an all-zero scalar with the neutral point as somebody's signature.
func TestSmallOrderKeys(t *testing.T) {
	forged := make([]byte, ed25519.SignatureSize)
	forged[0] = 1
	for _, text := range smallOrderPoints {
		for _, sign := range []byte{0, 0x80} {
			pub, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			pub[31] |= sign
			if _, err := ParseKey(FormatKey(pub)); err == nil {
				t.Errorf("%x was accepted", pub)
			}
			if !verifiesSomething(pub, forged) {
				t.Errorf("%x is not of small order", pub)
			}
		}
	}
}

// verifiesSomething tries messages until the challenge is a multiple of the order,
// which is 8 at most.
func verifiesSomething(pub ed25519.PublicKey, sig []byte) bool {
	for i := range 512 {
		if ed25519.Verify(pub, fmt.Appendf(nil, "message %d", i), sig) {
			return true
		}
	}
	return false
}

func TestKeyID(t *testing.T) {
	if got := KeyID("acme-corp", testKey(1).Public().(ed25519.PublicKey)); got != vectorKeyID {
		t.Errorf("got %q", got)
	}
}

// A name of an agent need not be a key that signs, and is written in one way all the same.
func TestDecodeKey(t *testing.T) {
	for _, pub := range [][]byte{make([]byte, 32), bytes.Repeat([]byte{0xff}, 32)} {
		text := FormatKey(pub)
		if got, err := DecodeKey(text); err != nil || !bytes.Equal(got, pub) {
			t.Errorf("%s: %x, %v", text, got, err)
		}
		if _, err := ParseKey(text); err == nil {
			t.Errorf("%s would verify signatures", text)
		}
		for _, other := range []string{text + "=", text[:len(text)-1], strings.ToUpper(text), " " + text, strings.TrimPrefix(text, "ed25519:")} {
			if _, err := DecodeKey(other); err == nil {
				t.Errorf("%q is another spelling of %s", other, text)
			}
		}
	}
}
