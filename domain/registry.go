package domain

import (
	"fmt"
	"maps"
	"time"
)

// Permission is what a management key may do.
type Permission string

// The permissions of management keys. An owner's session has all of them.
const (
	PermissionRead        Permission = "read"
	PermissionUpdateData  Permission = "update-data"
	PermissionDeleteData  Permission = "delete-data"
	PermissionUpdateModel Permission = "update-model"
	PermissionDeleteModel Permission = "delete-model"
)

// Permissions lists every permission.
var Permissions = []Permission{PermissionRead, PermissionUpdateData, PermissionDeleteData, PermissionUpdateModel, PermissionDeleteModel}

// Service is something agents ask access to. Its id is its identity; its slug is its
// name, unique among the owner's services.
type Service struct {
	ID, Slug, Name, Description string
	CreatedAt, UpdatedAt        time.Time
}

// ServiceKey authenticates a service.
type ServiceKey struct {
	ID, ServiceID, Name, Prefix string
	Hash                        Hash
	Active                      bool
	CreatedAt                   time.Time
}

// ManagementKey acts for an owner, with less than all permissions.
type ManagementKey struct {
	ID, Name, LastFour string
	Permissions        []Permission
	Hash               Hash
	Active             bool
	CreatedAt          time.Time
}

// Webhook is an endpoint that is told what happens to the claims on a service.
type Webhook struct {
	ID, ServiceID, URL, Description string
	Events                          []EventType
	Secret                          Sealed
	AuthHeader                      string
	AuthValue                       *Sealed
	Active                          bool
	CreatedAt                       time.Time
	Former                          []FormerSecret // oldest first
}

// Registry is the state of a registry boundary. It is not safe for concurrent use;
// what it returns by value stays as it is.
type Registry struct {
	namespace string
	version   uint64
	time      time.Time

	registered bool
	active     bool
	createdAt  time.Time
	owners     []Owner
	policy     Policy

	passkeys   map[string]Passkey
	challenges map[Hash]time.Time // answered → when they would have expired
	tokens     map[Hash]loginToken
	ended      map[string]time.Time // sessions ended early → when they would have

	services map[string]Service
	keys     map[string]ServiceKey
	managers map[string]ManagementKey
	webhooks map[string]Webhook

	answers answers
}

type loginToken struct {
	ownerID   string
	expiresAt time.Time
	used      bool
}

// NewRegistry is the state of a registry boundary with no commits.
func NewRegistry(namespace string) *Registry {
	return &Registry{
		namespace:  namespace,
		policy:     DefaultPolicy(),
		passkeys:   map[string]Passkey{},
		challenges: map[Hash]time.Time{},
		tokens:     map[Hash]loginToken{},
		ended:      map[string]time.Time{},
		services:   map[string]Service{},
		keys:       map[string]ServiceKey{},
		managers:   map[string]ManagementKey{},
		webhooks:   map[string]Webhook{},
		answers:    newAnswers(),
	}
}

// Apply brings the state to just after the commit. A commit that could not have
// been decided on this state is an error, and the state must then be thrown away.
func (r *Registry) Apply(c *Commit) error {
	if err := checkOrder(c, RegistryOf(r.namespace), r.version, r.time); err != nil {
		return err
	}
	for _, e := range c.Events {
		if err := r.evolve(e.Payload, c.Time); err != nil {
			return fmt.Errorf("%s version %d: %w", c.Boundary(), c.Version, err)
		}
	}
	r.version, r.time = c.Version, c.Time
	r.answers.record(c)
	r.answers.forget(c.Time)
	maps.DeleteFunc(r.tokens, func(_ Hash, t loginToken) bool { return c.Time.After(t.expiresAt) })
	maps.DeleteFunc(r.ended, func(_ string, end time.Time) bool { return c.Time.After(end) })
	maps.DeleteFunc(r.challenges, func(_ Hash, end time.Time) bool { return c.Time.After(end) })
	return nil
}

func (r *Registry) evolve(p Payload, at time.Time) error {
	if _, first := p.(NamespaceRegistered); first == r.registered {
		return fmt.Errorf("%s: namespace registered: %t", p.EventType(), r.registered)
	}
	switch p := p.(type) {
	case NamespaceRegistered:
		r.registered, r.active, r.createdAt, r.owners = true, true, at, []Owner{{p.OwnerID, at}}
	case NamespaceDeactivated:
		r.active = false
	case NamespaceActivated:
		r.active = true
	case LoginTokenIssued:
		r.tokens[p.TokenHash] = loginToken{ownerID: p.OwnerID, expiresAt: p.ExpiresAt}
	case OwnerLoggedIn:
		return r.loggedIn(p)
	case SessionEnded:
		r.ended[p.SessionID] = p.ExpiresAt
	case PolicyChanged:
		r.policy = p.Policy
	case ServiceCreated:
		return insert(r.services, p.ServiceID, Service{p.ServiceID, p.Slug, p.Name, p.Description, at, at})
	case ServiceUpdated:
		return change(r.services, p.ServiceID, func(s *Service) { s.Name, s.Description, s.UpdatedAt = p.Name, p.Description, at })
	case ServiceDeleted:
		maps.DeleteFunc(r.keys, func(_ string, k ServiceKey) bool { return k.ServiceID == p.ServiceID })
		maps.DeleteFunc(r.webhooks, func(_ string, w Webhook) bool { return w.ServiceID == p.ServiceID })
		return remove(r.services, p.ServiceID)
	default:
		return r.evolveKeys(p, at)
	}
	return nil
}

func (r *Registry) evolveKeys(p Payload, at time.Time) error {
	switch p := p.(type) {
	case ServiceKeyCreated:
		return insert(r.keys, p.KeyID, ServiceKey{p.KeyID, p.ServiceID, p.Name, p.KeyPrefix, p.KeyHash, true, at})
	case ServiceKeyDeactivated:
		return change(r.keys, p.KeyID, func(k *ServiceKey) { k.Active = false })
	case ServiceKeyRevoked:
		return remove(r.keys, p.KeyID)
	case ManagementKeyCreated:
		return insert(r.managers, p.KeyID, ManagementKey{p.KeyID, p.Name, p.LastFour, p.Permissions, p.KeyHash, true, at})
	case ManagementKeyDeactivated:
		return change(r.managers, p.KeyID, func(k *ManagementKey) { k.Active = false })
	case ManagementKeyDeleted:
		return remove(r.managers, p.KeyID)
	}
	return r.evolveWebhook(p, at)
}

func doesNotBelong(p Payload) error {
	return fmt.Errorf("%s does not belong to a registry boundary", p.EventType())
}

func (r *Registry) loggedIn(p OwnerLoggedIn) error {
	t, ok := r.tokens[p.TokenHash]
	if !ok || t.used {
		return fmt.Errorf("a login token was used that was not issued, or used before")
	}
	t.used = true
	r.tokens[p.TokenHash] = t
	return nil
}

func insert[T any](m map[string]T, id string, v T) error {
	if _, ok := m[id]; ok {
		return fmt.Errorf("%T %s exists already", v, id)
	}
	m[id] = v
	return nil
}

func change[T any](m map[string]T, id string, f func(*T)) error {
	v, ok := m[id]
	if !ok {
		return fmt.Errorf("%T %s does not exist", v, id)
	}
	f(&v)
	m[id] = v
	return nil
}

func remove[T any](m map[string]T, id string) error {
	if _, ok := m[id]; !ok {
		return fmt.Errorf("%T %s does not exist", m[id], id)
	}
	delete(m, id)
	return nil
}

// Remembers reports whether the caller's idempotency key was used for a command here.
func (r *Registry) Remembers(ref CommandRef, now time.Time) bool {
	return r.answers.remembers(ref, now)
}

// Version is the version of the last commit applied.
func (r *Registry) Version() uint64 { return r.version }

// Time is when the last commit was made; the zero time where there is none.
func (r *Registry) Time() time.Time { return r.time }

// Registered reports whether the namespace exists.
func (r *Registry) Registered() bool { return r.registered }

// Active reports whether the namespace exists and is not deactivated.
func (r *Registry) Active() bool { return r.registered && r.active }

// Policy is the namespace's policy.
func (r *Registry) Policy() Policy { return r.policy }

// Terms are what a decision about the namespace's claims takes from here.
// ServiceExists is the caller's to set: the service may be another owner's.
func (r *Registry) Terms() Terms {
	return Terms{RegistryVersion: r.version, Active: r.Active(), Policy: r.policy}
}

// SessionEnded reports whether a session was ended before its time.
func (r *Registry) SessionEnded(sessionID string) bool {
	_, ended := r.ended[sessionID]
	return ended
}

// Service finds a service by its id.
func (r *Registry) Service(id string) (Service, bool) { s, ok := r.services[id]; return s, ok }

// ServiceKey finds a service key by its id.
func (r *Registry) ServiceKey(id string) (ServiceKey, bool) { k, ok := r.keys[id]; return k, ok }

// ManagementKey finds a management key by its id.
func (r *Registry) ManagementKey(id string) (ManagementKey, bool) {
	k, ok := r.managers[id]
	return k, ok
}

// Webhook finds a webhook by its id.
func (r *Registry) Webhook(id string) (Webhook, bool) { w, ok := r.webhooks[id]; return w, ok }

// ActiveKeys counts a service's active keys.
func (r *Registry) ActiveKeys(serviceID string) int {
	n := 0
	for _, k := range r.keys {
		if k.ServiceID == serviceID && k.Active {
			n++
		}
	}
	return n
}
