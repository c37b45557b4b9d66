package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// Namespace is what a namespace is now.
type Namespace struct {
	DID          string    `json:"did"`
	Namespace    string    `json:"namespace"`
	Owner        string    `json:"owner"`
	CreatedAt    time.Time `json:"created_at"`
	Active       bool      `json:"active"`
	ActiveClaims int       `json:"active_claims"`
}

// GetNamespace resolves a namespace, signed for it.
func (c *Client) GetNamespace(ctx context.Context, namespace string, options ...Option) (Namespace, error) {
	return fetch[Namespace](ctx, c, call{
		operation: "getNamespace", method: http.MethodGet, path: []string{"v1", "namespaces", namespace},
		shows: signature, namespace: namespace,
	}, options)
}

// GetPolicy reads a namespace's policy.
func (c *Client) GetPolicy(ctx context.Context, namespace string, options ...Option) (domain.Policy, error) {
	return fetch[domain.Policy](ctx, c, owned("getPolicy", http.MethodGet, nil, "v1", "namespaces", namespace, "policy"), options)
}

// PolicyChange changes what is not nil.
type PolicyChange struct {
	MaxPending         *int               `json:"max_pending,omitempty"`
	MaxAgents          *int               `json:"max_agents,omitempty"`
	MaxServices        *int               `json:"max_services,omitempty"`
	PendingExpiryHours *int               `json:"pending_expiry_hours,omitempty"` // 0: never
	AutoApprove        *AutoApproveChange `json:"auto_approve,omitempty"`
}

// AutoApproveChange changes what is not nil.
type AutoApproveChange struct {
	ServiceIDs *[]string `json:"service_ids,omitempty"`
	CIDRs      *[]string `json:"cidrs,omitempty"`
}

// ChangePolicy changes a namespace's policy, and answers what it is then.
func (c *Client) ChangePolicy(ctx context.Context, namespace string, change PolicyChange, options ...Option) (domain.Policy, error) {
	return fetch[domain.Policy](ctx, c, owned("changePolicy", http.MethodPatch, change, "v1", "namespaces", namespace, "policy"), options)
}

// HistoryQuery selects of a history. Its zero value is the first page of all, oldest first.
type HistoryQuery struct {
	Types       []domain.EventType
	ClaimID     string // of a namespace's history alone
	From, To    Moment // both included
	NewestFirst bool
	After       string // a cursor; not together with Before
	Before      string
	Limit       int
}

// HistoryEvent is one thing that happened, as it was recorded.
type HistoryEvent struct {
	ID        string           `json:"id"`
	Type      domain.EventType `json:"type"`
	Version   int              `json:"version"`
	Position  uint64           `json:"position,string"`
	Cursor    string           `json:"cursor"`
	Namespace string           `json:"namespace"`
	ClaimID   string           `json:"claim_id,omitempty"`
	Actor     domain.Actor     `json:"actor"`
	Time      time.Time        `json:"time"`
	Summary   string           `json:"summary"` // for a person
	Data      map[string]any   `json:"data"`    // its form depends on Type
	Commit    HistoryCommit    `json:"commit"`
}

// HistoryCommit is where an event was recorded.
type HistoryCommit struct {
	ID       string      `json:"id"`
	Boundary domain.Kind `json:"boundary"`
	Version  uint64      `json:"version"`
	Prev     domain.Hash `json:"prev"` // of the commit before it; zero for the first
	Hash     domain.Hash `json:"hash"`
}

// History is a page of a history.
type History struct {
	Events     []HistoryEvent    `json:"events"`
	Pagination HistoryPagination `json:"pagination"`
}

// HistoryPagination has the cursors of the pages around, empty where there is none.
type HistoryPagination struct {
	Limit    int    `json:"limit"`
	Order    string `json:"order"`
	Next     string `json:"next,omitempty"`
	Previous string `json:"previous,omitempty"`
}

// ListEvents reads a page of a namespace's history.
func (c *Client) ListEvents(ctx context.Context, namespace string, q HistoryQuery, options ...Option) (History, error) {
	return fetch[History](ctx, c, q.call("listEvents", "v1", "namespaces", namespace, "events"), options)
}

// GetClaimEvents reads a page of a claim's history.
func (c *Client) GetClaimEvents(ctx context.Context, claimID string, q HistoryQuery, options ...Option) (History, error) {
	return fetch[History](ctx, c, q.call("getClaimEvents", "v1", "claims", claimID, "events"), options)
}

// AllEvents reads a namespace's history to its end. It ends after the first error.
func (c *Client) AllEvents(ctx context.Context, namespace string, q HistoryQuery, options ...Option) iter.Seq2[HistoryEvent, error] {
	return func(yield func(HistoryEvent, error) bool) {
		for {
			page, err := c.ListEvents(ctx, namespace, q, options...)
			if err != nil {
				yield(HistoryEvent{}, err)
				return
			}
			for _, event := range page.Events {
				if !yield(event, nil) {
					return
				}
			}
			if page.Pagination.Next == "" {
				return
			}
			q.After, q.Before = page.Pagination.Next, ""
		}
	}
}

func (q HistoryQuery) call(operation string, path ...string) call {
	call := list(operation, Page{Limit: q.Limit}, path...)
	var types []string
	for _, t := range q.Types {
		types = append(types, string(t))
	}
	set(call.query, "type", strings.Join(types, ","))
	set(call.query, "claim_id", q.ClaimID)
	set(call.query, "from", string(q.From))
	set(call.query, "to", string(q.To))
	set(call.query, "after", q.After)
	set(call.query, "before", q.Before)
	if q.NewestFirst {
		call.query.Set("order", "desc")
	}
	return call
}

// VerifyQuery is what verify is asked. With a ServiceKey the service is that key's, and
// Service and ServiceID may only name that one; without, one of them is required.
type VerifyQuery struct {
	Namespace string
	PublicKey string
	Service   string // a slug
	ServiceID string
}

// Verdict is the answer of verify.
type Verdict struct {
	Authorized bool       `json:"authorized"`
	Reason     string     `json:"reason,omitempty"` // why not
	ClaimID    string     `json:"claim_id,omitempty"`
	ServiceID  string     `json:"service_id,omitempty"`
	ApprovedAt *time.Time `json:"approved_at,omitempty"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
}

// Verify asks whether an agent is authorized, signed for the namespace that it asks about.
func (c *Client) Verify(ctx context.Context, q VerifyQuery, options ...Option) (Verdict, error) {
	query := url.Values{"namespace": {q.Namespace}, "public_key": {q.PublicKey}}
	set(query, "service", q.Service)
	set(query, "service_id", q.ServiceID)
	return fetch[Verdict](ctx, c, call{
		operation: "verify", method: http.MethodGet, path: []string{"v1", "verify"},
		shows: signatureMaybeKey, namespace: q.Namespace, query: query,
	}, options)
}

// GetLogHead reads the signed head of the log. LogHead.Verify checks its signature; whose
// key it is has to be known in another way.
func (c *Client) GetLogHead(ctx context.Context, options ...Option) (domain.LogHead, error) {
	return fetch[domain.LogHead](ctx, c, call{operation: "getLogHead", method: http.MethodGet, path: []string{"v1", "log", "head"}}, options)
}
