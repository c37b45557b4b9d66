package domain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func encoded(t rapid.TB, s *ClaimsSnapshot) []byte {
	t.Helper()
	raw, err := s.Encode()
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	return raw
}

// sameRestored fails when a state is another after a trip through its snapshot.
func sameRestored(t rapid.TB, s *Claims) {
	t.Helper()
	raw := encoded(t, s.Snapshot())
	back, err := RestoreClaims(s.namespace, raw)
	if err != nil {
		t.Fatalf("restore: %v", err)
	}
	if got, want := contentOf(back), contentOf(s); !reflect.DeepEqual(got, want) {
		t.Fatalf("restored as\n%+v\nnot\n%+v", got, want)
	}
	if again := encoded(t, back.Snapshot()); !bytes.Equal(again, raw) {
		t.Fatalf("written again as\n%x\nnot\n%x", again, raw)
	}
}

// eventful is a boundary in which everything has happened that a claim can go through.
func eventful(t *testing.T) *claimsHistory {
	h := newClaimsHistory(t)
	h.terms.Policy.MaxPending = 4
	h.ref = CommandRef{Name: "claim.submit", Caller: "service_key:k", Key: "once", Request: hashOf("body")}
	h.accepted(ask("c1", "svc-1", "key-1"))
	h.ref = CommandRef{}
	for i := 2; i <= 6; i++ { // the last two are one too many
		h.accepted(ask(fmt.Sprint("c", i), fmt.Sprint("svc-", i%2), fmt.Sprint("key-", i)))
	}
	h.after(time.Minute)
	h.accepted(Approve{ClaimID: "c1", ExpiresAt: new(h.now.Add(time.Hour))})
	h.accepted(Approve{ClaimID: "c2"})
	h.accepted(Reject{ClaimID: "c3", Reason: "no"})
	h.accepted(Revoke{ClaimID: "c2"})
	h.accepted(ask("c7", "svc-0", "key-2"))
	h.after(2 * time.Hour)
	h.accepted(ExpireOverdue{})
	h.accepted(ask("c8", "svc-1", "key-1"))
	return h
}

// What folding gives is written down for each version of it, so that a change of it
// cannot pass for the same one: a snapshot of the former would be taken for the present.
func TestFoldVersionOfClaims(t *testing.T) {
	state := eventful(t).live
	got, err := json.MarshalIndent(struct {
		Content content
		Written []byte
	}{contentOf(state), encoded(t, state.Snapshot())}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want := golden(t, fmt.Sprintf("folds/claims.v%d.json", ClaimsFold), func() ([]byte, error) { return got, nil })
	if string(got) != string(want) {
		t.Errorf("commits fold otherwise than with ClaimsFold %d: raise it, and add what they give now.\n%s", ClaimsFold, got)
	}
}

// No field of the state is forgotten: what is added to it must be added to its snapshot.
func TestSnapshotHasEveryField(t *testing.T) {
	for _, c := range []struct {
		of   any
		want int
	}{{Claims{}, 11}, {claimStore{}, 14}, {fact{}, 3}, {pair{}, 3}, {standing{}, 4}, {window{}, 5}, {sighting{}, 2}, {answers{}, 3}, {answer{}, 3}, {wait{}, 2}, {ClaimsSnapshot{}, 15}} {
		if n := reflect.TypeOf(c.of).NumField(); n != c.want {
			t.Errorf("%T has %d fields and the snapshot knows of %d", c.of, n, c.want)
		}
	}
}

func TestRestoreRefusesWhatIsNoSnapshot(t *testing.T) {
	s := eventful(t).live
	raw := encoded(t, s.Snapshot())
	sameRestored(t, s)
	if _, err := RestoreClaims("other", raw); err == nil {
		t.Error("another namespace's snapshot was taken")
	}
	for n := range len(raw) {
		if _, err := RestoreClaims("acme", raw[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes were taken for a snapshot", n, len(raw))
		}
	}
}

// Whatever became of the bytes, they are refused or are a state that works.
func TestRestoreOfDamagedSnapshots(t *testing.T) {
	raw := encoded(t, eventful(t).live.Snapshot())
	for n := range raw {
		for _, change := range []byte{0x01, 0x08, 0x40, 0x80, 0xff} {
			damaged := bytes.Clone(raw)
			damaged[n] ^= change
			if s, err := RestoreClaims("acme", damaged); err == nil {
				contentOf(s)
				s.Backlog(start)
				sameRestored(t, s)
			}
		}
	}
	if _, err := RestoreClaims("acme", append(raw, 0)); err == nil {
		t.Error("what is longer than a snapshot was taken for one")
	}
	// Counts that would need more memory than there is.
	for n := range raw {
		huge := append(bytes.Clone(raw[:n]), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)
		if _, err := RestoreClaims("acme", append(huge, raw[n:]...)); err == nil {
			t.Errorf("a number put in at byte %d was taken", n)
		}
	}
}

// A snapshot taken anywhere, and the commits after it, give what all commits give.
func TestClaimsFromEveryCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &claimsMachine{claimsHistory: newClaimsHistory(t)}
		t.Repeat(map[string]func(*rapid.T){
			"submit":  m.submit,
			"approve": m.approve,
			"reject":  func(t *rapid.T) { m.step(t, Reject{ClaimID: m.claim(t)}) },
			"revoke":  func(t *rapid.T) { m.step(t, Revoke{ClaimID: m.claim(t)}) },
			"sweep":   func(t *rapid.T) { m.step(t, ExpireOverdue{}) },
			"wait":    func(t *rapid.T) { m.after(someWait.Draw(t, "wait")) },
		})
		before := NewClaims("acme")
		for i := range m.stored {
			from, err := RestoreClaims("acme", encoded(t, before.Snapshot()))
			if err != nil {
				t.Fatal(err)
			}
			for _, stored := range m.stored[i:] {
				applyStored(t, from.Apply, stored)
			}
			if got, want := contentOf(from), contentOf(m.live); !reflect.DeepEqual(got, want) {
				t.Fatalf("from version %d on\n%+v\nnot\n%+v", i, got, want)
			}
			applyStored(t, before.Apply, m.stored[i])
		}
	})
}
