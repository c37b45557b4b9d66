package domain

import (
	"testing"
	"time"
)

func TestUpdateWebhook(t *testing.T) {
	h := filled(t)
	before, _ := h.live.Webhook("w-1")
	of := func(change func(*UpdateWebhook)) UpdateWebhook {
		cmd := UpdateWebhook{WebhookID: "w-1", ServiceID: "svc"}
		change(&cmd)
		return cmd
	}
	url, text, off, on := "https://example.com/new", "new", false, true
	events, value := []EventType{ClaimRevokedType, ClaimExpiredType}, &Sealed{"key", []byte{3}}
	p := WebhookReconfigured{"w-1", "svc", url, before.Events, "", "", nil}

	h.then(of(func(*UpdateWebhook) {}))
	h.then(of(func(c *UpdateWebhook) {
		c.URL, c.Events, c.Active, c.Auth = &before.URL, &before.Events, &on, &WebhookAuth{}
	}))
	h.then(of(func(c *UpdateWebhook) { c.URL = &url }), p)
	p.Events = events
	h.then(of(func(c *UpdateWebhook) { c.Events = &events }), p)
	p.Description = text
	h.then(of(func(c *UpdateWebhook) { c.Description = &text }), p)
	p.AuthHeader, p.AuthValue = "X-Auth", value
	h.then(of(func(c *UpdateWebhook) { c.Auth = &WebhookAuth{"X-Auth", value} }), p)
	h.then(of(func(c *UpdateWebhook) { c.Active = &off }), WebhookUpdated{WebhookID: "w-1", ServiceID: "svc"})
	p.AuthHeader, p.AuthValue = "", nil
	h.then(of(func(c *UpdateWebhook) { c.Auth, c.Active = &WebhookAuth{}, &on }), p,
		WebhookUpdated{WebhookID: "w-1", ServiceID: "svc", Active: true})

	w, _ := h.live.Webhook("w-1")
	if w.URL != url || w.Description != text || len(w.Events) != 2 || w.AuthHeader != "" || w.AuthValue != nil || !w.Active {
		t.Errorf("%+v", w)
	}
	h.refused(UpdateWebhook{WebhookID: "w-9", ServiceID: "svc", URL: &url}, CodeNotFound)
	h.refused(UpdateWebhook{WebhookID: "w-1", ServiceID: "svc-9", URL: &url}, CodeNotFound)
}

// A former secret ends when it was said to, and only so many sign at a time.
func TestRotateWebhookSecret(t *testing.T) {
	h := filled(t)
	rotate := func(n byte) RotateWebhookSecret {
		return RotateWebhookSecret{"w-1", "svc", Sealed{"key", []byte{n}}}
	}
	recorded := func(n byte) WebhookSecretRotated {
		return WebhookSecretRotated{"w-1", "svc", Sealed{"key", []byte{n}}, h.now.Add(SecretOverlap)}
	}
	for n := range byte(maxFormerSecrets) {
		h.then(rotate(n), recorded(n))
		h.after(time.Hour)
	}
	h.refused(rotate(9), CodeConflict)
	h.after(SecretOverlap - maxFormerSecrets*time.Hour - 1)
	h.refused(rotate(9), CodeConflict)
	h.after(1)
	h.then(rotate(9), recorded(9))
	h.refused(rotate(9), CodeConflict)
	if w, _ := h.live.Webhook("w-1"); w.Secret.Data[0] != 9 || len(w.Former) != maxFormerSecrets {
		t.Errorf("%+v", w)
	}
	h.refused(RotateWebhookSecret{"w-9", "svc", Sealed{}}, CodeNotFound)
	h.refused(RotateWebhookSecret{"w-1", "svc-9", Sealed{}}, CodeNotFound)
}
