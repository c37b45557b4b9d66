package domain

import "time"

const (
	WebhookCreatedType       EventType = "webhook.created"
	WebhookReconfiguredType  EventType = "webhook.reconfigured"
	WebhookUpdatedType       EventType = "webhook.updated"
	WebhookSecretRotatedType EventType = "webhook.secret_rotated"
	WebhookResealedType      EventType = "webhook.resealed"
	WebhookDeletedType       EventType = "webhook.deleted"
)

// WebhookCreated registers an endpoint. Secrets are sealed with the webhook's id as
// associated data.
type WebhookCreated struct {
	WebhookID   string      `json:"webhook_id"`
	ServiceID   string      `json:"service_id"`
	URL         string      `json:"url"`
	Events      []EventType `json:"events"` // claim.* event types
	Description string      `json:"description,omitempty"`
	Secret      Sealed      `json:"secret"`
	AuthHeader  string      `json:"auth_header,omitempty"`
	AuthValue   *Sealed     `json:"auth_value,omitempty"`
}

// WebhookReconfigured records what a webhook is after a change of anything but its
// secret and whether it is called.
type WebhookReconfigured struct {
	WebhookID   string      `json:"webhook_id"`
	ServiceID   string      `json:"service_id"`
	URL         string      `json:"url"`
	Events      []EventType `json:"events"`
	Description string      `json:"description,omitempty"`
	AuthHeader  string      `json:"auth_header,omitempty"`
	AuthValue   *Sealed     `json:"auth_value,omitempty"`
}

// WebhookUpdated records whether a webhook is called, and why that changed.
type WebhookUpdated struct {
	WebhookID string `json:"webhook_id"`
	ServiceID string `json:"service_id"`
	Active    bool   `json:"active"`
	Reason    string `json:"reason,omitempty"`
}

// WebhookSecretRotated gives a webhook another secret. The one that it had signs beside
// it until its end.
type WebhookSecretRotated struct {
	WebhookID     string    `json:"webhook_id"`
	ServiceID     string    `json:"service_id"`
	Secret        Sealed    `json:"secret"`
	PreviousUntil time.Time `json:"previous_until"`
}

// WebhookResealed records the same secrets of a webhook, sealed with another key. The
// former ones are those that sign still.
type WebhookResealed struct {
	WebhookID string         `json:"webhook_id"`
	ServiceID string         `json:"service_id"`
	Secret    Sealed         `json:"secret"`
	AuthValue *Sealed        `json:"auth_value,omitempty"`
	Former    []FormerSecret `json:"former_secrets,omitempty"`
}

// FormerSecret is one that a webhook had. It signs beside the present one until its end.
type FormerSecret struct {
	Secret Sealed    `json:"secret"`
	Until  time.Time `json:"until"`
}

// WebhookDeleted ends a webhook: what is queued for it is not delivered.
type WebhookDeleted struct {
	WebhookID string `json:"webhook_id"`
	ServiceID string `json:"service_id"`
}

func (WebhookCreated) EventType() EventType       { return WebhookCreatedType }
func (WebhookReconfigured) EventType() EventType  { return WebhookReconfiguredType }
func (WebhookUpdated) EventType() EventType       { return WebhookUpdatedType }
func (WebhookSecretRotated) EventType() EventType { return WebhookSecretRotatedType }
func (WebhookResealed) EventType() EventType      { return WebhookResealedType }
func (WebhookDeleted) EventType() EventType       { return WebhookDeletedType }

func (WebhookCreated) SchemaVersion() int       { return 1 }
func (WebhookReconfigured) SchemaVersion() int  { return 1 }
func (WebhookUpdated) SchemaVersion() int       { return 1 }
func (WebhookSecretRotated) SchemaVersion() int { return 1 }
func (WebhookResealed) SchemaVersion() int      { return 1 }
func (WebhookDeleted) SchemaVersion() int       { return 1 }

func init() {
	decoder[WebhookCreated](1)
	decoder[WebhookReconfigured](1)
	decoder[WebhookUpdated](1)
	decoder[WebhookSecretRotated](1)
	decoder[WebhookResealed](1)
	decoder[WebhookDeleted](1)
}
