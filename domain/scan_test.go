package domain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// byJSON is what encoding/json alone makes of stored bytes.
func byJSON(stored []byte) (*Commit, []RecordedEvent, error) {
	var c struct {
		Commit
		Events []RecordedEvent `json:"events"`
	}
	if err := json.Unmarshal(stored, &c); err != nil {
		return nil, nil, err
	}
	for _, e := range c.Events {
		p, err := DecodePayload(e.Type, e.Version, []byte("{}")) // which kind it is
		if err != nil {
			return nil, nil, err
		}
		if string(e.Data) == "null" {
			return nil, nil, errors.New("no data")
		}
		payload := reflect.New(reflect.TypeOf(p))
		if err := json.Unmarshal(e.Data, payload.Interface()); err != nil {
			return nil, nil, err
		}
		c.Commit.Events = append(c.Commit.Events, Event{e.ID, payload.Elem().Interface().(Payload)})
	}
	return &c.Commit, c.Events, nil
}

// scanned reports whether stored bytes are read without encoding/json, and fails where
// encoding/json would read them otherwise.
func scanned(t testing.TB, stored []byte) bool {
	t.Helper()
	s := scanner{rest: stored}
	c := s.commit()
	want, recorded, err := byJSON(stored)
	if s.done() {
		if err != nil {
			t.Fatalf("%q: encoding/json refuses it: %v", stored, err)
		}
		if !reflect.DeepEqual(c, want) {
			t.Fatalf("%q\nreads %+v\nwant  %+v", stored, c, want)
		}
	}
	// What encoding/json reads, DecodeCommit does, unless it has other reasons.
	if read, readErr := DecodeCommit(stored); readErr == nil {
		events, eventsErr := RecordedEvents(stored)
		if err != nil || eventsErr != nil || !reflect.DeepEqual(read, want) || !reflect.DeepEqual(events, recorded) {
			t.Fatalf("%q\nreads %+v, %v, %v\nwant  %+v, %v, %v", stored, read, events, eventsErr, want, recorded, err)
		}
	}
	return s.done()
}

// scannable are commits as this program writes them, of every event and every field.
func scannable(t testing.TB) map[string][]byte {
	t.Helper()
	commits := goldenFiles(t, "commits")
	for _, p := range currentEvents() {
		full := NewCommit("01J8XN5V5Q0000000000000000", ClaimsOf("acme"), start, Actor{Kind: ActorClock}, CommandRef{Name: "x"}, nil, []Payload{p, p})
		full.Version = 18_446_744
		least := NewCommit("01J8XN5V5Q0000000000000000", ClaimsOf("acme"), start, Actor{Kind: ActorClock}, CommandRef{Name: "x"}, nil,
			[]Payload{reflect.Zero(reflect.TypeOf(p)).Interface().(Payload)})
		least.Version = 1
		for name, c := range map[string]*Commit{"full": full, "least": least} {
			stored, err := c.Encode()
			if err != nil {
				t.Fatal(err)
			}
			commits[fmt.Sprintf("%s %s", p.EventType(), name)] = stored
		}
	}
	return commits
}

// What this program writes is read without encoding/json, which would take five times as
// long, and with the same result.
func TestScanned(t *testing.T) {
	for name, stored := range scannable(t) {
		if !scanned(t, stored) {
			t.Errorf("%s: %s is left to encoding/json", name, stored)
		}
		if _, ok := scanEvents(stored); !ok {
			t.Errorf("%s: the events of %s are left to encoding/json", name, stored)
		}
	}
	for _, p := range currentEvents()[:5] {
		if ClaimOf(p) == "" {
			t.Fatalf("%s is none of a claim's events", p.EventType())
		}
		for _, p := range []Payload{p, reflect.Zero(reflect.TypeOf(p)).Interface().(Payload)} {
			data, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			if !scannedPayload(p, data) {
				t.Errorf("%s is left to encoding/json", data)
			}
		}
	}
}

func scannedPayload(p Payload, data []byte) bool {
	s := scanner{rest: data}
	switch p.(type) {
	case ClaimSubmitted:
		scanSubmitted(&s)
	case ClaimApproved:
		scanApproved(&s)
	case ClaimRejected:
		scanRejected(&s)
	case ClaimRevoked:
		scanRevoked(&s)
	case ClaimExpired:
		scanExpired(&s)
	}
	return s.done()
}

// Whatever is changed of what this program writes, it is read as encoding/json reads it.
func TestScannedWhateverIsChanged(t *testing.T) {
	left := 0
	try := func(parts ...[]byte) {
		if !scanned(t, bytes.Join(parts, nil)) {
			left++
		}
	}
	commits := scannable(t)
	for _, name := range []string{"claims.json", "registry.json"} {
		stored := commits[name]
		for i := range stored {
			before, here, after := stored[:i], stored[i:i+1], stored[i+1:]
			try(before)
			try(before, after)
			try(before, here, here, after)
			try(before, []byte{0xff}, after) // no UTF-8
			for _, c := range "\x00 \"\\}],1é" {
				try(before, []byte(string(c)), after)
			}
			for _, c := range " \",0" {
				try(before, []byte(string(c)), here, after)
			}
		}
	}
	if left == 0 {
		t.Error("nothing was left to encoding/json")
	}
}

// What means something to encoding/json that it does not to a scanner.
func TestScannedLeaves(t *testing.T) {
	stored := string(goldenFiles(t, "commits")["claims.json"])
	deep := strings.Repeat(`{"a":`, maxScanned+1) + "1" + strings.Repeat("}", maxScanned+1)
	replaced := func(old, new string) string {
		t.Helper()
		if !strings.Contains(stored, old) {
			t.Fatalf("%s is not in %s", old, stored)
		}
		return strings.Replace(stored, old, new, 1)
	}
	for name, text := range map[string]string{
		"a field twice":                 replaced(`"version":2`, `"version":2,"version":3`),
		"an unknown field":              replaced(`"version":2`, `"version":2,"x":{"events":[]}`),
		"another case":                  replaced(`"version":2`, `"Version":2`),
		"another order":                 replaced(`"id":"01J8XN5V5Q0000000000000000","namespace":"acme"`, `"namespace":"acme","id":"01J8XN5V5Q0000000000000000"`),
		"events before":                 replaced(`"version":2`, `"version":2,"events":[]`),
		"events twice":                  stored[:len(stored)-1] + `,"events":[{}]}`,
		"events in another case behind": stored[:len(stored)-1] + `,"EVENTS":[{"id":"e","type":"claim.revoked","version":1,"data":{"claim_id":"c"}}]}`,
		"a large number":                replaced(`"version":2`, `"version":18446744073709551615`),
		"too large a number":            replaced(`"version":2`, `"version":18446744073709551616`),
		"a number with a zero before":   replaced(`"version":2`, `"version":02`),
		"a number in words":             replaced(`"version":2`, `"version":2e0`),
		"a time in another zone":        replaced(`"time":"2026-03-01T12:00:00.123456789Z"`, `"time":"2026-03-01T12:00:00+01:00"`),
		"a time with an escape":         replaced(`"time":"2026-03-01T12:00:00.123456789Z"`, `"time":"2026-03-01T12:00:00\u005a"`),
		"a hash with an escape":         replaced(`"prev":"6d`, `"prev":"\u0036d`),
		"a boundary with an escape":     replaced(`"boundary":"claims"`, `"boundary":"cl\u0061ims"`),
		"half a surrogate":              replaced(`"reason":"known"`, `"reason":"\ud800"`),
		"no UTF-8":                      replaced(`"reason":"known"`, "\"reason\":\"\xff\""),
		"a control character":           replaced(`"reason":"known"`, "\"reason\":\"\x01\""),
		"false":                         replaced(`"auto_approved":true`, `"auto_approved":false`),
		"an answer in spaces":           replaced(`"answer":{"claim_id":"claim_01j8"}`, `"answer": {"claim_id":"claim_01j8"} `),
		"an answer with spaces":         replaced(`"answer":{"claim_id":"claim_01j8"}`, `"answer":{ "claim_id" : "claim_01j8" }`),
		"an answer that is null":        replaced(`"answer":{"claim_id":"claim_01j8"}`, `"answer":null`),
		"an answer that is a number":    replaced(`"answer":{"claim_id":"claim_01j8"}`, `"answer":-1.5e3`),
		"an answer that is none":        replaced(`"answer":{"claim_id":"claim_01j8"}`, `"answer":{"claim_id"]`),
		"a deep answer":                 replaced(`"answer":{"claim_id":"claim_01j8"}`, `"answer":`+deep),
		"a space behind":                stored + " ",
		"more behind":                   stored + "{}",
	} {
		t.Run(name, func(t *testing.T) { scanned(t, []byte(text)) })
	}
	if events, ok := scanEvents([]byte(replaced(`"answer":{"claim_id":"claim_01j8"}`, `"answer":{"events":[{"id":"no"}]}`))); !ok || len(events) != 2 {
		t.Errorf("events that are none of the commit's: %v", events)
	}
}

// FuzzScanned tries what nobody thought of.
func FuzzScanned(f *testing.F) {
	for _, stored := range scannable(f) {
		f.Add(stored)
	}
	f.Fuzz(func(t *testing.T, stored []byte) { scanned(t, stored) })
}

// An answer is kept for as long as a retry of its command may come. It must not keep the
// bytes of the whole commit, nor change with them.
func TestScannedKeepsNothing(t *testing.T) {
	stored := goldenFiles(t, "commits")["claims.json"]
	c, err := DecodeCommit(stored)
	if err != nil {
		t.Fatal(err)
	}
	before, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	copy(stored, slices.Repeat([]byte("x"), len(stored)))
	if after, err := c.Encode(); err != nil || !bytes.Equal(before, after) {
		t.Errorf("it became %s, %v\nwant %s", after, err, before)
	}
}

func BenchmarkDecodeCommit(b *testing.B) {
	for name, stored := range decoded(b) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := DecodeCommit(stored); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+" recorded", func(b *testing.B) {
			for b.Loop() {
				if _, err := RecordedEvents(stored); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// decoded are commits as large as they are in a log.
func decoded(b *testing.B) map[string][]byte {
	b.Helper()
	basis := &Basis{RegistryVersion: 3, Limits: DefaultPolicy().Limits}
	id, until := "claim_01j8xn5v5q0000000000000000", start.Add(24*time.Hour)
	commits := map[string][]byte{}
	for _, p := range []Payload{
		ClaimSubmitted{
			ClaimID: id, ServiceID: "9b0f3c1e-7b1c-4f0e-8f4b-2d8a1c5e9f00", ServiceNamespace: "acme", Service: "openai",
			PublicKey: "ed25519:MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=", AgentIP: "203.0.113.45",
			Nonce: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Signer: "acme", SignatureNonce: "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
			Subject: "agent@example.com", AgentName: "An agent", ExpiresAt: &until,
		},
		ClaimApproved{ClaimID: id},
	} {
		c := NewCommit("01J8XN5V5Q0000000000000000", ClaimsOf("acme"), start.Add(123456789), Actor{ActorOwner, "owner_bench", ""},
			CommandRef{Name: "claim.command", Caller: "owner_bench"}, basis, []Payload{p})
		c.Version, c.Prev = 7, hashOf("before")
		stored, err := c.Encode()
		if err != nil {
			b.Fatal(err)
		}
		commits[string(p.EventType())] = stored
	}
	return commits
}
