package webhookrelay

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/webhookrelay/attempt"
)

const (
	// maxInFlight is how many attempts one process makes at a time, about 64 KiB each, and
	// how many webhooks it has at a time.
	maxInFlight = 1024
	// maxSuspects of them may be for endpoints whose last attempt failed. However many
	// endpoints hang, the healthy ones have the rest. An endpoint that begins to hang
	// holds maxPerEndpoint of that rest until its first timeout: 128 would have to begin
	// within the same ten seconds before a healthy one waits.
	maxSuspects = maxInFlight / 2

	// pollInterval bounds how late a retry begins, and a delivery whose signal was lost.
	pollInterval = time.Second
	// busyInterval is how soon it is looked for more where there was something within the
	// last pollInterval: what a webhook catches up with is due little by little, and comes
	// so.
	busyInterval = 100 * time.Millisecond
	// exchangePatience bounds one conversation with the database.
	exchangePatience = 10 * time.Second
	// drainPatience is how long attempts in flight may go on when the process stops,
	// and lastWritePatience how long writing their outcomes may take: together below
	// the ten seconds that stopping has.
	drainPatience     = 6 * time.Second
	lastWritePatience = 2 * time.Second
)

// result is what came of a delivery that was begun.
type result struct {
	*delivery
	attempted bool
	outcome   attempt.Outcome
	begun     time.Time
	ended     time.Time
}

// says tells whether the result says something about the receiver. An attempt that was cut
// short does not, and the delivery is due as before.
func (r result) says() bool { return r.attempted && !r.outcome.Interrupted() }

// deliverer takes webhooks that have something due, attempts their deliveries and writes
// the outcomes. One goroutine talks to the database: in one transaction it writes the
// outcomes that have gathered since the last, and reads what can be attempted next. What has
// been read is attempted meanwhile, as far as the caps allow.
type deliverer struct {
	pool     *pgxpool.Pool
	sender   Sender
	seal     Opener
	schedule schedule
	clock    func() time.Time
	logger   *slog.Logger
	metrics  *Metrics
	events   eventCache
	upkeep   func()      // there may be something for upkeep
	signal   signal      // there may be something to do
	changed  atomic.Bool // webhooks that this process has may have been changed

	idle, busy time.Duration // between two looks: pollInterval, and busyInterval
	presence   *presence     // this process, in tokens
	takes      int           // rounds of taking so far
	cursor     string        // the webhook where the last round of taking ran out of places
	unopened   map[string]bool
	looked     time.Time        // when the webhooks that this process has were last looked at
	left       map[string]leave // webhooks that are not taken for now
	// stingyUntil is when others are left webhooks of this process's again.
	stingyUntil time.Time

	mu       sync.Mutex
	hooks    map[string]*hook
	ready    []*hook // that may have something to begin, by turns
	suspects []*hook // the same, of suspect endpoints
	once     bool    // nothing begins because something else ended
	done     []result
	flying   int // attempts
	doubtful int // of them, at suspect endpoints
	underway int // begun and not written
	err      error
}

func newDeliverer(c Config, p *presence, events eventCache, m *Metrics) *deliverer {
	return &deliverer{
		pool: c.Pool, sender: c.Sender, seal: c.Secrets, schedule: schedule{c.Retries, c.Rand},
		clock: c.Clock, logger: c.Logger, metrics: m, events: events,
		signal: newSignal(), idle: pollInterval, busy: busyInterval, presence: p,
		unopened: map[string]bool{}, left: map[string]leave{}, hooks: map[string]*hook{},
		upkeep: func() {},
	}
}

// alter tells that webhooks were changed.
func (d *deliverer) alter() {
	d.changed.Store(true)
	d.signal.raise()
}

// run delivers until ctx ends, and then lets what is in flight finish.
func (d *deliverer) run(ctx context.Context) {
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	poll := time.NewTimer(d.idle)
	defer poll.Stop()
	var found time.Time // the last time that there was something
	pause := retryLeast
	for {
		select {
		case <-ctx.Done():
			d.drain(stop)
			return
		case <-d.signal:
		case <-poll.C:
		}
		// It is not cut short when the process stops: webhooks that nobody knows to be
		// taken would be kept waiting.
		begun, err := d.round(context.WithoutCancel(ctx), sending, true)
		if err != nil {
			sleep(ctx, pause)
			pause = min(2*pause, retryMost)
			d.signal.raise()
			continue
		}
		pause = retryLeast
		if begun {
			found = time.Now()
		}
		if time.Since(found) < pollInterval {
			poll.Reset(d.busy)
		} else {
			poll.Reset(d.idle)
		}
	}
}

// round is one exchange with the database, and the attempts that it allowed.
func (d *deliverer) round(ctx, sending context.Context, taking bool) (begun bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, exchangePatience)
	defer cancel()
	now := d.clock()
	err = d.exchange(ctx, now, taking)
	d.note(err)
	if err != nil {
		return false, err
	}
	for _, l := range d.begin(now) {
		begun = true
		go d.work(sending, l)
	}
	return begun, nil
}

func (d *deliverer) note(err error) {
	d.mu.Lock()
	before := d.err
	d.err = err
	d.mu.Unlock()
	if err != nil && (before == nil || before.Error() != err.Error()) {
		d.logger.Warn("webhook deliveries cannot be read or written", "err", err)
	}
}

// drain waits for the attempts in flight, writes what came of them and gives all webhooks
// back. What cannot be written is attempted again by another process when the lease has
// run out.
func (d *deliverer) drain(stopSending func()) {
	ctx, cancel := context.WithTimeout(context.Background(), drainPatience+lastWritePatience)
	defer cancel()
	patience := time.AfterFunc(drainPatience, stopSending)
	defer patience.Stop()
	d.closeAll()
	d.signal.raise()
	for d.holding() {
		select {
		case <-ctx.Done():
			return
		case <-d.signal:
		}
		if _, err := d.round(ctx, ctx, false); err != nil {
			sleep(ctx, retryLeast)
			d.signal.raise()
		}
	}
}

func (d *deliverer) closeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range d.hooks {
		h.closing = true
	}
}

// holding tells that this process has webhooks.
func (d *deliverer) holding() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.hooks) > 0
}

// begin takes out all that may be attempted now: one of each webhook before any has a
// second.
func (d *deliverer) begin(now time.Time) (all []*delivery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		l := d.next(now)
		if l == nil {
			return all
		}
		all = append(all, l)
	}
}

// next takes out what is to be attempted next. The webhooks take turns.
func (d *deliverer) next(now time.Time) *delivery {
	for len(d.ready) > 0 && d.flying < maxInFlight {
		h := d.ready[0]
		d.ready = d.ready[1:]
		if h.suspect() {
			d.suspects = append(d.suspects, h)
		} else if l := d.take(h, now); l != nil {
			return l
		}
	}
	for len(d.suspects) > 0 && d.flying < maxInFlight && d.doubtful < maxSuspects {
		h := d.suspects[0]
		d.suspects = d.suspects[1:]
		if l := d.take(h, now); l != nil {
			return l
		}
	}
	return nil
}

func (d *deliverer) take(h *hook, now time.Time) *delivery {
	h.listed = false
	i := h.next(now)
	if i < 0 {
		return nil
	}
	l := h.begin(i)
	d.flying++
	d.underway++
	if l.suspect {
		d.doubtful++
	}
	d.list(h)
	return l
}

// list has a webhook be looked at for something to begin.
func (d *deliverer) list(h *hook) {
	if !h.listed && len(h.rows) > 0 {
		h.listed = true
		d.ready = append(d.ready, h)
	}
}

// work attempts a delivery, and then another one for as long as there is any.
func (d *deliverer) work(ctx context.Context, l *delivery) {
	for l != nil {
		l = d.end(ctx, d.attempt(ctx, l))
	}
}

func (d *deliverer) attempt(ctx context.Context, l *delivery) result {
	r := result{delivery: l, begun: d.clock()}
	d.mu.Lock()
	until, t := l.hook.until, l.hook.target
	d.mu.Unlock()
	// What could last longer than the webhook is this one's is left: the database may have
	// been slow, or this process asleep, and another may have taken it.
	if !r.begun.Add(attemptTimeout).After(until) {
		r.attempted = true
		r.outcome = d.sender.Send(ctx, attempt.Request{
			URL: t.url, WebhookID: l.hook.webhookID, EventID: l.event.id, EventType: l.kind, Body: l.bodyFor(l.place),
			Secrets: t.secrets, AuthHeader: t.authHeader, AuthValue: t.authValue,
			At: r.begun,
		})
	}
	r.ended = d.clock()
	return r
}

// end takes in what came of an attempt, for the next exchange, and gives what is to be
// attempted instead.
func (d *deliverer) end(ctx context.Context, r result) *delivery {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := r.hook
	h.flying--
	d.flying--
	if r.suspect {
		d.doubtful--
	}
	if r.says() {
		h.took(r.outcome, r.ended, d.schedule.probe())
	} else {
		h.lose(r.delivery)
	}
	if r.outcome.Gone() {
		h.closing = true
	}
	d.done = append(d.done, r)
	d.signal.raise()
	if d.once || ctx.Err() != nil {
		return nil
	}
	d.list(h)
	l := d.next(r.ended)
	if l == nil {
		return nil
	}
	// There is more to begin than has ended where an endpoint has recovered.
	for more := d.next(r.ended); more != nil; more = d.next(r.ended) {
		go d.work(ctx, more)
	}
	return l
}

// step takes what is due, attempts it and writes the outcomes.
func (d *deliverer) step(ctx context.Context) (attempts int, err error) {
	d.once = true
	now := d.clock()
	if err := d.exchange(ctx, now, true); err != nil {
		return 0, err
	}
	begun := d.begin(now)
	var sends sync.WaitGroup
	for _, l := range begun {
		sends.Go(func() { d.work(ctx, l) })
	}
	sends.Wait()
	d.closeAll()
	if !d.holding() {
		return 0, nil
	}
	if err := d.exchange(context.WithoutCancel(ctx), d.clock(), false); err != nil {
		return len(begun), fmt.Errorf("write the outcomes of deliveries: %w", err)
	}
	return len(begun), nil
}
