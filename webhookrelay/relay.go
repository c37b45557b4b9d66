package webhookrelay

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/webhookrelay/attempt"
	"github.com/claimledger/claimledger/webhookrelay/dialguard"
)

// Disabler stops a webhook for its owner: in the log, so that everyone sees it.
// Disabling a webhook that is disabled or deleted already is no error.
type Disabler interface {
	DisableWebhook(ctx context.Context, namespace, serviceID, webhookID, reason string) error
}

// Sender makes one attempt. It must return when ctx ends.
type Sender interface {
	Send(ctx context.Context, r attempt.Request) attempt.Outcome
}

// Opener opens what a webhook's owner gave, which is kept sealed. It is safe for
// concurrent use, and what it can open may change.
type Opener interface {
	Open(s domain.Sealed, webhookID string) (string, error)
}

// Config is what a relay is made of. Log, Pool, Secrets and Disabler are required.
type Config struct {
	Log  eventstore.Log
	Pool *pgxpool.Pool // the relay uses up to four of it at a time, and opens two beside it
	// Secrets opens the webhooks' secrets.
	Secrets  Opener
	Disabler Disabler
	// Alone says that no other relay uses the database: then what webhooks are leased
	// when this one starts were leased by a process that is gone.
	Alone bool

	// Retries are the waits after each failed attempt; nil means DefaultRetries. A
	// delivery that failed once more than there are waits is dead.
	Retries []time.Duration
	// DisableAfter is for how long every attempt has to have failed for a webhook to be
	// disabled; after half of it, that is said. 0: none is disabled for that.
	DisableAfter time.Duration
	// Keep is how long a delivery is kept that was delivered, is dead or was cancelled. 0:
	// for ever.
	Keep time.Duration
	// AllowPrivate is for development: http and private targets.
	AllowPrivate bool
	// Version is the product's, for the User-Agent.
	Version string
	Logger  *slog.Logger

	// Transport is what Sender sends by; nil means the guarded one.
	Transport http.RoundTripper
	// Sender makes the attempts; nil means attempt.Sender over Transport.
	Sender Sender
	// Clock is the time; nil means time.Now. The clocks of the relays that share a
	// database may differ by leaseMargin.
	Clock func() time.Time
	// Rand gives numbers in [0, 1) for jitter; nil means math/rand.
	Rand func() float64
}

// DefaultDisableAfter is several times as long as the retries of one delivery take.
const DefaultDisableAfter = 5 * 24 * time.Hour

// DefaultRetries wait longer each time, 15 hours in all.
func DefaultRetries() []time.Duration {
	return []time.Duration{5 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour}
}

// Relay assigns deliveries and makes them. Any number of relays may share a database.
type Relay struct {
	assigner  *assigner
	deliverer *deliverer
	upkeep    *upkeep
	listener  *listener
	sampler   *sampler
	metrics   *Metrics
	alone     bool
}

// New makes a relay. Nothing happens before Run or one of the steps.
func New(c Config) (*Relay, error) {
	if c.Log == nil || c.Pool == nil || c.Secrets == nil || c.Disabler == nil {
		return nil, errors.New("webhook relay: Log, Pool, Secrets and Disabler are required")
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Rand == nil {
		c.Rand = mathrand.Float64
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Retries == nil {
		c.Retries = DefaultRetries()
	}
	if c.Transport == nil {
		c.Transport = dialguard.NewTransport(dialguard.Options{Policy: domain.TargetPolicy{AllowPrivate: c.AllowPrivate}})
	}
	if c.Sender == nil {
		c.Sender = &attempt.Sender{Transport: c.Transport, Version: c.Version, Timeout: attemptTimeout}
	}

	m, events := newMetrics(), newEventCache()
	p := newPresence(rand.Text())
	d := newDeliverer(c, p, events, m)
	u := &upkeep{
		pool: c.Pool, disabler: c.Disabler, disableAfter: c.DisableAfter, keep: c.Keep,
		clock: c.Clock, logger: c.Logger, requeued: d.rouse, wake: newSignal(), presence: p, absent: absences{},
	}
	d.upkeep = u.wake.raise
	changed := func() { d.alter(); u.wake.raise() }
	a := &assigner{
		log: c.Log, pool: c.Pool, clock: c.Clock, logger: c.Logger, metrics: m, state: AssignerStarting,
		events: events, assigned: d.assigned, changed: changed,
	}
	return &Relay{
		assigner: a, deliverer: d, upkeep: u,
		listener: &listener{pool: c.Pool, presence: p, logger: c.Logger, deliveries: d.rouse, tasks: changed, own: a.pid.Load},
		sampler:  &sampler{log: c.Log, pool: c.Pool, clock: c.Clock, logger: c.Logger, metrics: m, assigner: a},
		metrics:  m,
		alone:    c.Alone,
	}, nil
}

// Run works until ctx ends, and through outages of the log and of the database. It
// then lets the attempts in flight finish, for a bounded time, and writes what came of
// them.
func (r *Relay) Run(ctx context.Context) error {
	if err := r.freeLeases(ctx); err != nil {
		return err
	}
	var parts sync.WaitGroup
	parts.Go(func() { r.assigner.run(ctx) })
	parts.Go(func() { r.upkeep.run(ctx) })
	parts.Go(func() { r.sampler.run(ctx) })
	// The others see this one for as long as it has attempts in flight.
	listening, leave := context.WithCancel(context.WithoutCancel(ctx))
	defer leave()
	parts.Go(func() { r.listener.run(listening) })
	parts.Go(func() {
		defer leave()
		r.deliverer.presence.await(ctx)
		r.deliverer.run(ctx)
	})
	parts.Wait()
	return ctx.Err()
}

// freeLeases lets go of what a relay held that was killed, where that can only be this
// one's predecessor: waiting until its leases run out would keep its webhooks waiting.
func (r *Relay) freeLeases(ctx context.Context) error {
	for r.alone {
		_, err := r.deliverer.pool.Exec(ctx, freeOwnedSQL)
		if err == nil {
			return nil
		}
		r.deliverer.logger.Warn("leases of the process before cannot be freed yet; trying again", "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(freeInterval):
		}
	}
	return nil
}

// freeInterval is the pause before trying again; the database is coming up.
const freeInterval = time.Second

// Assign reads the log from the checkpoint to its end and assigns deliveries, as a
// single step. It says how many commits it read. Where another relay assigns, the
// error is ErrStandby.
func (r *Relay) Assign(ctx context.Context) (commits int, err error) { return r.assigner.step(ctx) }

// DeliverDue attempts what is due now, once and in parallel as far as the caps allow,
// and writes what came of it. It says how many attempts that were.
func (r *Relay) DeliverDue(ctx context.Context) (attempts int, err error) {
	return r.deliverer.step(ctx)
}

// Upkeep requeues what enabled webhooks have, cancels what deleted webhooks have, does
// what owners asked for, and has the webhooks disabled whose receivers are gone or have
// failed for too long.
func (r *Relay) Upkeep(ctx context.Context) error { return r.upkeep.step(ctx) }

// Metrics are the relay's collectors, to be registered.
func (r *Relay) Metrics() *Metrics { return r.metrics }
