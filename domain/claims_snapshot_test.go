package domain

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// sameRestored fails when a state is another after a trip through its snapshot.
func sameRestored(t rapid.TB, s *Claims) {
	t.Helper()
	raw, err := s.Snapshot().Encode()
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	back, err := RestoreClaims(s.namespace, raw)
	if err != nil {
		t.Fatalf("restore: %v", err)
	}
	// Field by field, for an empty list may be none.
	for _, parts := range [][2]any{
		{s.Snapshot().written(), back.Snapshot().written()}, {s.services, back.services},
		{[]int{s.pending, s.approved}, []int{back.pending, back.approved}},
		{s.approvedAgents, back.approvedAgents}, {s.approvedService, back.approvedService},
		{s.nonces.seen, back.nonces.seen}, {s.signatureNonces.seen, back.signatureNonces.seen},
		{s.answers.seen, back.answers.seen}, {s.answers.refs, back.answers.refs},
		{s.Size(), back.Size()}, {contentOf(s), contentOf(back)},
	} {
		if !reflect.DeepEqual(parts[0], parts[1]) {
			t.Fatalf("restored as\n%+v\nnot\n%+v", parts[1], parts[0])
		}
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
	got, err := json.MarshalIndent(eventful(t).live.Snapshot().written(), "", " ")
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
	}{{Claims{}, 18}, {claim{}, 6}, {standing{}, 4}, {window{}, 4}, {answers{}, 4}, {dueAt{}, 3}, {ClaimsSnapshot{}, 9}} {
		if n := reflect.TypeOf(c.of).NumField(); n != c.want {
			t.Errorf("%T has %d fields and the snapshot knows of %d", c.of, n, c.want)
		}
	}
}

func TestRestoreRefusesWhatIsNoSnapshot(t *testing.T) {
	s := eventful(t).live
	raw, err := s.Snapshot().Encode()
	if err != nil {
		t.Fatal(err)
	}
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

func BenchmarkSnapshotOfClaims(b *testing.B) {
	const claims = 100_000
	h := NewClaims("acme")
	basis := &Basis{Limits: Limits{MaxPending: MaxPolicyValue, MaxAgents: MaxPolicyValue, MaxServices: MaxPolicyValue}}
	for i := range claims {
		random := hashOf(fmt.Sprint(i))
		id := fmt.Sprintf("claim_%.26s", random.String())
		p := ClaimSubmitted{
			ClaimID: id, ServiceID: "6f1c3a52-2f0e-4f6c-9a52-1b7a0c9d2e11", Service: "openai", Signer: "acme",
			PublicKey: "ed25519:" + base64.StdEncoding.EncodeToString(random[:]), Nonce: random.String()[32:64], SignatureNonce: random.String()[:22],
		}
		at := start.Add(time.Duration(i) * 900 * time.Millisecond) // a day
		c := NewCommit("01J", ClaimsOf("acme"), at, Actor{}, CommandRef{}, basis, []Payload{p, ClaimApproved{ClaimID: id}})
		c.Version = uint64(i + 1)
		if err := h.Apply(c); err != nil {
			b.Fatal(err)
		}
	}
	raw, err := h.Snapshot().Encode()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("take", func(b *testing.B) {
		for b.Loop() {
			_ = h.Snapshot()
		}
	})
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			_, _ = h.Snapshot().Encode()
		}
		b.ReportMetric(float64(len(raw))/claims, "bytes/claim")
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, err := RestoreClaims("acme", raw); err != nil {
				b.Fatal(err)
			}
		}
	})
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
			raw, err := before.Snapshot().Encode()
			if err != nil {
				t.Fatal(err)
			}
			from, err := RestoreClaims("acme", raw)
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
