package client_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/claimledger/claimledger/api/client"
	"github.com/claimledger/claimledger/domain"
)

// A gateway answers from memory who may use its service. Here a server in the test stands
// for the ledger.
func ExampleCache() {
	ledger, server := startFakeLedger()
	defer server.Close()
	ledger.approve("claim_1", "acme", "ed25519:key-of-ada")

	// The gateway's own key signs; the service key says whose feed it is.
	signer, err := client.NewSigner("acme", "gateway@example.com", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		log.Fatal(err)
	}
	c, err := client.New(client.Config{URL: server.URL, Signer: signer, ServiceKey: "sk_live_example"})
	if err != nil {
		log.Fatal(err)
	}
	changed := make(chan client.CacheEvent, 16)
	cache, err := client.StartCache(c, client.CacheConfig{Observe: func(e client.CacheEvent) { changed <- e }})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := cache.Ready(ctx); err != nil {
		log.Fatal(err)
	}

	// On each request:
	fmt.Println("ada:", cache.IsApproved("acme", "ed25519:key-of-ada"))
	fmt.Println("bob:", cache.IsApproved("acme", "ed25519:key-of-bob"))

	ledger.revoke("claim_1")
	for e := range changed {
		if e.Removed > 0 {
			break
		}
	}
	fmt.Println("ada, revoked:", cache.IsApproved("acme", "ed25519:key-of-ada"))
	s := cache.Status()
	fmt.Println("claims:", s.Claims, "at position", s.Position)
	// Output:
	// ada: true
	// bob: false
	// ada, revoked: false
	// claims: 0 at position 2
}

// An owner decides; a refusal is an Error with the ledger's code.
func ExampleClient_ApproveClaim() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/claims/claim_1/approve" {
			fmt.Fprint(w, `{"claim_id": "claim_1", "status": "approved", "agents_approved": 1, "agents_limit": 100, "blockchain_tx_status": "disabled"}`)
			return
		}
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, `{"error": "The claim is revoked.", "code": "CONFLICT", "request_id": "r1"}`)
	}))
	defer server.Close()

	owner, err := client.New(client.Config{URL: server.URL, ManagementKey: "sigma_sk_live_example"})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	approved, err := owner.ApproveClaim(ctx, "claim_1", client.Approval{Reason: "For the spring campaign."})
	fmt.Println(approved.Status, approved.AgentsApproved, "of", approved.AgentsLimit, err)

	_, err = owner.ApproveClaim(ctx, "claim_2", client.Approval{})
	if client.ErrorCode(err) == domain.CodeConflict {
		fmt.Println(err)
	}
	// Output:
	// approved 1 of 100 <nil>
	// approveClaim: 409 CONFLICT: The claim is revoked. [r1]
}

// A service asks about one agent, and looks at what kind of error it got.
func ExampleClient_Verify() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"authorized": false, "reason": "revoked"}`)
	}))
	defer server.Close()

	signer, err := client.NewSigner("provider", "gateway@example.com", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		log.Fatal(err)
	}
	c, err := client.New(client.Config{URL: server.URL, Signer: signer, ServiceKey: "sk_live_example"})
	if err != nil {
		log.Fatal(err)
	}
	verdict, err := c.Verify(context.Background(), client.VerifyQuery{Namespace: "acme", PublicKey: "ed25519:key-of-ada"})
	var refused *client.Error
	switch {
	case errors.As(err, &refused):
		fmt.Println("the ledger refused:", refused.Code)
	case err != nil:
		fmt.Println("the ledger did not answer:", err)
	case !verdict.Authorized:
		fmt.Println("not authorized:", verdict.Reason)
	}
	// Output: not authorized: revoked
}
