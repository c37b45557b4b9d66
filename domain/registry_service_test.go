package domain

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestCreateService(t *testing.T) {
	h := registered(t)
	if got := h.then(CreateService{"svc", "my-slug", "Name", "Text"}, ServiceCreated{"svc", "my-slug", "Name", "Text"}); got.ID != "svc" {
		t.Errorf("%+v", got)
	}
	if s, ok := h.live.Service("svc"); !ok || s != (Service{"svc", "my-slug", "Name", "Text", start, start}) {
		t.Errorf("%+v, %t", s, ok)
	}
	h.refused(CreateService{"svc-2", "my-slug", "Another", ""}, CodeConflict)
	for slug, good := range map[string]bool{
		"a": true, "a1-b": true, strings.Repeat("a", 64): true,
		"": false, "A": false, "-a": false, "a-": false, "a b": false, "a_b": false, strings.Repeat("a", 65): false,
	} {
		_, err := registered(t).when(CreateService{"svc", slug, "Name", ""})
		expectFields(t, slug, err, map[bool][]string{false: {"slug"}}[good]...)
	}
	_, err := h.when(CreateService{"svc-2", "A", "", strings.Repeat("x", MaxDescription+1)})
	expectFields(t, "all", err, "slug", "name", "description")
	_, err = h.when(CreateService{"svc-2", "a", strings.Repeat("x", MaxName+1), ""})
	expectFields(t, "a long name", err, "name")
	h.accepted(CreateService{"svc-2", "a", strings.Repeat("x", MaxName), strings.Repeat("x", MaxDescription)})
}

func TestSlugIsFreeAfterDeletion(t *testing.T) {
	h := registered(t)
	h.accepted(CreateService{"svc", "slug", "Name", ""})
	h.then(DeleteService{"svc"}, ServiceDeleted{"svc"})
	h.accepted(CreateService{"svc-2", "slug", "Name", ""})
	if _, ok := h.live.Service("svc"); ok {
		t.Error("the deleted service is there")
	}
}

func TestServiceLimit(t *testing.T) {
	h := registered(t)
	if h.limits.Services != 50 || h.limits.KeysPerService != 10 || h.limits.WebhooksPerService != 5 {
		t.Errorf("defaults %+v", h.limits)
	}
	for i := range h.limits.Services {
		h.accepted(CreateService{fmt.Sprint("svc-", i), fmt.Sprint("slug-", i), "Name", ""})
	}
	if m := h.refused(CreateService{"more", "more", "Name", ""}, CodeConflict); !strings.Contains(m, "50") {
		t.Error(m)
	}
	h.accepted(DeleteService{"svc-7"})
	h.accepted(CreateService{"more", "more", "Name", ""})
	h.limits.Services = 10 // lowered: nothing ends, nothing new begins
	h.refused(CreateService{"again", "again", "Name", ""}, CodeConflict)
	if _, ok := h.live.Service("svc-49"); !ok {
		t.Error("a service ended")
	}
}

func TestUpdateService(t *testing.T) {
	h := registered(t)
	h.accepted(CreateService{"svc", "slug", "Name", "Text"})
	h.after(time.Hour)
	name, empty, long := "New", "", strings.Repeat("x", MaxDescription+1)
	h.then(UpdateService{"svc", &name, nil}, ServiceUpdated{"svc", "New", "Text"})
	h.then(UpdateService{"svc", nil, &empty}, ServiceUpdated{"svc", "New", ""})
	if s, _ := h.live.Service("svc"); s != (Service{"svc", "slug", "New", "", start, start.Add(time.Hour)}) {
		t.Errorf("%+v", s)
	}
	_, err := h.when(UpdateService{"svc", &empty, &long})
	expectFields(t, "both", err, "name", "description")
	h.refused(UpdateService{"nobody's", &name, nil}, CodeNotFound)
	h.refused(UpdateService{"nobody's", &empty, nil}, CodeInvalidRequest) // syntax comes first
	h.accepted(DeleteService{"svc"})
	h.refused(UpdateService{"svc", &name, nil}, CodeNotFound)
	h.refused(DeleteService{"svc"}, CodeNotFound)
}

// With a service go its keys and its webhooks, and nothing of another service.
func TestDeleteService(t *testing.T) {
	h := filled(t)
	h.accepted(CreateService{"svc-2", "slug-2", "Name", ""})
	h.accepted(CreateServiceKey{KeyID: "k-2", ServiceID: "svc-2"})
	h.accepted(CreateWebhook{WebhookCreated{WebhookID: "w-2", ServiceID: "svc-2"}})
	h.then(DeleteService{"svc"}, ServiceDeleted{"svc"})
	for id, want := range map[string]bool{"k-1": false, "k-2": true} {
		if _, ok := h.live.ServiceKey(id); ok != want {
			t.Errorf("key %s: %t", id, ok)
		}
	}
	for id, want := range map[string]bool{"w-1": false, "w-2": true} {
		if _, ok := h.live.Webhook(id); ok != want {
			t.Errorf("webhook %s: %t", id, ok)
		}
	}
	if _, ok := h.live.ManagementKey("m-1"); !ok {
		t.Error("a management key ended with a service")
	}
	h.refused(CreateServiceKey{KeyID: "k-3", ServiceID: "svc"}, CodeNotFound)
	h.refused(DeactivateServiceKey{"k-1", "svc"}, CodeNotFound)
	h.refused(RevokeServiceKey{"k-1", "svc"}, CodeNotFound)
	h.refused(CreateWebhook{WebhookCreated{WebhookID: "w-3", ServiceID: "svc"}}, CodeNotFound)
	h.refused(SetWebhookActive{"w-1", "svc", false, ""}, CodeNotFound)
	h.refused(DeleteWebhook{"w-1", "svc"}, CodeNotFound)
}

func TestWebhooks(t *testing.T) {
	h := filled(t)
	created := WebhookCreated{
		WebhookID: "w-2", ServiceID: "svc", URL: "https://example.com", Events: []EventType{ClaimRevokedType}, Description: "d",
		Secret: Sealed{"key", []byte{1}}, AuthHeader: "X-Auth", AuthValue: &Sealed{"key", []byte{2}},
	}
	if got := h.then(CreateWebhook{created}, created); got.ID != "w-2" {
		t.Errorf("%+v", got)
	}
	w, ok := h.live.Webhook("w-2")
	if !ok || !w.Active || w.ServiceID != "svc" || w.URL != created.URL || w.AuthHeader != "X-Auth" || !w.CreatedAt.Equal(start) {
		t.Errorf("%+v, %t", w, ok)
	}
	h.accepted(CreateService{"svc-2", "slug-2", "Name", ""})
	for _, cmd := range []RegistryCommand{
		SetWebhookActive{"w-9", "svc", false, ""}, SetWebhookActive{"w-1", "svc-2", false, ""},
		DeleteWebhook{"w-9", "svc"}, DeleteWebhook{"w-1", "svc-2"},
		CreateWebhook{WebhookCreated{WebhookID: "w-9", ServiceID: "svc-9"}},
	} {
		h.refused(cmd, CodeNotFound)
	}
	h.then(SetWebhookActive{"w-1", "svc", true, ""})
	h.then(SetWebhookActive{"w-1", "svc", false, "410"}, WebhookUpdated{"w-1", "svc", false, "410"})
	if w, _ := h.live.Webhook("w-1"); w.Active {
		t.Error("it is active")
	}
	h.then(SetWebhookActive{"w-1", "svc", false, "again"})
	h.then(SetWebhookActive{"w-1", "svc", true, ""}, WebhookUpdated{"w-1", "svc", true, ""})
	h.then(DeleteWebhook{"w-1", "svc"}, WebhookDeleted{"w-1", "svc"})
	h.refused(DeleteWebhook{"w-1", "svc"}, CodeNotFound)
}

// Webhooks count whether or not they are active, those of each service on their own.
func TestWebhookLimit(t *testing.T) {
	h := filled(t)
	create := func(i int, service string) CreateWebhook {
		return CreateWebhook{WebhookCreated{WebhookID: fmt.Sprint("new-", i), ServiceID: service}}
	}
	for i := range 4 {
		h.accepted(create(i, "svc"))
	}
	h.accepted(SetWebhookActive{"w-1", "svc", false, ""})
	if m := h.refused(create(5, "svc"), CodeConflict); !strings.Contains(m, "5") {
		t.Error(m)
	}
	h.accepted(CreateService{"svc-2", "slug-2", "Name", ""})
	h.accepted(create(6, "svc-2"))
	h.accepted(DeleteWebhook{"w-1", "svc"})
	h.accepted(create(5, "svc"))
}
