package webhookrelay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/webhookrelay"
	"github.com/claimledger/claimledger/webhookrelay/attempt"
)

// told has the relays that listen look for something to do.
func (w *world) told() {
	w.t.Helper()
	w.exec(`SELECT pg_notify('webhookrelay_deliveries', '')`)
}

// is waits until a query that counts something has a number.
func (w *world) is(n int, what string) {
	w.t.Helper()
	eventually(w.t, fmt.Sprintf("%d are %s", n, what), func() bool { return w.rows(what) == n })
}

// deaf is a pool whose connections break while it is set, where the server has committed
// and before it is heard that it has.
type deaf struct{ atomic.Bool }

type deafConn struct {
	net.Conn
	deaf      *deaf
	committed bool
}

func (c *deafConn) Write(b []byte) (int, error) {
	c.committed = c.deaf.Load() && bytes.Contains(b, []byte("commit\x00"))
	return c.Conn.Write(b)
}

func (c *deafConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.committed {
		return 0, errors.New("the answer is lost")
	}
	return n, err
}

func (w *world) deafPool(d *deaf) *pgxpool.Pool {
	w.t.Helper()
	c, err := pgxpool.ParseConfig(w.url)
	if err != nil {
		w.t.Fatal(err)
	}
	dial := c.ConnConfig.DialFunc
	c.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &deafConn{Conn: conn, deaf: d}, nil
	}
	c.MaxConns = 6
	pool, err := pgxpool.NewWithConfig(w.t.Context(), c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(pool.Close)
	return pool
}

// TestCommittedUnheard: what was written, but for all that the relay knows, is written over
// itself, and what comes next is.
func TestCommittedUnheard(t *testing.T) {
	w := newWorld(t)
	w.webhook("hook", "svc", "http://127.0.0.1:1")
	first := w.submit("claim_1", "svc")
	second := w.approve("claim_1")
	w.assign(w.relay(nil))
	var d deaf
	var mu sync.Mutex
	var got []string
	pool := w.deafPool(&d)
	w.start(w.relay(func(c *webhookrelay.Config) {
		c.Pool = pool
		c.Sender = senderFunc(func(_ context.Context, r attempt.Request) attempt.Outcome {
			mu.Lock()
			defer mu.Unlock()
			if r.EventID != first && r.EventID != second {
				return attempt.Outcome{Status: 200}
			}
			if got = append(got, r.EventID); len(got) > 2 {
				return attempt.Outcome{Status: 200}
			}
			d.Store(true)
			return attempt.Outcome{Status: 500, Error: "status 500"}
		})
	}))
	for n := range 2 {
		w.is(1, fmt.Sprint("deliveries WHERE attempts = ", n+1, " AND state = 'pending'"))
		d.Store(false)
		w.submit(fmt.Sprint("other_", n), "svc")
		w.is(n+1, "deliveries WHERE state = 'delivered'")
		w.is(2, "queue")
		w.checkLanes()
		w.clock.advance(2 * time.Hour)
		w.told()
	}
	w.is(4, "deliveries WHERE state = 'delivered'")
	w.checkLanes()
	mu.Lock()
	defer mu.Unlock()
	if want := []string{first, first, first, second}; !slices.Equal(got, want) {
		t.Errorf("attempted were %v, want %v", got, want)
	}
	_, attempts, err := webhookrelay.NewDeliveries(w.pool).Get(t.Context(), "hook", first)
	if err != nil || len(attempts) != 3 || attempts[0].N != 1 || attempts[1].N != 2 || attempts[2].Status != 200 {
		t.Errorf("%+v, %v", attempts, err)
	}
}

// TestTakenUnheard: a webhook that this process has without knowing is not waited for.
func TestTakenUnheard(t *testing.T) {
	w := newWorld(t)
	var d deaf
	rc := w.receiver()
	w.webhook("hook", "svc", rc.URL)
	w.submit("claim_1", "svc")
	w.assign(w.relay(nil))
	d.Store(true)
	pool := w.deafPool(&d)
	w.start(w.relay(func(c *webhookrelay.Config) { c.Pool = pool }))
	w.is(1, "endpoints WHERE owner <> ''")
	d.Store(false)
	w.is(1, "deliveries WHERE state = 'delivered'") // no lease runs out: the clock stands
}

// TestServerForgets: a server that failed may have forgotten the last that was delivered. It
// is delivered again, whatever the relay remembers.
func TestServerForgets(t *testing.T) {
	w := newWorld(t)
	rc := w.receiver()
	w.webhook("hook", "svc", rc.URL)
	w.start(w.relay(nil))
	w.submit("claim_1", "svc")
	w.is(1, "deliveries WHERE state = 'delivered'")
	w.exec(`CREATE TABLE kept AS SELECT * FROM webhookrelay.endpoints`)
	w.clock.advance(time.Millisecond)
	w.submit("claim_2", "svc")
	w.is(2, "deliveries WHERE state = 'delivered'")
	w.exec(`WITH forgotten AS (
			UPDATE webhookrelay.deliveries SET state = 'pending', ended_at = NULL, attempts = 0, begun_at = NULL, took = NULL, status = NULL
			WHERE sequence = 2
		)
		UPDATE webhookrelay.endpoints e SET through = kept.through, owned_until = kept.owned_until FROM kept`)
	w.submit("claim_3", "svc")
	w.is(3, "deliveries WHERE state = 'delivered'")
	w.checkLanes()
	if n := len(rc.all()); n != 4 {
		t.Errorf("%d requests, want the forgotten one twice", n)
	}
}

// TestNothingFreshIsLeft: where all has ended or is in the queue, however it came to that, the
// webhook is off the list of those that have something fresh.
func TestNothingFreshIsLeft(t *testing.T) {
	w := newWorld(t)
	r := w.relay(nil)
	w.store(r, "hook", 1, []stored{
		{1, "a", webhookrelay.StateDelivered, time.Time{}, false},
		{2, "b", webhookrelay.StateDelivered, time.Time{}, false},
		{3, "c", webhookrelay.StatePending, w.clock.Now().Add(time.Hour), false},
		{4, "d", webhookrelay.StateDead, time.Time{}, false},
	})
	w.deliver(r)
	if n := w.rows("endpoints WHERE through = 4"); n != 1 || w.rows("fresh") != 0 {
		t.Errorf("%d are past it, and %d are on the list", n, w.rows("fresh"))
	}
	w.checkLanes()
}

// TestRetriesThatAreDueAtOnce: however late a failure is written, what comes after it waits for
// the retry.
func TestRetriesThatAreDueAtOnce(t *testing.T) {
	w := newWorld(t)
	w.webhook("hook", "svc", "http://127.0.0.1:1")
	first := w.submit("claim_1", "svc")
	release := make(chan struct{})
	var mu sync.Mutex
	var got []string
	w.start(w.relay(func(c *webhookrelay.Config) {
		c.Retries = []time.Duration{0, 0, 0}
		c.Sender = senderFunc(func(_ context.Context, r attempt.Request) attempt.Outcome {
			mu.Lock()
			got = append(got, r.EventID)
			n := len(got)
			mu.Unlock()
			switch n {
			case 2:
				<-release
				fallthrough
			case 1:
				return attempt.Outcome{Status: 500, Error: "status 500"}
			}
			return attempt.Outcome{Status: 200}
		})
	}).Unpolled())
	attempted := func(n int) {
		t.Helper()
		eventually(t, fmt.Sprint(n, " attempts"), func() bool {
			mu.Lock()
			have := len(got)
			mu.Unlock()
			if have < n {
				w.clock.advance(time.Millisecond)
				w.told()
			}
			return have >= n
		})
	}
	attempted(2)
	second := w.approve("claim_1")
	w.is(2, "queue")
	close(release)
	attempted(4)
	if want := []string{first, first, first, second}; !slices.Equal(got, want) {
		t.Errorf("attempted were %v, want %v", got, want)
	}
}

// TestStoppedUnseen: what waits for an earlier event of its claim does so also where the
// webhook was stopped, and its relay was not told.
func TestStoppedUnseen(t *testing.T) {
	w := newWorld(t)
	w.webhook("hook", "svc", "http://127.0.0.1:1")
	first := w.submit("claim_0", "svc")
	const others = 150
	for n := range others {
		w.submit(fmt.Sprint("claim_", 1+n), "svc")
	}
	last := w.approve("claim_0")
	release := make(chan struct{})
	r := w.relay(func(c *webhookrelay.Config) {
		c.Sender = senderFunc(func(_ context.Context, r attempt.Request) attempt.Outcome {
			switch r.EventID {
			case first:
				return attempt.Outcome{Status: 500, Error: "status 500"}
			case last:
				t.Error("the last is attempted before the first")
			}
			<-release
			return attempt.Outcome{Status: 200}
		})
	})
	w.assign(w.relay(nil))
	w.start(r)
	w.is(1, "queue")
	w.exec(`UPDATE webhookrelay.webhooks SET active = false`)
	close(release)
	w.is(others, "deliveries WHERE state = 'delivered'")
	w.is(2, "queue")
	w.checkLanes()
}

// TestLittleIsInMemory: however much is due.
func TestLittleIsInMemory(t *testing.T) {
	w := newWorld(t)
	const rows = 1000
	var r *webhookrelay.Relay
	var most atomic.Int64
	r = w.relay(func(c *webhookrelay.Config) {
		c.Sender = senderFunc(func(context.Context, attempt.Request) attempt.Outcome {
			most.Store(max(most.Load(), int64(r.InMemory())))
			return attempt.Outcome{Status: 200}
		})
	})
	var all []stored
	for n := range int64(rows) {
		all = append(all, stored{1 + n, fmt.Sprint("claim_", n), webhookrelay.StatePending, w.clock.Now(), false})
	}
	w.store(w.relay(nil), "hook", rows, all)
	w.start(r)
	w.is(rows, "deliveries WHERE state = 'delivered'")
	if n := most.Load(); n > 200 {
		t.Errorf("%d are in memory", n)
	}
}

// TestRequeuedUnderASleeper: a relay whose lease has run out has no say any more in what became
// of a webhook, even if no other has taken it.
func TestRequeuedUnderASleeper(t *testing.T) {
	w := newWorld(t)
	w.webhook("hook", "svc", "http://127.0.0.1:1")
	w.submit("claim_1", "svc")
	w.approve("claim_1")
	sending, release := make(chan struct{}), make(chan struct{})
	sleeper := w.relay(func(c *webhookrelay.Config) {
		c.Sender = senderFunc(func(context.Context, attempt.Request) attempt.Outcome {
			close(sending)
			<-release
			return attempt.Outcome{Status: 200}
		})
	})
	w.assign(sleeper)
	ended := make(chan error)
	go func() {
		_, err := sleeper.DeliverDue(t.Context())
		ended <- err
	}()
	<-sending
	w.clock.advance(time.Minute)
	w.setActive("hook", "svc", true)
	r := w.relay(nil)
	w.assign(r)
	w.upkeep(r)
	close(release)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	w.checkLanes()
	if n := w.rows("queue WHERE state = 'pending'"); n != 2 {
		t.Errorf("%d are in the queue", n)
	}
}

// TestTakenAnew: a relay that lost a webhook takes it again when its attempts of before are
// over, and not earlier.
func TestTakenAnew(t *testing.T) {
	w := newWorld(t)
	w.webhook("hook", "svc", "http://127.0.0.1:1")
	w.submit("claim_1", "svc")
	w.webhook("other", "other", "http://127.0.0.1:1")
	w.assign(w.relay(nil))
	sending, release := make(chan struct{}, 10), make(chan struct{})
	var attempts atomic.Int32
	w.start(w.relay(func(c *webhookrelay.Config) {
		c.Sender = senderFunc(func(_ context.Context, r attempt.Request) attempt.Outcome {
			if r.WebhookID == "hook" && attempts.Add(1) == 1 {
				sending <- struct{}{}
				<-release
			}
			return attempt.Outcome{Status: 200}
		})
	}))
	<-sending
	w.exec(`UPDATE webhookrelay.endpoints SET owner = '', owned_until = NULL WHERE webhook_id = 'hook'`)
	w.clock.advance(16 * time.Second) // leases are renewed
	// That many times both halves of the relay look.
	for n := range 20 {
		w.submit(fmt.Sprint("other_", n), "other")
		w.is(1+n, "deliveries WHERE state = 'delivered'")
		w.told()
	}
	if n := attempts.Load(); n != 1 {
		t.Errorf("%d attempts at a time", n)
	}
	close(release)
	w.is(21, "deliveries WHERE state = 'delivered'")
}
