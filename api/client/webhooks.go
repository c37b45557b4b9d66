package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Webhook is an endpoint that is told of a service's claims. Secret is in the answer that
// makes the webhook and nowhere else.
type Webhook struct {
	ID              string     `json:"id"`
	URL             string     `json:"url"`
	Events          []string   `json:"events"`
	Secret          string     `json:"secret,omitempty"`
	Description     string     `json:"description"`
	Active          bool       `json:"active"`
	FailureCount    int        `json:"failure_count"` // of attempts, ever
	LastTriggeredAt *time.Time `json:"last_triggered_at"`
	LastFailureAt   *time.Time `json:"last_failure_at"`
	FailingSince    *time.Time `json:"failing_since"` // nil: its last attempt did not fail
	CreatedAt       time.Time  `json:"created_at"`
}

// NewWebhook is what a webhook begins with. URL alone is required.
type NewWebhook struct {
	URL         string   `json:"url"`
	Events      []string `json:"events,omitempty"` // request.submitted…; none: all
	Secret      string   `json:"secret,omitempty"` // empty: one is made
	AuthHeader  string   `json:"auth_header,omitempty"`
	AuthValue   string   `json:"auth_value,omitempty"`
	Description string   `json:"description,omitempty"`
}

// WebhookChange changes what is not nil.
type WebhookChange struct {
	URL         *string  `json:"url,omitempty"`
	Events      []string `json:"events,omitempty"`
	Description *string  `json:"description,omitempty"`
	Active      *bool    `json:"active,omitempty"`
	AuthHeader  *string  `json:"auth_header,omitempty"` // an empty one takes the header away
	AuthValue   *string  `json:"auth_value,omitempty"`
}

// SecretRotated answers RotateWebhookSecret.
type SecretRotated struct {
	Secret        string    `json:"secret,omitempty"`
	PreviousUntil time.Time `json:"previous_until"` // until when the former secret signs too
}

// WebhooksPage is a page of a service's webhooks.
type WebhooksPage struct {
	Webhooks   []Webhook  `json:"webhooks"`
	Pagination Pagination `json:"pagination"`
}

// webhook is the path of a webhook and of what is below it.
func webhook(serviceID, webhookID string, more ...string) []string {
	return append([]string{"v1", "services", serviceID, "webhooks", webhookID}, more...)
}

// ListWebhooks reads a page of a service's webhooks.
func (c *Client) ListWebhooks(ctx context.Context, serviceID string, p Page, options ...Option) (WebhooksPage, error) {
	return fetch[WebhooksPage](ctx, c, list("listWebhooks", p, "v1", "services", serviceID, "webhooks"), options)
}

// AllWebhooks reads a service's webhooks. It ends after the first error.
func (c *Client) AllWebhooks(ctx context.Context, serviceID string, options ...Option) iter.Seq2[Webhook, error] {
	return byOffset(Page{}, func(p Page) ([]Webhook, bool, error) {
		page, err := c.ListWebhooks(ctx, serviceID, p, options...)
		return page.Webhooks, page.Pagination.HasMore, err
	})
}

// CreateWebhook registers a webhook. With ErrSecretLost there is one whose secret nobody
// knows, which cannot be where the caller gives the secret.
func (c *Client) CreateWebhook(ctx context.Context, serviceID string, w NewWebhook, options ...Option) (Webhook, error) {
	made, err := fetch[Webhook](ctx, c, owned("createWebhook", http.MethodPost, w, "v1", "services", serviceID, "webhooks"), options)
	if made.Secret == "" && err == nil {
		made.Secret = w.Secret
	}
	return made, shown(err, made.Secret, "createWebhook")
}

// GetWebhook reads a webhook and how its deliveries go.
func (c *Client) GetWebhook(ctx context.Context, serviceID, webhookID string, options ...Option) (Webhook, error) {
	return fetch[Webhook](ctx, c, owned("getWebhook", http.MethodGet, nil, webhook(serviceID, webhookID)...), options)
}

// UpdateWebhook changes a webhook.
func (c *Client) UpdateWebhook(ctx context.Context, serviceID, webhookID string, change WebhookChange, options ...Option) (Webhook, error) {
	return fetch[Webhook](ctx, c, owned("updateWebhook", http.MethodPatch, change, webhook(serviceID, webhookID)...), options)
}

// DeleteWebhook deletes a webhook. What is queued for it is not delivered.
func (c *Client) DeleteWebhook(ctx context.Context, serviceID, webhookID string, options ...Option) error {
	_, err := c.do(ctx, owned("deleteWebhook", http.MethodDelete, nil, webhook(serviceID, webhookID)...), options)
	return err
}

// RotateWebhookSecret gives a webhook another secret; empty: one is made. For a day both
// sign.
func (c *Client) RotateWebhookSecret(ctx context.Context, serviceID, webhookID, secret string, options ...Option) (SecretRotated, error) {
	body := struct {
		Secret string `json:"secret,omitempty"`
	}{secret}
	rotated, err := fetch[SecretRotated](ctx, c, owned("rotateWebhookSecret", http.MethodPost, body, webhook(serviceID, webhookID, "rotate-secret")...), options)
	if rotated.Secret == "" && err == nil {
		rotated.Secret = secret
	}
	return rotated, shown(err, rotated.Secret, "rotateWebhookSecret")
}

// Delivery is an event, or a test, for one webhook.
type Delivery struct {
	ID           string     `json:"id"`
	Event        string     `json:"event"`
	Sequence     *uint64    `json:"sequence"` // a test has none, nor the next two
	Position     *string    `json:"position"`
	ClaimID      *string    `json:"claim_id"`
	State        string     `json:"state"` // pending, held, delivered, dead or cancelled
	AttemptCount int        `json:"attempt_count"`
	DueAt        *time.Time `json:"due_at"` // while it is pending
	OccurredAt   time.Time  `json:"occurred_at"`
	CreatedAt    time.Time  `json:"created_at"`
	DeliveredAt  *time.Time `json:"delivered_at"`
	LastAttempt  *Attempt   `json:"last_attempt"`
	// Attempts are the last 50, oldest first, in the answer to GetDelivery alone.
	Attempts []Attempt `json:"attempts,omitempty"`
}

// Attempt is one try at a delivery.
type Attempt struct {
	N          int       `json:"n"`
	BegunAt    time.Time `json:"begun_at"`
	DurationMS int64     `json:"duration_ms"`
	Status     *int      `json:"status"`   // of HTTP; nil: no answer came
	Response   string    `json:"response"` // the first 4 KiB
	Error      string    `json:"error"`    // empty: it succeeded
}

// DeliveriesQuery selects of a webhook's deliveries, the last event first.
type DeliveriesQuery struct {
	State  string
	Cursor string // the NextCursor of the page before
	Limit  int
}

// DeliveriesPage is a page of a webhook's deliveries.
type DeliveriesPage struct {
	Deliveries []Delivery `json:"deliveries"`
	HasMore    bool       `json:"has_more"`
	NextCursor *string    `json:"next_cursor"` // nil: there is no next page
}

// ListDeliveries reads a page of a webhook's deliveries.
func (c *Client) ListDeliveries(ctx context.Context, serviceID, webhookID string, q DeliveriesQuery, options ...Option) (DeliveriesPage, error) {
	call := list("listDeliveries", Page{Limit: q.Limit}, webhook(serviceID, webhookID, "deliveries")...)
	set(call.query, "state", q.State)
	set(call.query, "cursor", q.Cursor)
	return fetch[DeliveriesPage](ctx, c, call, options)
}

// AllDeliveries reads a webhook's deliveries from the last event back. It ends after the
// first error.
func (c *Client) AllDeliveries(ctx context.Context, serviceID, webhookID string, q DeliveriesQuery, options ...Option) iter.Seq2[Delivery, error] {
	return func(yield func(Delivery, error) bool) {
		for {
			page, err := c.ListDeliveries(ctx, serviceID, webhookID, q, options...)
			if err != nil {
				yield(Delivery{}, err)
				return
			}
			for _, d := range page.Deliveries {
				if !yield(d, nil) {
					return
				}
			}
			if page.NextCursor == nil {
				return
			}
			q.Cursor = *page.NextCursor
		}
	}
}

// GetDelivery reads a delivery with the attempts at it.
func (c *Client) GetDelivery(ctx context.Context, serviceID, webhookID, deliveryID string, options ...Option) (Delivery, error) {
	return fetch[Delivery](ctx, c, owned("getDelivery", http.MethodGet, nil, webhook(serviceID, webhookID, "deliveries", deliveryID)...), options)
}

// asked answers what the relay is asked for.
type asked struct {
	ID string `json:"id"`
}

func (c *Client) ask(ctx context.Context, operation string, body any, path []string, options []Option) (string, error) {
	answer, err := fetch[asked](ctx, c, owned(operation, http.MethodPost, body, path...), options)
	return answer.ID, err
}

// Redeliver has a delivery sent once more, and answers its id.
func (c *Client) Redeliver(ctx context.Context, serviceID, webhookID, deliveryID string, options ...Option) (string, error) {
	return c.ask(ctx, "redeliver", nil, webhook(serviceID, webhookID, "deliveries", deliveryID, "redeliver"), options)
}

// PingWebhook has a test sent, and answers the id of its delivery.
func (c *Client) PingWebhook(ctx context.Context, serviceID, webhookID string, options ...Option) (string, error) {
	return c.ask(ctx, "pingWebhook", nil, webhook(serviceID, webhookID, "ping"), options)
}

// ReplayWebhook has all events from a position or a time on sent once more, and answers
// the id of the request.
func (c *Client) ReplayWebhook(ctx context.Context, serviceID, webhookID string, from Moment, options ...Option) (string, error) {
	body := struct {
		Position string `json:"from_position,omitempty"`
		Time     string `json:"from_time,omitempty"`
	}{}
	if _, err := strconv.ParseUint(string(from), 10, 64); err == nil {
		body.Position = string(from)
	} else {
		body.Time = string(from)
	}
	return c.ask(ctx, "replayWebhook", body, webhook(serviceID, webhookID, "replay"), options)
}

// PulledEvents are the bodies that a webhook is sent, byte for byte. Package webhook
// parses them.
type PulledEvents struct {
	Events  []json.RawMessage `json:"events"`
	HasMore bool              `json:"has_more"`
}

// PullEvents reads a webhook's events after a sequence number, as a receiver does that
// noticed a gap. A limit of 0 is the default.
func (c *Client) PullEvents(ctx context.Context, serviceID, webhookID string, after uint64, limit int, options ...Option) (PulledEvents, error) {
	call := owned("pullEvents", http.MethodGet, nil, webhook(serviceID, webhookID, "events")...)
	call.query = url.Values{}
	Page{Limit: limit}.add(call.query)
	if after > 0 {
		call.query.Set("after", strconv.FormatUint(after, 10))
	}
	return fetch[PulledEvents](ctx, c, call, options)
}

// pulledAtOnce is the most that the ledger gives in one answer.
const pulledAtOnce = 200

// WebhookEvents are the events of one webhook: a Source for a receiver of package webhook.
type WebhookEvents struct {
	client               *Client
	serviceID, webhookID string
}

// EventsOf is where what a webhook's receiver missed is pulled from.
func (c *Client) EventsOf(serviceID, webhookID string) WebhookEvents {
	return WebhookEvents{c, serviceID, webhookID}
}

// EventsAfter reads as many events after a sequence number as come in one answer.
func (w WebhookEvents) EventsAfter(ctx context.Context, sequence uint64) ([]json.RawMessage, error) {
	pulled, err := w.client.PullEvents(ctx, w.serviceID, w.webhookID, sequence, pulledAtOnce)
	return pulled.Events, err
}
