package api

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/projections"
)

// webhookEvents are the names under which webhooks know the events of claims.
var webhookEvents = []domain.EventType{
	domain.ClaimSubmittedType, domain.ClaimApprovedType, domain.ClaimRejectedType,
	domain.ClaimRevokedType, domain.ClaimExpiredType,
}

// maxWebhookURL is how many characters a target may have.
const maxWebhookURL = 2048

type webhookBody struct {
	ID              string     `json:"id"`
	URL             string     `json:"url"`
	Events          []string   `json:"events"`
	Secret          string     `json:"secret,omitempty"` // when it is made, and never again
	Description     string     `json:"description"`
	Active          bool       `json:"active"`
	FailureCount    int        `json:"failure_count"`
	LastTriggeredAt *time.Time `json:"last_triggered_at"`
	LastFailureAt   *time.Time `json:"last_failure_at"`
	FailingSince    *time.Time `json:"failing_since"`
	CreatedAt       time.Time  `json:"created_at"`
}

func publicEvents(types []domain.EventType) []string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.WebhookName()
	}
	return names
}

func (s *Server) createWebhook(c *call) (action, error) {
	f, err := readFields(c, false)
	if err != nil {
		return nil, err
	}
	p := domain.WebhookCreated{
		WebhookID: newUUID(), ServiceID: c.path("service"),
		URL:    f.required("url", 1, maxWebhookURL),
		Events: f.webhookEvents(),
	}
	if d := f.text("description", domain.MaxDescription); d != nil {
		p.Description = *d
	}
	secret := f.secret("secret")
	auth, err := s.readAuth(f, p.WebhookID)
	if err != nil {
		return nil, err
	}
	if auth != nil {
		p.AuthHeader, p.AuthValue = auth.Header, auth.Value
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	if err := domain.CheckTargetURL(p.URL, s.config.Targets); err != nil {
		return nil, err
	}
	if p.Secret, err = s.seal(secret, p.WebhookID); err != nil {
		return nil, err
	}
	return s.registry(c, "webhook.create", http.StatusCreated, domain.CreateWebhook{WebhookCreated: p},
		func(a domain.RegistryAnswer, appended bool) any {
			b := renderWebhook(a)
			if appended {
				b.Secret = secret
			}
			return b
		})
}

// renderWebhook is a webhook as the command left it.
func renderWebhook(a domain.RegistryAnswer) webhookBody {
	w := a.Webhook
	return webhookBody{ID: a.ID, URL: w.URL, Events: publicEvents(w.Events), Description: w.Description, Active: w.Active, CreatedAt: w.CreatedAt}
}

// webhookEvents reads the events to subscribe to; all where none are named.
func (f *fields) webhookEvents() []domain.EventType {
	names := f.texts("events")
	if names == nil {
		return webhookEvents
	}
	if len(*names) == 0 {
		f.Add("events", "must name at least one event; leave it out for all")
	}
	var types []domain.EventType
	for i, name := range *names {
		t, ok := domain.WebhookEvent(name)
		switch {
		case !ok:
			f.Add(fmt.Sprintf("events[%d]", i), "must be one of "+strings.Join(publicEvents(webhookEvents), ", "))
		case slices.Contains(types, t):
			f.Add(fmt.Sprintf("events[%d]", i), "is named twice")
		default:
			types = append(types, t)
		}
	}
	return types
}

// secret reads a client's own secret, or makes one.
func (f *fields) secret(name string) string {
	var own string
	if f.get(name, "a string", &own) {
		f.Merge(domain.CheckWebhookSecret(own))
		return own
	}
	var raw [32]byte
	rand.Read(raw[:])
	return domain.FormatWebhookSecret(raw)
}

func (s *Server) seal(secret, context string) (domain.Sealed, error) {
	key, err := s.config.SealKey()
	if err != nil {
		return domain.Sealed{}, err
	}
	var nonce [domain.SealNonceSize]byte
	rand.Read(nonce[:])
	return key.Seal(nonce, secret, context), nil
}

func (s *Server) listWebhooks(c *call) (action, error) {
	return list(s, c, "webhooks", func(ctx context.Context, limit, offset int) ([]projections.Webhook, int, projections.At, error) {
		all, at, err := s.config.Reads.Webhooks(ctx, c.owner.namespace, c.path("service"))
		from, to := min(offset, len(all)), min(offset+limit, len(all))
		return all[from:to], len(all), at, err
	}, s.renderWebhooks)
}

// renderWebhooks joins what the registry says with how deliveries go.
func (s *Server) renderWebhooks(ctx context.Context, rows []projections.Webhook) ([]webhookBody, error) {
	ids := make([]string, len(rows))
	for i, w := range rows {
		ids[i] = w.ID
	}
	health, err := s.config.Webhooks.WebhookHealth(ctx, ids)
	if err != nil {
		return nil, err
	}
	bodies := make([]webhookBody, len(rows))
	for i, w := range rows {
		h := health[w.ID]
		bodies[i] = webhookBody{
			ID: w.ID, URL: w.URL, Events: publicEvents(w.Events), Description: w.Description, Active: w.Active, CreatedAt: w.CreatedAt,
			FailureCount: h.FailureCount, LastTriggeredAt: h.LastTriggeredAt, LastFailureAt: h.LastFailureAt, FailingSince: h.FailingSince,
		}
	}
	return bodies, nil
}

func (s *Server) getWebhook(c *call) (action, error) {
	wait, err := s.readAfter(c, projections.ServicesModel)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		if err := wait(ctx); err != nil {
			return answer{}, err
		}
		all, at, err := s.config.Reads.Webhooks(ctx, c.owner.namespace, c.path("service"))
		if err != nil {
			return answer{position: at.Position}, err
		}
		i := slices.IndexFunc(all, func(w projections.Webhook) bool { return w.ID == c.path("webhook") })
		if i < 0 {
			return answer{position: at.Position}, errNoWebhook
		}
		bodies, err := s.renderWebhooks(ctx, all[i:i+1])
		if err != nil {
			return answer{}, err
		}
		return answer{body: bodies[0], position: at.Position}, nil
	}, nil
}

func (s *Server) deleteWebhook(c *call) (action, error) {
	return s.registry(c, "webhook.delete", http.StatusOK,
		domain.DeleteWebhook{WebhookID: c.path("webhook"), ServiceID: c.path("service")}, success)
}
