package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/projections"
)

const (
	// keyBytes of randomness make a key: 40 hex digits, 160 bits.
	keyBytes = 20
	// shownPrefix is how much of a service key lists show beyond its fixed prefix.
	shownPrefix = 4
)

func newKey(prefix string) string {
	var b [keyBytes]byte
	rand.Read(b[:])
	return prefix + hex.EncodeToString(b[:])
}

type serviceKeyBody struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Key        string     `json:"key,omitempty"` // when it is made, and never again
	KeyPrefix  string     `json:"key_prefix"`
	Active     bool       `json:"active"`
	CreatedAt  time.Time  `json:"created_at"`
	LastUsedAt *time.Time `json:"last_used_at"`
}

func (s *Server) createServiceKey(c *call) (action, error) {
	f, err := readFields(c, true)
	if err != nil {
		return nil, err
	}
	raw := newKey(serviceKeyPrefix)
	cmd := domain.CreateServiceKey{
		KeyID: newUUID(), ServiceID: c.path("service"), Name: f.optional("name", domain.MaxName),
		Prefix: raw[:len(serviceKeyPrefix)+shownPrefix], Hash: domain.HashOf([]byte(raw)),
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	return s.registry(c, "service_key.create", http.StatusCreated, cmd, func(a domain.RegistryAnswer, appended bool) any {
		k := a.ServiceKey
		b := serviceKeyBody{ID: a.ID, Name: k.Name, KeyPrefix: k.Prefix, Active: k.Active, CreatedAt: k.CreatedAt}
		if appended {
			b.Key = raw
		}
		return b
	})
}

func (s *Server) deactivateServiceKey(c *call) (action, error) {
	return s.registry(c, "service_key.deactivate", http.StatusOK,
		domain.DeactivateServiceKey{KeyID: c.path("key"), ServiceID: c.path("service")}, success)
}

func (s *Server) revokeServiceKey(c *call) (action, error) {
	return s.registry(c, "service_key.revoke", http.StatusOK,
		domain.RevokeServiceKey{KeyID: c.path("key"), ServiceID: c.path("service")}, success)
}

func (s *Server) listServiceKeys(c *call) (action, error) {
	return list(s, c, "keys", func(ctx context.Context, limit, offset int) ([]projections.ServiceKey, int, projections.At, error) {
		page, at, err := s.config.Reads.ServiceKeys(ctx, c.owner.namespace, c.path("service"), limit, offset)
		return page.Keys, page.Total, at, err
	}, each(func(k projections.ServiceKey) serviceKeyBody {
		return serviceKeyBody{ID: k.ID, Name: k.Name, KeyPrefix: k.Prefix, Active: k.Active, CreatedAt: k.CreatedAt, LastUsedAt: s.usage.last(k.ID)}
	}))
}

// managementKeyBody is spelled in camel case, as clients of these keys know it.
type managementKeyBody struct {
	ID          string              `json:"id"`
	Name        string              `json:"name"`
	RawKey      string              `json:"rawKey,omitempty"` // when it is made, and never again
	LastFour    string              `json:"lastFour"`
	Permissions []domain.Permission `json:"permissions"`
	Active      bool                `json:"active"`
	CreatedAt   time.Time           `json:"createdAt"`
	LastUsedAt  *time.Time          `json:"lastUsedAt"`
}

func (s *Server) createManagementKey(c *call) (action, error) {
	f, err := readFields(c, false)
	if err != nil {
		return nil, err
	}
	raw := newKey(managementKeyPrefix)
	cmd := domain.CreateManagementKey{
		KeyID: newUUID(), Name: f.required("name", 1, domain.MaxName), LastFour: raw[len(raw)-4:],
		Grantor: c.owner.permissions, Hash: domain.HashOf([]byte(raw)),
	}
	if permissions := f.texts("permissions"); permissions != nil {
		for _, p := range *permissions {
			cmd.Permissions = append(cmd.Permissions, domain.Permission(p))
		}
	} else if !f.has("permissions") {
		f.Add("permissions", "is required")
	}
	f.Merge(cmd.Check())
	if err := f.Err(); err != nil {
		return nil, err
	}
	return s.registry(c, "management_key.create", http.StatusCreated, cmd, func(a domain.RegistryAnswer, appended bool) any {
		k := a.ManagementKey
		b := managementKeyBody{ID: a.ID, Name: k.Name, LastFour: k.LastFour, Permissions: k.Permissions, Active: k.Active, CreatedAt: k.CreatedAt}
		if appended {
			b.RawKey = raw
		}
		return b
	})
}

func (s *Server) deactivateManagementKey(c *call) (action, error) {
	return s.registry(c, "management_key.deactivate", http.StatusOK,
		domain.DeactivateManagementKey{KeyID: c.path("key"), Grantor: c.owner.permissions}, success)
}

func (s *Server) deleteManagementKey(c *call) (action, error) {
	return s.registry(c, "management_key.delete", http.StatusOK,
		domain.DeleteManagementKey{KeyID: c.path("key"), Grantor: c.owner.permissions}, success)
}

func (s *Server) listManagementKeys(c *call) (action, error) {
	wait, err := s.readAfter(c, projections.ServicesModel)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		if err := wait(ctx); err != nil {
			return answer{}, err
		}
		keys, at, err := s.config.Reads.ManagementKeys(ctx, c.owner.namespace)
		if err != nil {
			return answer{}, err
		}
		bodies := make([]managementKeyBody, len(keys))
		for i, k := range keys {
			bodies[i] = managementKeyBody{ID: k.ID, Name: k.Name, LastFour: k.LastFour, Permissions: k.Permissions, Active: k.Active, CreatedAt: k.CreatedAt, LastUsedAt: s.usage.last(k.ID)}
		}
		return answer{body: bodies, position: at.Position}, nil
	}, nil
}
