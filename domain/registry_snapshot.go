package domain

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// RegistryFold is the version of what folding commits into a Registry gives, and of how
// that is written down, as ClaimsFold is for Claims.
const RegistryFold = 3

// RegistrySnapshot is what a Registry knows at a moment, to be written down by encoding/gob
// and read for Restore of the same RegistryFold. Two that know the same are the same. It
// holds of secrets what commits hold of them: hashes, and what is sealed.
type RegistrySnapshot struct {
	Namespace string
	Version   uint64
	Time      time.Time

	Registered, Active bool
	CreatedAt          time.Time
	Owners             []Owner
	Policy             Policy

	Passkeys   []Passkey // these and what follows by id
	Challenges []HashUntil
	Tokens     []TokenSnapshot
	Ended      []EndedSession

	Services []Service
	Keys     []ServiceKey
	Managers []ManagementKey
	Webhooks []Webhook

	Answers []AnswerSnapshot // oldest first
}

// What a RegistrySnapshot holds of things that have no other name.
type (
	// HashUntil is the hash of a challenge that was answered.
	HashUntil struct {
		Hash  Hash
		Until time.Time
	}
	// TokenSnapshot is a login token.
	TokenSnapshot struct {
		Hash      Hash
		OwnerID   string
		ExpiresAt time.Time
		Used      bool
	}
	// EndedSession is a session that was ended early.
	EndedSession struct {
		ID    string
		Until time.Time
	}
	// AnswerSnapshot is what a caller with an idempotency key was told. Key stands for both.
	AnswerSnapshot struct {
		Key     [16]byte
		At      time.Time
		Name    string
		Request Hash
		Answer  string
	}
)

// Snapshot copies what the registry knows.
func (r *Registry) Snapshot() RegistrySnapshot {
	s := RegistrySnapshot{
		Namespace: r.namespace, Version: r.version, Time: r.time,
		Registered: r.registered, Active: r.active, CreatedAt: r.createdAt, Owners: r.owners, Policy: r.policy,
		Passkeys: sorted(r.passkeys, func(k Passkey) string { return k.ID }),
		Services: sorted(r.services, func(v Service) string { return v.ID }),
		Keys:     sorted(r.keys, func(k ServiceKey) string { return k.ID }),
		Managers: sorted(r.managers, func(k ManagementKey) string { return k.ID }),
		Webhooks: sorted(r.webhooks, func(w Webhook) string { return w.ID }),
	}
	for hash, until := range r.challenges {
		s.Challenges = append(s.Challenges, HashUntil{hash, until})
	}
	slices.SortFunc(s.Challenges, func(a, b HashUntil) int { return bytes.Compare(a.Hash[:], b.Hash[:]) })
	for hash, t := range r.tokens {
		s.Tokens = append(s.Tokens, TokenSnapshot{hash, t.ownerID, t.expiresAt, t.used})
	}
	slices.SortFunc(s.Tokens, func(a, b TokenSnapshot) int { return bytes.Compare(a.Hash[:], b.Hash[:]) })
	for id, until := range r.ended {
		s.Ended = append(s.Ended, EndedSession{id, until})
	}
	slices.SortFunc(s.Ended, func(a, b EndedSession) int { return cmp.Compare(a.ID, b.ID) })
	for i, seen := range r.answers.remembered(0) {
		told := r.answers.of(r.answers.head + i)
		s.Answers = append(s.Answers, AnswerSnapshot{seen.key, seen.at.time(), told.name, told.request, told.answer})
	}
	return s
}

func sorted[T any](m map[string]T, id func(T) string) []T {
	return slices.SortedFunc(maps.Values(m), func(a, b T) int { return cmp.Compare(id(a), id(b)) })
}

// Restore makes the registry again. The error is of a snapshot that no registry can have
// made; whether it is of the log at hand is for the caller to know.
func (s RegistrySnapshot) Restore() (*Registry, error) {
	r := NewRegistry(s.Namespace)
	r.version, r.time = s.Version, s.Time
	r.registered, r.active, r.createdAt, r.owners, r.policy = s.Registered, s.Active, s.CreatedAt, s.Owners, s.Policy
	if r.policy.AutoApprove.ServiceIDs == nil { // gob leaves out what is empty
		r.policy.AutoApprove.ServiceIDs = []string{}
	}
	if r.policy.AutoApprove.CIDRs == nil {
		r.policy.AutoApprove.CIDRs = []string{}
	}
	restore(r.passkeys, s.Passkeys, func(k Passkey) string { return k.ID })
	restore(r.services, s.Services, func(v Service) string { return v.ID })
	restore(r.keys, s.Keys, func(k ServiceKey) string { return k.ID })
	restore(r.managers, s.Managers, func(k ManagementKey) string { return k.ID })
	restore(r.webhooks, s.Webhooks, func(w Webhook) string { return w.ID })
	for _, c := range s.Challenges {
		r.challenges[c.Hash] = c.Until
	}
	for _, t := range s.Tokens {
		r.tokens[t.Hash] = loginToken{t.OwnerID, t.ExpiresAt, t.Used}
	}
	for _, e := range s.Ended {
		r.ended[e.ID] = e.Until
	}
	for i, a := range s.Answers {
		if i > 0 && a.At.Before(s.Answers[i-1].At) {
			return nil, fmt.Errorf("the snapshot of %s has its answers in another order", RegistryOf(s.Namespace))
		}
		r.answers.tell(a.Key, answer{a.Name, a.Request, a.Answer}, instantOf(a.At))
	}
	return r, nil
}

func restore[T any](to map[string]T, all []T, id func(T) string) {
	for _, v := range all {
		to[id(v)] = v
	}
}
