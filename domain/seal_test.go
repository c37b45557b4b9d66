package domain

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func sealKey(t *testing.T, fill byte) *SealKey {
	t.Helper()
	k, err := NewSealKey(bytes.Repeat([]byte{fill}, SealKeySize))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSealRoundTrip(t *testing.T) {
	k := sealKey(t, 1)
	for _, secret := range []string{"", "whsec_secret", strings.Repeat("x", 4096), "\x00\xff"} {
		stored, err := json.Marshal(k.Seal([SealNonceSize]byte{1}, secret, "webhook-1"))
		if err != nil || (secret != "" && bytes.Contains(stored, []byte(secret))) {
			t.Fatalf("%s, %v", stored, err)
		}
		var read Sealed
		if err := json.Unmarshal(stored, &read); err != nil {
			t.Fatal(err)
		}
		if opened, err := k.Open(read, "webhook-1"); err != nil || opened != secret {
			t.Errorf("%q: got %q, %v", secret, opened, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	const secret = "whsec_secret"
	k, other := sealKey(t, 1), sealKey(t, 2)
	sealed := k.Seal([SealNonceSize]byte{1}, secret, "webhook-1")
	altered := func(i int) Sealed {
		data := bytes.Clone(sealed.Data)
		data[i] ^= 1
		return Sealed{sealed.KeyID, data}
	}
	cases := map[string]struct {
		key     *SealKey
		sealed  Sealed
		context string
	}{
		"another context":        {k, sealed, "webhook-2"},
		"no context":             {k, sealed, ""},
		"another key":            {other, sealed, "webhook-1"},
		"another key's id":       {other, Sealed{other.ID(), sealed.Data}, "webhook-1"},
		"the nonce was altered":  {k, altered(0), "webhook-1"},
		"the text was altered":   {k, altered(SealNonceSize), "webhook-1"},
		"the tag was altered":    {k, altered(len(sealed.Data) - 1), "webhook-1"},
		"something was appended": {k, Sealed{sealed.KeyID, append(bytes.Clone(sealed.Data), 0)}, "webhook-1"},
		"nothing is there":       {k, Sealed{KeyID: sealed.KeyID}, "webhook-1"},
	}
	for name, c := range cases {
		opened, err := c.key.Open(c.sealed, c.context)
		if err == nil || opened != "" {
			t.Errorf("%s: %q, %v", name, opened, err)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error tells the secret", name)
		}
	}
	for n := range sealed.Data {
		if _, err := k.Open(Sealed{sealed.KeyID, sealed.Data[:n]}, "webhook-1"); err == nil {
			t.Errorf("truncated to %d bytes", n)
		}
	}
}

func TestSealKeys(t *testing.T) {
	for _, n := range []int{0, SealKeySize - 1, SealKeySize + 1} {
		if _, err := NewSealKey(make([]byte, n)); err == nil {
			t.Errorf("a key of %d bytes", n)
		}
	}
	if a, b := sealKey(t, 1), sealKey(t, 1); a.ID() != b.ID() || a.ID() == "" || a.ID() == sealKey(t, 2).ID() {
		t.Error("an id belongs to one key")
	}
	k := sealKey(t, 1)
	if bytes.Equal(k.Seal([SealNonceSize]byte{1}, "s", "c").Data, k.Seal([SealNonceSize]byte{2}, "s", "c").Data) {
		t.Error("two nonces give one text")
	}
}
