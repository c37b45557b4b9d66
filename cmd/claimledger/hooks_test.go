package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/domain/signature"
)

// hooks is a webhook's endpoint that believes nothing that is not signed.
type hooks struct {
	t      testing.TB
	url    string
	secret string

	mu       sync.Mutex
	received map[string]*hook // by event
	order    []*hook          // as each came for the first time
	arrivals int
	wrong    error // the first thing that should not have come
	headers  []http.Header
	moved    chan struct{}
}

// hook is an event as it was delivered.
type hook struct {
	ID       string `json:"id"`
	Event    string `json:"event"`
	Sequence int    `json:"sequence"`
	Data     struct {
		ClaimID string `json:"claim_id"`
	} `json:"data"`
	body string
}

func newHooks(t testing.TB) *hooks {
	h := makeHooks(t)
	h.serve(h)
	return h
}

// makeHooks makes one that listens nowhere yet.
func makeHooks(t testing.TB) *hooks {
	var raw [32]byte
	rand.Read(raw[:])
	return &hooks{t: t, secret: domain.FormatWebhookSecret(raw), received: map[string]*hook{}}
}

// serve makes a handler, which the endpoint is or is behind, answer requests.
func (h *hooks) serve(handler http.Handler) {
	server := httptest.NewServer(handler)
	h.t.Cleanup(server.Close)
	h.url = server.URL + "/hook"
}

func (h *hooks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil { // the sender was killed in the middle; it sends again
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	h.accept(r.Header, body)
	w.WriteHeader(http.StatusNoContent)
}

// accept keeps what came.
func (h *hooks) accept(header http.Header, body []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.take(header, body); err != nil && h.wrong == nil {
		h.wrong = err
	}
	if h.moved != nil {
		close(h.moved)
		h.moved = nil
	}
}

// doubt does not keep what came, which has to be signed all the same.
func (h *hooks) doubt(header http.Header, body []byte) {
	got := &hook{}
	err := json.Unmarshal(body, got)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err = errors.Join(err, h.verify(header, body, got)); err != nil && h.wrong == nil {
		h.wrong = err
	}
}

func (h *hooks) take(header http.Header, body []byte) error {
	h.arrivals++
	h.headers = append(h.headers, header)
	got := &hook{body: string(body)}
	if err := json.Unmarshal(body, got); err != nil {
		return err
	}
	if before := h.received[got.ID]; before != nil && before.body != got.body {
		return fmt.Errorf("event %s came as %s and as %s", got.ID, before.body, got.body)
	}
	if h.received[got.ID] == nil {
		h.order = append(h.order, got)
	}
	h.received[got.ID] = got
	return h.verify(header, body, got)
}

// verify makes sure that a request is what it says, and signed. The caller holds mu.
func (h *hooks) verify(header http.Header, body []byte, got *hook) error {
	if header.Get("Webhook-Id") != got.ID || header.Get("X-Sigilum-Event") != got.Event {
		return fmt.Errorf("event %s has the headers %v", got.ID, header)
	}
	elsewhere, err := standardwebhooks.NewWebhook(h.secret)
	if err != nil {
		return err
	}
	return errors.Join(
		elsewhere.Verify(body, header), // not our own code's word alone
		signature.Verify(header, body, []string{h.secret}, time.Now(), signature.DefaultTolerance),
		signature.VerifyBody(header, body, []string{h.secret}),
	)
}

// await waits until events of a kind have come for all these claims.
func (h *hooks) await(within time.Duration, event string, claims []string) {
	h.t.Helper()
	end := time.After(within)
	for {
		missing, moved := h.missing(event, claims)
		if missing == "" {
			return
		}
		select {
		case <-moved:
		case <-end:
			h.t.Fatalf("no %s came for %s within %s", event, missing, within)
		}
	}
}

// awaitEvents waits until so many events have come.
func (h *hooks) awaitEvents(within time.Duration, n int) {
	h.t.Helper()
	end := time.After(within)
	for {
		_, moved := h.missing("", nil)
		have := len(h.inOrder())
		if have >= n {
			return
		}
		select {
		case <-moved:
		case <-end:
			h.t.Fatalf("%d of %d events came within %s", have, n, within)
		}
	}
}

// inOrder are the events in the order in which each came for the first time.
func (h *hooks) inOrder() []*hook {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.order)
}

// missing names a claim for which none has come, and gives a channel that is closed
// when something does.
func (h *hooks) missing(event string, claims []string) (claim string, moved <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.moved == nil {
		h.moved = make(chan struct{})
	}
	came := map[string]bool{}
	for _, got := range h.received {
		if got.Event == event {
			came[got.Data.ClaimID] = true
		}
	}
	for _, claim := range claims {
		if !came[claim] {
			return claim, h.moved
		}
	}
	return "", h.moved
}

// check makes sure that all that came was signed, and that the sequence of what came
// has no gap and no repeat. It says how many events came and how often.
func (h *hooks) check() (events, arrivals int) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.wrong != nil {
		h.t.Error(h.wrong)
	}
	at := map[int]string{}
	for id, got := range h.received {
		if other := at[got.Sequence]; other != "" {
			h.t.Errorf("events %s and %s both have the sequence %d", id, other, got.Sequence)
		}
		at[got.Sequence] = id
	}
	for n := 1; n <= len(h.received); n++ {
		if at[n] == "" {
			h.t.Errorf("of %d events, none has the sequence %d", len(h.received), n)
		}
	}
	return len(h.received), h.arrivals
}

// body is what came last about a claim.
func (h *hooks) body(claim string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, got := range h.received {
		if got.Data.ClaimID == claim {
			return got.body
		}
	}
	return ""
}

// forget makes the receiver one to which nothing has come.
func (h *hooks) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.received, h.order, h.arrivals = map[string]*hook{}, nil, 0
}

// takeSecret makes the receiver believe another secret from now on.
func (h *hooks) takeSecret(secret string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.secret = secret
}

// last are the headers of the last so many requests.
func (h *hooks) last(n int) []http.Header {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]http.Header(nil), h.headers[max(0, len(h.headers)-n):]...)
}

// fault is the first thing that should not have come.
func (h *hooks) fault() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.wrong
}
