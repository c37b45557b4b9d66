package projections

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// world makes histories: it decides random commands as the domain does and records
// what they lead to. A seed makes the same history again.
type world struct {
	t    testing.TB
	rand *rand.Rand
	log  *eventstore.Memory
	now  time.Time

	names      []string
	registries map[string]*domain.Registry
	claims     map[string]*domain.Claims
	heads      map[domain.Boundary]eventstore.Head
	services   []worldService // those that were not deleted
	keys       []worldService // with the id of a service key
	managers   []worldService // with the id of a management key and no service
	webhooks   []worldService // with the id of a webhook
	submitted  []worldService // with the id of a claim
	serial     int
}

type worldService struct{ namespace, service, slug, id string }

func newWorld(t testing.TB, seed uint64) *world {
	t.Logf("seed %d", seed)
	return &world{
		t: t, rand: rand.New(rand.NewPCG(seed, 0)), log: eventstore.NewMemory(),
		// With nanoseconds, which the database does not keep.
		now:        time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC),
		registries: map[string]*domain.Registry{}, claims: map[string]*domain.Claims{},
		heads: map[domain.Boundary]eventstore.Head{},
	}
}

func (w *world) id() string {
	w.serial++
	var entropy [10]byte
	binary.BigEndian.PutUint64(entropy[2:], uint64(w.serial))
	id, err := ulid.New(ulid.Timestamp(w.now), bytes.NewReader(entropy[:]))
	if err != nil {
		w.t.Fatal(err)
	}
	return id.String()
}

func (w *world) hash() (h domain.Hash) {
	w.serial++
	binary.BigEndian.PutUint64(h[:], uint64(w.serial))
	h[31] = 1
	return h
}

var texts = []string{
	"", "agent", "Ægir & <søn>", "агент №1", "代理-07", "👩🏽‍🚀 e\u0301", "\u202eright to left", "it's \"quoted\" \\ %s {schema} $1",
	"nul\x00inside",
}

func (w *world) text() string { return texts[w.rand.IntN(len(texts))] }

func pick[T any](w *world, from []T) (v T, ok bool) {
	if len(from) == 0 {
		return v, false
	}
	return from[w.rand.IntN(len(from))], true
}

// step decides one random command. Many are refused, as they should be.
func (w *world) step() {
	w.now = w.now.Add(time.Duration(w.rand.IntN(int(3 * time.Minute))))
	if w.rand.IntN(150) == 0 {
		w.now = w.now.Add(30 * time.Hour) // what is pending runs out
	}
	switch n := w.rand.IntN(100); {
	case n < 3 && len(w.names) < 5 || len(w.names) < 2:
		w.register()
	case n < 6 || len(w.services) < 3:
		w.createService()
	case n < 40:
		w.submit()
	case n < 80:
		w.decideClaim()
	case n < 82:
		w.policy()
	case n < 84:
		w.owners()
	case n < 88:
		name, _ := pick(w, w.names)
		if w.registries[name].Active() && w.rand.IntN(2) == 0 {
			w.registry(name, domain.DeactivateNamespace{Reason: w.text()})
		} else {
			w.registry(name, domain.ActivateNamespace{Reason: w.text()})
		}
	default:
		w.manage()
	}
}

func (w *world) steps(n int) {
	for range n {
		w.step()
	}
}

func (w *world) register() string {
	name := fmt.Sprintf("space-%d", len(w.names))
	w.registries[name], w.claims[name] = domain.NewRegistry(name), domain.NewClaims(name)
	w.names = append(w.names, name)
	token := domain.LoginToken{Hash: w.hash(), ExpiresAt: w.now.Add(15 * time.Minute)}
	w.registry(name, domain.RegisterNamespace{OwnerID: "owner-" + name, Token: token})
	return name
}

func (w *world) createService() (s worldService) {
	s.namespace, _ = pick(w, w.names)
	s.service, s.slug = "svc-"+w.id(), fmt.Sprintf("slug-%d", w.rand.IntN(4))
	if w.registry(s.namespace, domain.CreateService{ServiceID: s.service, Slug: s.slug, Name: "Service of " + s.namespace, Description: "описание"}) {
		w.services = append(w.services, s)
	}
	return s
}

func publicKey(n int) string { return fmt.Sprintf("ed25519:key-%d", n) }

func (w *world) submit() {
	name, _ := pick(w, w.names)
	s, _ := pick(w, w.services)
	w.submitTo(name, s, publicKey(w.rand.IntN(12)))
}

func (w *world) submitTo(name string, s worldService, key string) string {
	id := "claim_" + w.id()
	w.claim(name, domain.Submit{
		ClaimID: id, ServiceID: s.service, Service: s.slug, ServiceNamespace: s.namespace,
		PublicKey: key, AgentIP: "203.0.113.9", Nonce: id, Signer: name, SignatureNonce: id,
		Subject: w.text(), AgentID: w.text(), AgentName: w.text(),
	})
	if w.claims[name].Has(id) {
		w.submitted = append(w.submitted, worldService{name, s.service, s.slug, id})
	}
	return id
}

func (w *world) decideClaim() {
	c, ok := pick(w, w.submitted[max(0, len(w.submitted)-25):]) // the older ones are decided
	if !ok {
		return
	}
	switch w.rand.IntN(12) {
	case 0, 1, 2, 3, 4:
		approve := domain.Approve{ClaimID: c.id, Reason: w.text()}
		if w.rand.IntN(3) == 0 {
			until := w.now.Add(time.Duration(w.rand.IntN(int(5 * time.Hour))))
			approve.ExpiresAt = &until
		}
		w.claim(c.namespace, approve)
	case 5:
		w.claim(c.namespace, domain.Reject{ClaimID: c.id, Reason: w.text()})
	case 6, 7:
		w.claim(c.namespace, domain.Revoke{ClaimID: c.id, Reason: w.text()})
	case 8:
		w.claim(c.namespace, domain.Expire{ClaimID: c.id, Reason: w.text()})
	default:
		w.claim(c.namespace, domain.ExpireOverdue{})
	}
}

func (w *world) policy() {
	name, _ := pick(w, w.names)
	most, pending := 1+w.rand.IntN(20), 1+w.rand.IntN(10)
	change := domain.ChangePolicy{MaxAgents: &most, MaxPending: &pending}
	if s, ok := pick(w, w.services); ok && w.rand.IntN(2) == 0 {
		change.ServiceIDs = &[]string{s.service}
	}
	w.registry(name, change)
}

// owners come, and the one of longest standing goes.
func (w *world) owners() {
	name, _ := pick(w, w.names)
	if r := w.registries[name]; w.rand.IntN(2) == 0 {
		w.registry(name, domain.RemoveOwner{OwnerID: r.Owner()})
	} else {
		w.registry(name, domain.AddOwner{OwnerID: "owner-" + w.id(), Token: domain.LoginToken{Hash: w.hash(), ExpiresAt: w.now.Add(time.Hour)}})
	}
}

// manage changes services, keys and webhooks.
func (w *world) manage() {
	s, _ := pick(w, w.services)
	switch w.rand.IntN(12) {
	case 0, 1:
		id := "key-" + w.id()
		if w.registry(s.namespace, domain.CreateServiceKey{KeyID: id, ServiceID: s.service, Name: w.text(), Prefix: "sk_live_ab", Hash: w.hash()}) {
			w.keys = append(w.keys, worldService{s.namespace, s.service, s.slug, id})
		}
	case 2:
		if k, ok := pick(w, w.keys); ok {
			w.registry(k.namespace, domain.DeactivateServiceKey{KeyID: k.id, ServiceID: k.service})
		}
	case 3:
		if k, ok := pick(w, w.keys); ok {
			w.registry(k.namespace, domain.RevokeServiceKey{KeyID: k.id, ServiceID: k.service})
		}
	case 4, 5:
		name, id := "name", "manager-"+w.id()
		space, _ := pick(w, w.names)
		if w.registry(space, domain.CreateManagementKey{KeyID: id, Name: name, LastFour: "Ab9z", Hash: w.hash(),
			Permissions: domain.Permissions[:2], Grantor: domain.Permissions}) {
			w.managers = append(w.managers, worldService{space, "", "", id})
		}
	case 6:
		if k, ok := pick(w, w.managers); ok {
			w.registry(k.namespace, domain.DeactivateManagementKey{KeyID: k.id, Grantor: domain.Permissions})
		}
	case 7:
		if k, ok := pick(w, w.managers); ok {
			w.registry(k.namespace, domain.DeleteManagementKey{KeyID: k.id, Grantor: domain.Permissions})
		}
	case 8:
		name, description := "Renamed", w.text()
		w.registry(s.namespace, domain.UpdateService{ServiceID: s.service, Name: &name, Description: &description})
	default:
		w.manageWebhooks(s)
	}
}

func (w *world) reconfigureWebhook(h worldService) {
	url, text, events := "https://example.com/"+w.id(), w.text(), []domain.EventType{domain.ClaimExpiredType}
	w.registry(h.namespace, domain.UpdateWebhook{WebhookID: h.id, ServiceID: h.service, URL: &url, Description: &text,
		Events: &events, Auth: &domain.WebhookAuth{}})
	w.registry(h.namespace, domain.RotateWebhookSecret{WebhookID: h.id, ServiceID: h.service,
		Secret: domain.Sealed{KeyID: "k", Data: []byte("ciphertext of another")}})
	w.registry(h.namespace, domain.ResealWebhook{WebhookID: h.id, ServiceID: h.service, Resealed: []domain.Resealed{
		{From: domain.Sealed{KeyID: "k", Data: []byte("ciphertext of another")}, To: domain.Sealed{KeyID: "l", Data: []byte("the same again")}},
	}})
}

func (w *world) manageWebhooks(s worldService) {
	switch w.rand.IntN(5) {
	case 0, 1:
		id := "hook-" + w.id()
		sealed := domain.Sealed{KeyID: "k", Data: []byte("ciphertext of the secret")}
		created := domain.WebhookCreated{WebhookID: id, ServiceID: s.service, URL: "https://example.com/" + id,
			Events: []domain.EventType{domain.ClaimApprovedType, domain.ClaimRevokedType}, Description: w.text(),
			Secret: sealed, AuthHeader: "X-Auth", AuthValue: &sealed}
		if w.registry(s.namespace, domain.CreateWebhook{WebhookCreated: created}) {
			w.webhooks = append(w.webhooks, worldService{s.namespace, s.service, s.slug, id})
		}
	case 2:
		if h, ok := pick(w, w.webhooks); ok {
			w.registry(h.namespace, domain.SetWebhookActive{WebhookID: h.id, ServiceID: h.service, Active: w.rand.IntN(2) == 0})
			w.reconfigureWebhook(h)
		}
	case 3:
		if h, ok := pick(w, w.webhooks); ok {
			w.registry(h.namespace, domain.DeleteWebhook{WebhookID: h.id, ServiceID: h.service})
		}
	case 4:
		if w.rand.IntN(4) == 0 && w.registry(s.namespace, domain.DeleteService{ServiceID: s.service}) {
			for i := range w.services {
				if w.services[i] == s {
					w.services = append(w.services[:i], w.services[i+1:]...)
					break
				}
			}
		}
	}
}

// registry decides a command, and reports whether it led to a commit.
func (w *world) registry(name string, cmd domain.RegistryCommand) bool {
	d, err := w.registries[name].Decide(cmd, domain.CommandRef{}, domain.DefaultOwnerLimits(), w.now)
	if err != nil || len(d.Payloads) == 0 {
		return false
	}
	actor := domain.Actor{Kind: domain.ActorOwner, ID: "owner-" + name}
	c := w.append(domain.RegistryOf(name), actor, nil, d.Payloads)
	if err := w.registries[name].Apply(c); err != nil {
		w.t.Fatal(err)
	}
	return true
}

func (w *world) claim(name string, cmd domain.ClaimCommand) bool {
	terms := w.registries[name].Terms()
	terms.ServiceExists = func(string) bool { return true }
	d, err := w.claims[name].Decide(cmd, domain.CommandRef{}, terms, w.now)
	if err != nil || len(d.Payloads) == 0 {
		return false
	}
	actor := domain.Actor{Kind: domain.ActorServiceKey, ID: "key", Agent: "ed25519:…"}
	c := w.append(domain.ClaimsOf(name), actor, terms.Basis(), d.Payloads)
	if err := w.claims[name].Apply(c); err != nil {
		w.t.Fatal(err)
	}
	return true
}

func (w *world) append(b domain.Boundary, actor domain.Actor, basis *domain.Basis, payloads []domain.Payload) *domain.Commit {
	c := domain.NewCommit(w.id(), b, w.now, actor, domain.CommandRef{Name: "test"}, basis, payloads)
	rec, err := w.log.Append(context.Background(), w.heads[b], c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.heads[b] = rec.Head()
	return rec.Commit
}

// last is the position of the last commit.
func (w *world) last() uint64 {
	last, err := w.log.Last(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return last
}
