package api

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// Prefixes of keys, so that a person and a scanner can tell them apart.
const (
	serviceKeyPrefix    = "sk_live_"
	managementKeyPrefix = "sigma_sk_live_"
	managementKeyHeader = "X-Sigma-ApiKey"
	// maxCredential bounds what is hashed to look a credential up.
	maxCredential = 4096
)

// service is a caller that showed a service key.
type service struct {
	namespace string // who owns the service
	keyID     string
	id, slug  string
	keyHash   domain.Hash
}

// is refuses a slug that is another service's; an empty one is any.
func (s *service) is(slug string) error {
	if slug != "" && slug != s.slug {
		return domain.Errorf(domain.CodeForbidden, "The service key is for another service.")
	}
	return nil
}

// owner is a caller that may decide for a namespace, or a key acting for one.
type owner struct {
	namespace   string
	actor       domain.Actor
	permissions []domain.Permission
	sessionID   string
	expires     time.Time
}

// need refuses a caller that lacks a permission.
func (o *owner) need(p domain.Permission) error {
	if p != "" && !slices.Contains(o.permissions, p) {
		return domain.Errorf(domain.CodePermissionRequired, "This key needs the permission %s.", p)
	}
	return nil
}

// signedIn refuses a management key, for what is the owner's own.
func (o *owner) signedIn() error {
	if o.sessionID == "" {
		return domain.Errorf(domain.CodeForbidden, "This takes an owner's session; a management key has none.")
	}
	return nil
}

// owns refuses a caller of another namespace.
func (o *owner) owns(namespace string) error {
	if o.namespace != domain.CanonicalNamespace(namespace) {
		return domain.Errorf(domain.CodeForbidden, "You are not an owner of this namespace.")
	}
	return nil
}

// authenticateService finds who a service key belongs to. badKey is the code for a key
// that is not good.
func (s *Server) authenticateService(ctx context.Context, r *http.Request, badKey domain.Code) (*service, error) {
	if r.Header.Get("Authorization") == "" {
		return nil, domain.Errorf(domain.CodeUnauthorized, "A service key is required: Authorization: Bearer %s…", serviceKeyPrefix)
	}
	key := bearer(r)
	if !strings.HasPrefix(key, serviceKeyPrefix) || len(key) > maxCredential {
		return nil, domain.Errorf(badKey, "The service key is not valid.")
	}
	hash := domain.HashOf([]byte(key))
	var found service
	known, err := s.lookTwice(ctx, func() bool {
		ns, k, svc, ok := s.commands.Directory().ServiceKey(hash)
		found = service{namespace: ns, keyID: k.ID, id: svc.ID, slug: svc.Slug, keyHash: hash}
		return ok
	})
	if err != nil {
		return nil, err
	}
	if !known {
		return nil, domain.Errorf(badKey, "The service key is not valid.")
	}
	s.usage.touch(found.keyID)
	return &found, nil
}

// authenticateOwner finds the owner behind a session or a management key. Where a
// request carries several, the most explicit one counts: key, header, cookie.
func (s *Server) authenticateOwner(ctx context.Context, r *http.Request) (*owner, error) {
	if key, _ := soleHeader(r, managementKeyHeader); key != "" {
		return s.authenticateManagementKey(ctx, key)
	}
	if token := bearer(r); token != "" {
		return s.authenticateSession(ctx, token)
	}
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return nil, errNotSignedIn
	}
	o, err := s.authenticateSession(ctx, cookie.Value)
	if err != nil {
		return nil, err
	}
	// A browser sends the cookie whoever made it call; only our own pages may write.
	if err := s.crossOrigin.Check(r); err != nil {
		return nil, domain.Errorf(domain.CodeForbidden, "A signed-in browser may only be sent here by this site's own pages.")
	}
	return o, nil
}

func (s *Server) authenticateManagementKey(ctx context.Context, key string) (*owner, error) {
	if !strings.HasPrefix(key, managementKeyPrefix) || len(key) > maxCredential {
		return nil, errNotSignedIn
	}
	hash := domain.HashOf([]byte(key))
	var found owner
	known, err := s.lookTwice(ctx, func() bool {
		ns, k, ok := s.commands.Directory().ManagementKey(hash)
		found = owner{namespace: ns, permissions: k.Permissions, actor: domain.Actor{Kind: domain.ActorManagementKey, ID: k.ID}}
		return ok
	})
	if err != nil {
		return nil, err
	}
	if !known {
		return nil, errNotSignedIn
	}
	s.usage.touch(found.actor.ID)
	return &found, nil
}

func (s *Server) authenticateSession(ctx context.Context, token string) (*owner, error) {
	if len(token) > maxCredential {
		return nil, errNotSignedIn
	}
	claims, err := s.sessions.check(token)
	if err != nil {
		return nil, err
	}
	ended := false
	known, err := s.lookTwice(ctx, func() (ok bool) {
		s.commands.Directory().View(claims.Namespace, func(r *domain.Registry) {
			ok, ended = r.HasOwner(claims.Subject), r.SessionEnded(claims.ID)
		})
		return ok
	})
	if err != nil {
		return nil, err
	}
	if !known || ended {
		return nil, errNotSignedIn
	}
	return &owner{
		namespace:   claims.Namespace,
		actor:       domain.Actor{Kind: domain.ActorOwner, ID: claims.Subject},
		permissions: domain.Permissions,
		sessionID:   claims.ID,
		expires:     claims.ExpiresAt.Time,
	}, nil
}

// lookTwice looks something up, and when it is not there once more after reading the
// log to its end: another node may have answered just now that it exists.
func (s *Server) lookTwice(ctx context.Context, look func() bool) (bool, error) {
	if look() {
		return true, nil
	}
	if err := s.commands.Sync(ctx); err != nil {
		return false, err
	}
	return look(), nil
}

// fresh refuses to authorize on knowledge that may be older than allowed.
func (s *Server) fresh() error {
	if err := s.commands.Intact(); err != nil {
		return err // revocations may be among what was lost
	}
	if age := s.commands.Age(); age > s.config.StaleAfter {
		return &domain.Error{
			Code:    domain.CodeServiceUnavailable,
			Message: "This node has lost contact with the ledger's log, and what it knows is too old to authorize anyone on.",
		}
	}
	return nil
}
