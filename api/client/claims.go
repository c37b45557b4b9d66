package client

import (
	"context"
	"crypto/rand"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// Submission asks, for an agent, to use the service of the service key.
type Submission struct {
	Namespace string `json:"namespace"`  // that is asked
	PublicKey string `json:"public_key"` // the agent's, as httpsig.FormatKey writes it
	Service   string `json:"service"`    // the slug
	AgentIP   string `json:"agent_ip"`
	// Nonce is used once by the service in the namespace within 24 hours; empty: one is made.
	Nonce     string `json:"nonce"`
	Subject   string `json:"subject,omitempty"`
	AgentID   string `json:"agent_id,omitempty"`
	AgentName string `json:"agent_name,omitempty"`

	// ByGateway says that the Signer is a gateway of the namespace that signs for the agent.
	// Without it the agent's own key signs, or the namespace that owns the service.
	ByGateway bool `json:"-"`
}

// Submitted is what became of a Submission. An agent that already has a claim on the
// service is answered that one (Answer.Status is 200 then, and 201 for a new one).
type Submitted struct {
	ClaimID string        `json:"claim_id"`
	Status  domain.Status `json:"status"`
	Service string        `json:"service"`
	Message string        `json:"message"` // for a person
}

// Claim is a claim as its namespace's owner sees it.
type Claim struct {
	ClaimID      string        `json:"claim_id"`
	Namespace    string        `json:"namespace"`
	ServiceID    string        `json:"service_id"`
	Service      string        `json:"service"`
	PublicKey    string        `json:"public_key"`
	AgentIP      string        `json:"agent_ip"`
	Status       domain.Status `json:"status"`
	Subject      string        `json:"subject,omitempty"`
	AgentID      string        `json:"agent_id,omitempty"`
	AgentName    string        `json:"agent_name,omitempty"`
	Reason       string        `json:"reason,omitempty"`
	AutoApproved bool          `json:"auto_approved,omitempty"`
	CreatedAt    time.Time     `json:"created_at"`
	ApprovedAt   *time.Time    `json:"approved_at,omitempty"`
	RejectedAt   *time.Time    `json:"rejected_at,omitempty"`
	RevokedAt    *time.Time    `json:"revoked_at,omitempty"`
	ExpiredAt    *time.Time    `json:"expired_at,omitempty"`
	ExpiresAt    *time.Time    `json:"expires_at,omitempty"` // when the present state ends by itself
}

// Approval says more of an approval, if there is more.
type Approval struct {
	Reason    string     `json:"reason,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"` // nil: it does not end by itself
}

// Approved answers ApproveClaim.
type Approved struct {
	ClaimID            string        `json:"claim_id"`
	Status             domain.Status `json:"status"`
	AgentsApproved     int           `json:"agents_approved"` // distinct keys in the namespace
	AgentsLimit        int           `json:"agents_limit"`
	BlockchainTxStatus string        `json:"blockchain_tx_status"`
}

// Ended answers what ends a claim.
type Ended struct {
	ClaimID            string        `json:"claim_id"`
	Status             domain.Status `json:"status"`
	BlockchainTxStatus string        `json:"blockchain_tx_status,omitempty"` // of RevokeClaim alone
}

// decision is the body of what ends a claim.
type decision struct {
	Reason string `json:"reason,omitempty"`
}

// SubmitClaim submits a claim.
func (c *Client) SubmitClaim(ctx context.Context, s Submission, options ...Option) (Submitted, error) {
	if s.Nonce == "" {
		s.Nonce = rand.Text()
	}
	call := call{operation: "submitClaim", method: http.MethodPost, path: []string{"v1", "claims"}, shows: signatureAndKey, body: s}
	if s.ByGateway {
		call.header = http.Header{"X-Sigilum-Claim-Binding": {"namespace-only"}}
	}
	return fetch[Submitted](ctx, c, call, options)
}

// GetClaim reads a claim of the caller's namespace.
func (c *Client) GetClaim(ctx context.Context, claimID string, options ...Option) (Claim, error) {
	return fetch[Claim](ctx, c, call{
		operation: "getClaim", method: http.MethodGet, path: []string{"v1", "claims", claimID}, shows: ownership,
	}, options)
}

// ApproveClaim lets the agent of a pending claim use the service.
func (c *Client) ApproveClaim(ctx context.Context, claimID string, a Approval, options ...Option) (Approved, error) {
	return fetch[Approved](ctx, c, decide("approveClaim", claimID, "approve", a), options)
}

// RejectClaim refuses a pending claim. The reason may be empty.
func (c *Client) RejectClaim(ctx context.Context, claimID, reason string, options ...Option) (Ended, error) {
	return fetch[Ended](ctx, c, decide("rejectClaim", claimID, "reject", decision{reason}), options)
}

// RevokeClaim takes an approval back. The reason may be empty.
func (c *Client) RevokeClaim(ctx context.Context, claimID, reason string, options ...Option) (Ended, error) {
	return fetch[Ended](ctx, c, decide("revokeClaim", claimID, "revoke", decision{reason}), options)
}

// ExpireClaim ends a pending or approved claim before its time, as the clock does when it
// is past it. The reason may be empty.
func (c *Client) ExpireClaim(ctx context.Context, claimID, reason string, options ...Option) (Ended, error) {
	return fetch[Ended](ctx, c, decide("expireClaim", claimID, "expire", decision{reason}), options)
}

func decide(operation, claimID, verb string, body any) call {
	return call{operation: operation, method: http.MethodPost, path: []string{"v1", "claims", claimID, verb}, shows: ownership, body: body}
}

// ClaimsQuery selects of a namespace's claims, newest first. Its zero value is the first
// page of all.
type ClaimsQuery struct {
	Status  domain.Status
	Service string // a slug
	AsOf    Moment // from the state of that moment
	Page
}

// ClaimsPage is a page of a namespace's claims.
type ClaimsPage struct {
	Claims     []Claim    `json:"claims"`
	Pagination Pagination `json:"pagination"`
	// Position is that of the state that the page is from. As ClaimsQuery.AsOf it pins the
	// state for the pages that follow.
	Position uint64 `json:"-"`
}

// ListClaims reads a page of a namespace's claims.
func (c *Client) ListClaims(ctx context.Context, namespace string, q ClaimsQuery, options ...Option) (ClaimsPage, error) {
	query := url.Values{}
	set(query, "status", string(q.Status))
	set(query, "service", q.Service)
	set(query, "as_of", string(q.AsOf))
	q.Page.add(query)
	var page ClaimsPage
	answer, err := c.do(ctx, call{
		operation: "listClaims", method: http.MethodGet, path: []string{"v1", "namespaces", namespace, "claims"},
		shows: ownership, query: query, into: &page,
	}, options)
	page.Position = answer.Position
	return page, err
}

// AllClaims reads a namespace's claims, from q.Offset on, all from the state of one moment:
// that of q.AsOf, or of the first page. It ends after the first error.
func (c *Client) AllClaims(ctx context.Context, namespace string, q ClaimsQuery, options ...Option) iter.Seq2[Claim, error] {
	return func(yield func(Claim, error) bool) {
		for {
			page, err := c.ListClaims(ctx, namespace, q, options...)
			if err != nil {
				yield(Claim{}, err)
				return
			}
			for _, claim := range page.Claims {
				if !yield(claim, nil) {
					return
				}
			}
			if !page.Pagination.HasMore || len(page.Claims) == 0 {
				return
			}
			if q.AsOf == "" {
				q.AsOf = AtPosition(page.Position)
			}
			q.Offset += len(page.Claims)
		}
	}
}
