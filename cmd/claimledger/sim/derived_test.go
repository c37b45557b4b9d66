package sim

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections"
	"github.com/claimledger/claimledger/projections/pgdb"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
	"github.com/claimledger/claimledger/webhookrelay"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// derived is one run of what is made from the log: projectors and relays of two
// processes over one real PostgreSQL, and the receivers. One executor gives the log its
// commits; what may go wrong with it is the other simulation's.
type derived struct {
	*world
	plant    derivedPlant
	t        *testing.T
	exec     *commands.Executor
	moment   atomic.Pointer[time.Time] // now, for the executor's follower
	url      string
	pool     *pgxpool.Pool
	reader   *projections.Reader
	seal     *domain.SealKey
	webhooks []service         // with the id of a webhook
	hooks    map[string]string // webhook → its service

	processes [2]*process
	receivers *receivers
}

// process is what one of the two runs. Its memory is its pool and what it holds locks
// with.
type process struct {
	pool       *pgxpool.Pool
	projectors map[string]*projections.Projector
	relay      *webhookrelay.Relay
	log        *lagging
}

// lagging is a log as a process sees it: it may end early or break off.
type lagging struct {
	eventstore.Log
	end       uint64 // nothing is shown behind it
	breaksAt  uint64 // 0: it does not
	breakings int
}

var errEnd = errors.New("the end, as far as this process sees")

func (l *lagging) ReadAll(ctx context.Context, kind domain.Kind, after uint64, f func(eventstore.Record) error) error {
	err := l.Log.ReadAll(ctx, kind, after, func(r eventstore.Record) error {
		switch {
		case r.Position > l.end:
			return errEnd
		case r.Position == l.breaksAt:
			l.breakings++
			return fmt.Errorf("%w: %w", eventstore.ErrUnavailable, errCut)
		}
		return f(r)
	})
	if errors.Is(err, errEnd) {
		return nil
	}
	return err
}

const webhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// newDerived makes a world with a database of its own.
func newDerived(t *testing.T, seed uint64, p derivedPlant) *derived {
	t.Helper()
	seal, err := domain.NewSealKey(make([]byte, domain.SealKeySize))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	w := &world{
		limits: domain.OwnerLimits{Services: 4, KeysPerService: 2, WebhooksPerService: 2, ManagementKeys: 2},
		now:    begin, latest: begin, ledger: &ledger{memory: eventstore.NewMemory()}, claims: map[string][]string{},
		profile: profile{keyed: 0.1, fewNames: 2}, rng: rng,
	}
	w.model = newModel(w)
	w.found()
	d := &derived{world: w, plant: p, t: t, url: pgtest.New(t), seal: seal, hooks: map[string]string{}}
	d.moment.Store(&begin)
	d.receivers = &receivers{d: d, seed: seed, trouble: pick(rng, 0, 0.2, 0.5), got: map[string]bool{}}
	d.pool = d.newPool()
	for _, setup := range []func(context.Context, *pgxpool.Pool) error{projections.Setup, webhookrelay.Setup} {
		if err := setup(t.Context(), d.pool); err != nil {
			t.Fatal(err)
		}
	}
	d.reader = projections.NewReader(d.pool)
	t.Cleanup(d.reader.Close)
	for i := range d.processes {
		d.begin(i)
	}
	d.exec = commands.NewExecutor(commands.Config{
		Log: w.ledger.memory, Limits: w.limits, Logger: discard, NewID: w.newID, Metrics: newMetrics(), Now: func() time.Time { return *d.moment.Load() },
	})
	if err := d.exec.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	go func() { _ = d.exec.Run(t.Context()) }() // until the test ends
	return d
}

func (d *derived) newPool() *pgxpool.Pool {
	pool, err := pgdb.Open(context.Background(), d.url, pgdb.Options{MaxConns: 8})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(pool.Close)
	return pool
}

// begin starts a process.
func (d *derived) begin(i int) {
	p := &process{pool: d.newPool(), projectors: map[string]*projections.Projector{}, log: &lagging{Log: d.ledger.memory}}
	if d.plant.log != nil {
		p.log.Log = d.plant.log(p.log.Log)
	}
	for _, m := range projections.Models() {
		p.projectors[m.Name] = projections.NewProjector(p.log, p.pool, m, discard)
	}
	relay, err := webhookrelay.New(webhookrelay.Config{
		Log: p.log, Pool: p.pool, Secrets: d.seal, Disabler: d, AllowPrivate: true, Version: "sim", Logger: discard,
		Retries:   []time.Duration{time.Minute, time.Hour},
		Transport: &carrier{d, p},
		Clock:     func() time.Time { return d.now }, Rand: func() float64 { return 0.5 },
	})
	if err != nil {
		d.t.Fatal(err)
	}
	p.relay, d.processes[i] = relay, p
}

// kill ends a process: its connections are closed, and the server rolls back.
func (d *derived) kill(i int) {
	p := d.processes[i]
	for _, projector := range p.projectors {
		projector.Close()
	}
	p.pool.Close()
	d.begin(i)
	if d.plant.killed != nil {
		d.plant.killed(d)
	}
}

// DisableWebhook is given to the executor, as the program does.
func (d *derived) DisableWebhook(_ context.Context, namespace, serviceID, webhookID, reason string) error {
	c := d.newCommand(namespace, domain.Actor{Kind: domain.ActorRelay}, domain.CommandRef{Name: "disable"})
	c.registry = domain.SetWebhookActive{WebhookID: webhookID, ServiceID: serviceID, Reason: reason}
	d.run(c)
	if domain.ErrorCode(c.err) == domain.CodeNotFound {
		return nil // it was deleted
	}
	return c.err
}

// run gives a command and waits for its answer.
func (d *derived) run(c *command) {
	c.asked, c.knownRegistry = d.model.head(c.boundary()).Version, d.model.head(domain.RegistryOf(c.namespace)).Version
	ctx := context.Background()
	if c.claim != nil {
		c.answer, c.result, c.err = asAny(d.exec.Claims(ctx, c.namespace, c.claim, c.meta))
	} else {
		c.answer, c.result, c.err = asAny(d.exec.Registry(ctx, c.namespace, c.registry, c.meta))
	}
	c.done = true
}

// step lets one thing happen.
func (d *derived) step() {
	i := d.rng.IntN(len(d.processes))
	p := d.processes[i]
	switch n := d.rng.IntN(100); {
	case n < 40:
		for range 1 + d.rng.IntN(4) {
			c := d.someDerivedCommand()
			d.note("%s", c)
			d.run(c)
			d.world.check()
		}
	case n < 60:
		d.project(p, pick(d.rng, projections.Models()...).Name)
	case n < 70:
		d.see(p)
		commits, err := p.relay.Assign(d.t.Context())
		d.note("process %d assigns %d commits: %v", i, commits, err)
		d.bear("assigning", p, err)
	case n < 82:
		attempts, err := p.relay.DeliverDue(d.t.Context())
		d.note("process %d makes %d attempts: %v", i, attempts, err)
		if err != nil { // it lost its database on the way
			d.kill(i)
		}
	case n < 87:
		err := p.relay.Upkeep(d.t.Context())
		d.note("process %d keeps up: %v", i, err)
		d.bear("upkeep", p, err)
	case n < 95:
		d.passes(pick(d.rng, time.Second, 20*time.Second, time.Minute, time.Hour))
	default:
		d.note("process %d is killed", i)
		d.kill(i)
	}
	if d.plant.after != nil {
		d.plant.after(d)
	}
}

func (d *derived) passes(by time.Duration) {
	d.world.passes(by)
	now := d.now
	d.moment.Store(&now)
}

// see chooses how much of the log a process sees for now.
func (d *derived) see(p *process) {
	last := d.ledger.last()
	p.log.end, p.log.breaksAt, p.log.breakings = last-d.rng.Uint64N(min(last, 6)), 0, 0
	if d.rng.IntN(8) == 0 {
		p.log.breaksAt = last - d.rng.Uint64N(min(last, 6))
	}
}

func (d *derived) project(p *process, model string) {
	d.see(p)
	projector := p.projectors[model]
	n, err := projector.Step(d.t.Context())
	d.note("%d commits are projected to %s, of %d seen: %v", n, model, p.log.end, err)
	d.bear("projecting "+model, p, err)
	if d.rng.IntN(3) == 0 {
		projector.Close() // and another takes over
	}
}

// bear takes an error for what it was made to be, and any other for a defect.
func (d *derived) bear(what string, p *process, err error) {
	if err == nil || errors.Is(err, webhookrelay.ErrStandby) || p.log.breakings > 0 && errors.Is(err, errCut) {
		return
	}
	d.fail("%s: %v", what, err)
}

// someDerivedCommand draws one of the commands, or one on webhooks.
func (d *derived) someDerivedCommand() *command {
	if d.rng.IntN(5) > 0 && len(d.webhooks) > 0 {
		return d.someCommand()
	}
	s := pick(d.rng, d.services...)
	cmd := d.someWebhookCommand(s)
	c := d.newCommand(s.namespace, domain.Actor{Kind: domain.ActorOwner, ID: "owner-of-" + s.namespace}, domain.CommandRef{Name: fmt.Sprintf("%T", cmd)})
	c.registry = cmd
	return c
}

func (d *derived) someWebhookCommand(s service) domain.RegistryCommand {
	id := ""
	for _, w := range d.webhooks {
		if d.hooks[w.id] == s.id && (id == "" || d.rng.IntN(2) == 0) {
			id = w.id
		}
	}
	switch n := d.rng.IntN(100); {
	case id == "" || n < 25:
		d.ids++
		id = fmt.Sprintf("webhook-%d", d.ids)
		d.webhooks, d.hooks[id] = append(d.webhooks, service{id, s.namespace}), s.id
		events := []domain.EventType{domain.ClaimSubmittedType, domain.ClaimApprovedType, domain.ClaimRejectedType, domain.ClaimRevokedType, domain.ClaimExpiredType}
		if d.rng.IntN(3) == 0 {
			events = events[d.rng.IntN(3):]
		}
		return domain.CreateWebhook{WebhookCreated: domain.WebhookCreated{
			WebhookID: id, ServiceID: s.id, URL: "http://receiver.example/" + id, Events: events, Secret: d.sealed(id),
		}}
	case n < 55:
		return domain.SetWebhookActive{WebhookID: id, ServiceID: s.id, Active: false}
	case n < 90:
		return domain.SetWebhookActive{WebhookID: id, ServiceID: s.id, Active: true}
	case n < 95:
		return domain.RotateWebhookSecret{WebhookID: id, ServiceID: s.id, Secret: d.sealed(id)}
	default:
		return domain.DeleteWebhook{WebhookID: id, ServiceID: s.id}
	}
}

func (d *derived) sealed(webhook string) domain.Sealed {
	d.ids++
	var nonce [domain.SealNonceSize]byte
	copy(nonce[:], fmt.Sprint(d.ids))
	return d.seal.Seal(nonce, webhookSecret, webhook)
}

// chance is a number in [0, 1) that depends on nothing but the seed and what it is for.
func chance(seed uint64, what string) float64 {
	h := fnv.New64a()
	fmt.Fprint(h, seed, what)
	return rand.New(rand.NewPCG(h.Sum64(), seed)).Float64()
}

// derive runs the chosen steps of a seed.
func derive(t *testing.T, seed uint64, steps []int, p derivedPlant) (o outcome) {
	t.Run("", func(t *testing.T) {
		d := newDerived(t, seed, p)
		for _, i := range steps {
			d.rng = rand.New(rand.NewPCG(seed, uint64(i)+1))
			d.step()
			d.check()
			if o.steps++; d.failed != nil {
				break
			}
		}
		if d.failed == nil {
			d.finish()
		}
		o.failed, o.kind, o.trace = d.failed, d.kind, d.trace
	})
	return o
}
