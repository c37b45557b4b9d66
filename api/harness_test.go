package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/claimledger/claimledger/api"
	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/api/openapi/openapitest"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
	"github.com/claimledger/claimledger/projections"
	"github.com/claimledger/claimledger/projections/pgdb"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// patience bounds everything that a test waits for. Only a defect uses it up.
const patience = 30 * time.Second

// maxConns is enough for the projectors and readers of one node.
const maxConns = 12

// clock runs with the real time, some time apart.
type clock struct{ ahead atomic.Int64 }

func (c *clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// ledger is a real log and a real database, and the nodes that work on them.
type ledger struct {
	t     testing.TB
	log   eventstore.Log
	usage api.UsageStore
	// server is where the log is, and what may be lost beside it.
	server    *eventstore.Embedded
	snapshots commands.Snapshots
	// profiles are what is known of owners beyond the record.
	profiles *eventstore.Profiles
	db       string
	clock    *clock
	// public is the URL of the first node, which stands for all: as behind a balancer,
	// what clients see is one.
	public string
}

// newLedger starts a log of the test's own and makes a database for its read models.
func newLedger(t *testing.T) *ledger {
	t.Helper()
	t.Parallel()
	return openLedger(t)
}

func openLedger(t testing.TB) *ledger {
	t.Helper()
	stream, server := logtest.Embedded(t)
	return &ledger{t: t, log: stream, usage: stream.Usage(), server: server, snapshots: stream.Snapshots(), profiles: stream.Profiles(), db: pgtest.New(t), clock: &clock{}}
}

// settings are how a node differs from others.
type settings struct {
	addr       string         // where the node listens, for options to read
	log        eventstore.Log // the ledger's, seen in another way
	publicURL  string
	staleAfter time.Duration
	limits     domain.OwnerLimits
	health     api.WebhookHealth
	heartbeat  time.Duration
	timeout    time.Duration // the HTTP server's, for reading and writing
	deliveries api.DeliveryStore
	heads      api.HeadSource
	rates      api.RateLimits
	signUp     bool
	buffered   bool   // streams have to go through the server's buffers
	every      uint64 // commits between snapshots
}

// node is one API process with its own knowledge of the log, and a projector.
type node struct {
	*ledger
	addr    string
	public  string // what this node's clients see
	x       *commands.Executor
	client  *http.Client
	cutOff  bool // may know less than the log holds
	stop    func()
	server  *api.Server
	metrics *prometheus.Registry
	router  *api.Router
}

// start starts a node. Its staleness is out of the way unless a test is about it:
// moving the clock makes everything look old until the log was heard of again.
func (l *ledger) start(change ...func(*settings)) *node {
	l.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.t.Fatal(err)
	}
	if l.public == "" {
		l.public = "http://" + listener.Addr().String()
	}
	s := settings{
		addr: listener.Addr().String(), log: l.log, publicURL: l.public, staleAfter: 100 * 365 * 24 * time.Hour,
		limits: domain.DefaultOwnerLimits(), health: undelivered{}, deliveries: &asked{ledger: l}, heartbeat: 20 * time.Millisecond,
		heads: &eventstore.MemoryHeads{},
	}
	for _, f := range change {
		f(&s)
	}
	n := &node{ledger: l, addr: listener.Addr().String(), public: s.publicURL}
	metrics := prometheus.NewRegistry()
	n.x = commands.NewExecutor(commands.Config{
		Log: s.log, Limits: s.limits, Now: l.clock.Now, NewID: newID,
		Metrics: commands.NewMetrics(metrics), Logger: logtest.Logger(l.t),
		Snapshots: l.snapshots, SnapshotEvery: s.every,
	})
	ctx, cancel := context.WithCancel(context.Background())
	if err := n.x.Load(ctx); err != nil {
		l.t.Fatalf("load: %v", err)
	}
	var running sync.WaitGroup
	running.Go(func() { _ = n.x.Run(ctx) }) // ends with the context, or shows in the node's age
	reads, closeReads := l.readModels(ctx, s.log, &running)
	server, err := api.New(api.Config{
		PublicURL: s.publicURL, SessionKey: sessionKey, SealKey: func() (*domain.SealKey, error) { return sealKey(l.t), nil },
		StaleAfter: s.staleAfter, Rates: s.rates, Commands: n.x, Reads: reads, Usage: l.usage, Webhooks: s.health, Deliveries: s.deliveries, Heads: s.heads, Heartbeat: s.heartbeat,
		SignUp: s.signUp, KeepEmail: func(ctx context.Context, ownerID, email string) error {
			return l.profiles.Put(ctx, ownerID, eventstore.Profile{Email: email})
		},
		Now: l.clock.Now, NewID: newID, Logger: logtest.Logger(l.t), Metrics: metrics,
	})
	if err != nil {
		l.t.Fatal(err)
	}
	running.Go(func() { server.Run(ctx) })
	n.server, n.metrics = server, metrics
	n.serve(server, listener, s, func() { cancel(); running.Wait(); closeReads() })
	return n
}

// readModels runs projectors and gives what reads from them.
func (l *ledger) readModels(ctx context.Context, log eventstore.Log, running *sync.WaitGroup) (*projections.Reader, func()) {
	l.t.Helper()
	pool, err := pgdb.Open(ctx, l.db, pgdb.Options{MaxConns: maxConns})
	if err != nil {
		l.t.Fatal(err)
	}
	if err := projections.Setup(ctx, pool); err != nil {
		l.t.Fatal(err)
	}
	projectors := projections.NewProjectors(log, pool, logtest.Logger(l.t))
	running.Go(func() { projectors.Run(ctx) })
	reader := projections.NewReader(pool)
	return reader, func() { reader.Close(); pool.Close() }
}

func (n *node) serve(s *api.Server, listener net.Listener, set settings, after func()) {
	router := api.NewRouter()
	s.Routes(router)
	n.router = router
	server := &http.Server{Handler: router, ReadHeaderTimeout: patience, ReadTimeout: set.timeout, WriteTimeout: set.timeout}
	if !set.buffered {
		server.ConnContext = api.ConnContext
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }() // ErrServerClosed
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	n.client = &http.Client{Transport: openapitest.Transport(n.t, transport), Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	n.stop = sync.OnceFunc(func() {
		server.Close()
		<-done
		transport.CloseIdleConnections()
		after()
	})
	n.t.Cleanup(n.stop)
}

var sessionKey = bytes.Repeat([]byte("s"), api.MinSessionKey)

func sealKey(t testing.TB) *domain.SealKey {
	t.Helper()
	key, err := domain.NewSealKey(bytes.Repeat([]byte("k"), domain.SealKeySize))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newID() string { return ulid.Make().String() }

// undelivered is the health of webhooks that were never called.
type undelivered struct{}

func (undelivered) WebhookHealth(context.Context, []string) (map[string]api.Health, error) {
	return nil, nil
}

// asked has no deliveries, and keeps what it was asked for.
type asked struct {
	*ledger
	mu       sync.Mutex
	requests []api.DeliveryRequest
}

func (a *asked) Position(context.Context) (uint64, error) { return a.last(), nil }

func (a *asked) Deliveries(_ context.Context, _, _, before string, _ int) ([]api.Delivery, error) {
	if before != "" {
		return nil, domain.Errorf(domain.CodeInvalidRequest, "There is no such delivery of this webhook.")
	}
	return []api.Delivery{}, nil
}

func (a *asked) Delivery(_ context.Context, _, id string) (api.Delivery, []api.Attempt, error) {
	return api.Delivery{}, nil, domain.Errorf(domain.CodeNotFound, "There is no such delivery of this webhook.")
}

func (a *asked) Events(context.Context, string, uint64, int) ([]json.RawMessage, error) {
	return []json.RawMessage{}, nil
}

func (a *asked) Ask(_ context.Context, r api.DeliveryRequest) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, r)
	return r.ID, nil
}

// last is the position of the last commit in the log.
func (l *ledger) last() uint64 {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	last, err := l.log.Last(ctx)
	if err != nil {
		l.t.Fatalf("the log's last position: %v", err)
	}
	return last
}

// at is the commit at a position.
func (l *ledger) at(position uint64) *domain.Commit {
	l.t.Helper()
	rec, err := l.log.At(l.t.Context(), position)
	if err != nil {
		l.t.Fatalf("the commit at %d: %v", position, err)
	}
	return rec.Commit
}

// eventually waits for a condition, which it looks at again and again.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !condition(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("in vain waited for %s", what)
		}
	}
}
