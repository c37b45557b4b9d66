package domain

import "time"

const (
	ClaimSubmittedType EventType = "claim.submitted"
	ClaimApprovedType  EventType = "claim.approved"
	ClaimRejectedType  EventType = "claim.rejected"
	ClaimRevokedType   EventType = "claim.revoked"
	ClaimExpiredType   EventType = "claim.expired"
)

// ClaimSubmitted records that an agent asked to use a service. The facts of a
// claim are recorded here once; the later events carry its id.
type ClaimSubmitted struct {
	ClaimID          string     `json:"claim_id"`
	ServiceID        string     `json:"service_id"`
	ServiceNamespace string     `json:"service_namespace"` // who owns the service
	Service          string     `json:"service"`           // its slug at the time
	PublicKey        string     `json:"public_key"`
	AgentIP          string     `json:"agent_ip"`
	Nonce            string     `json:"nonce"`
	Signer           string     `json:"signer"` // the namespace that signed the request
	SignatureNonce   string     `json:"signature_nonce"`
	Subject          string     `json:"subject,omitempty"`
	AgentID          string     `json:"agent_id,omitempty"`
	AgentName        string     `json:"agent_name,omitempty"`
	ExpiresAt        *time.Time `json:"pending_expires_at,omitempty"` // when it ends undecided
}

// ClaimApproved records that the agent may use the service.
type ClaimApproved struct {
	ClaimID      string     `json:"claim_id"`
	Reason       string     `json:"reason,omitempty"`
	ExpiresAt    *time.Time `json:"expires_at,omitempty"`
	AutoApproved bool       `json:"auto_approved,omitempty"`
}

// ClaimRejected records that the agent may not use the service.
type ClaimRejected struct {
	ClaimID  string `json:"claim_id"`
	Reason   string `json:"reason,omitempty"`
	ByPolicy bool   `json:"by_policy,omitempty"`
}

// ClaimRevoked records that an approval was taken back.
type ClaimRevoked struct {
	ClaimID string `json:"claim_id"`
	Reason  string `json:"reason,omitempty"`
}

// ExpiryCause says why a claim expired.
type ExpiryCause string

const (
	ExpiredUndecided ExpiryCause = "undecided" // nobody decided in time
	ExpiredApproval  ExpiryCause = "approval_ended"
	ExpiredByRequest ExpiryCause = "requested" // the owner ended it
)

// ClaimExpired records that a pending or approved claim ended by time or request.
type ClaimExpired struct {
	ClaimID string      `json:"claim_id"`
	Cause   ExpiryCause `json:"cause"`
	Reason  string      `json:"reason,omitempty"`
}

func (ClaimSubmitted) EventType() EventType { return ClaimSubmittedType }
func (ClaimApproved) EventType() EventType  { return ClaimApprovedType }
func (ClaimRejected) EventType() EventType  { return ClaimRejectedType }
func (ClaimRevoked) EventType() EventType   { return ClaimRevokedType }
func (ClaimExpired) EventType() EventType   { return ClaimExpiredType }

func (ClaimSubmitted) SchemaVersion() int { return 1 }
func (ClaimApproved) SchemaVersion() int  { return 1 }
func (ClaimRejected) SchemaVersion() int  { return 1 }
func (ClaimRevoked) SchemaVersion() int   { return 1 }
func (ClaimExpired) SchemaVersion() int   { return 1 }

func init() {
	scannedDecoder(1, scanSubmitted)
	scannedDecoder(1, scanApproved)
	scannedDecoder(1, scanRejected)
	scannedDecoder(1, scanRevoked)
	scannedDecoder(1, scanExpired)
}

// ClaimOf is the id of the claim that an event is about, empty for the events of
// the registry.
func ClaimOf(p Payload) string {
	switch p := p.(type) {
	case ClaimSubmitted:
		return p.ClaimID
	case ClaimApproved:
		return p.ClaimID
	case ClaimRejected:
		return p.ClaimID
	case ClaimRevoked:
		return p.ClaimID
	case ClaimExpired:
		return p.ClaimID
	}
	return ""
}

// webhookNames are what webhooks know the events of claims as.
var webhookNames = map[EventType]string{
	ClaimSubmittedType: "request.submitted",
	ClaimApprovedType:  "request.approved",
	ClaimRejectedType:  "request.rejected",
	ClaimRevokedType:   "request.revoked",
	ClaimExpiredType:   "request.expired",
}

// WebhookName is what webhooks know the event as; empty for one that they are not told.
func (t EventType) WebhookName() string { return webhookNames[t] }

// WebhookEvent is the reverse of WebhookName.
func WebhookEvent(name string) (EventType, bool) {
	for t, n := range webhookNames {
		if n == name {
			return t, true
		}
	}
	return "", false
}
