package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ErrNotEvent says that something is no body of a ledger's webhook.
var ErrNotEvent = errors.New("webhook: the body is no event")

// The names of events. There may be others in later versions of a ledger: what a receiver
// does not know it passes over.
const (
	Submitted = "request.submitted"
	Approved  = "request.approved"
	Rejected  = "request.rejected"
	Revoked   = "request.revoked"
	Expired   = "request.expired"

	// Ping is a test that an owner asked for. It has a time and an ID, and nothing else.
	Ping = "ping"
)

// Event is the body of a delivery.
type Event struct {
	Event     string    `json:"event"`
	Timestamp time.Time `json:"timestamp"` // when it happened
	Data      Claim     `json:"data"`
	ID        string    `json:"id"`              // the same whenever it is delivered
	Position  uint64    `json:"position,string"` // in the ledger
	Sequence  uint64    `json:"sequence"`        // among the webhook's events, from 1
}

// Claim is the claim that an event is about.
type Claim struct {
	ClaimID      string     `json:"claim_id"`
	Namespace    string     `json:"namespace"`
	Service      string     `json:"service"`
	PublicKey    string     `json:"public_key"`
	AgentIP      string     `json:"agent_ip"`
	Subject      string     `json:"subject,omitempty"`
	AgentID      string     `json:"agent_id,omitempty"`
	AgentName    string     `json:"agent_name,omitempty"`
	Reason       string     `json:"reason,omitempty"`        // of a decision that gave one
	AutoApproved bool       `json:"auto_approved,omitempty"` // by the namespace's policy
	ExpiresAt    *time.Time `json:"expires_at,omitempty"`    // of an approval that ends by itself
}

// Parse reads a body that was verified or pulled. Fields that it does not know are those
// of a later version.
func Parse(body []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(body, &e); err != nil {
		return Event{}, fmt.Errorf("%w: %w", ErrNotEvent, err)
	}
	switch {
	case e.Event == "" || e.ID == "":
		return Event{}, fmt.Errorf("%w: it has no name or no id", ErrNotEvent)
	case (e.Sequence == 0) != (e.Event == Ping):
		return Event{}, fmt.Errorf("%w: a ping has no sequence, and all else has one", ErrNotEvent)
	}
	return e, nil
}
