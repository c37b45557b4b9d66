package domain

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// update adds the golden files that are missing. What was stored once stays as it is:
// a file that is there is never written again, so a payload that no longer matches
// its file needs a new schema version and an upcaster, not a new file.
var update = flag.Bool("update", false, "add golden files that are missing")

// currentEvents holds a full example of every payload that this program writes. An
// entry for a new schema version replaces the one before; the old version's file
// stays and goes to upcastEvents with what it must be read as.
func currentEvents() []Payload {
	until, sealed := start.Add(24*time.Hour), Sealed{KeyID: "0123456789abcdef", Data: []byte("sealed \x00\xff")}
	return []Payload{
		ClaimSubmitted{
			ClaimID: "claim_01j8", ServiceID: "6f1c", ServiceNamespace: "shop", Service: "openai", PublicKey: "ed25519:AAAA", AgentIP: "203.0.113.7",
			Nonce: "nonce-1234", Signer: "acme", SignatureNonce: "s-1", Subject: "<ü>", AgentID: "agent-1", AgentName: "Agent & co", ExpiresAt: &until,
		},
		ClaimApproved{ClaimID: "claim_01j8", Reason: "known", ExpiresAt: &until, AutoApproved: true},
		ClaimRejected{ClaimID: "claim_01j8", Reason: "unknown", ByPolicy: true},
		ClaimRevoked{ClaimID: "claim_01j8", Reason: "lost"},
		ClaimExpired{ClaimID: "claim_01j8", Cause: ExpiredByRequest, Reason: "enough"},
		NamespaceRegistered{Namespace: "acme", OwnerID: "owner-1"},
		NamespaceDeactivated{Reason: "unpaid"},
		NamespaceActivated{Reason: "paid"},
		LoginTokenIssued{OwnerID: "owner-1", TokenHash: hashOf("t"), ExpiresAt: until},
		OwnerLoggedIn{OwnerID: "owner-1", TokenHash: hashOf("t"), SessionID: "session-1", ExpiresAt: until},
		SessionEnded{OwnerID: "owner-1", SessionID: "session-1", ExpiresAt: until},
		PolicyChanged{Policy{Limits{20, 100, 10, 24}, AutoApprove{[]string{"6f1c"}, []string{"203.0.113.0/24"}}}},
		ServiceCreated{ServiceID: "6f1c", Slug: "openai", Name: "OpenAI", Description: "Models"},
		ServiceUpdated{ServiceID: "6f1c", Name: "Open AI", Description: "More models"},
		ServiceDeleted{ServiceID: "6f1c"},
		ServiceKeyCreated{KeyID: "k-1", ServiceID: "6f1c", Name: "first", KeyHash: hashOf("k"), KeyPrefix: "sk_live_abcd"},
		ServiceKeyDeactivated{KeyID: "k-1", ServiceID: "6f1c"},
		ServiceKeyRevoked{KeyID: "k-1", ServiceID: "6f1c"},
		ManagementKeyCreated{KeyID: "m-1", Name: "sync", Permissions: []Permission{PermissionRead, PermissionDeleteModel}, KeyHash: hashOf("m"), LastFour: "wxyz"},
		ManagementKeyDeactivated{KeyID: "m-1"},
		ManagementKeyDeleted{KeyID: "m-1"},
		WebhookCreated{
			WebhookID: "w-1", ServiceID: "6f1c", URL: "https://example.com/?a=1&b=2", Events: []EventType{ClaimApprovedType}, Description: "cache",
			Secret: sealed, AuthHeader: "X-Auth", AuthValue: &sealed,
		},
		WebhookReconfigured{
			WebhookID: "w-1", ServiceID: "6f1c", URL: "https://example.com/?a=1&b=2", Events: []EventType{ClaimApprovedType}, Description: "cache",
			AuthHeader: "X-Auth", AuthValue: &sealed,
		},
		WebhookSecretRotated{WebhookID: "w-1", ServiceID: "6f1c", Secret: sealed, PreviousUntil: until},
		WebhookResealed{WebhookID: "w-1", ServiceID: "6f1c", Secret: sealed, AuthValue: &sealed, Former: []FormerSecret{{sealed, until}}},
		WebhookUpdated{WebhookID: "w-1", ServiceID: "6f1c", Active: true, Reason: "back"},
		WebhookDeleted{WebhookID: "w-1", ServiceID: "6f1c"},
		OwnerAdded{OwnerID: "owner-2"},
		OwnerRemoved{OwnerID: "owner-2", FirstOwnerID: "owner-1"},
		PasskeyAdded{
			PasskeyID: "p-1", OwnerID: "owner-1", Name: "phone", CredentialID: []byte("id \x00\xff"), PublicKey: []byte("key \x00\xff"), SignCount: 1,
			Transports: []string{"internal", "hybrid"}, BackupEligible: true, BackedUp: true, AAGUID: "00000000-0000-0000-0000-000000000001",
			ChallengeHash: hashOf("c"), ChallengeExpiresAt: until,
		},
		PasskeyRemoved{PasskeyID: "p-1", OwnerID: "owner-1"},
		OwnerSignedIn{
			OwnerID: "owner-1", PasskeyID: "p-1", SessionID: "session-1", ExpiresAt: until, SignCount: 2, BackedUp: true,
			ChallengeHash: hashOf("c"), ChallengeExpiresAt: &until,
		},
	}
}

// upcastEvents says what the files of older schema versions must be read as.
var upcastEvents = map[string]Payload{}

func eventFile(p Payload) string { return fmt.Sprintf("%s.v%d.json", p.EventType(), p.SchemaVersion()) }

func TestGoldenEvents(t *testing.T) {
	for _, p := range currentEvents() {
		t.Run(string(p.EventType()), func(t *testing.T) {
			e := NewEvent("01J8XN5V5Q0000000000000000", 0, p)
			stored := golden(t, filepath.Join("events", eventFile(p)), func() ([]byte, error) { return json.Marshal(e) })
			var read Event
			if err := json.Unmarshal(stored, &read); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(read, e) {
				t.Errorf("read %+v, want %+v", read, e)
			}
			written, err := json.Marshal(read)
			if err != nil || !bytes.Equal(written, stored) {
				t.Errorf("wrote %s, %v\nwant  %s", written, err, stored)
			}
		})
	}
	for name, want := range upcastEvents {
		var read Event
		if err := json.Unmarshal(golden(t, filepath.Join("events", name), nil), &read); err != nil || !reflect.DeepEqual(read.Payload, want) {
			t.Errorf("%s: read %+v, %v, want %+v", name, read.Payload, err, want)
		}
	}
}

// Every decoder has its file, every file its decoder, and every file an expectation.
func TestGoldenEventsAreComplete(t *testing.T) {
	var decodable, expected []string
	for eventType, versions := range EventTypes() {
		for _, v := range versions {
			decodable = append(decodable, fmt.Sprintf("%s.v%d.json", eventType, v))
		}
	}
	for _, p := range currentEvents() {
		expected = append(expected, eventFile(p))
	}
	expected = slices.AppendSeq(expected, maps.Keys(upcastEvents))
	files := slices.Collect(maps.Keys(goldenFiles(t, "events")))
	slices.Sort(decodable)
	slices.Sort(expected)
	slices.Sort(files)
	if !slices.Equal(decodable, files) {
		t.Errorf("decoders\n%v\nfiles\n%v", decodable, files)
	}
	if !slices.Equal(decodable, expected) {
		t.Errorf("decoders\n%v\nexpectations\n%v", decodable, expected)
	}
}

// An example without a field would not guard it.
func TestGoldenEventsLeaveNoFieldOut(t *testing.T) {
	for _, p := range currentEvents() {
		v := reflect.ValueOf(p)
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%T: %s is not set", p, v.Type().Field(i).Name)
			}
		}
	}
}

func TestGoldenCommits(t *testing.T) {
	submitted, approved := currentEvents()[0], currentEvents()[1]
	full := NewCommit("01J8XN5V5Q0000000000000000", ClaimsOf("acme"), start.Add(123456789), Actor{ActorServiceKey, "k-1", "ed25519:AAAA"},
		CommandRef{Name: "claim.submit", Caller: "k-1", Key: "key", Request: hashOf("body"), Answer: json.RawMessage(`{"claim_id":"claim_01j8"}`)},
		&Basis{RegistryVersion: 3, Limits: DefaultPolicy().Limits}, []Payload{submitted, approved})
	full.Version, full.Prev = 2, hashOf("before")
	least := NewCommit("01J8XN5V5Q0000000000000001", RegistryOf("acme"), start, Actor{Kind: ActorOperator},
		CommandRef{Name: "namespace.register"}, nil, []Payload{NamespaceRegistered{"acme", "owner-1"}})
	least.Version = 1
	for name, c := range map[string]*Commit{"claims": full, "registry": least} {
		t.Run(name, func(t *testing.T) {
			stored := golden(t, filepath.Join("commits", name+".json"), c.Encode)
			read, err := DecodeCommit(stored)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(read, c) {
				t.Errorf("read %+v, want %+v", read, c)
			}
			if written, err := read.Encode(); err != nil || !bytes.Equal(written, stored) {
				t.Errorf("wrote %s, %v\nwant  %s", written, err, stored)
			}
		})
	}
}

// golden reads a file of testdata. With -update a file that is missing is made first.
func golden(t *testing.T, name string, content func() ([]byte, error)) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && *update && content != nil {
		written, err := content()
		if err != nil {
			t.Fatal(err)
		}
		// O_EXCL: not even by accident is a golden file written over.
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(append(written, '\n')); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test ./domain -update adds files that are missing)", err)
	}
	return bytes.TrimSuffix(raw, []byte("\n"))
}

func goldenFiles(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", dir, "*"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files in %s: %v", dir, err)
	}
	files := map[string][]byte{}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(path)] = []byte(strings.TrimSuffix(string(raw), "\n"))
	}
	return files
}
