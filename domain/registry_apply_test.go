package domain

import (
	"testing"
	"time"
)

func TestRegistryApplyRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		edit    func(*Commit)
		payload Payload
		good    bool
	}{
		"as it was":             {nil, NamespaceDeactivated{}, true},
		"the same version":      {func(c *Commit) { c.Version-- }, NamespaceDeactivated{}, false},
		"a gap":                 {func(c *Commit) { c.Version++ }, NamespaceDeactivated{}, false},
		"another namespace":     {func(c *Commit) { c.Namespace = "other" }, NamespaceDeactivated{}, false},
		"the other boundary":    {func(c *Commit) { c.Kind = KindClaims }, NamespaceDeactivated{}, false},
		"time goes backwards":   {func(c *Commit) { c.Time = start.Add(-1) }, NamespaceDeactivated{}, false},
		"a claim's event":       {nil, ClaimExpired{ClaimID: "c1"}, false},
		"a claim":               {nil, asked("c1", "svc", "key", nil), false},
		"registered twice":      {nil, NamespaceRegistered{"acme", "owner-2"}, false},
		"unknown token":         {nil, OwnerLoggedIn{TokenHash: hashOf("guess")}, false},
		"token":                 {nil, OwnerLoggedIn{TokenHash: hashOf("token-1")}, true},
		"service twice":         {nil, ServiceCreated{ServiceID: "svc", Slug: "other"}, false},
		"unknown service":       {nil, ServiceUpdated{ServiceID: "nobody's"}, false},
		"unknown, deleted":      {nil, ServiceDeleted{"nobody's"}, false},
		"service key twice":     {nil, ServiceKeyCreated{KeyID: "k-1", ServiceID: "svc"}, false},
		"unknown key":           {nil, ServiceKeyDeactivated{"k-9", "svc"}, false},
		"unknown, revoked":      {nil, ServiceKeyRevoked{"k-9", "svc"}, false},
		"management key twice":  {nil, ManagementKeyCreated{KeyID: "m-1"}, false},
		"unknown manager":       {nil, ManagementKeyDeactivated{"m-9"}, false},
		"unknown, key deleted":  {nil, ManagementKeyDeleted{"m-9"}, false},
		"webhook twice":         {nil, WebhookCreated{WebhookID: "w-1", ServiceID: "svc"}, false},
		"unknown webhook":       {nil, WebhookUpdated{WebhookID: "w-9"}, false},
		"unknown, hook deleted": {nil, WebhookDeleted{WebhookID: "w-9"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := filled(t)
			commit := NewCommit("01J", RegistryOf("acme"), start, Actor{Kind: ActorClock}, CommandRef{}, nil, []Payload{c.payload})
			commit.Version = h.live.Version() + 1
			if c.edit != nil {
				c.edit(commit)
			}
			if err := h.live.Apply(commit); (err == nil) != c.good {
				t.Error(err)
			}
		})
	}
}

func TestRegistryApplyRefusesATokenTwice(t *testing.T) {
	h := registered(t)
	use := []Payload{OwnerLoggedIn{TokenHash: hashOf("token-1"), SessionID: "s"}}
	h.mustRecord(CommandRef{}, nil, use)
	if err := h.record(CommandRef{}, nil, use); err == nil {
		t.Error("a token was used twice")
	}
}

func TestRegistryBeginsWithItsRegistration(t *testing.T) {
	for _, p := range currentEvents() {
		commit := NewCommit("01J", RegistryOf("acme"), start, Actor{Kind: ActorClock}, CommandRef{}, nil, []Payload{p})
		commit.Version = 1
		err := NewRegistry("acme").Apply(commit)
		if _, first := p.(NamespaceRegistered); (err == nil) != first {
			t.Errorf("%T: %v", p, err)
		}
	}
}

// What a registry returns by value stays as it is when the registry moves on.
func TestRegistryReturnsCopies(t *testing.T) {
	h := filled(t)
	h.accepted(ChangePolicy{ServiceIDs: &[]string{"svc"}})
	policy, terms := h.live.Policy(), h.live.Terms()
	service, _ := h.live.Service("svc")
	key, _ := h.live.ServiceKey("k-1")
	h.after(time.Hour)
	name := "New"
	h.accepted(ChangePolicy{ServiceIDs: &[]string{"other"}})
	h.accepted(UpdateService{ServiceID: "svc", Name: &name})
	h.accepted(DeactivateServiceKey{"k-1", "svc"})
	if policy.AutoApprove.ServiceIDs[0] != "svc" || terms.Policy.AutoApprove.ServiceIDs[0] != "svc" || service.Name != "Name" || !key.Active {
		t.Error("a copy changed")
	}
}
