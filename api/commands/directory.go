package commands

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// Directory holds every namespace's registry in memory, folded from the log.
type Directory struct {
	log eventstore.Log

	mu         sync.RWMutex
	namespaces map[string]*boundary[*domain.Registry]
	keys       map[domain.Hash]keyRef // never removed from: what it points at is looked up
	services   map[string]string      // service id → namespace; keeps deleted ones
	owners     map[string]string      // owner id → namespace; keeps removed ones
}

type keyRef struct {
	namespace, keyID string
	management       bool
}

func newDirectory(log eventstore.Log) *Directory {
	return &Directory{
		log:        log,
		namespaces: map[string]*boundary[*domain.Registry]{},
		keys:       map[domain.Hash]keyRef{},
		services:   map[string]string{},
		owners:     map[string]string{},
	}
}

// follow folds a registry commit in. The error is of a record that makes no sense:
// keys and owners may have changed in it, and whoever reads the log must stop there.
func (d *Directory) follow(r eventstore.Record) error {
	d.mu.Lock()
	defer d.mu.Unlock() // until the commit is in: forget must not come between
	b := d.begin(r.Commit.Namespace)
	b.follow(r)
	for _, e := range r.Commit.Events {
		switch p := e.Payload.(type) {
		case domain.NamespaceRegistered:
			d.owners[p.OwnerID] = r.Commit.Namespace
		case domain.OwnerAdded:
			d.owners[p.OwnerID] = r.Commit.Namespace
		case domain.ServiceCreated:
			d.services[p.ServiceID] = r.Commit.Namespace
		case domain.ServiceKeyCreated:
			d.keys[p.KeyHash] = keyRef{r.Commit.Namespace, p.KeyID, false}
		case domain.ManagementKeyCreated:
			d.keys[p.KeyHash] = keyRef{r.Commit.Namespace, p.KeyID, true}
		}
	}
	return b.failure()
}

// begin finds a namespace's boundary, and makes it if it is not there. The caller
// holds mu.
func (d *Directory) begin(namespace string) *boundary[*domain.Registry] {
	b := d.namespaces[namespace]
	if b == nil {
		b = newBoundary(domain.RegistryOf(namespace), d.log, domain.NewRegistry(namespace))
		b.start()
		d.namespaces[namespace] = b
	}
	return b
}

func (d *Directory) boundary(namespace string) *boundary[*domain.Registry] {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.begin(namespace)
}

// lock waits for the turn to decide on a namespace's registry. While it is held, the
// boundary stays the directory's.
func (d *Directory) lock(ctx context.Context, namespace string) (*boundary[*domain.Registry], error) {
	for {
		b := d.boundary(namespace)
		if err := b.lock(ctx); err != nil {
			return nil, err
		}
		if d.boundary(namespace) == b {
			return b, nil
		}
		b.unlock() // it was forgotten while we waited
	}
}

// forget drops a boundary that turned out to have no commits, so that names that
// callers make up do not stay in memory. The caller holds the boundary's lock.
func (d *Directory) forget(namespace string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b := d.namespaces[namespace]; b != nil && b.at().Version == 0 {
		delete(d.namespaces, namespace)
	}
}

// find is the boundary of a namespace that is registered.
func (d *Directory) find(namespace string) (*boundary[*domain.Registry], bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	b := d.namespaces[namespace]
	return b, b != nil && b.at().Version > 0
}

// View runs f on a namespace's registry; false when there is no such namespace. f
// must not keep what it is given.
func (d *Directory) View(namespace string, f func(*domain.Registry)) bool {
	b, ok := d.find(namespace)
	if ok {
		b.view(f)
	}
	return ok
}

// ServiceKey finds the active service key with a hash, and the service it is for.
func (d *Directory) ServiceKey(h domain.Hash) (namespace string, key domain.ServiceKey, service domain.Service, ok bool) {
	ref, found := d.ref(h)
	if !found || ref.management {
		return "", domain.ServiceKey{}, domain.Service{}, false
	}
	d.View(ref.namespace, func(r *domain.Registry) {
		if key, ok = r.ServiceKey(ref.keyID); ok && key.Active {
			service, ok = r.Service(key.ServiceID)
		} else {
			ok = false
		}
	})
	return ref.namespace, key, service, ok
}

// ManagementKey finds the active management key with a hash.
func (d *Directory) ManagementKey(h domain.Hash) (namespace string, key domain.ManagementKey, ok bool) {
	ref, found := d.ref(h)
	if !found || !ref.management {
		return "", domain.ManagementKey{}, false
	}
	d.View(ref.namespace, func(r *domain.Registry) { key, ok = r.ManagementKey(ref.keyID) })
	return ref.namespace, key, ok && key.Active
}

func (d *Directory) ref(h domain.Hash) (keyRef, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	ref, ok := d.keys[h]
	return ref, ok
}

// ServiceExists reports whether a service was created and not deleted.
func (d *Directory) ServiceExists(serviceID string) bool {
	_, _, ok := d.Service(serviceID)
	return ok
}

// Knows reports whether a service was ever heard of here, deleted or not.
func (d *Directory) Knows(serviceID string) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	_, ok := d.services[serviceID]
	return ok
}

// Service finds a service that is not deleted, whoever owns it.
func (d *Directory) Service(serviceID string) (namespace string, s domain.Service, ok bool) {
	d.mu.RLock()
	namespace = d.services[serviceID]
	d.mu.RUnlock()
	d.View(namespace, func(r *domain.Registry) { s, ok = r.Service(serviceID) })
	return namespace, s, ok
}

// NamespaceOf is the namespace that somebody is an owner of, or was.
func (d *Directory) NamespaceOf(ownerID string) (string, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	namespace, ok := d.owners[ownerID]
	return namespace, ok
}

// Active reports whether a namespace is registered and not deactivated.
func (d *Directory) Active(namespace string) (active bool) {
	d.View(namespace, func(r *domain.Registry) { active = r.Active() })
	return active
}

// load reads all registries' commits after a position, and gives the position up to which
// it is complete then, and how many there were.
func (d *Directory) load(ctx context.Context, after uint64) (last uint64, read int, err error) {
	if last, err = d.log.Last(ctx); err != nil || last == 0 {
		return 0, 0, err
	}
	// What is read may end before it, and what follows begins behind it: that it is lost
	// meanwhile, and its position another's, shows when it is known.
	if _, err = d.log.At(ctx, last); err != nil {
		return 0, 0, err
	}
	err = d.log.ReadAll(ctx, domain.KindRegistry, after, func(r eventstore.Record) error {
		read++
		return d.follow(r)
	})
	return last, read, err
}

// Len is how many namespaces there are.
func (d *Directory) Len() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.namespaces)
}

// all are the namespaces' boundaries as they are now, so that looking at each of them keeps
// nobody waiting.
func (d *Directory) all() map[string]*boundary[*domain.Registry] {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return maps.Clone(d.namespaces)
}

// SealedWith counts the webhooks' secrets in force, of all namespaces, by the ids of the
// keys that they are sealed with.
func (d *Directory) SealedWith(now time.Time) map[string]int {
	n := map[string]int{}
	for _, b := range d.all() {
		b.view(func(r *domain.Registry) {
			for id, secrets := range r.SealedWith(now) {
				n[id] += secrets
			}
		})
	}
	return n
}

// SealedOtherwise are the webhooks that have a secret in force that is sealed with another
// key than the one with the id, by their namespaces.
func (d *Directory) SealedOtherwise(keyID string, now time.Time) map[string][]domain.Webhook {
	found := map[string][]domain.Webhook{}
	for namespace, b := range d.all() {
		b.view(func(r *domain.Registry) {
			for _, w := range r.Webhooks() {
				if len(w.SealedOtherwise(keyID, now)) > 0 {
					found[namespace] = append(found[namespace], w)
				}
			}
		})
	}
	return found
}
