package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/api/httpsig"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/projections"
)

const (
	claimIDPrefix = "claim_"
	// bindingHeader tells how the signature binds to the claim: a gateway that signs
	// for an agent is bound by namespace only.
	bindingHeader  = "X-Sigilum-Claim-Binding"
	namespaceBound = "namespace-only"
)

type submitAnswer struct {
	ClaimID string        `json:"claim_id"`
	Status  domain.Status `json:"status"`
	Service string        `json:"service"`
	Message string        `json:"message"`
}

func (s *Server) submit(c *call) (action, error) {
	f, err := readFields(c, false)
	if err != nil {
		return nil, err
	}
	namespace := f.required("namespace", domain.MinNamespace, domain.MaxNamespace)
	if namespace != "" && !domain.ValidNamespace(namespace) {
		f.Add("namespace", invalidNamespace)
	}
	cmd := domain.Submit{
		PublicKey: f.required("public_key", 1, 256),
		Service:   f.required("service", domain.MinSlug, domain.MaxSlug),
		AgentIP:   f.required("agent_ip", 1, 64),
		Nonce:     f.required("nonce", domain.MinNonce, domain.MaxNonce),
		Subject:   f.optional("subject", domain.MaxSubject),
		AgentID:   f.optional("agent_id", domain.MaxAgentID),
		AgentName: f.optional("agent_name", domain.MaxAgentName),
	}
	if _, err := httpsig.DecodeKey(cmd.PublicKey); err != nil && cmd.PublicKey != "" {
		f.Add("public_key", "must be ed25519: and the standard base64 of the key's 32 bytes")
	}
	if cmd.AgentIP != "" && !domain.ValidAgentIP(cmd.AgentIP) {
		f.Add("agent_ip", "must be an IPv4 or IPv6 address")
	}
	actor, ref, err := c.meta("claim.submit", domain.Actor{Kind: domain.ActorServiceKey, ID: c.service.keyID, Agent: c.signed.AgentKey})
	if err := allWrong(f.Err(), err); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		if err := c.bindSubmit(namespace, cmd); err != nil {
			return answer{}, err
		}
		if err := s.namespaceExists(ctx, namespace); err != nil {
			return answer{position: s.commands.Position()}, err
		}
		cmd.ClaimID = claimIDPrefix + strings.ToLower(s.config.NewID())
		cmd.ServiceID, cmd.ServiceNamespace = c.service.id, c.service.namespace
		cmd.Signer, cmd.SignatureNonce = c.signer(), c.signed.Nonce
		return s.once(c, func() (answer, error) {
			a, result, err := s.commands.Claims(ctx, domain.CanonicalNamespace(namespace), cmd, commands.Meta{Actor: actor, Ref: ref})
			if err != nil {
				return answer{position: result.Position}, err
			}
			status := http.StatusOK
			if a.Created {
				status = http.StatusCreated
			}
			return answer{status: status, position: result.Position, body: submitAnswer{a.ClaimID, a.Status, a.Service, a.Message}}, nil
		})
	}, nil
}

// bindSubmit checks that who signed may speak for this claim: the agent itself in the
// namespace that is asked, a gateway of that namespace, or the owner of the service.
func (c *call) bindSubmit(namespace string, cmd domain.Submit) error {
	if cmd.Service != c.service.slug {
		return domain.Errorf(domain.CodeForbidden, "The service key is for another service.")
	}
	switch c.signer() {
	case domain.CanonicalNamespace(namespace):
		if !strings.EqualFold(c.r.Header.Get(bindingHeader), namespaceBound) && c.signed.AgentKey != cmd.PublicKey {
			return domain.Errorf(domain.CodeSignatureKeyMismatch, "The request is not signed with the key in public_key.")
		}
	case c.service.namespace:
	default:
		return domain.Errorf(domain.CodeSignatureNamespaceMismatch, "The request is signed for another namespace than the one asked and the service's own.")
	}
	return nil
}

// namespaceExists refuses a namespace that is not registered.
func (s *Server) namespaceExists(ctx context.Context, namespace string) error {
	name := domain.CanonicalNamespace(namespace)
	known, err := s.lookTwice(ctx, func() bool {
		return s.commands.Directory().View(name, func(*domain.Registry) {})
	})
	if err == nil && !known {
		err = errNoNamespace
	}
	return err
}

const invalidNamespace = "must have 3 to 64 letters, digits and hyphens, the first and last not a hyphen"

type approveAnswer struct {
	ClaimID        string        `json:"claim_id"`
	Status         domain.Status `json:"status"`
	AgentsApproved int           `json:"agents_approved"`
	AgentsLimit    int           `json:"agents_limit"`
	Anchoring      string        `json:"blockchain_tx_status"`
}

type revokeAnswer struct {
	ClaimID   string        `json:"claim_id"`
	Status    domain.Status `json:"status"`
	Anchoring string        `json:"blockchain_tx_status"`
}

type endAnswer struct {
	ClaimID string        `json:"claim_id"`
	Status  domain.Status `json:"status"`
}

// anchoringOff is the state of a claim's blockchain transaction: this ledger proves
// itself by its own hash chain and does not anchor anywhere.
const anchoringOff = "disabled"

func (s *Server) approve(c *call) (action, error) {
	f, err := readFields(c, true)
	if err != nil {
		return nil, err
	}
	reason, expiresAt := f.optional("reason", domain.MaxReason), f.time("expires_at")
	return s.decision(c, f, "claim.approve", func(id string) domain.ClaimCommand {
		return domain.Approve{ClaimID: id, Reason: reason, ExpiresAt: expiresAt}
	}, func(a domain.ClaimAnswer) any {
		return approveAnswer{a.ClaimID, a.Status, a.AgentsApproved, a.AgentsLimit, anchoringOff}
	})
}

func (s *Server) reject(c *call) (action, error) {
	return s.ending(c, "claim.reject", func(id, reason string) domain.ClaimCommand { return domain.Reject{ClaimID: id, Reason: reason} })
}

func (s *Server) expire(c *call) (action, error) {
	return s.ending(c, "claim.expire", func(id, reason string) domain.ClaimCommand { return domain.Expire{ClaimID: id, Reason: reason} })
}

func (s *Server) ending(c *call, name string, command func(id, reason string) domain.ClaimCommand) (action, error) {
	f, err := readFields(c, true)
	if err != nil {
		return nil, err
	}
	reason := f.optional("reason", domain.MaxReason)
	return s.decision(c, f, name, func(id string) domain.ClaimCommand { return command(id, reason) },
		func(a domain.ClaimAnswer) any { return endAnswer{a.ClaimID, a.Status} })
}

func (s *Server) revoke(c *call) (action, error) {
	f, err := readFields(c, true)
	if err != nil {
		return nil, err
	}
	reason := f.optional("reason", domain.MaxReason)
	return s.decision(c, f, "claim.revoke",
		func(id string) domain.ClaimCommand { return domain.Revoke{ClaimID: id, Reason: reason} },
		func(a domain.ClaimAnswer) any { return revokeAnswer{a.ClaimID, a.Status, anchoringOff} })
}

// decision executes an owner's command on a claim of the owner's namespace.
func (s *Server) decision(c *call, f *fields, name string, command func(id string) domain.ClaimCommand, render func(domain.ClaimAnswer) any) (action, error) {
	actor, ref, err := c.meta(name, c.owner.actor)
	if err := allWrong(f.Err(), err); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		id := c.path("claim")
		a, result, err := s.commands.Claims(ctx, c.owner.namespace, command(id), commands.Meta{Actor: actor, Ref: ref})
		if domain.ErrorCode(err) == domain.CodeNotFound {
			err = s.elsewhere(ctx, id, err)
		}
		if err != nil {
			return answer{position: result.Position}, err
		}
		return answer{body: render(a), position: result.Position}, nil
	}, nil
}

var errOtherOwner = domain.Errorf(domain.CodeForbidden, "The claim belongs to another namespace.")

// elsewhere tells a claim of another namespace, 403, from one that does not exist.
// Only the read model knows; without it the answer stays 404.
func (s *Server) elsewhere(ctx context.Context, claimID string, notFound error) error {
	if _, _, err := s.readClaim(ctx, claimID); err == nil {
		return errOtherOwner
	}
	return notFound
}

// readClaim reads a claim of whatever namespace, also one that was answered just now.
func (s *Server) readClaim(ctx context.Context, claimID string) (projections.Claim, projections.At, error) {
	claim, at, err := s.config.Reads.Claim(ctx, claimID)
	if domain.ErrorCode(err) == domain.CodeNotFound {
		s.catchUp(ctx, projections.ClaimsModel)
		claim, at, err = s.config.Reads.Claim(ctx, claimID)
	}
	return claim, at, err
}

// claimBody is a claim as owners see it.
type claimBody struct {
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
	ExpiresAt    *time.Time    `json:"expires_at,omitempty"`
}

func renderClaim(c projections.Claim) claimBody {
	return claimBody{
		ClaimID: c.ClaimID, Namespace: c.Namespace, ServiceID: c.ServiceID, Service: c.Service,
		PublicKey: c.PublicKey, AgentIP: c.AgentIP, Status: c.Status,
		Subject: c.Subject, AgentID: c.AgentID, AgentName: c.AgentName,
		Reason: c.Reason, AutoApproved: c.AutoApproved, CreatedAt: c.CreatedAt, ApprovedAt: c.ApprovedAt,
		RejectedAt: c.RejectedAt, RevokedAt: c.RevokedAt, ExpiredAt: c.ExpiredAt, ExpiresAt: c.ExpiresAt,
	}
}

func (s *Server) getClaim(c *call) (action, error) {
	wait, err := s.readAfter(c, projections.ClaimsModel)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		if err := wait(ctx); err != nil {
			return answer{}, err
		}
		claim, at, err := s.readClaim(ctx, c.path("claim"))
		if err != nil {
			return answer{position: at.Position}, err
		}
		if claim.Namespace != c.owner.namespace {
			return answer{position: at.Position}, errOtherOwner
		}
		return answer{body: renderClaim(claim), position: at.Position}, nil
	}, nil
}
