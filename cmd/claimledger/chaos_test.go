package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// What makes the chaos as large as `make chaos` has it.
const (
	eventsVariable   = "CLAIMLEDGER_CHAOS_EVENTS"
	webhooksVariable = "CLAIMLEDGER_CHAOS_WEBHOOKS"
	killsVariable    = "CLAIMLEDGER_CHAOS_KILLS"
)

// sizeFrom is a size that a variable of the environment may tell.
func sizeFrom(t testing.TB, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, not a number from 1", variable, text)
	}
	return n
}

// subscriptions are those of each service's webhooks: every event goes to three or four.
var subscriptions = [][]domain.EventType{
	{domain.ClaimSubmittedType, domain.ClaimApprovedType, domain.ClaimRejectedType, domain.ClaimRevokedType, domain.ClaimExpiredType},
	{domain.ClaimSubmittedType, domain.ClaimApprovedType, domain.ClaimRejectedType, domain.ClaimRevokedType, domain.ClaimExpiredType},
	{domain.ClaimSubmittedType},
	{domain.ClaimApprovedType, domain.ClaimRevokedType},
	{domain.ClaimRejectedType, domain.ClaimExpiredType, domain.ClaimRevokedType},
}

// told is what each event is called to webhooks.
var told = map[domain.EventType]string{
	domain.ClaimSubmittedType: "request.submitted", domain.ClaimApprovedType: "request.approved", domain.ClaimRejectedType: "request.rejected",
	domain.ClaimRevokedType: "request.revoked", domain.ClaimExpiredType: "request.expired",
}

// chaos is a ledger whose relays, of which there are two, are killed again and again while
// its webhooks' endpoints fail at random.
type chaos struct {
	*external
	events, webhooks, kills int

	relays    [2]*process
	addresses [2]string
	loads     []*load
	endpoints [][]*flaky // of each load, as the subscriptions
	requests  atomic.Int64
}

// startChaos makes the ledger, and namespaces with a service and its webhooks each.
func startChaos(t testing.TB) *chaos {
	t.Helper()
	c := &chaos{
		external: newExternal(t),
		events:   sizeFrom(t, eventsVariable, 200), webhooks: sizeFrom(t, webhooksVariable, 5), kills: sizeFrom(t, killsVariable, 2),
	}
	// A fifth of all attempts fails; that the thirteenth of an event does is out of the question.
	c.retries = "100ms,200ms,500ms,1s,1s,1s,1s,1s,1s,1s,1s,1s"
	c.setup()
	address := freeAddress(t)
	serve(t, append(c.allInOne(address), "--roles", "api,projector")...)
	for i := range c.relays {
		c.addresses[i] = freeAddress(t)
		c.relays[i] = c.role(roleRelay, c.addresses[i])
	}
	for i := range (c.webhooks + len(subscriptions) - 1) / len(subscriptions) {
		cl := newClient(t, address)
		cl.http.Transport = &http.Transport{MaxIdleConnsPerHost: 64} // its answers are as described: other tests look
		tn := newTenant(t, cl, fmt.Sprintf("acme-%d", i+1), c.place()...)
		tn.policy(map[string]any{"max_pending": 1_000_000, "max_agents": 1_000_000})
		l := newLoad(tn)
		l.decides = true
		var endpoints []*flaky
		for _, types := range subscriptions {
			var events []string
			for _, e := range types {
				events = append(events, told[e])
			}
			f := newFlaky(t, 0.2, func() { c.requests.Add(1) })
			tn.webhook(f.hooks, map[string]any{"events": events})
			endpoints = append(endpoints, f)
		}
		c.loads, c.endpoints = append(c.loads, l), append(c.endpoints, endpoints)
	}
	return c
}

// answered is how many commands were.
func (c *chaos) answered() (n int) {
	for _, l := range c.loads {
		n += l.count(func() int { return len(l.answers) })
	}
	return n
}

// reign kills the relays, and PostgreSQL and NATS now and then, while requests come to the
// endpoints. It says how often PostgreSQL and NATS were.
func (c *chaos) reign() (restarts int) {
	c.t.Helper()
	// Each event makes three requests at least, so that there is a time for each.
	step := max(1, 3*c.events/c.kills)
	every := min(10, c.kills)
	for i := range c.kills {
		c.awaitRequests(i*step + rand.N(step))
		victim := rand.N(len(c.relays))
		c.relays[victim].kill()
		switch i % every {
		case every / 3:
			if err := syscall.Kill(c.database.PID(), syscall.SIGKILL); err != nil {
				c.t.Fatal(err)
			}
			c.launch(victim)
			c.restartDatabase()
			restarts++
			c.t.Logf("PostgreSQL was killed: %s", c)
		case 2 * every / 3:
			c.killNATS()
			c.launch(victim)
			c.startNATS()
			restarts++
			c.t.Logf("NATS was killed: %s", c)
		default:
			c.launch(victim)
		}
	}
	return restarts
}

// String is how far it has come.
func (c *chaos) String() string {
	return fmt.Sprintf("%d commands were answered, and %d requests came to the endpoints", c.answered(), c.requests.Load())
}

// launch starts a relay, and does not wait until it is ready: it may be killed before.
func (c *chaos) launch(i int) {
	c.relays[i] = launch(c.t, beLedger, nil, append([]string{"serve"}, c.flags(roleRelay, c.addresses[i])...)...)
}

func (c *chaos) awaitRequests(n int) {
	c.t.Helper()
	eventually(c.t, 2*patience, func() error {
		if have := c.requests.Load(); have < int64(n) {
			return fmt.Errorf("%s, and not %d", c, n)
		}
		return nil
	})
}

// log is what the log says, read from it.
func (c *chaos) log() *ledgerLog {
	c.t.Helper()
	place := placeSettings{NATSURL: c.natsURL("claimledger"), Replicas: 1}
	stream, closeLog, err := place.openLog(context.Background(), false, slog.New(slog.DiscardHandler))
	if err != nil {
		c.t.Fatal(err)
	}
	defer closeLog()
	l := newLedgerLog()
	readStream(c.t, stream, func(r eventstore.Record) {
		if err := l.add(r); err != nil {
			c.t.Errorf("the commit at %d: %v", r.Position, err)
		}
	})
	return l
}

// subscribed are the events of a namespace that a webhook is told of.
func (l *ledgerLog) subscribed(namespace string, types []domain.EventType) (events []domain.Event) {
	for _, e := range l.events[namespace] {
		if slices.Contains(types, e.Type()) {
			events = append(events, e)
		}
	}
	return events
}

// chaosTally is what came of all of it.
type chaosTally struct{ events, deliveries, failed, duplicates int }

// check waits until each endpoint has everything that the log has for it.
func (c *chaos) check(l *ledgerLog, within time.Duration) (sum chaosTally) {
	c.t.Helper()
	end := time.Now().Add(within)
	for i, load := range c.loads {
		namespace := load.tenant.namespace
		for _, err := range l.lacks(load) {
			c.t.Errorf("%s: %v", namespace, err)
		}
		sum.events += len(l.events[namespace])
		for j, f := range c.endpoints[i] {
			due := l.subscribed(namespace, subscriptions[j])
			f.awaitEvents(time.Until(end), len(due))
			events, arrivals := f.check()
			for _, err := range misdelivered(due, f.inOrder()) {
				c.t.Errorf("%s, webhook %d: %v", namespace, j+1, err)
			}
			sum.deliveries += events
			sum.duplicates += arrivals - events
			sum.failed += f.failures()
		}
	}
	return sum
}

// settled makes sure that the relays know in the end that all was delivered.
func (c *chaos) settled(want int) {
	c.t.Helper()
	conn, err := pgx.Connect(c.t.Context(), c.database.URL())
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(c.t.Context()))
	eventually(c.t, patience, func() error {
		var delivered, others int
		err := conn.QueryRow(c.t.Context(), `SELECT count(*) FILTER (WHERE state = 'delivered'), count(*) FILTER (WHERE state <> 'delivered')
			FROM webhookrelay.deliveries`).Scan(&delivered, &others)
		if err == nil && (delivered != want || others > 0) {
			err = fmt.Errorf("%d deliveries are delivered and %d not; %d came", delivered, others, want)
		}
		return err
	})
}

// Relays are killed at random, PostgreSQL and NATS too, and a fifth of all requests to the
// endpoints fails; every webhook ends with all of its events, each with the sequence that
// the log gives it, those of one claim in their order, and everything signed.
func TestWebhookChaos(t *testing.T) {
	t.Parallel()
	c := startChaos(t)
	began := time.Now()
	for _, l := range c.loads {
		l.begin(workersEach)
	}
	loaded := make(chan time.Duration)
	go func() {
		for c.answered() < c.events {
			<-time.After(pollEvery)
		}
		for _, l := range c.loads {
			l.halt()
		}
		loaded <- time.Since(began)
	}()
	restarts := c.reign()
	chaotic := time.Since(began)
	took := <-loaded
	for _, l := range c.loads {
		l.settle()
	}
	sum := c.check(c.log(), 5*time.Minute)
	c.settled(sum.deliveries)
	all := time.Since(began)
	for i := range c.relays {
		c.relays[i].awaitServing()
		c.relays[i].stop()
	}
	t.Logf("%d events in the log, for %d webhooks: %d deliveries in %d requests, of which %d failed and %d were duplicates",
		sum.events, len(c.loads)*len(subscriptions), sum.deliveries, c.requests.Load(), sum.failed, sum.duplicates)
	t.Logf("relays were killed %d times, PostgreSQL and NATS %d times, within %s; the load took %s, and everything %s",
		c.kills, restarts, chaotic.Round(time.Second), took.Round(time.Second), all.Round(time.Second))
}
