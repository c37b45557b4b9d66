package webhookrelay

import (
	"context"
	"fmt"
	"hash/fnv"
	"iter"
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

	// shards is how many conversations with the database there are. One would have to wait
	// for its turn among all that attempts take of the processors, and the attempts for it.
	shards = 2

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
// the outcomes. A few shards talk to the database, each about webhooks of its own: in one
// transaction a shard writes the outcomes that have gathered since the last, and reads what can
// be attempted next. What has been read is attempted meanwhile, as far as the caps allow.
type deliverer struct {
	pool     *pgxpool.Pool
	sender   Sender
	seal     Opener
	schedule schedule
	clock    func() time.Time
	logger   *slog.Logger
	metrics  *Metrics
	events   eventCache
	upkeep   func() // there may be something for upkeep

	idle, busy time.Duration // between two looks: pollInterval, and busyInterval
	presence   *presence     // this process, in tokens
	shards     []*shard

	mu       sync.Mutex
	hooks    map[string]*hook
	former   map[string]*hook // that it lost, for as long as attempts of theirs are under way
	ready    []*hook          // that may have something to begin, by turns
	suspects []*hook          // the same, of suspect endpoints
	once     bool             // nothing begins because something else ended
	unopened map[string]bool
	flying   int // attempts
	doubtful int // of them, at suspect endpoints
	underway int // begun and not written
}

func newDeliverer(c Config, p *presence, events eventCache, m *Metrics) *deliverer {
	d := &deliverer{
		pool: c.Pool, sender: c.Sender, seal: c.Secrets, schedule: schedule{c.Retries, c.Rand},
		clock: c.Clock, logger: c.Logger, metrics: m, events: events,
		idle: pollInterval, busy: busyInterval, presence: p,
		unopened: map[string]bool{}, hooks: map[string]*hook{}, former: map[string]*hook{},
		upkeep: func() {},
	}
	for i := range shards {
		d.shards = append(d.shards, &shard{deliverer: d, n: i, signal: newSignal(), left: map[string]leave{}})
	}
	return d
}

// assigned tells that webhooks have new deliveries.
func (d *deliverer) assigned(fresh map[string]*webhook) {
	for _, s := range d.shards {
		for id := range fresh {
			if s.has(id) {
				s.signal.raise()
				break
			}
		}
	}
}

// rouse tells that there may be something to do.
func (d *deliverer) rouse() {
	for _, l := range d.shards {
		l.signal.raise()
	}
}

// alter tells that webhooks were changed.
func (d *deliverer) alter() {
	for _, l := range d.shards {
		l.altered.Store(true)
	}
	d.rouse()
}

// run delivers until ctx ends, and then lets what is in flight finish.
func (d *deliverer) run(ctx context.Context) {
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var running sync.WaitGroup
	for _, l := range d.shards {
		running.Go(func() { l.run(ctx, sending, stop) })
	}
	running.Wait()
}

// shard is one of the conversations with the database.
type shard struct {
	*deliverer
	n       int
	signal  signal      // there may be something to do
	altered atomic.Bool // webhooks that this process has may have been changed
	takes   int         // rounds of taking so far
	cursor  string      // the webhook where the last round of taking ran out of places
	looked  time.Time   // when the webhooks of the shard were last looked at
	left    map[string]leave
	// stingyUntil is when others are left webhooks of this process's again.
	stingyUntil time.Time

	done []result // guarded by mu
	err  error    // the same
}

// has tells that a webhook is one of the shard's.
func (l *shard) has(webhookID string) bool {
	h := fnv.New32a()
	h.Write([]byte(webhookID))
	return int(h.Sum32()%shards) == l.n
}

// mine are the webhooks that this process has in the shard; mu is held.
func (l *shard) mine() iter.Seq[*hook] {
	return func(yield func(*hook) bool) {
		for _, h := range l.hooks {
			if h.shard == l && !yield(h) {
				return
			}
		}
	}
}

func (l *shard) run(ctx, sending context.Context, stop func()) {
	poll := time.NewTimer(l.idle)
	defer poll.Stop()
	var found time.Time // the last time that there was something
	pause := retryLeast
	for {
		select {
		case <-ctx.Done():
			l.drain(stop)
			return
		case <-l.signal:
		case <-poll.C:
		}
		// It is not cut short when the process stops: webhooks that nobody knows to be
		// taken would be kept waiting.
		begun, err := l.round(context.WithoutCancel(ctx), sending, true)
		if err != nil {
			sleep(ctx, pause)
			pause = min(2*pause, retryMost)
			l.signal.raise()
			continue
		}
		pause = retryLeast
		if begun {
			found = time.Now()
		}
		if time.Since(found) < pollInterval {
			poll.Reset(l.busy)
		} else {
			poll.Reset(l.idle)
		}
	}
}

// round is one exchange with the database, and the attempts that it allowed.
func (l *shard) round(ctx, sending context.Context, taking bool) (begun bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, exchangePatience)
	defer cancel()
	now := l.clock()
	err = l.exchange(ctx, now, taking)
	l.note(err)
	if err != nil {
		return false, err
	}
	for _, due := range l.begin(now) {
		begun = true
		go l.work(sending, due)
	}
	return begun, nil
}

func (l *shard) note(err error) {
	l.mu.Lock()
	before := l.err
	l.err = err
	l.mu.Unlock()
	if err != nil && (before == nil || before.Error() != err.Error()) {
		l.logger.Warn("webhook deliveries cannot be read or written", "err", err)
	}
}

// drain waits for the attempts in flight, writes what came of them and gives all webhooks
// back. What cannot be written is attempted again by another process when the lease has
// run out.
func (l *shard) drain(stopSending func()) {
	ctx, cancel := context.WithTimeout(context.Background(), drainPatience+lastWritePatience)
	defer cancel()
	patience := time.AfterFunc(drainPatience, stopSending)
	defer patience.Stop()
	l.closeAll()
	l.signal.raise()
	for l.holding() {
		select {
		case <-ctx.Done():
			return
		case <-l.signal:
		}
		if _, err := l.round(ctx, ctx, false); err != nil {
			sleep(ctx, retryLeast)
			l.signal.raise()
		}
	}
}

func (l *shard) closeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for h := range l.mine() {
		h.closing = true
	}
}

// holding tells that this process has webhooks in the shard.
func (l *shard) holding() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range l.mine() {
		return true
	}
	return false
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
	t := l.target
	// What could last longer than the webhook is this one's is left: the database may have
	// been slow, or this process asleep, and another may have taken it.
	if !r.begun.Add(attemptTimeout).After(l.until) {
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
	h.shard.done = append(h.shard.done, r)
	h.shard.signal.raise()
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
	for _, l := range d.shards {
		if err := l.exchange(ctx, now, true); err != nil {
			return 0, err
		}
	}
	begun := d.begin(now)
	var sends sync.WaitGroup
	for _, l := range begun {
		sends.Go(func() { d.work(ctx, l) })
	}
	sends.Wait()
	for _, l := range d.shards {
		if l.closeAll(); !l.holding() {
			continue
		}
		if err := l.exchange(context.WithoutCancel(ctx), d.clock(), false); err != nil {
			return len(begun), fmt.Errorf("write the outcomes of deliveries: %w", err)
		}
	}
	return len(begun), nil
}
