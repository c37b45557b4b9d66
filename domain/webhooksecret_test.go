package domain

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
)

func TestFormatWebhookSecret(t *testing.T) {
	raw := [32]byte{0: 0xfb, 31: 0xff}
	secret := FormatWebhookSecret(raw)
	if want := "whsec_+wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAP8="; secret != want {
		t.Errorf("got %s, want %s", secret, want)
	}
	key, err := WebhookSecretKey(secret)
	if err != nil || !bytes.Equal(key, raw[:]) {
		t.Errorf("the key is %x, %v", key, err)
	}
}

func TestCheckWebhookSecret(t *testing.T) {
	encoded := func(n int) string {
		return "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, n))
	}
	for secret, good := range map[string]bool{
		encoded(24):                         true,
		encoded(32):                         true,
		encoded(64):                         true,
		encoded(23):                         false,
		encoded(65):                         false,
		"whsec_":                            false,
		strings.TrimRight(encoded(32), "="): false, // no padding
		encoded(24) + "\n":                  false, // the decoder would skip it
		encoded(24)[:20] + "\r\n" + encoded(24)[20:]:       false,
		strings.ReplaceAll(encoded(24), "/", "_"):          false, // another alphabet
		"whsec_not-base64-at-all-not-base64-at-all":        false,
		"whsec_" + strings.Repeat("A", 42) + "B=":          false, // bits that decode to nothing
		"0123456789abcdef":                                 true,
		"0123456789abcde":                                  false,
		strings.Repeat("x", 256):                           true,
		strings.Repeat("x", 257):                           false,
		"":                                                 false,
		"\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4": true, // 16 bytes
		"WHSEC_0123456789":                                 true, // not the prefix
	} {
		err := CheckWebhookSecret(secret)
		if (err == nil) != good {
			t.Errorf("%q: %v", secret, err)
		}
		if err != nil && ErrorCode(err) != CodeInvalidRequest {
			t.Errorf("%q: code %s", secret, ErrorCode(err))
		}
		if err != nil && len(secret) > 8 && strings.Contains(err.Error(), secret[6:]) {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
}

func TestOwnWebhookSecretIsItsOwnKey(t *testing.T) {
	const own = "my own secret, with spaces"
	if key, err := WebhookSecretKey(own); err != nil || string(key) != own {
		t.Fatalf("got %q, %v", key, err)
	}
}
