package api

import (
	"context"

	"github.com/claimledger/claimledger/api/httpsig"
	"github.com/claimledger/claimledger/domain"
)

// verifyQuery is what a caller of verify asks about.
type verifyQuery struct {
	namespace, publicKey string
	service, serviceID   string
}

// verify answers whether an agent may use a service, from the log's own state.
func (s *Server) verify(c *call) (action, error) {
	q, err := readQuery(c.r)
	if err != nil {
		return nil, err
	}
	ask := verifyQuery{
		namespace: domain.CanonicalNamespace(q.text("namespace")),
		publicKey: q.text("public_key"),
		service:   q.text("service"),
		serviceID: q.text("service_id"),
	}
	if !domain.ValidNamespace(ask.namespace) {
		q.Add("namespace", invalidNamespace)
	}
	if _, err := httpsig.DecodeKey(ask.publicKey); err != nil {
		q.Add("public_key", "must be ed25519: and the standard base64 of the key's 32 bytes (in a query, + is written %2B)")
	}
	if c.service == nil && ask.service == "" && ask.serviceID == "" {
		q.Add("service", "is required without a service key, or service_id")
	}
	if ask.service != "" && !domain.ValidSlug(ask.service) {
		q.Add("service", "must be a service's slug")
	}
	if len(ask.serviceID) > domain.MaxSlug {
		q.Add("service_id", "must be a service's id")
	}
	wait, err := s.readLog(c, ask.namespace)
	if err := allWrong(q.Err(), err); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		if err := c.bindVerify(ask); err != nil {
			return answer{}, err
		}
		if err := s.namespaceExists(ctx, ask.namespace); err != nil {
			return answer{position: s.commands.Position()}, err
		}
		return s.once(c, func() (answer, error) { return s.answerVerify(ctx, c, ask, wait) })
	}, nil
}

// bindVerify checks that the signature and the service key are for what is asked.
func (c *call) bindVerify(ask verifyQuery) error {
	if c.signer() != ask.namespace {
		return errOtherSigner
	}
	if c.service == nil {
		return nil
	}
	if ask.service != "" && ask.service != c.service.slug || ask.serviceID != "" && ask.serviceID != c.service.id {
		return domain.Errorf(domain.CodeForbidden, "The service key is for another service.")
	}
	return nil
}

func (s *Server) answerVerify(ctx context.Context, c *call, ask verifyQuery, wait waiting) (answer, error) {
	if err := s.fresh(); err != nil {
		return answer{}, err
	}
	if err := wait(ctx); err != nil {
		return answer{}, err
	}
	// Taken first: what is looked at below is at least as new.
	position := s.commands.Position()
	now := s.config.Now()
	var v domain.Verdict
	var ambiguous bool
	err := s.commands.ViewClaims(ctx, ask.namespace, func(claims *domain.Claims) (version uint64) {
		var serviceID string
		if serviceID, ambiguous = ask.resolve(c.service, claims); ambiguous {
			return claims.Version()
		}
		v = claims.Verify(serviceID, ask.publicKey, now)
		return v.Version
	})
	if err != nil {
		return answer{}, err
	}
	// Where the namespace is not active, it does not matter which.
	if ambiguous && s.commands.Directory().Active(ask.namespace) {
		return answer{position: position}, domain.Errorf(domain.CodeAmbiguousService, "Several services are called %s; say which with service_id.", ask.service)
	}
	if v.Authorized && !s.commands.Directory().Knows(v.ServiceID) {
		// The service is younger than what was followed, and so was not deleted.
		_ = s.commands.Sync(ctx) // without the log nobody is authorized on it
	}
	return answer{position: position, body: s.judge(ask.namespace, v)}, nil
}

// resolve finds the service that is meant, among those that the agent has a claim on;
// empty where there is none.
func (ask verifyQuery) resolve(key *service, claims *domain.Claims) (serviceID string, ambiguous bool) {
	switch {
	case key != nil:
		return key.id, false
	case ask.serviceID != "":
		for _, id := range claims.ServicesOf(ask.publicKey, ask.service) {
			if id == ask.serviceID {
				return id, false
			}
		}
		return "", false
	}
	ids := claims.ServicesOf(ask.publicKey, ask.service)
	if len(ids) == 0 {
		return "", false
	}
	return ids[0], len(ids) > 1
}

// judge looks at what stands above the claim: the namespace and the service.
func (s *Server) judge(namespace string, v domain.Verdict) verdict {
	switch {
	case !s.commands.Directory().Active(namespace):
		return verdict{Reason: reasonNamespaceInactive}
	case v.ClaimID != "" && !s.commands.Directory().ServiceExists(v.ServiceID):
		return verdict{Reason: reasonServiceDeleted}
	case !v.Authorized:
		return verdict{Reason: v.Reason}
	}
	return verdict{Authorized: true, ClaimID: v.ClaimID, ServiceID: v.ServiceID, ApprovedAt: &v.ApprovedAt, ExpiresAt: v.ExpiresAt}
}
