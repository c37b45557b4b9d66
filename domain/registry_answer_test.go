package domain

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// answering are the commands that show an object, in an order in which all of them can be
// given.
func answering() []RegistryCommand {
	name, url, agents := "Another", "https://example.com/new", 3
	return []RegistryCommand{
		ChangePolicy{MaxAgents: &agents, CIDRs: &[]string{"203.0.113.0/24"}},
		CreateService{"svc", "slug", "Name", "Text"},
		CreateServiceKey{"k-1", "svc", "first", "sk_live_abcd", hashOf("k-1")},
		UpdateService{ServiceID: "svc", Name: &name},
		CreateManagementKey{"m-1", "m", "wxyz", []Permission{PermissionRead}, Permissions, hashOf("m-1")},
		CreateWebhook{WebhookCreated{WebhookID: "w-1", ServiceID: "svc", URL: "https://example.com", Events: []EventType{ClaimApprovedType},
			Secret: Sealed{"key", []byte("sealed")}, AuthHeader: "X-Auth", AuthValue: &Sealed{"key", []byte("sealed")}}},
		UpdateWebhook{WebhookID: "w-1", ServiceID: "svc", URL: &url},
		RotateWebhookSecret{"w-1", "svc", Sealed{"key", []byte("sealed")}},
	}
}

// keyed gives the next command an idempotency key of its own.
func (h *registryHistory) keyed(cmd RegistryCommand) {
	h.ref = CommandRef{Name: reflect.TypeOf(cmd).Name(), Caller: "owner", Key: reflect.TypeOf(cmd).Name(), Request: hashOf("body")}
}

// A repeat is told what the first was told, whatever happened to the object since.
func TestAnswersStay(t *testing.T) {
	h := registered(t)
	var first []RegistryAnswer
	for _, cmd := range answering() {
		h.after(time.Minute)
		h.keyed(cmd)
		first = append(first, h.accepted(cmd))
	}
	for _, stored := range h.stored[1:] {
		var c struct {
			Command struct{ Answer json.RawMessage }
		}
		if err := json.Unmarshal(stored, &c); err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{hashOf("k-1").String(), hashOf("m-1").String(), "c2VhbGVk", "hash", "X-Auth"} {
			if strings.Contains(string(c.Command.Answer), secret) {
				t.Errorf("%s is remembered with %s", c.Command.Answer, secret)
			}
		}
	}
	h.ref = CommandRef{}
	h.accepted(RevokeServiceKey{"k-1", "svc"})
	h.accepted(DeleteManagementKey{"m-1", Permissions})
	h.accepted(DeleteService{"svc"})
	agents := 4
	h.accepted(ChangePolicy{MaxAgents: &agents})
	for i, cmd := range answering() {
		h.keyed(cmd)
		if got := h.then(cmd); !reflect.DeepEqual(got, first[i]) {
			t.Errorf("%T: %+v, then %+v", cmd, first[i], got)
		}
	}
}

// What is shown is what the state holds once the command is recorded.
func TestAnswersAreTheState(t *testing.T) {
	h := registered(t)
	show := map[string]any{}
	for _, cmd := range answering() {
		h.after(time.Minute)
		a := h.accepted(cmd)
		show[reflect.TypeOf(cmd).Name()] = a
		var of, want any
		switch cmd.(type) {
		case ChangePolicy:
			of, want = *a.Policy, h.live.Policy()
		case CreateService, UpdateService:
			s, _ := h.live.Service(a.ID)
			of, want = *a.Service, ServiceAnswer{s.Slug, s.Name, s.Description, s.CreatedAt, s.UpdatedAt, h.live.ActiveKeys(s.ID)}
		case CreateServiceKey:
			k, _ := h.live.ServiceKey(a.ID)
			of, want = *a.ServiceKey, ServiceKeyAnswer{k.Name, k.Prefix, k.Active, k.CreatedAt}
		case CreateManagementKey:
			k, _ := h.live.ManagementKey(a.ID)
			of, want = *a.ManagementKey, ManagementKeyAnswer{k.Name, k.LastFour, k.Permissions, k.Active, k.CreatedAt}
		case CreateWebhook, UpdateWebhook:
			w, _ := h.live.Webhook(a.ID)
			of, want = *a.Webhook, WebhookAnswer{w.URL, w.Events, w.Description, w.Active, w.CreatedAt}
		case RotateWebhookSecret:
			w, _ := h.live.Webhook(a.ID)
			of, want = *a.PreviousUntil, w.Former[len(w.Former)-1].Until
		}
		if !reflect.DeepEqual(of, want) {
			t.Errorf("%T shows %+v, and the state holds %+v", cmd, of, want)
		}
	}
	if updated := show["UpdateService"].(RegistryAnswer).Service; updated.ActiveKeys != 1 || !updated.UpdatedAt.After(updated.CreatedAt) {
		t.Errorf("the service is shown as %+v", updated)
	}
}

// Answers once held ids alone. Such a one is completed from the state as it is now.
func TestAnswersOfOld(t *testing.T) {
	h := registered(t)
	var now []RegistryAnswer
	for _, cmd := range answering() {
		h.keyed(cmd)
		d, err := h.live.Decide(cmd, h.ref, h.limits, h.now)
		if err != nil {
			t.Fatalf("%T: %v", cmd, err)
		}
		h.mustRecord(answered(h.ref, RegistryAnswer{ID: d.Answer.ID}), nil, d.Payloads)
		if got := h.then(cmd); !reflect.DeepEqual(got, d.Answer) {
			t.Errorf("%T: %+v, then %+v", cmd, d.Answer, got)
		}
		now = append(now, d.Answer)
	}
	h.ref = CommandRef{}
	h.accepted(DeleteService{"svc"})
	h.accepted(DeleteManagementKey{"m-1", Permissions})
	for i, cmd := range answering() {
		h.keyed(cmd)
		if now[i].Policy == nil {
			h.refused(cmd, CodeNotFound)
		} else if got := h.then(cmd); !reflect.DeepEqual(got, now[i]) {
			t.Errorf("%T: %+v, then %+v", cmd, now[i], got)
		}
	}
}
