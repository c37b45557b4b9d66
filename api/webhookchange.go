package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/claimledger/claimledger/domain"
)

func (s *Server) updateWebhook(c *call) (action, error) {
	f, err := readFields(c, false)
	if err != nil {
		return nil, err
	}
	cmd := domain.UpdateWebhook{WebhookID: c.path("webhook"), ServiceID: c.path("service")}
	if f.has("url") {
		url := f.required("url", 1, maxWebhookURL)
		cmd.URL = &url
	}
	if f.has("events") {
		events := f.webhookEvents()
		cmd.Events = &events
	}
	cmd.Description = f.text("description", domain.MaxDescription)
	var active bool
	if f.get("active", "true or false", &active) {
		cmd.Active = &active
	}
	if cmd.Auth, err = s.readAuth(f, cmd.WebhookID); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc([]string{"url", "events", "description", "active", "auth_header", "auth_value"}, f.has) {
		f.Add("url", "or events, description, active or auth_header is required")
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	if cmd.URL != nil {
		if err := domain.CheckTargetURL(*cmd.URL, s.config.Targets); err != nil {
			return nil, err
		}
	}
	act, err := s.registry(c, "webhook.update", http.StatusOK, cmd, func(a domain.RegistryAnswer, _ bool) any { return renderWebhook(a) })
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		a, err := act(ctx)
		if err != nil {
			return a, err
		}
		a.body = s.withHealth(ctx, a.body.(webhookBody))
		return a, nil
	}, nil
}

// readAuth reads the owner's own header and seals its value; nil where neither is
// named. An empty name, without a value, is for none.
func (s *Server) readAuth(f *fields, webhookID string) (*domain.WebhookAuth, error) {
	var value string
	auth := &domain.WebhookAuth{}
	named := f.get("auth_header", "a string", &auth.Header)
	valued := f.get("auth_value", "a string", &value)
	if !named && !valued {
		return nil, nil
	}
	f.Merge(domain.CheckAuthHeader(auth.Header, value))
	if value != "" {
		sealed, err := s.seal(value, webhookID)
		if err != nil {
			return nil, err
		}
		auth.Value = &sealed
	}
	return auth, nil
}

// withHealth adds how deliveries go. A change that is recorded is answered for, whether
// or not that can be read just now.
func (s *Server) withHealth(ctx context.Context, b webhookBody) webhookBody {
	health, err := s.config.Webhooks.WebhookHealth(ctx, []string{b.ID})
	if err != nil {
		s.config.Logger.Warn("how deliveries go cannot be read", "webhook_id", b.ID, "error", err)
	}
	h := health[b.ID]
	b.FailureCount, b.LastTriggeredAt, b.LastFailureAt, b.FailingSince = h.FailureCount, h.LastTriggeredAt, h.LastFailureAt, h.FailingSince
	return b
}

type rotatedBody struct {
	Secret        string    `json:"secret,omitempty"` // when it is made, and never again
	PreviousUntil time.Time `json:"previous_until"`
}

func (s *Server) rotateSecret(c *call) (action, error) {
	f, err := readFields(c, true)
	if err != nil {
		return nil, err
	}
	secret := f.secret("secret")
	if err := f.Err(); err != nil {
		return nil, err
	}
	sealed, err := s.seal(secret, c.path("webhook"))
	if err != nil {
		return nil, err
	}
	cmd := domain.RotateWebhookSecret{WebhookID: c.path("webhook"), ServiceID: c.path("service"), Secret: sealed}
	return s.registry(c, "webhook.rotate_secret", http.StatusOK, cmd, func(a domain.RegistryAnswer, appended bool) any {
		b := rotatedBody{PreviousUntil: *a.PreviousUntil}
		if appended {
			b.Secret = secret
		}
		return b
	})
}
