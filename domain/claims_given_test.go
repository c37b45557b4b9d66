package domain

import (
	"fmt"
	"time"
)

// ask is a submit of a claim on service svc by agent key. Its nonces are its own.
func ask(id, svc, key string) Submit {
	return Submit{
		ClaimID: id, ServiceID: svc, Service: svc + "-slug", ServiceNamespace: "shop", PublicKey: key,
		AgentIP: "203.0.113.7", Nonce: "nonce-" + id, Signer: "acme", SignatureNonce: "signature-" + id,
	}
}

// asked is the event of ask.
func asked(id, svc, key string, until *time.Time) ClaimSubmitted {
	s := ask(id, svc, key)
	return ClaimSubmitted{
		ClaimID: s.ClaimID, ServiceID: s.ServiceID, ServiceNamespace: s.ServiceNamespace, Service: s.Service, PublicKey: s.PublicKey,
		AgentIP: s.AgentIP, Nonce: s.Nonce, Signer: s.Signer, SignatureNonce: s.SignatureNonce, ExpiresAt: until,
	}
}

// pendingClaims gives n pending claims c<from>, …, each of its own agent on service svc.
func pendingClaims(h *claimsHistory, from, n int, svc string, until *time.Time) {
	var payloads []Payload
	for i := from; i < from+n; i++ {
		payloads = append(payloads, asked(fmt.Sprintf("c%d", i), svc, fmt.Sprintf("key-%d", i), until))
	}
	h.given(payloads...)
}

// approvedClaim gives one approved claim.
func approvedClaim(h *claimsHistory, id, svc, key string, until *time.Time) {
	h.given(asked(id, svc, key, nil), ClaimApproved{ClaimID: id, ExpiresAt: until})
}

// status is what is recorded of a claim; empty where there is none.
func (h *claimsHistory) status(id string) (status Status) {
	h.live.Each(func(claim string, of Status) {
		if claim == id {
			status = of
		}
	})
	return status
}
