package commands

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

// patience bounds everything that a test waits for. Only a defect uses it up.
const patience = 20 * time.Second

// troubled is a log in which a test can have something happen just before or instead
// of an operation. A hook that is nil is no trouble.
type troubled struct {
	eventstore.Log
	append  func(context.Context, eventstore.Head, *domain.Commit) (eventstore.Record, error) // in a goroutine
	read    func(b domain.Boundary, r eventstore.Record) error                                // for each record
	readAll func(eventstore.Record)                                                           // for each record
	tail    func()
	last    func() error
	follow  func(eventstore.Record) // for each record
}

func (l *troubled) Begin(ctx context.Context, after eventstore.Head, c *domain.Commit) *eventstore.Pending {
	if l.append == nil {
		return l.Log.Begin(ctx, after, c)
	}
	return eventstore.Async(ctx, nil, after, c, func(after eventstore.Head) (eventstore.Record, error) { return l.append(ctx, after, c) })
}

func (l *troubled) Chain(ctx context.Context, behind *eventstore.Pending, c *domain.Commit) *eventstore.Pending {
	if l.append == nil {
		return l.Log.Chain(ctx, behind, c)
	}
	return eventstore.Async(ctx, behind, behind.Head(), c, func(after eventstore.Head) (eventstore.Record, error) { return l.append(ctx, after, c) })
}

func (l *troubled) Tail(ctx context.Context, b domain.Boundary) (eventstore.Head, error) {
	if l.tail != nil {
		l.tail()
	}
	return l.Log.Tail(ctx, b)
}

func (l *troubled) Last(ctx context.Context) (uint64, error) {
	if l.last != nil {
		if err := l.last(); err != nil {
			return 0, err
		}
	}
	return l.Log.Last(ctx)
}

func (l *troubled) Read(ctx context.Context, b domain.Boundary, after uint64, f func(eventstore.Record) error) error {
	return l.Log.Read(ctx, b, after, func(r eventstore.Record) error {
		if l.read != nil {
			if err := l.read(b, r); err != nil {
				return err
			}
		}
		return f(r)
	})
}

func (l *troubled) ReadAll(ctx context.Context, kind domain.Kind, after uint64, f func(eventstore.Record) error) error {
	return l.Log.ReadAll(ctx, kind, after, func(r eventstore.Record) error {
		if l.readAll != nil {
			l.readAll(r)
		}
		return f(r)
	})
}

func (l *troubled) Follow(ctx context.Context, after uint64, f func(eventstore.Record) error, caughtUp func(uint64)) error {
	return l.Log.Follow(ctx, after, func(r eventstore.Record) error {
		if l.follow != nil {
			l.follow(r)
		}
		return f(r)
	}, caughtUp)
}

// tester is an executor with a clock that a test moves.
type tester struct {
	*Executor
	t       *testing.T
	ahead   atomic.Int64
	stopped chan error // what Run ended with
}

// newTester makes an executor on a log; it runs until the test ends.
func newTester(t *testing.T, log eventstore.Log, change ...func(*Config)) *tester {
	t.Helper()
	x := &tester{t: t, stopped: make(chan error, 1)}
	config := Config{
		Log: log, Limits: domain.DefaultOwnerLimits(), NewID: newID, Logger: logtest.Logger(t),
		Metrics: NewMetrics(prometheus.NewRegistry()),
		Now:     func() time.Time { return time.Now().Add(time.Duration(x.ahead.Load())) },
	}
	for _, f := range change {
		f(&config)
	}
	x.Executor = NewExecutor(config)
	if err := x.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { x.stopped <- x.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return x
}

func newID() string { return ulid.Make().String() }

func ref(name string) Meta {
	return Meta{Actor: domain.Actor{Kind: domain.ActorOperator}, Ref: domain.CommandRef{Name: name}}
}

func (x *tester) registry(namespace string, cmd domain.RegistryCommand) (Result, error) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), patience)
	defer cancel()
	_, r, err := x.Registry(ctx, namespace, cmd, ref("registry"))
	return r, err
}

// must gives commands on a registry that have to succeed.
func (x *tester) must(namespace string, cmds ...domain.RegistryCommand) {
	x.t.Helper()
	for _, cmd := range cmds {
		if _, err := x.registry(namespace, cmd); err != nil {
			x.t.Fatalf("%T: %v", cmd, err)
		}
	}
}

func (x *tester) claim(namespace string, cmd domain.ClaimCommand) (domain.ClaimAnswer, Result, error) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), patience)
	defer cancel()
	return x.Claims(ctx, namespace, cmd, ref("claim"))
}

// namespace registers a namespace with one service, which has the namespace's name.
func (x *tester) namespace(name string) {
	x.t.Helper()
	x.must(name, register(), domain.CreateService{ServiceID: name, Slug: name, Name: name})
}

func register() domain.RegisterNamespace {
	return domain.RegisterNamespace{OwnerID: "owner", Token: domain.LoginToken{
		Hash: domain.HashOf([]byte(newID())), ExpiresAt: time.Now().Add(time.Hour),
	}}
}

var serial atomic.Int64

// submission is a new agent's claim on the namespace's service.
func submission(namespace string) domain.Submit {
	n := fmt.Sprintf("%08d", serial.Add(1))
	return domain.Submit{
		ClaimID: "claim_" + strings.ToLower(newID()), ServiceID: namespace, Service: namespace, ServiceNamespace: namespace,
		PublicKey: "ed25519:" + n, AgentIP: "203.0.113.45", Nonce: n, Signer: namespace, SignatureNonce: n,
	}
}

// submit submits a claim that has to be taken, and gives its id.
func (x *tester) submit(namespace string) string {
	x.t.Helper()
	a, _, err := x.claim(namespace, submission(namespace))
	if err != nil {
		x.t.Fatal(err)
	}
	return a.ClaimID
}

func wantCode(t *testing.T, what string, err error, code domain.Code) {
	t.Helper()
	if domain.ErrorCode(err) != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

// eventually waits for a condition, which it looks at again and again.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !condition(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("in vain waited for %s", what)
		}
	}
}

// last is the position of the last commit.
func last(t *testing.T, log eventstore.Log) uint64 {
	t.Helper()
	p, err := log.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}
