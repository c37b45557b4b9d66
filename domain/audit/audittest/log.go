// Package audittest makes logs for tests of what checks logs: such as a ledger makes, by
// the same decisions, and such as none can have made.
package audittest

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// Log is a log in memory. The commit at position p has the stored bytes Stored[p-1].
type Log struct {
	Stored [][]byte
	Now    time.Time

	t          testing.TB
	registries map[string]*domain.Registry
	claims     map[string]*domain.Claims
	tips       map[domain.Boundary]domain.Tip
}

// New is a log without commits.
func New(t testing.TB) *Log {
	return &Log{
		t: t, Now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		registries: map[string]*domain.Registry{}, claims: map[string]*domain.Claims{}, tips: map[domain.Boundary]domain.Tip{},
	}
}

// Chain is the log up to a position.
func (l *Log) Chain(position uint64) (c domain.Chain) {
	for i, stored := range l.Stored[:position] {
		c = c.Then(uint64(i+1), domain.HashOf(stored))
	}
	return c
}

// Last is the position of the last commit.
func (l *Log) Last() uint64 { return uint64(len(l.Stored)) }

// Key makes a key to sign heads with, another for each fill.
func Key(t testing.TB, fill byte) *domain.HeadKey {
	t.Helper()
	key, err := domain.NewHeadKey(bytes.Repeat([]byte{fill}, domain.HeadKeySize))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Head is a head of the log up to a position.
func (l *Log) Head(key *domain.HeadKey, position uint64) domain.LogHead {
	return key.Sign(l.Chain(position), l.Now)
}

// Registry decides a command on a namespace and records what it leads to.
func (l *Log) Registry(namespace string, by domain.Actor, cmd domain.RegistryCommand) {
	l.t.Helper()
	r := l.registry(namespace)
	d, err := r.Decide(cmd, domain.CommandRef{}, domain.DefaultOwnerLimits(), l.Now)
	if err != nil || len(d.Payloads) == 0 {
		l.t.Fatalf("%T: %+v, %v", cmd, d, err)
	}
	c := l.Put(domain.RegistryOf(namespace), by, nil, d.Payloads...)
	if err := r.Apply(c); err != nil {
		l.t.Fatal(err)
	}
}

// Claims decides a command on the claims of a namespace and records what it leads to.
func (l *Log) Claims(namespace string, by domain.Actor, cmd domain.ClaimCommand) {
	l.t.Helper()
	s := l.claims[namespace]
	if s == nil {
		s = domain.NewClaims(namespace)
		l.claims[namespace] = s
	}
	terms := l.registry(namespace).Terms()
	terms.ServiceExists = func(string) bool { return true }
	d, err := s.Decide(cmd, domain.CommandRef{}, terms, l.Now)
	if err != nil || len(d.Payloads) == 0 {
		l.t.Fatalf("%T: %+v, %v", cmd, d, err)
	}
	c := l.Put(domain.ClaimsOf(namespace), by, terms.Basis(), d.Payloads...)
	if err := s.Apply(c); err != nil {
		l.t.Fatal(err)
	}
}

func (l *Log) registry(namespace string) *domain.Registry {
	r := l.registries[namespace]
	if r == nil {
		r = domain.NewRegistry(namespace)
		l.registries[namespace] = r
	}
	return r
}

// Basis is what decisions on a namespace's claims rest on now.
func (l *Log) Basis(namespace string) *domain.Basis { return l.registry(namespace).Terms().Basis() }

// Put records what nobody decided, in its place.
func (l *Log) Put(b domain.Boundary, by domain.Actor, basis *domain.Basis, payloads ...domain.Payload) *domain.Commit {
	l.t.Helper()
	c := domain.NewCommit(fmt.Sprintf("01KJ%022d", len(l.Stored)+1), b, l.Now, by, domain.CommandRef{Name: "test"}, basis, payloads)
	return l.PutCommit(c, func(*domain.Commit) {})
}

// PutCommit records a commit in its place, but for what change does to it.
func (l *Log) PutCommit(c *domain.Commit, change func(*domain.Commit)) *domain.Commit {
	l.t.Helper()
	b := c.Boundary()
	c.Version, c.Prev = l.tips[b].Version+1, l.tips[b].Hash
	change(c)
	stored, err := c.Encode()
	if err != nil {
		l.t.Fatal(err)
	}
	l.Stored = append(l.Stored, stored)
	l.tips[b] = domain.TipOf(c, domain.HashOf(stored))
	return c
}

// Who acts in the logs that Begin makes.
var (
	Operator = domain.Actor{Kind: domain.ActorOperator}
	Clock    = domain.Actor{Kind: domain.ActorClock}
)

// Owner is the owner of a namespace.
func Owner(namespace string) domain.Actor {
	return domain.Actor{Kind: domain.ActorOwner, ID: "owner_" + namespace}
}

// Service is the id of the service of a namespace.
func Service(namespace string) string { return "service-of-" + namespace }

// Begin registers a namespace with a service and a key for it.
func (l *Log) Begin(namespace string) {
	l.t.Helper()
	token := domain.LoginToken{Hash: domain.HashOf([]byte("token of " + namespace)), ExpiresAt: l.Now.Add(15 * time.Minute)}
	l.Registry(namespace, Operator, domain.RegisterNamespace{OwnerID: Owner(namespace).ID, Token: token})
	l.Registry(namespace, Owner(namespace), domain.CreateService{ServiceID: Service(namespace), Slug: "weather", Name: "Wetter <ü>"})
	l.Registry(namespace, Owner(namespace), domain.CreateServiceKey{
		KeyID: "key-of-" + namespace, ServiceID: Service(namespace), Name: "k", Prefix: "sk_live_abcd", Hash: domain.HashOf([]byte("key of " + namespace)),
	})
}

// Submitter is the key of the service of a namespace.
func Submitter(namespace string) domain.Actor {
	return domain.Actor{Kind: domain.ActorServiceKey, ID: "key-of-" + namespace, Agent: "ed25519:AAAA"}
}

// Submit asks for access to the service of its owner, in a namespace.
func (l *Log) Submit(namespace, owner, claim, agent string) {
	l.t.Helper()
	l.Claims(namespace, Submitter(owner), domain.Submit{
		ClaimID: claim, ServiceID: Service(owner), Service: "weather", ServiceNamespace: owner, PublicKey: agent, AgentIP: "203.0.113.7",
		Nonce: "nonce-of-" + claim, Signer: namespace, SignatureNonce: "signature-of-" + claim, Subject: "a@example.com", AgentName: "\"R2\"\n",
	})
}

// Example is a log of two namespaces in which something happened of everything.
func Example(t testing.TB) *Log {
	t.Helper()
	l := New(t)
	l.Begin("acme")
	l.Begin("shop")
	l.Submit("acme", "acme", "claim_1", "ed25519:one")
	l.Submit("shop", "acme", "claim_2", "ed25519:two")
	l.Now = l.Now.Add(time.Minute)
	l.Claims("acme", Owner("acme"), domain.Approve{ClaimID: "claim_1", Reason: "known"})
	l.Submit("acme", "shop", "claim_3", "ed25519:one")
	most := 1
	l.Registry("acme", Owner("acme"), domain.ChangePolicy{MaxPending: &most})
	l.Submit("acme", "shop", "claim_4", "ed25519:three") // rejected: past the limit
	l.Registry("acme", Operator, domain.DeactivateNamespace{Reason: "unpaid"})
	l.Claims("acme", Owner("acme"), domain.Revoke{ClaimID: "claim_1"})
	l.Registry("acme", Operator, domain.ActivateNamespace{})
	l.Now = l.Now.Add(25 * time.Hour)
	l.Claims("shop", Clock, domain.ExpireOverdue{})
	l.Submit("acme", "acme", "claim_5", "ed25519:one")
	return l
}
