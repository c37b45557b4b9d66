package domain

import (
	"slices"
	"time"
)

const (
	// SecretOverlap is how long a webhook's former secret signs beside the new one, so
	// that its receivers can be given the new one in the meantime.
	SecretOverlap = 24 * time.Hour
	// maxFormerSecrets bounds what one delivery's signature header can grow to.
	maxFormerSecrets = 3
)

// Commands on webhooks.
type (
	// CreateWebhook registers an endpoint. The caller has checked the URL and sealed
	// the secrets.
	CreateWebhook struct{ WebhookCreated }
	// UpdateWebhook sets what is not nil. The caller has checked it as for a new one.
	UpdateWebhook struct {
		WebhookID, ServiceID string
		URL, Description     *string
		Events               *[]EventType
		Auth                 *WebhookAuth
		Active               *bool
	}
	// SetWebhookActive starts or stops calls to an endpoint.
	SetWebhookActive struct {
		WebhookID, ServiceID string
		Active               bool
		Reason               string
	}
	// RotateWebhookSecret gives a webhook another secret, which the caller has sealed.
	RotateWebhookSecret struct {
		WebhookID, ServiceID string
		Secret               Sealed
	}
	// ResealWebhook puts the same secrets, sealed with another key, in the place of those
	// that the webhook still has. The caller has sealed them.
	ResealWebhook struct {
		WebhookID, ServiceID string
		Resealed             []Resealed
	}
	// DeleteWebhook ends a webhook.
	DeleteWebhook struct{ WebhookID, ServiceID string }
)

// WebhookAuth is the owner's own header on deliveries; empty and nil for none.
type WebhookAuth struct {
	Header string
	Value  *Sealed
}

func (CreateWebhook) registryCommand()       {}
func (UpdateWebhook) registryCommand()       {}
func (SetWebhookActive) registryCommand()    {}
func (RotateWebhookSecret) registryCommand() {}
func (ResealWebhook) registryCommand()       {}
func (DeleteWebhook) registryCommand()       {}

// decideWebhook decides on a webhook that exists.
func (r *Registry) decideWebhook(cmd RegistryCommand, now time.Time) (RegistryDecision, error) {
	switch cmd := cmd.(type) {
	case UpdateWebhook:
		w, err := r.webhookOf(cmd.WebhookID, cmd.ServiceID)
		if err != nil {
			return RegistryDecision{}, err
		}
		return record(w.ID, cmd.changes(w)...)
	case SetWebhookActive:
		w, err := r.webhookOf(cmd.WebhookID, cmd.ServiceID)
		if err != nil || w.Active == cmd.Active {
			return RegistryDecision{Answer: RegistryAnswer{ID: w.ID}}, err
		}
		return record(w.ID, WebhookUpdated{w.ID, w.ServiceID, cmd.Active, cmd.Reason})
	case RotateWebhookSecret:
		w, err := r.webhookOf(cmd.WebhookID, cmd.ServiceID)
		if err != nil {
			return RegistryDecision{}, err
		}
		if len(stillSigning(w.Former, now)) >= maxFormerSecrets {
			return RegistryDecision{}, Errorf(CodeConflict, "The webhook's last %d secrets still sign beside the present one. Rotate when one of them has ended.", maxFormerSecrets)
		}
		return record(w.ID, WebhookSecretRotated{w.ID, w.ServiceID, cmd.Secret, storedTime(now.Add(SecretOverlap))})
	case ResealWebhook:
		w, err := r.webhookOf(cmd.WebhookID, cmd.ServiceID)
		if err != nil {
			return RegistryDecision{}, err
		}
		return cmd.reseal(w, now)
	case DeleteWebhook:
		w, err := r.webhookOf(cmd.WebhookID, cmd.ServiceID)
		if err != nil {
			return RegistryDecision{}, err
		}
		return record(w.ID, WebhookDeleted{w.ID, w.ServiceID})
	}
	return r.decideOwner(cmd, now)
}

func (r *Registry) webhookOf(id, serviceID string) (Webhook, error) {
	w, ok := r.webhooks[id]
	if !ok || w.ServiceID != serviceID {
		return Webhook{}, notFound("webhook")
	}
	return w, nil
}

// changes are the events that the command comes to on the webhook as it is. A new
// value for the owner's header always is one: what was sealed cannot be compared.
func (cmd UpdateWebhook) changes(w Webhook) (payloads []Payload) {
	p := WebhookReconfigured{w.ID, w.ServiceID, w.URL, w.Events, w.Description, w.AuthHeader, w.AuthValue}
	setTo(&p.URL, cmd.URL)
	setTo(&p.Description, cmd.Description)
	setTo(&p.Events, cmd.Events)
	if cmd.Auth != nil {
		p.AuthHeader, p.AuthValue = cmd.Auth.Header, cmd.Auth.Value
	}
	if p.URL != w.URL || p.Description != w.Description || !slices.Equal(p.Events, w.Events) ||
		p.AuthHeader != w.AuthHeader || p.AuthValue != w.AuthValue {
		payloads = append(payloads, p)
	}
	if cmd.Active != nil && *cmd.Active != w.Active {
		payloads = append(payloads, WebhookUpdated{WebhookID: w.ID, ServiceID: w.ServiceID, Active: *cmd.Active})
	}
	return payloads
}

func (r *Registry) createWebhook(cmd CreateWebhook, limits OwnerLimits) (RegistryDecision, error) {
	if _, ok := r.services[cmd.ServiceID]; !ok {
		return RegistryDecision{}, notFound("service")
	}
	n := 0
	for _, w := range r.webhooks {
		if w.ServiceID == cmd.ServiceID {
			n++
		}
	}
	if n >= limits.WebhooksPerService {
		return RegistryDecision{}, limitConflict("webhooks for a service", limits.WebhooksPerService)
	}
	return record(cmd.WebhookID, cmd.WebhookCreated)
}

func (r *Registry) evolveWebhook(p Payload, at time.Time) error {
	switch p := p.(type) {
	case WebhookCreated:
		return insert(r.webhooks, p.WebhookID, Webhook{
			ID: p.WebhookID, ServiceID: p.ServiceID, URL: p.URL, Description: p.Description, Events: p.Events,
			Secret: p.Secret, AuthHeader: p.AuthHeader, AuthValue: p.AuthValue, Active: true, CreatedAt: at,
		})
	case WebhookReconfigured:
		return change(r.webhooks, p.WebhookID, func(w *Webhook) {
			w.URL, w.Events, w.Description, w.AuthHeader, w.AuthValue = p.URL, p.Events, p.Description, p.AuthHeader, p.AuthValue
		})
	case WebhookUpdated:
		return change(r.webhooks, p.WebhookID, func(w *Webhook) { w.Active = p.Active })
	case WebhookSecretRotated:
		return change(r.webhooks, p.WebhookID, func(w *Webhook) {
			w.Former = withFormer(stillSigning(w.Former, at), FormerSecret{w.Secret, p.PreviousUntil})
			w.Secret = p.Secret
		})
	case WebhookResealed:
		return change(r.webhooks, p.WebhookID, func(w *Webhook) {
			w.Secret, w.AuthValue, w.Former = p.Secret, p.AuthValue, p.Former
		})
	case WebhookDeleted:
		return remove(r.webhooks, p.WebhookID)
	}
	return r.evolveOwner(p, at)
}
