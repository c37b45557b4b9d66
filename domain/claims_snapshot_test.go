package domain

import (
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
	raw, err := s.Snapshot()
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	back, err := RestoreClaims(s.namespace, raw)
	if err != nil {
		t.Fatalf("restore: %v", err)
	}
	// Field by field, for an empty list may be none.
	for _, parts := range [][2]any{
		{s.snapshot(), back.snapshot()}, {s.services, back.services},
		{[]int{s.pending, s.approved}, []int{back.pending, back.approved}},
		{s.approvedAgents, back.approvedAgents}, {s.approvedService, back.approvedService},
		{s.nonces.seen, back.nonces.seen}, {s.signatureNonces.seen, back.signatureNonces.seen},
		{s.answers.seen, back.answers.seen}, {s.answers.refs, back.answers.refs},
		{contentOf(s), contentOf(back)},
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
	got, err := json.MarshalIndent(eventful(t).live.snapshot(), "", " ")
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
	}{{Claims{}, 16}, {claim{}, 8}, {window{}, 3}, {answers{}, 2}, {dueAt{}, 3}} {
		if n := reflect.TypeOf(c.of).NumField(); n != c.want {
			t.Errorf("%T has %d fields and the snapshot knows of %d", c.of, n, c.want)
		}
	}
}

func TestRestoreRefusesWhatIsNoSnapshot(t *testing.T) {
	s := eventful(t).live
	raw, err := s.Snapshot()
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
		id := fmt.Sprintf("claim_%026d", i)
		p := ClaimSubmitted{ClaimID: id, ServiceID: "6f1c", PublicKey: fmt.Sprintf("ed25519:%043d=", i), Nonce: id, SignatureNonce: id, Signer: "acme"}
		c := NewCommit("01J", ClaimsOf("acme"), start, Actor{}, CommandRef{}, basis, []Payload{p, ClaimApproved{ClaimID: id}})
		c.Version = uint64(i + 1)
		if err := h.Apply(c); err != nil {
			b.Fatal(err)
		}
	}
	raw, err := h.Snapshot()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			_, _ = h.Snapshot()
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
