package client

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// script answers one request after another, and keeps them.
type script struct {
	t        *testing.T
	answers  []http.HandlerFunc
	mu       sync.Mutex // requests may come over several connections, though one after another
	requests []*http.Request
	bodies   []string
	waits    []time.Duration
	client   *Client
	end      func() // of the server; what it kept may be read then
}

// scripted is a client of a server that answers so, and does not wait between attempts.
func scripted(t *testing.T, answers ...http.HandlerFunc) *script {
	t.Helper()
	s := &script{t: t, answers: answers}
	server := httptest.NewServer(s)
	s.end = server.Close
	t.Cleanup(server.Close)
	signer, err := NewSigner("acme", "ada@example.com", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	s.client, err = New(Config{URL: server.URL, Signer: signer, ServiceKey: "sk_live_1", Session: "eyJ1"})
	if err != nil {
		t.Fatal(err)
	}
	s.client.wait = func(_ context.Context, d time.Duration) error {
		s.waits = append(s.waits, d)
		return nil
	}
	return s
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	s.requests, s.bodies = append(s.requests, r), append(s.bodies, string(body))
	n := len(s.requests)
	s.mu.Unlock()
	if n > len(s.answers) {
		s.t.Errorf("%s %s was not expected", r.Method, r.URL)
		return
	}
	s.answers[n-1](w, r)
}

func (s *script) sent(want int) {
	s.t.Helper()
	s.end()
	if len(s.requests) != want {
		s.t.Errorf("%d requests were sent, want %d", len(s.requests), want)
	}
}

func says(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Request-ID", "request-1")
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // a client that is gone shows in the test
	}
}

func refuses(status int, code domain.Code, headers ...string) http.HandlerFunc {
	return says(status, fmt.Sprintf(`{"error": "No.", "code": %q, "details": [{"field": "slug", "message": "is wrong"}], "request_id": "request-1"}`, code), headers...)
}

func breaks(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func TestRefusal(t *testing.T) {
	s := scripted(t, refuses(409, domain.CodeConflict, "Retry-After", "7", "Ledger-Position", "43"), says(413, "<html>", "Retry-After", "soon"))
	_, err := s.client.CreateService(t.Context(), NewService{Slug: "mail"})
	var refused *Error
	if !errors.As(err, &refused) || ErrorCode(err) != domain.CodeConflict {
		t.Fatal(err)
	}
	want := Error{
		Operation: "createService", Status: 409, Code: domain.CodeConflict, Message: "No.", RequestID: "request-1", RetryAfter: 7 * time.Second, Position: 43,
		Details: []domain.FieldError{{Field: "slug", Message: "is wrong"}},
	}
	if fmt.Sprint(*refused) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", *refused, want)
	}
	if text := err.Error(); text != "createService: 409 CONFLICT: No. (slug: is wrong) [request-1]" {
		t.Errorf("it reads %q", text)
	}
	// What is not the ledger's has no code.
	if _, err = s.client.CreateService(t.Context(), NewService{}); ErrorCode(err) != "" || err.Error() != "createService: 413: Request Entity Too Large [request-1]" {
		t.Errorf("a proxy's refusal: %v", err)
	}
	s.sent(2)
}

// A command is sent again with the same key and body, and with another signature.
func TestCommandsAreRepeated(t *testing.T) {
	s := scripted(t,
		refuses(503, domain.CodeServiceUnavailable, "Retry-After", "2"), breaks, refuses(409, domain.CodeSignatureNonceReplay),
		says(201, `{"claim_id": "claim_1", "status": "pending"}`, "Ledger-Position", "43"),
	)
	// A connection that was used before is tried anew by the transport itself, which is not what is looked at.
	s.client.http.Transport.(*http.Transport).DisableKeepAlives = true
	var answer Answer
	got, err := s.client.SubmitClaim(t.Context(), Submission{Namespace: "acme"}, Into(&answer))
	if err != nil || got.ClaimID != "claim_1" || answer.Position != 43 || answer.Status != 201 {
		t.Fatalf("%+v, %+v, %v", got, answer, err)
	}
	s.sent(4)
	keys, signatures := map[string]bool{}, map[string]bool{}
	for i, r := range s.requests {
		keys[r.Header.Get("Idempotency-Key")+s.bodies[i]] = true
		signatures[r.Header.Get("Signature")] = true
		if r.Header.Get("Authorization") != "Bearer sk_live_1" {
			t.Errorf("attempt %d shows the key %q", i, r.Header.Get("Authorization"))
		}
	}
	if len(keys) != 1 || len(signatures) != 4 {
		t.Errorf("there were %d commands with %d signatures", len(keys), len(signatures))
	}
	if len(s.waits) != 3 || s.waits[0] < 2*time.Second || s.waits[1] < firstBackoff || s.waits[1] > 2*firstBackoff || s.waits[2] < 2*firstBackoff {
		t.Errorf("it waited for %v", s.waits)
	}
	own := scripted(t, says(200, `{}`))
	_, err = own.client.RevokeClaim(t.Context(), "claim_1", "", IdempotencyKey("mine"))
	if own.end(); err != nil || own.requests[0].Header.Get("Idempotency-Key") != "mine" {
		t.Errorf("%v, %v", err, own.requests[0].Header)
	}
}

func TestWhatIsNotRepeated(t *testing.T) {
	unavailable := refuses(503, domain.CodeServiceUnavailable)
	for name, test := range map[string]struct {
		answers []http.HandlerFunc
		call    func(context.Context, *Client) error
		sent    int
	}{
		"a login":             {[]http.HandlerFunc{unavailable}, func(ctx context.Context, c *Client) error { _, err := c.Login(ctx, "token"); return err }, 1},
		"a login that breaks": {[]http.HandlerFunc{breaks}, func(ctx context.Context, c *Client) error { _, err := c.Login(ctx, "token"); return err }, 1},
		"readiness":           {[]http.HandlerFunc{unavailable}, func(ctx context.Context, c *Client) error { _, err := c.Ready(ctx); return err }, 1},
		"a refusal":           {[]http.HandlerFunc{refuses(403, domain.CodeForbidden)}, func(ctx context.Context, c *Client) error { _, err := c.GetClaim(ctx, "claim_1"); return err }, 1},
		"a defect":            {[]http.HandlerFunc{refuses(500, domain.CodeInternal)}, func(ctx context.Context, c *Client) error { _, err := c.GetClaim(ctx, "claim_1"); return err }, 1},
		"nonsense":            {[]http.HandlerFunc{says(200, "<html>")}, func(ctx context.Context, c *Client) error { _, err := c.GetClaim(ctx, "claim_1"); return err }, 1},
		"a redirect":          {[]http.HandlerFunc{says(307, "", "Location", "/elsewhere")}, func(ctx context.Context, c *Client) error { _, err := c.GetClaim(ctx, "claim_1"); return err }, 1},
		"a long wait":         {[]http.HandlerFunc{refuses(429, domain.CodeRateLimited, "Retry-After", "60")}, func(ctx context.Context, c *Client) error { _, err := c.GetClaim(ctx, "claim_1"); return err }, 1},
		"trouble that lasts":  {[]http.HandlerFunc{unavailable, unavailable, says(502, ""), says(504, "")}, func(ctx context.Context, c *Client) error { _, err := c.GetClaim(ctx, "claim_1"); return err }, 4},
		"a caller who is in a hurry": {[]http.HandlerFunc{refuses(503, domain.CodeServiceUnavailable, "Retry-After", "20")}, func(ctx context.Context, c *Client) error {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			_, err := c.GetClaim(ctx, "claim_1")
			return err
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := scripted(t, test.answers...)
			if err := test.call(t.Context(), s.client); err == nil {
				t.Error("it is taken for good")
			}
			s.sent(test.sent)
		})
	}
}

// A key whose answer was lost is made, and nobody has it.
func TestLostSecret(t *testing.T) {
	s := scripted(t, breaks, says(201, `{"id": "key_1"}`), says(201, `{"id": "hook_1"}`))
	key, err := s.client.CreateServiceKey(t.Context(), "service_1", "")
	if !errors.Is(err, ErrSecretLost) || key.ID != "key_1" {
		t.Errorf("%+v, %v", key, err)
	}
	hook, err := s.client.CreateWebhook(t.Context(), "service_1", NewWebhook{Secret: "a secret of one's own"})
	if err != nil || hook.Secret != "a secret of one's own" {
		t.Errorf("%+v, %v", hook, err)
	}
}

func TestReadYourWrites(t *testing.T) {
	s := scripted(t, says(200, `{}`), says(200, `{}`, "Ledger-Position", "43"), says(200, `{}`), says(200, `{}`))
	s.client.config.ReadYourWrites = true
	ctx := t.Context()
	var err [4]error
	_, err[0] = s.client.GetClaim(ctx, "claim_1")
	_, err[1] = s.client.RevokeClaim(ctx, "claim_1", "")
	_, err[2] = s.client.WithSession("eyJ2").GetClaim(ctx, "claim_1")
	_, err[3] = s.client.GetClaim(ctx, "claim_1", AtLeast(44))
	s.end()
	if e := errors.Join(err[:]...); e != nil {
		t.Fatal(e)
	}
	for i, want := range []string{"", "", "43", "44"} {
		if got := s.requests[i].Header.Get("Ledger-Min-Position"); got != want {
			t.Errorf("request %d wants position %q, not %q", i, got, want)
		}
	}
	if got := s.requests[2].Header.Get("Authorization"); got != "Bearer eyJ2" {
		t.Errorf("the other session is %q", got)
	}
}

// What is asked of another namespace is signed for that one, with the same key.
func TestSignedForAnotherNamespace(t *testing.T) {
	s := scripted(t, says(200, `{}`), says(200, `{}`))
	for _, namespace := range []string{"acme", "globex"} {
		if _, err := s.client.Verify(t.Context(), VerifyQuery{Namespace: namespace, PublicKey: "ed25519:+"}); err != nil {
			t.Fatal(err)
		}
	}
	s.end()
	for i, want := range []string{"acme", "globex"} {
		h := s.requests[i].Header
		if h.Get("Sigilum-Namespace") != want || h.Get("Sigilum-Agent-Key") != s.requests[0].Header.Get("Sigilum-Agent-Key") {
			t.Errorf("signed as %v", h)
		}
	}
}

func TestNoCredentialIsPrinted(t *testing.T) {
	s := scripted(t)
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, s.client); strings.Contains(text, "sk_live") || strings.Contains(text, "eyJ1") {
			t.Errorf("%s prints %s", format, text)
		}
	}
}

func TestPagesAreIterated(t *testing.T) {
	page := func(ids, pagination string) http.HandlerFunc {
		return says(200, fmt.Sprintf(`{"claims": [%s], "pagination": {%s}}`, ids, pagination), "Ledger-Position", "43")
	}
	s := scripted(t,
		page(`{"claim_id": "a"}, {"claim_id": "b"}`, `"has_more": true`), page(`{"claim_id": "c"}`, ``),
		page(`{"claim_id": "d"}`, `"has_more": true, "next_cursor": "x"`), refuses(403, domain.CodeForbidden),
		page(`{"claim_id": "e"}`, `"has_more": true`),
	)
	var got []string
	for claim, err := range s.client.AllClaims(t.Context(), "acme", ClaimsQuery{Status: domain.StatusApproved}) {
		got = append(got, fmt.Sprint(claim.ClaimID, err))
	}
	for claim, err := range s.client.AllFeed(t.Context(), FeedQuery{Offset: 1}) {
		got = append(got, fmt.Sprint(claim.ClaimID, ErrorCode(err)))
	}
	for claim := range s.client.AllClaims(t.Context(), "acme", ClaimsQuery{AsOf: AtTime(time.Unix(0, 1500))}) {
		got = append(got, claim.ClaimID)
		break
	}
	if want := "[a<nil> b<nil> c<nil> d FORBIDDEN e]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	s.end()
	var queries []string
	for _, r := range s.requests {
		queries = append(queries, r.URL.RawQuery)
	}
	want := []string{"status=approved", "as_of=43&offset=2&status=approved", "offset=1", "cursor=x", "as_of=1970-01-01T00%3A00%3A00.000001Z"}
	if fmt.Sprint(queries) != fmt.Sprint(want) {
		t.Errorf("asked for %q, want %q", queries, want)
	}
}
