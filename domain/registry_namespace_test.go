package domain

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// A namespace may begin with other limits than the default ones; they are recorded then.
func TestNewNamespacesLimits(t *testing.T) {
	token := LoginToken{hashOf("t"), start.Add(time.Hour)}
	usual := DefaultPolicy()
	other := DefaultPolicy()
	other.MaxPending, other.PendingExpiryHours = 3, 0
	issued := LoginTokenIssued{"owner-1", token.Hash, token.ExpiresAt}
	for _, limits := range []*Limits{nil, &usual.Limits} {
		h := newRegistryHistory(t)
		h.then(RegisterNamespace{OwnerID: "owner-1", Token: token, Limits: limits}, NamespaceRegistered{"acme", "owner-1"}, issued)
	}
	h := newRegistryHistory(t)
	h.then(RegisterNamespace{OwnerID: "owner-1", Token: token, Limits: &other.Limits},
		NamespaceRegistered{"acme", "owner-1"}, issued, PolicyChanged{other})
	if got := h.live.Policy(); !got.equal(other) {
		t.Errorf("it begins with %+v", got)
	}
	h = newRegistryHistory(t)
	other.MaxAgents = 0
	h.refused(RegisterNamespace{OwnerID: "owner-1", Token: token, Limits: &other.Limits}, CodeInvalidRequest)
}

func TestRegister(t *testing.T) {
	token := LoginToken{hashOf("t"), start.Add(15 * time.Minute)}
	for name, code := range map[string]Code{
		"acme": "", "a-1": "", strings.Repeat("a", 64): "",
		"claims": CodeInvalidRequest, "claims-1": "",
		"ab": CodeInvalidRequest, "Acme": CodeInvalidRequest, "-acme": CodeInvalidRequest, "acme-": CodeInvalidRequest,
		"ac.me": CodeInvalidRequest, "ac me": CodeInvalidRequest, "": CodeInvalidRequest, strings.Repeat("a", 65): CodeInvalidRequest,
	} {
		d, err := NewRegistry(name).Decide(RegisterNamespace{OwnerID: "owner-1", Token: token}, CommandRef{}, DefaultOwnerLimits(), start)
		expectCode(t, err, code)
		if code != "" {
			expectFields(t, name, err, "namespace")
			continue
		}
		expectPayloads(t, d.Payloads, []Payload{NamespaceRegistered{name, "owner-1"}, LoginTokenIssued{"owner-1", token.Hash, token.ExpiresAt}})
		if d.Answer != (RegistryAnswer{ID: name, OwnerID: "owner-1"}) {
			t.Errorf("%+v", d.Answer)
		}
	}
	h := registered(t)
	h.refused(RegisterNamespace{OwnerID: "owner-2", Token: token}, CodeConflict)
	if r := h.live; !r.Registered() || !r.Active() || r.Owner() != "owner-1" || !r.HasOwner("owner-1") || r.HasOwner("owner-2") || r.HasOwner("") {
		t.Errorf("%+v", r)
	}
}

// registryCommands has one of each command, on things that are there in filled.
func registryCommands() map[string]RegistryCommand {
	limit, text := 5, "text"
	return map[string]RegistryCommand{
		"issue login token":         IssueLoginToken{OwnerID: "owner-1", Token: LoginToken{hashOf("t2"), start.Add(time.Hour)}},
		"use login token":           UseLoginToken{hashOf("token-1"), "session", start.Add(time.Hour)},
		"end session":               EndSession{"owner-1", "session", start.Add(time.Hour)},
		"deactivate namespace":      DeactivateNamespace{},
		"activate namespace":        ActivateNamespace{},
		"change policy":             ChangePolicy{MaxPending: &limit},
		"create service":            CreateService{"svc-9", "slug-9", "Name", ""},
		"update service":            UpdateService{ServiceID: "svc", Name: &text},
		"delete service":            DeleteService{"svc"},
		"create service key":        CreateServiceKey{KeyID: "k-9", ServiceID: "svc"},
		"deactivate service key":    DeactivateServiceKey{"k-1", "svc"},
		"revoke service key":        RevokeServiceKey{"k-1", "svc"},
		"create management key":     CreateManagementKey{KeyID: "m-9", Name: "n", Permissions: Permissions, Grantor: Permissions},
		"deactivate management key": DeactivateManagementKey{"m-1", Permissions},
		"delete management key":     DeleteManagementKey{"m-1", Permissions},
		"create webhook":            CreateWebhook{WebhookCreated{WebhookID: "w-9", ServiceID: "svc"}},
		"set webhook active":        SetWebhookActive{"w-1", "svc", false, ""},
		"update webhook":            UpdateWebhook{WebhookID: "w-1", ServiceID: "svc", Description: &text},
		"rotate webhook's secret":   RotateWebhookSecret{WebhookID: "w-1", ServiceID: "svc"},
		"reseal webhook":            ResealWebhook{"w-1", "svc", []Resealed{{To: Sealed{"new", []byte{1}}}}},
		"delete webhook":            DeleteWebhook{"w-1", "svc"},
		"add owner":                 AddOwner{OwnerID: "owner-9", Token: LoginToken{hashOf("t3"), start.Add(time.Hour)}},
		"remove owner":              RemoveOwner{"owner-2"},
		"add passkey":               addPasskey("owner-1", "p-9"),
		"remove passkey":            RemovePasskey{"owner-1", "p-1"},
		"sign in":                   signIn("owner-1", "p-1", 5),
	}
}

// filled is a namespace with one of everything.
func filled(t *testing.T) *registryHistory {
	h := registered(t)
	h.accepted(CreateService{"svc", "slug", "Name", "Text"})
	h.accepted(CreateServiceKey{"k-1", "svc", "key", "sk_live_abcd", hashOf("k-1")})
	h.accepted(CreateManagementKey{"m-1", "key", "wxyz", []Permission{PermissionRead, PermissionUpdateData}, Permissions, hashOf("m-1")})
	h.accepted(CreateWebhook{WebhookCreated{WebhookID: "w-1", ServiceID: "svc", URL: "https://example.com", Events: []EventType{ClaimApprovedType}}})
	h.accepted(AddOwner{"owner-2", LoginToken{hashOf("t-2"), start.Add(time.Hour)}})
	h.accepted(addPasskey("owner-1", "p-1"))
	return h
}

func TestNothingHappensInAnUnregisteredNamespace(t *testing.T) {
	for name, cmd := range registryCommands() {
		t.Run(name, func(t *testing.T) { newRegistryHistory(t).refused(cmd, CodeNotFound) })
	}
	r := NewRegistry("acme")
	if r.Registered() || r.Active() || r.Owner() != "" {
		t.Errorf("%+v", r)
	}
}

// An operator stops a namespace, not its owner: he may go on putting it in order.
func TestOwnersOfADeactivatedNamespace(t *testing.T) {
	for name, cmd := range registryCommands() {
		t.Run(name, func(t *testing.T) {
			h := filled(t)
			h.accepted(DeactivateNamespace{})
			if d, err := h.when(cmd); err != nil || (len(d.Payloads) == 0) != (name == "deactivate namespace") {
				t.Errorf("%+v, %v", d, err)
			}
		})
	}
}

func TestUnknownRegistryCommand(t *testing.T) {
	registered(t).refused(nil, CodeInternal)
}

func TestDeactivateAndActivate(t *testing.T) {
	h := registered(t)
	h.then(ActivateNamespace{"r"})
	h.then(DeactivateNamespace{"unpaid"}, NamespaceDeactivated{"unpaid"})
	if h.live.Active() || !h.live.Registered() || h.live.Terms().Active {
		t.Error("it is active")
	}
	h.then(DeactivateNamespace{"again"})
	h.then(ActivateNamespace{"paid"}, NamespaceActivated{"paid"})
	if !h.live.Active() || !h.live.Terms().Active {
		t.Error("it is not active")
	}
}

func TestLoginToken(t *testing.T) {
	use := UseLoginToken{hashOf("token-1"), "session", start.Add(12 * time.Hour)}
	loggedIn := OwnerLoggedIn{"owner-1", hashOf("token-1"), "session", start.Add(12 * time.Hour)}
	for after, good := range map[time.Duration]bool{0: true, 15*time.Minute - 1: true, 15 * time.Minute: false, time.Hour: false} {
		h := registered(t)
		h.after(after)
		if !good {
			h.refused(use, CodeUnauthorized)
			continue
		}
		if got := h.then(use, loggedIn); got != (RegistryAnswer{ID: "session", OwnerID: "owner-1"}) {
			t.Errorf("%+v", got)
		}
		h.refused(use, CodeUnauthorized)
	}
	h := registered(t)
	h.refused(UseLoginToken{TokenHash: hashOf("guess"), SessionID: "session"}, CodeUnauthorized)
	h.refused(UseLoginToken{SessionID: "session"}, CodeUnauthorized)
	h.after(time.Hour)
	h.accepted(DeactivateNamespace{}) // a commit after its time forgets the token
	if len(h.live.tokens) != 0 {
		t.Error("a token is kept past its time")
	}
	h.refused(use, CodeUnauthorized)
}

func TestIssueLoginToken(t *testing.T) {
	h := registered(t)
	token := LoginToken{hashOf("token-2"), start.Add(15 * time.Minute)}
	if got := h.then(IssueLoginToken{Token: token}, LoginTokenIssued{"owner-1", token.Hash, token.ExpiresAt}); got.OwnerID != "owner-1" {
		t.Errorf("the first owner's: %+v", got)
	}
	h.refused(IssueLoginToken{OwnerID: "owner-2", Token: token}, CodeNotFound)
	h.accepted(IssueLoginToken{"owner-1", LoginToken{hashOf("token-3"), start.Add(15 * time.Minute)}})
	// All of them are good, each once.
	for _, name := range []string{"token-1", "token-2", "token-3"} {
		h.accepted(UseLoginToken{hashOf(name), "session-" + name, start.Add(time.Hour)})
	}
}

func TestEndSession(t *testing.T) {
	h := registered(t)
	end := start.Add(12 * time.Hour)
	h.accepted(UseLoginToken{hashOf("token-1"), "session", end})
	if h.live.SessionEnded("session") {
		t.Error("it ended at once")
	}
	h.then(EndSession{"owner-1", "session", end}, SessionEnded{"owner-1", "session", end})
	if !h.live.SessionEnded("session") || h.live.SessionEnded("another") {
		t.Error("the wrong session ended")
	}
	h.then(EndSession{"owner-1", "session", end})
	h.now = end
	h.accepted(DeactivateNamespace{})
	if !h.live.SessionEnded("session") {
		t.Error("forgotten while the session could still be used")
	}
	h.after(1)
	h.accepted(ActivateNamespace{})
	if h.live.SessionEnded("session") {
		t.Error("kept for longer than it matters")
	}
}

func TestTokenAndSessionTimesAreStoredTimes(t *testing.T) {
	zone := time.FixedZone("x", 3617)
	h := newRegistryHistory(t) // the helper compares with what is read again
	h.accepted(RegisterNamespace{OwnerID: "owner-1", Token: LoginToken{hashOf("a"), start.Add(time.Hour).In(zone)}})
	h.accepted(IssueLoginToken{Token: LoginToken{hashOf("b"), start.Add(time.Hour).In(zone)}})
	h.accepted(UseLoginToken{hashOf("a"), "session", start.Add(time.Hour).In(zone)})
	h.accepted(EndSession{"owner-1", "session", start.Add(time.Hour).In(zone)})
}

func TestChangePolicy(t *testing.T) {
	h := registered(t)
	a, b, c, d := 1, 2, 3, 0
	services, ranges := []string{"svc"}, []string{"203.0.113.0/24"}
	want := Policy{Limits{1, 2, 3, 0}, AutoApprove{services, ranges}}
	h.then(ChangePolicy{&a, &b, &c, &d, &services, &ranges}, PolicyChanged{want})

	// What is not named stays.
	want.MaxAgents = 3
	h.then(ChangePolicy{MaxAgents: &c}, PolicyChanged{want})
	want.AutoApprove.ServiceIDs = []string{}
	h.then(ChangePolicy{ServiceIDs: new([]string{})}, PolicyChanged{want})
	if got, _ := json.Marshal(h.live.Policy()); string(got) !=
		`{"max_pending":1,"max_agents":3,"max_services":3,"pending_expiry_hours":0,"auto_approve":{"service_ids":[],"cidrs":["203.0.113.0/24"]}}` {
		t.Errorf("%s", got)
	}
}

// A list that was given as nothing is an empty list, so that clients read [].
func TestChangePolicyHasNoNullLists(t *testing.T) {
	h := registered(t)
	var none []string
	want := DefaultPolicy()
	want.MaxPending = 7
	h.then(ChangePolicy{MaxPending: new(7), ServiceIDs: &none, CIDRs: &none}, PolicyChanged{want})
}

// What changes nothing is not history.
func TestChangePolicyToWhatItIs(t *testing.T) {
	h := registered(t)
	h.then(ChangePolicy{})
	h.then(ChangePolicy{MaxPending: new(DefaultMaxPending), CIDRs: new([]string{})})
}

func TestChangePolicyBounds(t *testing.T) {
	fields := map[string]func(*int) ChangePolicy{
		"max_pending":          func(n *int) ChangePolicy { return ChangePolicy{MaxPending: n} },
		"max_agents":           func(n *int) ChangePolicy { return ChangePolicy{MaxAgents: n} },
		"max_services":         func(n *int) ChangePolicy { return ChangePolicy{MaxServices: n} },
		"pending_expiry_hours": func(n *int) ChangePolicy { return ChangePolicy{PendingExpiryHours: n} },
	}
	for name, change := range fields {
		for value, good := range map[int]bool{-1: false, 0: name == "pending_expiry_hours", 1: true, MaxPolicyValue: true, MaxPolicyValue + 1: false} {
			h := registered(t)
			if good {
				h.accepted(change(&value))
				continue
			}
			_, err := h.when(change(&value))
			expectFields(t, name, err, name)
		}
	}
	h := registered(t)
	_, err := h.when(ChangePolicy{ServiceIDs: &[]string{""}, CIDRs: &[]string{"here"}})
	expectFields(t, "lists", err, "auto_approve.service_ids[0]", "auto_approve.cidrs[0]")
}

func TestRegistryIdempotency(t *testing.T) {
	h := registered(t)
	h.ref = CommandRef{Name: "service.create", Caller: "owner-1", Key: "idem", Request: hashOf("body")}
	first := h.accepted(CreateService{"svc", "slug", "Name", ""})
	again := CreateService{"svc-2", "slug", "Name", ""} // a repeat comes with an id of its own
	if got := h.then(again); !reflect.DeepEqual(got, first) {
		t.Errorf("%+v, then %+v", first, got)
	}
	h.ref.Request = hashOf("other")
	h.refused(again, CodeIdempotencyMismatch)
	h.ref.Request, h.ref.Name = hashOf("body"), "key.create"
	h.refused(again, CodeIdempotencyMismatch)
	h.ref.Name, h.ref.Caller = "service.create", "owner-2"
	h.refused(again, CodeConflict) // decided anew: the slug is taken
	h.ref.Caller = "owner-1"
	h.after(24*time.Hour - 1)
	h.then(again)
	h.after(1)
	h.refused(again, CodeConflict)
}

// The repeat of a registration is answered like the first, though it would be refused.
func TestRegisterIdempotency(t *testing.T) {
	h := newRegistryHistory(t)
	h.ref = CommandRef{Name: "namespace.register", Caller: "operator", Key: "idem"}
	cmd := RegisterNamespace{OwnerID: "owner-1", Token: LoginToken{hashOf("t"), start.Add(time.Hour)}}
	first := h.accepted(cmd)
	if got := h.then(cmd); got != first {
		t.Errorf("%+v, then %+v", first, got)
	}
}
