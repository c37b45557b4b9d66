package domain

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Owner is somebody who may decide for a namespace.
type Owner struct {
	ID      string
	AddedAt time.Time
}

// Passkey is a public key credential with which an owner signs in.
type Passkey struct {
	ID, OwnerID, Name        string
	CredentialID, PublicKey  []byte
	SignCount                uint32
	Transports               []string
	BackupEligible, BackedUp bool
	AAGUID                   string
	CreatedAt                time.Time
	LastUsedAt               *time.Time // nil: not yet
}

// evolveOwner brings what an event says of owners and their passkeys into the state.
func (r *Registry) evolveOwner(p Payload, at time.Time) error {
	switch p := p.(type) {
	case OwnerAdded:
		if r.HasOwner(p.OwnerID) {
			return fmt.Errorf("%s is an owner already", p.OwnerID)
		}
		// The owners that others were given stay as they are.
		r.owners = append(slices.Clip(r.owners), Owner{p.OwnerID, at})
	case OwnerRemoved:
		return r.ownerRemoved(p)
	case PasskeyAdded:
		if !r.HasOwner(p.OwnerID) {
			return fmt.Errorf("passkey %s is for %s, who is no owner", p.PasskeyID, p.OwnerID)
		}
		if err := r.meet(p.ChallengeHash, p.ChallengeExpiresAt); err != nil {
			return err
		}
		return insert(r.passkeys, p.PasskeyID, Passkey{
			ID: p.PasskeyID, OwnerID: p.OwnerID, Name: p.Name, CredentialID: p.CredentialID, PublicKey: p.PublicKey, SignCount: p.SignCount,
			Transports: p.Transports, BackupEligible: p.BackupEligible, BackedUp: p.BackedUp, AAGUID: p.AAGUID, CreatedAt: at,
		})
	case PasskeyRemoved:
		return remove(r.passkeys, p.PasskeyID)
	case OwnerSignedIn:
		return r.signedIn(p, at)
	default:
		return doesNotBelong(p)
	}
	return nil
}

func (r *Registry) ownerRemoved(p OwnerRemoved) error {
	left := r.without(p.OwnerID)
	switch {
	case !r.HasOwner(p.OwnerID):
		return fmt.Errorf("%s is no owner", p.OwnerID)
	case len(left) == 0 || left[0].ID != p.FirstOwnerID:
		return fmt.Errorf("without %s the first owner is not %s", p.OwnerID, p.FirstOwnerID)
	}
	r.owners = left
	maps.DeleteFunc(r.passkeys, func(_ string, k Passkey) bool { return k.OwnerID == p.OwnerID })
	maps.DeleteFunc(r.tokens, func(_ Hash, t loginToken) bool { return t.ownerID == p.OwnerID })
	return nil
}

// without are the owners but one, in a list of its own.
func (r *Registry) without(ownerID string) []Owner {
	return slices.DeleteFunc(slices.Clone(r.owners), func(o Owner) bool { return o.ID == ownerID })
}

func (r *Registry) signedIn(p OwnerSignedIn, at time.Time) error {
	if k, ok := r.passkeys[p.PasskeyID]; !ok || k.OwnerID != p.OwnerID {
		return fmt.Errorf("passkey %s of %s does not exist", p.PasskeyID, p.OwnerID)
	}
	if p.ChallengeExpiresAt != nil {
		if err := r.meet(p.ChallengeHash, *p.ChallengeExpiresAt); err != nil {
			return err
		}
	}
	return change(r.passkeys, p.PasskeyID, func(k *Passkey) { k.SignCount, k.BackedUp, k.LastUsedAt = p.SignCount, p.BackedUp, &at })
}

// meet takes note of a challenge that was answered, until it would have expired.
func (r *Registry) meet(challenge Hash, expires time.Time) error {
	if _, met := r.challenges[challenge]; met {
		return fmt.Errorf("a challenge was answered twice")
	}
	r.challenges[challenge] = expires
	return nil
}

// Owner is the id of the namespace's owner of longest standing.
func (r *Registry) Owner() string {
	if len(r.owners) == 0 {
		return ""
	}
	return r.owners[0].ID
}

// HasOwner reports whether the person is an owner of the namespace.
func (r *Registry) HasOwner(ownerID string) bool {
	return slices.ContainsFunc(r.owners, func(o Owner) bool { return o.ID == ownerID })
}

// Owners are the namespace's owners, the one of longest standing first.
func (r *Registry) Owners() []Owner { return slices.Clone(r.owners) }

// Passkey finds a passkey by its id.
func (r *Registry) Passkey(id string) (Passkey, bool) { k, ok := r.passkeys[id]; return k, ok }

// Passkeys are an owner's passkeys, the oldest first.
func (r *Registry) Passkeys(ownerID string) []Passkey {
	var list []Passkey
	for _, k := range r.passkeys {
		if k.OwnerID == ownerID {
			list = append(list, k)
		}
	}
	slices.SortFunc(list, func(a, b Passkey) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return list
}
