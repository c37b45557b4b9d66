package domain

import (
	"errors"
	"fmt"
	"slices"
)

// SealRing is the sealing keys of an installation. The first one seals, and all of them
// open. It does not change.
type SealRing struct{ keys []*SealKey }

// NewSealRing makes a ring of at least one key, and each of them once.
func NewSealRing(keys ...*SealKey) (*SealRing, error) {
	if len(keys) == 0 {
		return nil, errors.New("there is no sealing key")
	}
	r := &SealRing{slices.Clone(keys)}
	for i, id := range r.IDs() {
		if slices.Contains(r.IDs()[:i], id) {
			return nil, fmt.Errorf("the sealing key %s is there twice", id)
		}
	}
	return r, nil
}

// First is the key that seals.
func (r *SealRing) First() *SealKey { return r.keys[0] }

// IDs are the keys' ids, in the ring's order.
func (r *SealRing) IDs() []string {
	ids := make([]string, len(r.keys))
	for i, k := range r.keys {
		ids[i] = k.id
	}
	return ids
}

// Has reports whether a key is in the ring.
func (r *SealRing) Has(id string) bool {
	return slices.ContainsFunc(r.keys, func(k *SealKey) bool { return k.id == id })
}

// Only are those of the ring's keys that have the ids.
func (r *SealRing) Only(ids []string) (keys []*SealKey) {
	for _, k := range r.keys {
		if slices.Contains(ids, k.id) {
			keys = append(keys, k)
		}
	}
	return keys
}

// Open decrypts what one of the keys has sealed. The error tells nothing about the secret;
// it is a *LackingKeyError where the key is not here.
func (r *SealRing) Open(s Sealed, context string) (string, error) {
	for _, k := range r.keys {
		if k.id == s.KeyID {
			return k.Open(s, context)
		}
	}
	return "", &LackingKeyError{s.KeyID}
}

// LackingKeyError is of a secret whose key is not in a ring.
type LackingKeyError struct{ KeyID string }

func (e *LackingKeyError) Error() string {
	return "it is sealed with key " + e.KeyID + ", which is not here"
}
