package webhookrelay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/webhookrelay"
	"github.com/claimledger/claimledger/webhookrelay/attempt"
)

// restless is some relays on one database, whose receivers fail at random.
type restless struct {
	*world
	relays int

	mu         sync.Mutex
	attempting map[string]bool  // by relay, webhook and event
	arrived    map[string]bool  // by webhook and event
	last       map[string]int64 // by webhook and claim, the sequence
	dead       map[string]bool  // relays
}

// living is a relay that was not killed yet.
type living struct {
	*webhookrelay.Relay
	name string
	pool *pgxpool.Pool
	stop func()
}

// kill has a relay be as one that was killed, however long ago: it says nothing more to the
// database and to receivers, and its leases run out.
func (s *restless) kill(r living) {
	s.mu.Lock()
	s.dead[r.name] = true
	s.mu.Unlock()
	go r.pool.Close()
	go r.stop()
	s.sever(r.name)
	s.exec(`UPDATE webhookrelay.endpoints SET owned_until = now() WHERE owner LIKE '%' || $1 || '/%'`, r.Owner())
}

// sever breaks off the connections of a relay.
func (s *restless) sever(name string) {
	s.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()`, name)
}

func (s *restless) begin() living {
	s.t.Helper()
	s.relays++
	name := fmt.Sprint("relay_", s.relays)
	c, err := pgxpool.ParseConfig(s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	c.MaxConns = 6
	c.ConnConfig.RuntimeParams["application_name"] = name
	pool, err := pgxpool.NewWithConfig(s.t.Context(), c)
	if err != nil {
		s.t.Fatal(err)
	}
	r := s.relay(func(c *webhookrelay.Config) {
		c.Pool, c.Rand = pool, rand.Float64
		c.Retries = slices.Repeat([]time.Duration{10 * time.Millisecond, 20 * time.Millisecond}, 12)
		c.Sender = senderFunc(func(_ context.Context, r attempt.Request) attempt.Outcome { return s.send(name, r) })
	})
	return living{r, name, pool, s.start(r)}
}

func (s *restless) send(relay string, r attempt.Request) attempt.Outcome {
	var e event
	if err := json.Unmarshal(r.Body, &e); err != nil {
		s.t.Error(err)
	}
	attempt := fmt.Sprint(relay, " ", r.WebhookID, " ", r.EventID)
	s.mu.Lock()
	if s.dead[relay] {
		s.mu.Unlock()
		return interrupted
	}
	if s.attempting[attempt] {
		s.t.Errorf("%s is under way twice", attempt)
	}
	s.attempting[attempt] = true
	s.mu.Unlock()
	// Others have their turn meanwhile.
	_, _ = s.pool.Exec(context.Background(), "SELECT pg_sleep(0.005 * random())")
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.attempting, attempt)
	switch kind := rand.IntN(20); {
	case s.dead[relay]:
		return interrupted
	case kind < 4:
		return failed
	case kind == 4:
		return busy
	}
	event := r.WebhookID + " " + r.EventID
	if e.claim() == "" || s.arrived[event] {
		return arrivedOutcome
	}
	s.arrived[event] = true
	claim := r.WebhookID + " " + e.claim()
	if before := s.last[claim]; before >= e.Sequence {
		s.t.Errorf("at %s, %d of %s arrived first after %d", r.WebhookID, e.Sequence, e.claim(), before)
	}
	s.last[claim] = e.Sequence
	return arrivedOutcome
}

var (
	interrupted    = attempt.Outcome{Error: attempt.ReasonInterrupted}
	failed         = attempt.Outcome{Status: 500, Error: "status 500", Response: []byte("no")}
	busy           = attempt.Outcome{Status: 429, Error: "status 429", RetryAfter: 50 * time.Millisecond}
	arrivedOutcome = attempt.Outcome{Status: 200}
)

// TestRelaysAtRandom: relays come and go, webhooks are stopped, enabled, deleted and asked
// for things, and in the end everything has arrived, each claim's events in their order, and
// no relay has anything left.
func TestRelaysAtRandom(t *testing.T) {
	s := &restless{
		world:      newRealWorld(t),
		attempting: map[string]bool{}, arrived: map[string]bool{}, last: map[string]int64{}, dead: map[string]bool{},
	}
	const services, steps = 3, 600
	relays := []living{s.begin(), s.begin(), s.begin()}
	var hooks []string // of service n % services
	made := 0
	create := func() {
		hooks = append(hooks, fmt.Sprint("hook_", made))
		s.webhook(fmt.Sprint("hook_", made), fmt.Sprint("svc_", made%services), "http://127.0.0.1:1")
		made++
	}
	service := func(hook string) string {
		var n int
		fmt.Sscanf(hook, "hook_%d", &n)
		return fmt.Sprint("svc_", n%services)
	}
	for range 2 * services {
		create()
	}
	claims := 0
	some := func() string { return hooks[rand.IntN(len(hooks))] }
	for step := range steps {
		switch what := rand.IntN(40); {
		case what < 25:
			claim := fmt.Sprint("claim_", claims)
			s.submit(claim, fmt.Sprint("svc_", claims%services))
			claims++
		case what < 29 && claims > 0:
			s.approve(fmt.Sprint("claim_", max(0, claims-1-rand.IntN(20))))
		case what < 33:
			hook := some()
			s.setActive(hook, service(hook), rand.IntN(2) == 0)
		case what == 33 && step%10 == 0:
			i := rand.IntN(len(hooks))
			s.append(domain.RegistryOf(owner), domain.WebhookDeleted{WebhookID: hooks[i], ServiceID: service(hooks[i])})
			hooks = slices.Delete(hooks, i, i+1)
			create()
		case what < 36:
			s.asks(step, some())
		case what < 38:
			s.sever(relays[rand.IntN(len(relays))].name)
		case what == 38 && step%3 == 0:
			s.kill(relays[0])
			relays = append(relays[1:], s.begin())
		default:
			s.is(1, fmt.Sprint("checkpoint WHERE position > ", s.commits-30)) // not too far ahead
		}
	}
	for _, hook := range hooks {
		s.setActive(hook, service(hook), true)
	}
	position, _ := s.append(domain.RegistryOf(owner), domain.WebhookUpdated{WebhookID: hooks[0], ServiceID: service(hooks[0]), Active: true})
	s.is(1, fmt.Sprint("checkpoint WHERE position = ", position))
	for _, what := range []string{
		"tasks", "requests WHERE done_at IS NULL AND webhook_id IN (SELECT webhook_id FROM webhookrelay.webhooks)",
		"deliveries WHERE state NOT IN ('delivered', 'cancelled') AND ping = 0", "fresh",
		"queue WHERE state = 'pending'", "endpoints WHERE owner <> ''",
	} {
		s.is(0, what)
	}
	s.checkLanes()
	rows, _ := s.pool.Query(t.Context(), `SELECT webhook_id || ' ' || event_id FROM webhookrelay.deliveries WHERE state = 'delivered' AND ping = 0`)
	delivered, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range delivered {
		if !s.arrived[d] {
			t.Errorf("%s did not arrive", d)
		}
		delete(s.arrived, d)
	}
	for d := range s.arrived {
		if slices.Contains(hooks, strings.Fields(d)[0]) {
			t.Errorf("%s arrived and is not delivered", d)
		}
	}
	t.Logf("%d deliveries for %d claims by %d relays", len(delivered), claims, s.relays)
}

// asks asks for something, if that can be asked for.
func (s *restless) asks(step int, hook string) {
	s.t.Helper()
	q := webhookrelay.Request{ID: fmt.Sprint("asked_", step), WebhookID: hook, Fingerprint: []byte("f")}
	switch rand.IntN(4) {
	case 0:
		q.Kind = webhookrelay.RequestPing
	case 1:
		from := uint64(rand.IntN(100))
		q.Kind, q.FromPosition = webhookrelay.RequestReplay, &from
	default:
		q.Kind = webhookrelay.RequestRedeliver
		err := s.pool.QueryRow(s.t.Context(), `SELECT event_id FROM webhookrelay.deliveries
			WHERE webhook_id = $1 AND state IN ('delivered', 'dead') AND ping = 0 ORDER BY random() LIMIT 1`, hook).Scan(&q.DeliveryID)
		if err == pgx.ErrNoRows {
			return
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	_, err := webhookrelay.NewDeliveries(s.pool).Ask(s.t.Context(), q)
	if err != nil && domain.ErrorCode(err) == "" {
		s.t.Fatal(err)
	}
}
