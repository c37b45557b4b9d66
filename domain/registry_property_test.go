package domain

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// registryMachine gives random commands to a registry, on a few ids that come again.
type registryMachine struct{ *registryHistory }

func (m *registryMachine) step(t *rapid.T, cmd RegistryCommand) {
	m.t = t
	m.ref = CommandRef{Name: fmt.Sprintf("%T", cmd)}
	if key := rapid.SampledFrom([]string{"", "", "", "a"}).Draw(t, "idempotency key"); key != "" {
		m.ref.Key, m.ref.Caller = key, "owner-1"
	}
	if _, err := m.when(cmd); ErrorCode(err) == CodeInternal {
		t.Fatalf("%T: %v", cmd, err)
	}
}

// id draws an id of a kind. Ids are never reused by those who give commands, so new
// ones carry the version that the registry would have with them.
func (m *registryMachine) id(t *rapid.T, kind string) string {
	return fmt.Sprint(kind, rapid.Uint64Range(1, m.live.Version()+1).Draw(t, kind))
}

func (m *registryMachine) next(kind string) string { return fmt.Sprint(kind, m.live.Version()+1) }

func (m *registryMachine) some(t *rapid.T, in map[string]bool, kind string) string {
	ids := []string{m.id(t, kind)}
	for i := range m.live.Version() + 1 {
		if id := fmt.Sprint(kind, i); in[id] {
			ids = append(ids, id, id)
		}
	}
	return rapid.SampledFrom(ids).Draw(t, "which")
}

func present[T any](m map[string]T) map[string]bool {
	ids := map[string]bool{}
	for id := range m {
		ids[id] = true
	}
	return ids
}

func (m *registryMachine) namespaceCommand(t *rapid.T) {
	token := LoginToken{hashOf(fmt.Sprint("t", m.live.Version())), m.now.Add(15 * time.Minute)}
	used := hashOf(fmt.Sprint("t", rapid.Uint64Range(0, m.live.Version()).Draw(t, "token")))
	session := fmt.Sprint("s", rapid.IntRange(0, 3).Draw(t, "session"))
	limit := rapid.IntRange(0, 3).Draw(t, "limit")
	m.step(t, rapid.SampledFrom([]RegistryCommand{
		RegisterNamespace{OwnerID: "owner-1", Token: token},
		IssueLoginToken{"", token},
		UseLoginToken{used, session, m.now.Add(time.Hour)},
		EndSession{"owner-1", session, m.now.Add(time.Hour)},
		DeactivateNamespace{"r"},
		ActivateNamespace{"r"},
		ChangePolicy{MaxAgents: &limit},
		ChangePolicy{CIDRs: &[]string{"10.0.0.0/8"}},
	}).Draw(t, "command"))
}

func (m *registryMachine) serviceCommand(t *rapid.T) {
	service := m.some(t, present(m.live.services), "svc-")
	name := rapid.SampledFrom([]string{"", "Name"}).Draw(t, "name")
	slug := rapid.SampledFrom([]string{"a", "b", "c", "d", "A"}).Draw(t, "slug")
	m.step(t, rapid.SampledFrom([]RegistryCommand{
		CreateService{m.next("svc-"), slug, "Name", ""},
		CreateService{m.next("svc-"), slug, "Name", "Text"},
		UpdateService{service, &name, nil},
		DeleteService{service},
	}).Draw(t, "command"))
}

func (m *registryMachine) keyCommand(t *rapid.T) {
	service, key := m.some(t, present(m.live.services), "svc-"), m.some(t, present(m.live.keys), "k-")
	manager := m.some(t, present(m.live.managers), "m-")
	grantor := rapid.SampledFrom([][]Permission{Permissions, {PermissionRead}}).Draw(t, "grantor")
	m.step(t, rapid.SampledFrom([]RegistryCommand{
		CreateServiceKey{m.next("k-"), service, "n", "sk_live_", hashOf(m.next("k-"))},
		DeactivateServiceKey{key, service},
		RevokeServiceKey{key, service},
		CreateManagementKey{m.next("m-"), "n", "wxyz", Permissions[:2], grantor, hashOf(m.next("m-"))},
		DeactivateManagementKey{manager, grantor},
		DeleteManagementKey{manager, grantor},
	}).Draw(t, "command"))
}

func (m *registryMachine) webhookCommand(t *rapid.T) {
	service, webhook := m.some(t, present(m.live.services), "svc-"), m.some(t, present(m.live.webhooks), "w-")
	m.step(t, rapid.SampledFrom([]RegistryCommand{
		CreateWebhook{WebhookCreated{WebhookID: m.next("w-"), ServiceID: service, Events: []EventType{ClaimExpiredType}}},
		SetWebhookActive{webhook, service, rapid.Bool().Draw(t, "active"), ""},
		UpdateWebhook{WebhookID: webhook, ServiceID: service, Description: &webhook},
		RotateWebhookSecret{WebhookID: webhook, ServiceID: service, Secret: Sealed{KeyID: "k"}},
		ResealWebhook{webhook, service, []Resealed{{Sealed{KeyID: "k"}, Sealed{KeyID: "l"}}, {Sealed{KeyID: "l"}, Sealed{KeyID: "k"}}}},
		DeleteWebhook{webhook, service},
	}).Draw(t, "command"))
}

func (m *registryMachine) ownerCommand(t *rapid.T) {
	owner := rapid.SampledFrom([]string{"owner-1", "owner-2", "owner-3"}).Draw(t, "owner")
	passkey := m.some(t, present(m.live.passkeys), "p-")
	add, in := addPasskey(owner, m.next("p-")), signIn(owner, passkey, rapid.Uint32Range(0, 3).Draw(t, "count"))
	// Challenges come again; they end sooner or later.
	challenge := Challenge{hashOf(rapid.SampledFrom([]string{"c1", "c2", "c3", "c4"}).Draw(t, "challenge")), m.now.Add(time.Minute)}
	add.Challenge, in.Challenge = challenge, challenge
	m.step(t, rapid.SampledFrom([]RegistryCommand{
		AddOwner{owner, LoginToken{hashOf(m.next("o")), m.now.Add(15 * time.Minute)}},
		RemoveOwner{owner},
		add, add,
		RemovePasskey{owner, passkey},
		in, in,
		SignUp{AddPasskey: add, Session: Session{"s", m.now.Add(time.Hour)}},
	}).Draw(t, "command"))
}

// checkOwners holds the owners to what they have.
func (m *registryMachine) checkOwners(t *rapid.T) {
	if n := len(m.live.owners); m.live.registered && (n == 0 || n > MaxOwners) {
		t.Fatalf("%d owners", n)
	}
	ids := map[string]bool{}
	for _, k := range m.live.passkeys {
		if ids[string(k.CredentialID)] || !m.live.HasOwner(k.OwnerID) {
			t.Fatalf("passkey %s is there twice, or of nobody", k.ID)
		}
		ids[string(k.CredentialID)] = true
	}
}

// check holds the registry to its limits and its names.
func (m *registryMachine) check(t *rapid.T) {
	slugs, active, webhooks, managers := map[string]bool{}, map[string]int{}, map[string]int{}, 0
	for id, s := range m.live.services {
		if slugs[s.Slug] || s.ID != id {
			t.Fatalf("the slug %s is there twice", s.Slug)
		}
		slugs[s.Slug] = true
	}
	for _, k := range m.live.keys {
		if _, ok := m.live.services[k.ServiceID]; !ok {
			t.Fatalf("key %s is of no service", k.ID)
		}
		if k.Active {
			active[k.ServiceID]++
		}
	}
	for _, w := range m.live.webhooks {
		if _, ok := m.live.services[w.ServiceID]; !ok {
			t.Fatalf("webhook %s is of no service", w.ID)
		}
		webhooks[w.ServiceID]++
	}
	for _, k := range m.live.managers {
		if k.Active {
			managers++
		}
	}
	for service := range m.live.services {
		if active[service] > m.limits.KeysPerService || webhooks[service] > m.limits.WebhooksPerService {
			t.Fatalf("service %s has %d keys and %d webhooks", service, active[service], webhooks[service])
		}
	}
	if len(slugs) > m.limits.Services || managers > m.limits.ManagementKeys {
		t.Fatalf("%d services and %d management keys", len(slugs), managers)
	}
	if err := m.live.Policy().Validate(); err != nil {
		t.Fatal(err)
	}
	m.checkOwners(t)
}

func TestRegistryProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &registryMachine{newRegistryHistory(t)}
		m.limits = OwnerLimits{Services: 3, KeysPerService: 2, WebhooksPerService: 2, ManagementKeys: 2}
		actions := map[string]func(*rapid.T){
			"namespace": m.namespaceCommand,
			"service":   m.serviceCommand,
			"key":       m.keyCommand,
			"webhook":   m.webhookCommand,
			"owner":     m.ownerCommand,
			"wait":      func(t *rapid.T) { m.after(someWait.Draw(t, "wait")) },
			"":          m.check,
		}
		for range rounds {
			t.Repeat(actions)
		}
	})
}
