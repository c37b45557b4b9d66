package domain

import (
	"fmt"
	"testing"
	"time"
)

func TestSubmitRecordsEverything(t *testing.T) {
	h := newClaimsHistory(t)
	cmd := Submit{
		ClaimID: "c1", ServiceID: "id", Service: "slug", ServiceNamespace: "shop", PublicKey: "key", AgentIP: "203.0.113.7",
		Nonce: "nonce", Signer: "shop", SignatureNonce: "s", Subject: "subject", AgentID: "agent", AgentName: "name",
	}
	h.then(cmd, ClaimSubmitted{
		ClaimID: "c1", ServiceID: "id", Service: "slug", ServiceNamespace: "shop", PublicKey: "key", AgentIP: "203.0.113.7",
		Nonce: "nonce", Signer: "shop", SignatureNonce: "s", Subject: "subject", AgentID: "agent", AgentName: "name", ExpiresAt: in(24 * time.Hour),
	})
}

func TestPendingExpiryHours(t *testing.T) {
	for hours, until := range map[int]*time.Time{0: nil, 1: in(time.Hour), 36: in(36 * time.Hour)} {
		h := newClaimsHistory(t)
		h.terms.Policy.PendingExpiryHours = hours
		h.then(ask("c1", "svc", "key"), asked("c1", "svc", "key", until))
	}
}

func TestSubmitToADeactivatedNamespace(t *testing.T) {
	h := newClaimsHistory(t)
	approvedClaim(h, "c1", "svc", "key", nil)
	h.terms.Active = false
	h.refused(ask("c2", "svc", "key"), CodeForbidden) // even where a claim exists
	h.refused(ask("c3", "svc", "another"), CodeForbidden)
	h.then(Revoke{ClaimID: "c1"}, ClaimRevoked{ClaimID: "c1"})
}

// Two services with one slug, two keys and two namespaces have nothing to do with
// each other: a claim binds to a service's id and a key.
func TestClaimsAreSeparate(t *testing.T) {
	h := newClaimsHistory(t)
	approvedClaim(h, "c1", "svc-1", "key-1", nil)
	other := ask("c2", "svc-2", "key-1")
	other.Service = "svc-1-slug"
	if got := h.accepted(other); got.ClaimID != "c2" {
		t.Errorf("%+v", got)
	}
	if got := h.accepted(ask("c3", "svc-1", "key-2")); got.ClaimID != "c3" {
		t.Errorf("%+v", got)
	}
	for _, p := range [][2]string{{"svc-2", "key-1"}, {"svc-1", "key-2"}, {"svc-2", "key-2"}, {"", ""}} {
		if v := h.live.Verify(p[0], p[1], h.now); v.Authorized {
			t.Errorf("%v: %+v", p, v)
		}
	}
}

// TestSubmitOrderOfChecks breaks all rules at once and then, from the first to the
// last, one less: each time the next one answers.
func TestSubmitOrderOfChecks(t *testing.T) {
	h := newClaimsHistory(t)
	h.terms.Policy.MaxPending = 1
	h.ref = CommandRef{Name: "submit", Caller: "k-1", Key: "idem", Request: hashOf("first")}
	h.accepted(ask("c1", "svc", "key"))

	cmd := ask("c1", "svc", "key") // the same nonces
	cmd.ClaimID = "c2"
	h.ref.Request = hashOf("second")
	h.refused(cmd, CodeSignatureNonceReplay)

	cmd.SignatureNonce = "fresh"
	h.refused(cmd, CodeIdempotencyMismatch)

	h.ref.Key = "another"
	h.refused(cmd, CodeNonceReplay)

	cmd.Nonce = "fresh"
	if got := h.then(cmd); got.ClaimID != "c1" {
		t.Errorf("existing claim: %+v", got)
	}

	cmd.PublicKey = "another"
	if got := h.accepted(cmd); got.Status != StatusRejected {
		t.Errorf("limit: %+v", got)
	}
}

func TestSignatureNonceWindow(t *testing.T) {
	for after, code := range map[time.Duration]Code{
		0: CodeSignatureNonceReplay, SignatureWindow - 1: CodeSignatureNonceReplay, SignatureWindow: "", SignatureWindow + time.Hour: "",
	} {
		h := newClaimsHistory(t)
		h.accepted(ask("c1", "svc", "key"))
		h.after(after)
		cmd := ask("c2", "svc-2", "key")
		cmd.SignatureNonce = "signature-c1"
		_, err := h.when(cmd)
		expectCode(t, err, code)

		// Another signer may use the same nonce.
		cmd = ask("c3", "svc-3", "key")
		cmd.Signer, cmd.SignatureNonce = "shop", "signature-c1"
		h.accepted(cmd)
	}
	if SignatureWindow < 305*time.Second {
		t.Error("a signature is good for longer than its nonce is remembered")
	}
}

func TestNonceWindow(t *testing.T) {
	for after, code := range map[time.Duration]Code{
		0: CodeNonceReplay, 24*time.Hour - 1: CodeNonceReplay, 24 * time.Hour: "", 48 * time.Hour: "",
	} {
		h := newClaimsHistory(t)
		h.accepted(ask("c1", "svc", "key"))
		h.after(after)
		cmd := ask("c2", "svc", "key-2")
		cmd.Nonce = "nonce-c1"
		_, err := h.when(cmd)
		expectCode(t, err, code)

		cmd = ask("c3", "svc-2", "key") // another service's nonces are its own
		cmd.Nonce = "nonce-c1"
		h.accepted(cmd)
	}
}

// A nonce that came back after its time is remembered for another 24 hours.
func TestNonceIsRememberedAnew(t *testing.T) {
	h := newClaimsHistory(t)
	reuse := func(id string) Submit {
		cmd := ask(id, "svc", "key-"+id)
		cmd.Nonce = "the same"
		return cmd
	}
	h.accepted(reuse("c1"))
	h.after(24 * time.Hour)
	h.accepted(reuse("c2"))
	h.after(24*time.Hour - 1)
	h.accepted(ask("c3", "svc", "key")) // prunes
	h.refused(reuse("c4"), CodeNonceReplay)
	h.after(1)
	h.accepted(reuse("c5"))
}

// What is past its window is forgotten with the next commit.
func TestNoncesAreForgotten(t *testing.T) {
	h := newClaimsHistory(t)
	h.ref = CommandRef{Name: "submit", Caller: "k-1"}
	for i := range 100 {
		h.ref.Key = fmt.Sprint("idem-", i)
		h.accepted(ask(fmt.Sprint("c", i), "svc", fmt.Sprint("key-", i)))
		h.after(6 * time.Hour)
	}
	s := h.live
	if s.nonces.len() > 4 || s.signatureNonces.len() > 1 || s.answers.len() > 4 {
		t.Errorf("%d nonces, %d signatures' nonces, %d answers", s.nonces.len(), s.signatureNonces.len(), s.answers.len())
	}
}

// Only what was recorded uses a nonce up.
func TestNoncesThatAreNotConsumed(t *testing.T) {
	cmd := ask("c2", "svc", "key")
	for name, c := range map[string]struct{ before, after func(*claimsHistory) }{
		"refused": {
			func(h *claimsHistory) { h.terms.Active = false; h.refused(cmd, CodeForbidden) },
			func(h *claimsHistory) { h.terms.Active = true },
		},
		"refused for the other nonce": {
			func(h *claimsHistory) {
				h.accepted(ask("c1", "svc", "another"))
				replay := cmd
				replay.Nonce = "nonce-c1"
				h.refused(replay, CodeNonceReplay)
				replay = cmd
				replay.SignatureNonce = "signature-c1"
				h.refused(replay, CodeSignatureNonceReplay)
			},
			func(*claimsHistory) {},
		},
		"answered with the existing claim": {
			func(h *claimsHistory) {
				h.given(asked("c1", "svc", "key", nil))
				h.then(cmd)
				h.then(cmd)
			},
			func(h *claimsHistory) { h.accepted(Reject{ClaimID: "c1"}) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newClaimsHistory(t)
			c.before(h)
			c.after(h)
			h.then(cmd, asked("c2", "svc", "key", in(24*time.Hour)))
		})
	}
}

// A claim that the policy rejected at once was recorded: its nonce is used up.
func TestNonceOfAClaimRejectedAtOnce(t *testing.T) {
	h := newClaimsHistory(t)
	h.terms.Policy.MaxPending = 1
	h.accepted(ask("c1", "svc", "key-1"))
	if got := h.accepted(ask("c2", "svc", "key-2")); got.Status != StatusRejected {
		t.Fatalf("%+v", got)
	}
	cmd := ask("c3", "svc", "key-2")
	cmd.Nonce = "nonce-c2"
	h.refused(cmd, CodeNonceReplay)
}

func TestIdempotencyKey(t *testing.T) {
	first := CommandRef{Name: "submit", Caller: "k-1", Key: "idem", Request: hashOf("body")}
	for name, c := range map[string]struct {
		ref   CommandRef
		after time.Duration
		want  string // the claim that is answered, or a code
	}{
		"same":                  {first, 0, "c1"},
		"same, almost a day on": {first, 24*time.Hour - 1, "c1"},
		"same, a day on":        {first, 24 * time.Hour, "c2"},
		"another body":          {CommandRef{Name: "submit", Caller: "k-1", Key: "idem", Request: hashOf("other")}, 0, string(CodeIdempotencyMismatch)},
		"another body, day on":  {CommandRef{Name: "submit", Caller: "k-1", Key: "idem", Request: hashOf("other")}, 24 * time.Hour, "c2"},
		"another command":       {CommandRef{Name: "approve", Caller: "k-1", Key: "idem", Request: hashOf("body")}, 0, string(CodeIdempotencyMismatch)},
		"another caller":        {CommandRef{Name: "submit", Caller: "k-2", Key: "idem", Request: hashOf("body")}, 0, "c2"},
		"another key":           {CommandRef{Name: "submit", Caller: "k-1", Key: "idem2", Request: hashOf("body")}, 0, "c2"},
		"no key":                {CommandRef{Name: "submit", Caller: "k-1", Request: hashOf("body")}, 0, "c2"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newClaimsHistory(t)
			h.ref = first
			answer := h.accepted(ask("c1", "svc", "key"))
			h.acceptedAs(CommandRef{}, Reject{ClaimID: "c1"}) // what is answered is not what is now
			h.ref = c.ref
			h.after(c.after)
			d, err := h.when(ask("c2", "svc", "key"))
			switch c.want {
			case "c1":
				if err != nil || len(d.Payloads) > 0 || d.Answer != answer {
					t.Errorf("got %+v, %v, want %+v", d, err, answer)
				}
			case "c2":
				if err != nil || len(d.Payloads) == 0 || d.Answer.ClaimID != "c2" {
					t.Errorf("got %+v, %v", d, err)
				}
			default:
				expectCode(t, err, Code(c.want))
			}
		})
	}
}

// acceptedAs records a command under another reference.
func (h *claimsHistory) acceptedAs(ref CommandRef, cmd ClaimCommand) {
	h.t.Helper()
	kept := h.ref
	h.ref = ref
	h.accepted(cmd)
	h.ref = kept
}

// Every command can be repeated under its key, whatever became of the claim.
func TestIdempotentDecisions(t *testing.T) {
	for name, c := range map[string]struct {
		given Payload
		cmd   ClaimCommand
	}{
		"approve": {nil, Approve{ClaimID: "c1"}},
		"reject":  {nil, Reject{ClaimID: "c1"}},
		"revoke":  {ClaimApproved{ClaimID: "c1"}, Revoke{ClaimID: "c1"}},
		"expire":  {nil, Expire{ClaimID: "c1"}},
	} {
		h := newClaimsHistory(t)
		h.given(asked("c1", "svc", "key", nil))
		if c.given != nil {
			h.given(c.given)
		}
		h.ref = CommandRef{Name: name, Caller: "owner", Key: "idem"}
		first := h.accepted(c.cmd)
		if again := h.then(c.cmd); again != first {
			t.Errorf("%s: %+v, then %+v", name, first, again)
		}
		h.ref.Key = ""
		if name == "approve" {
			h.refused(c.cmd, CodeConflict)
		}
	}
}

// What was refused, or answered from what is there, is decided anew.
func TestIdempotencyKeyOfWhatWasNotRecorded(t *testing.T) {
	h := newClaimsHistory(t)
	h.ref = CommandRef{Name: "approve", Caller: "owner", Key: "idem"}
	h.refused(Approve{ClaimID: "c1"}, CodeNotFound)
	h.acceptedAs(CommandRef{}, ask("c1", "svc", "key"))
	h.accepted(Approve{ClaimID: "c1"})

	h.ref = CommandRef{Name: "submit", Caller: "k-1", Key: "idem"}
	h.then(ask("c2", "svc", "key"))
	h.acceptedAs(CommandRef{}, Revoke{ClaimID: "c1"})
	if got := h.accepted(ask("c2", "svc", "key")); got.ClaimID != "c2" {
		t.Errorf("%+v", got)
	}
}

// The key is looked at before what is overdue, so a repeat records nothing at all.
func TestIdempotentRepeatRecordsNoExpiry(t *testing.T) {
	h := newClaimsHistory(t)
	h.ref = CommandRef{Name: "submit", Caller: "k-1", Key: "idem"}
	h.terms.Policy.PendingExpiryHours = 1
	h.accepted(ask("c1", "svc", "key"))
	h.after(2 * time.Hour)
	repeat := ask("c1", "svc", "key")
	repeat.SignatureNonce = "fresh" // a repeat is signed anew
	h.then(repeat)
}

func ExampleEventID() {
	fmt.Println(EventID("01J8XN5V5Q0000000000000000", 0))
	// Output: evt_01j8xn5v5q0000000000000000_1
}
