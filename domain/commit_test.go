package domain

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func storedCommit(edit func(map[string]any)) []byte {
	c := map[string]any{
		"id": "01J0000000000000000000000A", "namespace": "acme", "boundary": "claims", "version": 1, "prev": "",
		"time": "2026-03-01T12:00:00Z", "actor": map[string]any{"kind": "clock"}, "command": map[string]any{"name": "x"},
		"events": []any{map[string]any{"id": "e", "type": "claim.expired", "version": 1, "data": map[string]any{"claim_id": "c"}}},
	}
	edit(c)
	raw, _ := json.Marshal(c)
	return raw
}

func TestDecodeCommitRefuses(t *testing.T) {
	event := func(key string, value any) func(map[string]any) {
		return func(c map[string]any) { c["events"].([]any)[0].(map[string]any)[key] = value }
	}
	set := func(key string, value any) func(map[string]any) {
		return func(c map[string]any) { c[key] = value }
	}
	if _, err := DecodeCommit(storedCommit(func(map[string]any) {})); err != nil {
		t.Fatal(err)
	}
	for name, stored := range map[string][]byte{
		"unknown type":         storedCommit(event("type", "claim.forgotten")),
		"no type":              storedCommit(event("type", "")),
		"unknown version":      storedCommit(event("version", 2)),
		"event version 0":      storedCommit(event("version", 0)),
		"negative version":     storedCommit(event("version", -1)),
		"data of another type": storedCommit(event("data", "text")),
		"data is null":         storedCommit(event("data", nil)),
		"data is missing":      storedCommit(func(c map[string]any) { delete(c["events"].([]any)[0].(map[string]any), "data") }),
		"an event is null":     storedCommit(set("events", []any{nil})),
		"second event bad":     storedCommit(func(c map[string]any) { c["events"] = append(c["events"].([]any), map[string]any{"type": "x"}) }),
		"commit version 0":     storedCommit(set("version", 0)),
		"commit version -1":    storedCommit(set("version", -1)),
		"no events":            storedCommit(set("events", []any{})),
		"events null":          storedCommit(set("events", nil)),
		"unknown boundary":     storedCommit(set("boundary", "secrets")),
		"no boundary":          storedCommit(set("boundary", "")),
		"short hash":           storedCommit(set("prev", "ab")),
		"hash not hex":         storedCommit(set("prev", strings.Repeat("g", 64))),
		"no time":              storedCommit(set("time", "yesterday")),
		"null":                 []byte("null"),
		"empty":                nil,
		"not JSON":             []byte("{"),
		"two values":           append(storedCommit(func(map[string]any) {}), "{}"...),
	} {
		if c, err := DecodeCommit(stored); err == nil {
			t.Errorf("%s: %+v", name, c)
		} else if c != nil {
			t.Errorf("%s: a commit beside an error", name)
		}
	}
}

func FuzzDecodeCommit(f *testing.F) {
	for _, stored := range goldenFiles(f, "commits") {
		f.Add(stored)
	}
	for _, event := range goldenFiles(f, "events") {
		f.Add(storedCommit(func(c map[string]any) { c["events"] = []any{json.RawMessage(event)} }))
	}
	f.Add([]byte(`null`))
	f.Add([]byte(`{"events":[null]}`))
	f.Fuzz(func(t *testing.T, stored []byte) {
		c, err := DecodeCommit(stored)
		if err != nil {
			return
		}
		again, err := c.Encode()
		if err != nil {
			return // a time that no year of four digits can say
		}
		same, err := DecodeCommit(again)
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v\n%s", err, again)
		}
		third, err := same.Encode()
		if err != nil || string(again) != string(third) {
			t.Fatalf("it reads otherwise the second time: %v\n%s\n%s", err, again, third)
		}
	})
}

// What a decision was made on in memory and what a replay reads are one time: no
// reading of a monotonic clock, and no zone that the machine happens to be in.
func TestNewCommitTime(t *testing.T) {
	for _, at := range []time.Time{time.Now(), start.In(time.FixedZone("x", 3600)), start} {
		c := NewCommit("01J", ClaimsOf("acme"), at, Actor{Kind: ActorClock}, CommandRef{}, nil, []Payload{ClaimExpired{ClaimID: "c"}})
		c.Version = 1
		stored, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		read, err := DecodeCommit(stored)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(c, read) || !read.Time.Equal(at) {
			t.Errorf("%v became %v", c.Time, read.Time)
		}
	}
}

func TestNewCommitNumbersEvents(t *testing.T) {
	c := NewCommit("01JABC", RegistryOf("acme"), start, Actor{Kind: ActorOwner, ID: "o"}, CommandRef{Name: "n"}, nil,
		[]Payload{NamespaceActivated{}, NamespaceDeactivated{}})
	if c.Boundary() != RegistryOf("acme") || c.Boundary().String() != "acme/registry" {
		t.Errorf("boundary %s", c.Boundary())
	}
	for i, want := range []EventType{NamespaceActivatedType, NamespaceDeactivatedType} {
		if e := c.Events[i]; e.ID != fmt.Sprintf("evt_01jabc_%d", i+1) || e.Type() != want {
			t.Errorf("event %d: %+v", i, e)
		}
	}
}

func TestHashText(t *testing.T) {
	for _, h := range []Hash{{}, hashOf("x")} {
		text, err := h.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		read := hashOf("something else")
		if err := read.UnmarshalText(text); err != nil || read != h {
			t.Errorf("%q: %v, %v", text, read, err)
		}
	}
	if !(Hash{}).IsZero() || hashOf("").IsZero() {
		t.Error("only the zero hash is zero")
	}
	if got := hashOf("").String(); got != "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" {
		t.Error(got)
	}
}
