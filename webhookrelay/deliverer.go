package webhookrelay

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/webhookrelay/attempt"
)

const (
	// maxInFlight is how many attempts one process makes at a time, about 64 KiB each.
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

// delivery is a row that this process has leased.
type delivery struct {
	webhookID, eventID string
	claimID, eventType string
	sequence           int64
	body               []byte
	occurredAt         time.Time
	attempts, failures int
	target             *target
	token              string
	leasedUntil        time.Time
	suspect            bool
	again              bool // it is sent once more, as its owner asked
}

// result is what came of a lease.
type result struct {
	*delivery
	attempted bool
	outcome   attempt.Outcome
	begun     time.Time
	ended     time.Time
}

// deliverer leases what is due, attempts it and writes the outcomes. One goroutine talks
// to the database: in one transaction it writes the outcomes that have gathered since
// the last, and leases what that made room for.
type deliverer struct {
	pool     *pgxpool.Pool
	sender   Sender
	seal     Opener
	schedule schedule
	clock    func() time.Time
	logger   *slog.Logger
	metrics  *Metrics
	gone     func() // a receiver wants no more
	// finishedAgain tells that a replay may go on.
	finishedAgain func()
	signal        signal // there may be something to do

	idle, busy time.Duration   // between two looks: pollInterval, and busyInterval
	presence   *presence       // this process, in lease tokens
	leases     int             // rounds of leasing so far
	cursor     string          // the webhook where the last round of leasing ran out of slots
	unopened   map[string]bool // webhooks whose secret cannot be opened

	mu       sync.Mutex
	done     []result
	inFlight int
	suspects int
	err      error // of the last exchange
}

func newDeliverer(c Config, p *presence, m *Metrics) *deliverer {
	return &deliverer{
		pool: c.Pool, sender: c.Sender, seal: c.Secrets, schedule: schedule{c.Retries, c.Rand},
		clock: c.Clock, logger: c.Logger, metrics: m,
		signal: newSignal(), idle: pollInterval, busy: busyInterval, presence: p, unopened: map[string]bool{}, gone: func() {}, finishedAgain: func() {},
	}
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
		leased, err := d.round(context.WithoutCancel(ctx), sending, true)
		if err != nil {
			sleep(ctx, pause)
			pause = min(2*pause, retryMost)
			d.signal.raise()
			continue
		}
		pause = retryLeast
		if leased > 0 {
			found = time.Now()
		}
		if time.Since(found) < pollInterval {
			poll.Reset(d.busy)
		} else {
			poll.Reset(d.idle)
		}
	}
}

// round is one exchange with the database, and the attempts that it allowed. In run it
// is not cut short when the process stops: leases that nobody knows of would keep their
// deliveries waiting.
func (d *deliverer) round(ctx, sending context.Context, leasing bool) (begun int, err error) {
	ctx, cancel := context.WithTimeout(ctx, exchangePatience)
	defer cancel()
	leased, err := d.exchange(ctx, leasing)
	d.note(err)
	for _, l := range leased {
		go d.attempt(sending, l)
	}
	return len(leased), err
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

// drain waits for the attempts in flight and writes what came of them. What cannot be
// written is attempted again by another process when its lease has run out.
func (d *deliverer) drain(stopSending func()) {
	ctx, cancel := context.WithTimeout(context.Background(), drainPatience+lastWritePatience)
	defer cancel()
	patience := time.AfterFunc(drainPatience, stopSending)
	defer patience.Stop()
	for d.flying() > 0 {
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

// flying is how many leases this process has not given back.
func (d *deliverer) flying() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inFlight
}

// attempt makes one attempt and keeps the outcome for the next exchange.
func (d *deliverer) attempt(ctx context.Context, l *delivery) {
	r := result{delivery: l, begun: d.clock()}
	// A lease that could run out meanwhile is given back: the database may have been
	// slow, or this process asleep, and another may be attempting it.
	if !r.begun.Add(attemptTimeout).After(l.leasedUntil) {
		r.attempted = true
		r.outcome = d.sender.Send(ctx, attempt.Request{
			URL: l.target.url, WebhookID: l.webhookID, EventID: l.eventID, EventType: l.eventType, Body: l.body,
			Secrets: l.target.secrets, AuthHeader: l.target.authHeader, AuthValue: l.target.authValue,
			At: r.begun,
		})
	}
	r.ended = d.clock()
	d.mu.Lock()
	d.done = append(d.done, r)
	d.mu.Unlock()
	d.signal.raise()
}

// step leases what is due, attempts it and writes the outcomes.
func (d *deliverer) step(ctx context.Context) (attempts int, err error) {
	leased, err := d.exchange(ctx, true)
	if err != nil {
		return 0, err
	}
	var sends sync.WaitGroup
	for _, l := range leased {
		sends.Go(func() { d.attempt(ctx, l) })
	}
	sends.Wait()
	if len(leased) == 0 {
		return 0, nil
	}
	if _, err := d.exchange(context.WithoutCancel(ctx), false); err != nil {
		return len(leased), fmt.Errorf("write the outcomes of deliveries: %w", err)
	}
	return len(leased), nil
}
