package webhookrelay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections/pgdb"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
	"github.com/claimledger/claimledger/webhookrelay"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// patience is for what happens within moments on an idle machine.
const patience = 20 * time.Second

const (
	owner  = "acme"   // owns the services
	other  = "globex" // has claims on them
	secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

// clock is a time that tests move, or the real one.
type clock struct {
	mu   sync.Mutex
	now  time.Time
	real bool
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.real {
		return time.Now()
	}
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// world is a log, a database and a clock, and what was recorded.
type world struct {
	t     *testing.T
	log   *eventstore.Memory
	url   string
	pool  *pgxpool.Pool
	clock *clock
	seal  *domain.SealKey

	mu       sync.Mutex
	heads    map[domain.Boundary]eventstore.Head
	commits  int
	disabled []string
	failing  error // of the disabler
}

func newWorld(t *testing.T) *world { return newWorldAt(t, pgtest.New(t)) }

// newRealWorld has the real time, for tests of what runs by itself.
func newRealWorld(t *testing.T) *world {
	w := newWorld(t)
	w.clock.real = true
	return w
}

func newWorldAt(t *testing.T, url string) *world {
	t.Helper()
	seal, err := domain.NewSealKey(make([]byte, domain.SealKeySize))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, log: eventstore.NewMemory(), url: url, seal: seal,
		clock: &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)},
		heads: map[domain.Boundary]eventstore.Head{},
	}
	w.pool = w.newPool()
	if err := webhookrelay.Setup(t.Context(), w.pool); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) newPool() *pgxpool.Pool {
	w.t.Helper()
	pool, err := pgdb.Open(w.t.Context(), w.url, pgdb.Options{MaxConns: 6})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(pool.Close)
	return pool
}

// relay makes a relay as a process would; change may replace parts of it.
func (w *world) relay(change func(*webhookrelay.Config)) *webhookrelay.Relay {
	w.t.Helper()
	c := webhookrelay.Config{
		Log: w.log, Pool: w.pool, Secrets: w.seal, Disabler: w, AllowPrivate: true, Version: "test",
		Clock: w.clock.Now, Rand: func() float64 { return 0.5 }, // no jitter
	}
	if change != nil {
		change(&c)
	}
	r, err := webhookrelay.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// DisableWebhook records the event that the real command leads to.
func (w *world) DisableWebhook(_ context.Context, namespace, serviceID, webhookID, reason string) error {
	w.mu.Lock()
	failing := w.failing
	w.mu.Unlock()
	if failing != nil {
		return failing
	}
	w.append(domain.RegistryOf(namespace), domain.WebhookUpdated{WebhookID: webhookID, ServiceID: serviceID, Active: false, Reason: reason})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.disabled = append(w.disabled, webhookID)
	return nil
}

// append records one commit and gives the ids of its events.
func (w *world) append(b domain.Boundary, payloads ...domain.Payload) (position uint64, ids []string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.commits++
	c := domain.NewCommit(fmt.Sprintf("01J%023d", w.commits), b, w.clock.Now(), domain.Actor{Kind: domain.ActorOwner},
		domain.CommandRef{Name: "test"}, nil, payloads)
	r, err := w.log.Append(context.Background(), w.heads[b], c)
	if err != nil {
		w.t.Error(err)
		return 0, nil
	}
	w.heads[b] = r.Head()
	for _, e := range c.Events {
		ids = append(ids, e.ID)
	}
	return r.Position, ids
}

var allEvents = []domain.EventType{
	domain.ClaimSubmittedType, domain.ClaimApprovedType, domain.ClaimRejectedType, domain.ClaimRevokedType, domain.ClaimExpiredType,
}

// webhook registers an endpoint of the service for all events.
func (w *world) webhook(id, serviceID, url string, events ...domain.EventType) {
	w.t.Helper()
	if len(events) == 0 {
		events = allEvents
	}
	var nonce [domain.SealNonceSize]byte
	copy(nonce[:], id)
	auth := w.seal.Seal(nonce, "Bearer of "+id, id)
	nonce[domain.SealNonceSize-1] = 1
	w.append(domain.RegistryOf(owner), domain.WebhookCreated{
		WebhookID: id, ServiceID: serviceID, URL: url, Events: events,
		Secret: w.seal.Seal(nonce, secret, id), AuthHeader: "Authorization", AuthValue: &auth,
	})
}

func (w *world) setActive(id, serviceID string, active bool) {
	w.t.Helper()
	w.append(domain.RegistryOf(owner), domain.WebhookUpdated{WebhookID: id, ServiceID: serviceID, Active: active})
}

func submitted(claimID, serviceID string) domain.ClaimSubmitted {
	return domain.ClaimSubmitted{
		ClaimID: claimID, ServiceID: serviceID, ServiceNamespace: owner, Service: "tickets",
		PublicKey: "ed25519:AAAA", AgentIP: "203.0.113.45", Nonce: "nonce-of-" + claimID,
	}
}

// submit records a claim of the other namespace.
func (w *world) submit(claimID, serviceID string) (eventID string) {
	w.t.Helper()
	_, ids := w.append(domain.ClaimsOf(other), submitted(claimID, serviceID))
	return ids[0]
}

func (w *world) approve(claimID string) (eventID string) {
	w.t.Helper()
	_, ids := w.append(domain.ClaimsOf(other), domain.ClaimApproved{ClaimID: claimID})
	return ids[0]
}

func (w *world) assign(r *webhookrelay.Relay) (commits int) {
	w.t.Helper()
	n, err := r.Assign(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) deliver(r *webhookrelay.Relay) (attempts int) {
	w.t.Helper()
	n, err := r.DeliverDue(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// deliverAll delivers until nothing is due.
func (w *world) deliverAll(r *webhookrelay.Relay) (attempts int) {
	w.t.Helper()
	for {
		n := w.deliver(r)
		if n == 0 {
			return attempts
		}
		attempts += n
	}
}

func (w *world) upkeep(r *webhookrelay.Relay) {
	w.t.Helper()
	if err := r.Upkeep(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// deliveries are a webhook's, oldest first.
func (w *world) deliveries(webhookID string) []webhookrelay.Delivery {
	w.t.Helper()
	var all []webhookrelay.Delivery
	before := ""
	for {
		page, err := webhookrelay.NewDeliveries(w.pool).List(context.Background(), webhookID, "", before, webhookrelay.MaxListed)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		all = append(all, page...)
		before = page[len(page)-1].ID
	}
	slices.Reverse(all)
	return all
}

func (w *world) states(webhookID string) (states []webhookrelay.State) {
	for _, d := range w.deliveries(webhookID) {
		states = append(states, d.State)
	}
	return states
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.pool.Exec(w.t.Context(), sql, args...); err != nil {
		w.t.Fatal(err)
	}
}

// received is one request that a receiver got.
type received struct {
	at     time.Time
	header http.Header
	body   []byte
	event  event
}

type event struct {
	Event     string         `json:"event"`
	Timestamp string         `json:"timestamp"`
	Data      map[string]any `json:"data"`
	ID        string         `json:"id"`
	Position  string         `json:"position"`
	Sequence  int64          `json:"sequence"`
}

func (e event) claim() string { id, _ := e.Data["claim_id"].(string); return id }

// receiver is an endpoint that checks each request's signatures and keeps it. answer
// may be changed; it is given the event and its number among the requests, from 1.
type receiver struct {
	*httptest.Server
	t *testing.T

	mu     sync.Mutex
	any    bool // of signatures
	answer func(e event, n int, rw http.ResponseWriter)
	got    []received
	grown  chan struct{}
}

func newReceiver(t *testing.T, now func() time.Time) *receiver {
	r := &receiver{t: t, grown: make(chan struct{})}
	r.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		got := received{at: time.Now(), header: req.Header}
		got.body, _ = io.ReadAll(req.Body)
		if err := json.Unmarshal(got.body, &got.event); err != nil {
			t.Errorf("%s: %v", got.body, err)
		}
		r.mu.Lock()
		if !r.any {
			r.verify(got, now())
		}
		r.got = append(r.got, got)
		n, answer := len(r.got), r.answer
		close(r.grown)
		r.grown = make(chan struct{})
		r.mu.Unlock()
		if answer != nil {
			answer(got.event, n, rw)
		}
	}))
	t.Cleanup(r.Server.Close)
	return r
}

func (w *world) receiver() *receiver { return newReceiver(w.t, w.clock.Now) }

func (r *receiver) set(answer func(e event, n int, rw http.ResponseWriter)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// status answers always the same.
func status(code int) func(event, int, http.ResponseWriter) {
	return func(_ event, _ int, rw http.ResponseWriter) { rw.WriteHeader(code) }
}

func (r *receiver) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received(nil), r.got...)
}

// wait waits until so many requests came.
func (r *receiver) wait(n int) []received {
	r.t.Helper()
	deadline := time.After(patience)
	for {
		r.mu.Lock()
		got, grown := append([]received(nil), r.got...), r.grown
		r.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-grown:
		case <-deadline:
			r.t.Fatalf("got %d requests, want %d", len(got), n)
		}
	}
}

// eventually waits for a condition that nothing signals.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// start runs a relay, and gives a function that stops it and waits.
func (w *world) start(r *webhookrelay.Relay) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx)
	}()
	stop = func() { cancel(); <-ended }
	w.t.Cleanup(stop)
	return stop
}
