package api

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/projections"
)

const (
	// minPositionWait is how long a read waits for the position that it asked for.
	minPositionWait = 2 * time.Second
	// ownWriteWait is how long a read without a position waits for what this node has
	// answered before: a client that writes and then reads here sees its write, and
	// where the read model lags more, it gets what there is.
	ownWriteWait = 500 * time.Millisecond
)

// waiting waits until a read model holds what a read must show.
type waiting func(ctx context.Context) error

// minPosition reads the position that the caller wants to be reflected; 0 for none.
func (c *call) minPosition() (uint64, error) {
	text, given := soleHeader(c.r, minPositionHeader)
	if !given {
		return 0, nil
	}
	position, err := strconv.ParseUint(text, 10, 64)
	if err != nil || strconv.FormatUint(position, 10) != text {
		var v domain.Violations
		v.Add(minPositionHeader, "must be a position, as in "+positionHeader)
		return 0, v.Err()
	}
	return position, nil
}

// readAfter prepares a read of a model by an owner.
func (s *Server) readAfter(c *call, model string) (waiting, error) {
	return s.readModel(c, model, c.owner.namespace)
}

func (s *Server) readModel(c *call, model, namespace string) (waiting, error) {
	position, err := c.minPosition()
	if err != nil {
		return nil, err
	}
	if position > 0 {
		return func(ctx context.Context) error { return s.wait(ctx, model, position, minPositionWait) }, nil
	}
	return func(ctx context.Context) error {
		// Whatever is in the way, the read that follows does without or tells.
		_ = s.wait(ctx, model, s.commands.Heads(namespace), ownWriteWait)
		return nil
	}, nil
}

// readLog prepares a read that is answered from the states that commands rest on. They
// hold this node's own writes before they were followed; waiting for that makes the
// position of the answer one that counts them in.
func (s *Server) readLog(c *call, namespace string) (waiting, error) {
	position, err := c.minPosition()
	return func(ctx context.Context) error {
		if position > 0 {
			ctx, cancel := context.WithTimeout(ctx, minPositionWait)
			defer cancel()
			return s.commands.WaitFor(ctx, position)
		}
		ctx, cancel := context.WithTimeout(ctx, ownWriteWait)
		defer cancel()
		_ = s.commands.WaitFor(ctx, s.commands.Heads(namespace)) // a follower that lags keeps nobody waiting
		return nil
	}, err
}

func (s *Server) wait(ctx context.Context, model string, position uint64, most time.Duration) error {
	if position == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	return s.config.Reads.Wait(ctx, model, position)
}

// catchUp gives a read model a moment to hold all that is in the log by now, before it is
// said that there is no such thing: it may be a moment old. Where the model lags more, or
// the log is away, what it holds has to do.
func (s *Server) catchUp(ctx context.Context, model string) {
	if s.commands.Sync(ctx) == nil {
		_ = s.wait(ctx, model, s.commands.Position(), ownWriteWait)
	}
}

// Bounds of the list of a namespace's claims.
const defaultListLimit, maxListLimit = 50, 200

func (s *Server) listClaims(c *call) (action, error) {
	q, err := readQuery(c.r)
	if err != nil {
		return nil, err
	}
	query := projections.ClaimsQuery{
		Namespace: c.owner.namespace,
		Status:    domain.Status(q.text("status")),
		Service:   q.text("service"),
	}
	query.Limit, query.Offset = q.page(defaultListLimit, maxListLimit)
	if q.values.Has("status") && !slices.Contains(domain.Statuses, query.Status) {
		q.Add("status", "must be one of pending, approved, rejected, revoked, expired")
	}
	if q.values.Has("service") && !domain.ValidSlug(query.Service) {
		q.Add("service", "must be a service's slug")
	}
	read, wait, err := s.claimsAt(c, q)
	if err := allWrong(q.Err(), err); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		if err := c.owner.owns(c.path("namespace")); err != nil {
			return answer{}, err
		}
		if err := wait(ctx); err != nil {
			return answer{}, err
		}
		page, at, err := read(ctx, query)
		if err != nil {
			return answer{}, err
		}
		claims := make([]claimBody, len(page.Claims))
		for i, claim := range page.Claims {
			claims[i] = renderClaim(claim)
		}
		return answer{position: at.Position, body: struct {
			Claims     []claimBody `json:"claims"`
			Pagination pagination  `json:"pagination"`
		}{claims, paginate(query.Limit, query.Offset, page.Total, len(claims))}}, nil
	}, nil
}

type namespaceBody struct {
	DID          string    `json:"did"`
	Namespace    string    `json:"namespace"`
	Owner        string    `json:"owner"`
	CreatedAt    time.Time `json:"created_at"`
	Active       bool      `json:"active"`
	ActiveClaims int       `json:"active_claims"`
}

func (s *Server) getNamespace(c *call) (action, error) {
	name := domain.CanonicalNamespace(c.path("namespace"))
	if !domain.ValidNamespace(name) {
		var v domain.Violations
		v.Add("namespace", invalidNamespace)
		return nil, v.Err()
	}
	wait, err := s.readModel(c, projections.NamespacesModel, name)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		if c.signer() != name {
			return answer{}, errOtherSigner
		}
		// Waiting needs no turn of its own: what a reader learns late he learns late.
		if err := wait(ctx); err != nil {
			return answer{}, err
		}
		return s.once(c, func() (answer, error) {
			n, at, err := s.config.Reads.Namespace(ctx, name)
			if err != nil {
				return answer{position: at.Position}, err
			}
			return answer{position: at.Position, body: namespaceBody{
				DID: n.DID, Namespace: n.Name, Owner: n.Owner,
				CreatedAt: n.CreatedAt, Active: n.Active, ActiveClaims: n.ActiveClaims,
			}}, nil
		})
	}, nil
}

var errOtherSigner = domain.Errorf(domain.CodeSignatureNamespaceMismatch, "The request is signed for another namespace than the one asked about.")

func (s *Server) getPolicy(c *call) (action, error) {
	wait, err := s.readLog(c, c.owner.namespace)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		if err := c.owner.owns(c.path("namespace")); err != nil {
			return answer{}, err
		}
		if err := wait(ctx); err != nil {
			return answer{}, err
		}
		return s.policyOf(c.owner.namespace)
	}, nil
}

// policyOf answers from the state that decisions are made on, which is never behind
// this node's own writes.
func (s *Server) policyOf(namespace string) (answer, error) {
	a := answer{position: s.commands.Position()}
	if !s.commands.Directory().View(namespace, func(r *domain.Registry) { a.body = r.Policy() }) {
		return answer{}, errNoNamespace
	}
	return a, nil
}

// verdict is the answer of verify.
type verdict struct {
	Authorized bool       `json:"authorized"`
	Reason     string     `json:"reason,omitempty"`
	ClaimID    string     `json:"claim_id,omitempty"`
	ServiceID  string     `json:"service_id,omitempty"`
	ApprovedAt *time.Time `json:"approved_at,omitempty"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
}

const (
	reasonNamespaceInactive = "namespace_inactive"
	reasonServiceDeleted    = "service_deleted"
)
