package domain

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func headKey(t *testing.T, fill byte) *HeadKey {
	t.Helper()
	k, err := NewHeadKey(bytes.Repeat([]byte{fill}, HeadKeySize))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func someChain() Chain { return Chain{}.Then(1, HashOf([]byte("one"))).Then(2, HashOf([]byte("two"))) }

func TestLogHeadVerifies(t *testing.T) {
	at := time.Date(2026, 3, 1, 13, 0, 0, 120_456_789, time.FixedZone("", 3600))
	head := headKey(t, 1).Sign(someChain(), at)
	if err := head.Verify(); err != nil {
		t.Error(err)
	}
	if head.Chain() != someChain() {
		t.Errorf("it is of %+v", head.Chain())
	}
	text, err := json.Marshal(head)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"position":"2","count":2,"hash":"`; !strings.HasPrefix(string(text), want) || !strings.Contains(string(text), `"time":"2026-03-01T12:00:00.12Z"`) {
		t.Errorf("its JSON is %s", text)
	}
	var read LogHead
	if err := json.Unmarshal(text, &read); err != nil || read.Verify() != nil {
		t.Errorf("read again: %v, %v", err, read.Verify())
	}
	want := "claimledger-log-head-v1\nposition:2\ncount:2\nhash:" + someChain().Hash.String() + "\ntime:2026-03-01T12:00:00.12Z\nkey_id:" + head.KeyID
	if got := string(head.text()); got != want {
		t.Errorf("what is signed is\n%s\nwant\n%s", got, want)
	}
}

// Nothing of a head can be changed without its signature, or its key.
func TestLogHeadShowsEveryChange(t *testing.T) {
	other := headKey(t, 2).Sign(someChain(), time.Unix(1, 0))
	for name, change := range map[string]func(*LogHead){
		"position":         func(h *LogHead) { h.Position++ },
		"count":            func(h *LogHead) { h.Count++ },
		"hash":             func(h *LogHead) { h.Hash[0]++ },
		"time":             func(h *LogHead) { h.Time = h.Time.Add(time.Millisecond) },
		"key id":           func(h *LogHead) { h.KeyID = other.KeyID },
		"key":              func(h *LogHead) { h.PublicKey = other.PublicKey },
		"key and its id":   func(h *LogHead) { h.KeyID, h.PublicKey = other.KeyID, other.PublicKey },
		"signature":        func(h *LogHead) { h.Signature = other.Signature },
		"no signature":     func(h *LogHead) { h.Signature = nil },
		"no key":           func(h *LogHead) { h.PublicKey = "" },
		"a key too short":  func(h *LogHead) { h.PublicKey = "ed25519:AAAA" },
		"not base64":       func(h *LogHead) { h.PublicKey = "ed25519:?" },
		"key of no kind":   func(h *LogHead) { h.PublicKey = strings.TrimPrefix(h.PublicKey, publicKeyPrefix) },
		"other base64":     func(h *LogHead) { h.PublicKey = strings.TrimRight(h.PublicKey, "=") },
		"a line in it":     func(h *LogHead) { h.PublicKey = h.PublicKey[:12] + "\n" + h.PublicKey[12:] },
		"a line in the id": func(h *LogHead) { h.KeyID += "\nx" },
	} {
		head := headKey(t, 1).Sign(someChain(), time.Unix(1, 0))
		change(&head)
		if head.Verify() == nil {
			t.Errorf("%s: the signature holds", name)
		}
	}
}

func TestHeadKey(t *testing.T) {
	if _, err := NewHeadKey(make([]byte, HeadKeySize-1)); err == nil {
		t.Error("a short key was taken")
	}
	if a, b := headKey(t, 1), headKey(t, 1); a.ID() != b.ID() || a.ID() == headKey(t, 2).ID() {
		t.Error("the id does not name the key")
	}
}

// An auditor may be told the key or its id, and either in one way.
func TestParseHeadKeyID(t *testing.T) {
	head := headKey(t, 1).Sign(someChain(), time.Unix(1, 0))
	for _, told := range []string{head.KeyID, head.PublicKey} {
		if id, err := ParseHeadKeyID(told); err != nil || id != head.KeyID {
			t.Errorf("%s: %q, %v", told, id, err)
		}
	}
	for _, told := range []string{"", "ed25519-", "ed25519:", head.KeyID[1:], head.KeyID + "0", strings.ToUpper(head.KeyID), head.PublicKey + "\n", "ed25519:AAAA"} {
		if id, err := ParseHeadKeyID(told); err == nil {
			t.Errorf("%q is taken for %q", told, id)
		}
	}
}
