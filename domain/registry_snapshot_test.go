package domain

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// restored is a registry after a trip through its snapshot.
func restored(t rapid.TB, r *Registry) *Registry {
	t.Helper()
	var raw bytes.Buffer
	var snap RegistrySnapshot
	err := gob.NewEncoder(&raw).Encode(r.Snapshot())
	if err == nil {
		err = gob.NewDecoder(&raw).Decode(&snap)
	}
	if err != nil {
		t.Fatal(err)
	}
	back, err := snap.Restore()
	if err != nil {
		t.Fatal(err)
	}
	return back
}

func sameRegistry(t rapid.TB, got, want *Registry) {
	t.Helper()
	if got, want := got.Snapshot().Answers, want.Snapshot().Answers; !reflect.DeepEqual(got, want) {
		t.Fatalf("it answers %+v\nnot %+v", got, want)
	}
	g, w := *got, *want
	g.answers, w.answers = answers{}, answers{}
	if !reflect.DeepEqual(g, w) {
		t.Fatalf("restored as\n%+v\nnot\n%+v", g, w)
	}
}

// A snapshot taken anywhere, and the commits after it, give what all commits give.
func TestRegistryFromEveryCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &registryMachine{newRegistryHistory(t)}
		t.Repeat(map[string]func(*rapid.T){
			"namespace": m.namespaceCommand,
			"service":   m.serviceCommand,
			"key":       m.keyCommand,
			"webhook":   m.webhookCommand,
			"owner":     m.ownerCommand,
			"wait":      func(t *rapid.T) { m.after(someWait.Draw(t, "wait")) },
		})
		before := NewRegistry("acme")
		for i := range m.stored {
			from := restored(t, before)
			for _, stored := range m.stored[i:] {
				applyStored(t, from.Apply, stored)
			}
			sameRegistry(t, from, m.live)
			applyStored(t, before.Apply, m.stored[i])
		}
	})
}

func applyStored(t rapid.TB, apply func(*Commit) error, stored []byte) {
	t.Helper()
	c, err := DecodeCommit(stored)
	if err == nil {
		err = apply(c)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// eventfulRegistry is one in which there is something of everything.
func eventfulRegistry(t *testing.T) *Registry {
	r := NewRegistry("acme")
	version, at := uint64(0), start
	for _, p := range currentEvents() {
		if _, isClaims := p.(interface{ claimID() string }); isClaims {
			continue
		}
		fits := NewRegistry("acme")
		*fits = *restored(t, r)
		c := NewCommit("01J", RegistryOf("acme"), at, Actor{}, CommandRef{Name: "x", Caller: "c", Key: fmt.Sprint(version)}, nil, []Payload{p})
		c.Version = version + 1
		if fits.Apply(c) != nil {
			continue // it is of something else, or ends what is to be seen
		}
		switch p.(type) {
		case ServiceDeleted, ServiceKeyRevoked, ManagementKeyDeleted, WebhookDeleted, OwnerRemoved, PasskeyRemoved:
			continue
		}
		r, version, at = fits, c.Version, at.Add(time.Second)
	}
	return r
}

// What folding gives is written down for each version of it.
func TestFoldVersionOfRegistries(t *testing.T) {
	snap := eventfulRegistry(t).Snapshot()
	for _, of := range []any{snap.Passkeys, snap.Challenges, snap.Tokens, snap.Ended, snap.Services, snap.Keys, snap.Managers, snap.Webhooks, snap.Answers} {
		if reflect.ValueOf(of).Len() == 0 {
			t.Errorf("there is no %T", of)
		}
	}
	got, err := json.MarshalIndent(snap, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want := golden(t, fmt.Sprintf("folds/registry.v%d.json", RegistryFold), func() ([]byte, error) { return got, nil })
	if string(got) != string(want) {
		t.Errorf("commits fold otherwise than with RegistryFold %d: raise it, and add what they give now.\n%s", RegistryFold, got)
	}
}

// No field of the state is forgotten: what is added to it must be added to its snapshot.
func TestRegistrySnapshotHasEveryField(t *testing.T) {
	for _, c := range []struct {
		of   any
		want int
	}{{Registry{}, 17}, {RegistrySnapshot{}, 17}, {loginToken{}, 3}, {TokenSnapshot{}, 4}, {AnswerSnapshot{}, 5}} {
		if n := reflect.TypeOf(c.of).NumField(); n != c.want {
			t.Errorf("%T has %d fields, not %d: the state and its snapshot must know of the same", c.of, n, c.want)
		}
	}
}
