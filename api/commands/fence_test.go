package commands

import (
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

// On a log that is known to be broken no command is answered, not even one that would
// record nothing: what it would be told may rest on what was lost.
func TestNoAnswersBehindAFence(t *testing.T) {
	t.Parallel()
	x := newTester(t, eventstore.NewMemory())
	x.Fence = eventstore.NewFence(logtest.Logger(t))
	x.namespace("acme")
	submit := domain.Submit{ClaimID: "claim_1", ServiceID: "svc", Service: "weather", PublicKey: "key", Nonce: "n-1", Signer: "acme", SignatureNonce: "s-1"}
	meta := Meta{Actor: domain.Actor{Kind: domain.ActorServiceKey, ID: "k"}, Ref: domain.CommandRef{Name: "claim.submit"}}
	if _, _, err := x.Claims(t.Context(), "acme", submit, meta); err != nil {
		t.Fatal(err)
	}
	x.Fence.Close(&eventstore.BrokenError{Position: 2, Found: "a test"})
	submit.ClaimID, submit.Nonce, submit.SignatureNonce = "claim_2", "n-2", "s-2"
	_, _, err := x.Claims(t.Context(), "acme", submit, meta)
	wantCode(t, "a claim that is there", err, domain.CodeServiceUnavailable)
	_, _, err = x.Registry(t.Context(), "acme", domain.ActivateNamespace{}, meta)
	wantCode(t, "a namespace that is active already", err, domain.CodeServiceUnavailable)
}
