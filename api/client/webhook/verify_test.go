package webhook_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/claimledger/claimledger/api/client/webhook"
	"github.com/claimledger/claimledger/domain/signature"
)

const (
	secret      = "whsec_+wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAP8="
	otherSecret = "another secret, of nobody here"
	webhookID   = "0f0e0d0c-0b0a-4908-8706-050403020100"
)

var now = time.Unix(1700000000, 0)

// deliver makes the request that a relay would send.
func deliver(t *testing.T, id, body string, secrets ...string) *http.Request {
	t.Helper()
	signed, err := signature.Standard(secrets, id, now, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/webhook", strings.NewReader(body))
	r.Header.Set("X-Sigilum-Webhook-Id", webhookID)
	r.Header.Set("X-Sigilum-Signature", signature.Body(secrets[0], []byte(body)))
	r.Header.Set("webhook-id", id)
	r.Header.Set("webhook-timestamp", signature.Timestamp(now))
	r.Header.Set("webhook-signature", signed)
	return r
}

const approved = `{"event":"request.approved","timestamp":"2026-03-02T10:32:11.902Z","data":{"claim_id":"claim_1","namespace":"acme",` +
	`"service":"mail","public_key":"ed25519:A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=","agent_ip":"203.0.113.45","auto_approved":true,` +
	`"expires_at":"2026-06-01T00:00:00Z"},"id":"evt_1","position":"44","sequence":18,"from":"a later version"}`

func TestRead(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*http.Request)
		secrets []string
		now     time.Time
		want    error
	}{
		{name: "as sent"},
		{name: "one of two secrets", secrets: []string{otherSecret, secret}},
		{name: "late within the tolerance", now: now.Add(webhook.Tolerance)},
		{name: "early within the tolerance", now: now.Add(-webhook.Tolerance)},

		{name: "too late", now: now.Add(webhook.Tolerance + time.Second), want: webhook.ErrTimestamp},
		{name: "too early", now: now.Add(-webhook.Tolerance - time.Second), want: webhook.ErrTimestamp},
		{name: "another secret", secrets: []string{otherSecret}, want: webhook.ErrMismatch},
		{name: "no secret", secrets: []string{}, want: webhook.ErrNoSecret},
		{name: "no signature", change: func(r *http.Request) { r.Header.Del("webhook-signature") }, want: webhook.ErrMissing},
		{name: "two ids", change: func(r *http.Request) { r.Header.Add("webhook-id", "evt_1") }, want: webhook.ErrMissing},
		{name: "another id", change: func(r *http.Request) { r.Header.Set("webhook-id", "evt_2") }, want: webhook.ErrMismatch},
		{name: "another body", change: body(strings.Replace(approved, "claim_1", "claim_2", 1)), want: webhook.ErrMismatch},
		{name: "as much as is read", change: body(strings.Repeat("x", webhook.MaxBody)), want: webhook.ErrMismatch},
		{name: "more than is read", change: body(strings.Repeat("x", webhook.MaxBody+1)), want: webhook.ErrTooLarge},
		{name: "cut off", change: func(r *http.Request) { r.Body = io.NopCloser(iotest.TimeoutReader(r.Body)) }, want: iotest.ErrTimeout},
	} {
		r := deliver(t, "evt_1", approved, secret)
		if c.change != nil {
			c.change(r)
		}
		if c.secrets == nil {
			c.secrets = []string{secret}
		}
		if c.now.IsZero() {
			c.now = now
		}
		e, err := webhook.Read(r, c.secrets, c.now)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		if err == nil && (e.ID != "evt_1" || e.Sequence != 18 || e.Position != 44 || e.Data.ClaimID != "claim_1" || !e.Data.AutoApproved || e.Data.ExpiresAt == nil) {
			t.Errorf("%s: got %+v", c.name, e)
		}
		if err != nil && (strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), otherSecret)) {
			t.Errorf("%s: a secret is in %v", c.name, err)
		}
	}
	r := deliver(t, "evt_2", approved, secret)
	if _, err := webhook.Read(r, []string{secret}, now); !errors.Is(err, webhook.ErrNotEvent) {
		t.Errorf("signed under another id: %v", err)
	}
	r = deliver(t, "evt_1", "[]", secret)
	if _, err := webhook.Read(r, []string{secret}, now); !errors.Is(err, webhook.ErrNotEvent) {
		t.Errorf("signed nonsense: %v", err)
	}
}

func body(text string) func(*http.Request) {
	return func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(text)) }
}

func TestVerifyBody(t *testing.T) {
	r := deliver(t, "evt_1", approved, secret, otherSecret)
	if err := webhook.VerifyBody(r.Header, []byte(approved), []string{otherSecret, secret}); err != nil {
		t.Error(err)
	}
	if err := webhook.VerifyBody(r.Header, []byte(approved), []string{otherSecret}); !errors.Is(err, webhook.ErrMismatch) {
		t.Errorf("the former secret: %v", err)
	}
	if err := webhook.VerifyBody(r.Header, []byte(approved+"\n"), []string{secret}); !errors.Is(err, webhook.ErrMismatch) {
		t.Errorf("another body: %v", err)
	}
	r.Header.Del("X-Sigilum-Signature")
	if err := webhook.VerifyBody(r.Header, []byte(approved), []string{secret}); !errors.Is(err, webhook.ErrMissing) {
		t.Errorf("no header: %v", err)
	}
}

func TestParse(t *testing.T) {
	const ping = `{"event":"ping","timestamp":"2026-03-02T10:32:11.902Z","id":"ping_1"}`
	if e, err := webhook.Parse([]byte(ping)); err != nil || e.Event != webhook.Ping || e.ID != "ping_1" {
		t.Errorf("a ping: %+v, %v", e, err)
	}
	for _, text := range []string{
		``, `null`, `[]`, `{}`, `{"event":"request.approved"}`, approved + "x",
		`{"event":"request.approved","id":"evt_1","position":"1"}`,
		`{"event":"request.approved","id":"evt_1","position":"1","sequence":-1}`,
		`{"event":"request.approved","id":"evt_1","position":"x","sequence":1}`,
		`{"event":"ping","id":"ping_1","sequence":1}`,
	} {
		if e, err := webhook.Parse([]byte(text)); !errors.Is(err, webhook.ErrNotEvent) || e != (webhook.Event{}) {
			t.Errorf("%s: got %+v, %v", text, e, err)
		}
	}
}
