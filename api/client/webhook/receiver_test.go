package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claimledger/claimledger/api/client/webhook"
)

var errTrouble = errors.New("the test makes trouble")

// database is a receiver's own. Its transactions are effects that are not there before
// the commit.
type database struct {
	turn    sync.Mutex // of transactions
	mu      sync.Mutex
	mark    webhook.Mark
	effects []string // ids of events

	fail func() (before, after bool)
}

func (d *database) Update(_ context.Context, id string, do func(tx *[]string, at webhook.Mark) (webhook.Mark, error)) error {
	d.turn.Lock()
	defer d.turn.Unlock()
	if id != webhookID {
		return fmt.Errorf("an update of webhook %s", id)
	}
	var tx []string
	at, err := do(&tx, d.at())
	if err != nil {
		return err
	}
	before, after := false, false
	if d.fail != nil {
		before, after = d.fail()
	}
	if before {
		return errTrouble // and nothing was committed
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mark, d.effects = at, append(d.effects, tx...)
	if after {
		return errTrouble // and everything was
	}
	return nil
}

func (d *database) at() webhook.Mark {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mark
}

func (d *database) had() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.effects, " ")
}

// ledger has the events evt_1 to evt_n.
type ledger struct {
	mu     sync.Mutex
	from   int // the first that it still has
	n      int
	page   int
	fails  func() bool
	pulled int
}

func bodyOf(sequence int) string {
	return fmt.Sprintf(`{"event":"request.submitted","data":{"claim_id":"claim_%d"},"id":"evt_%d","position":"%d","sequence":%d}`, sequence%3, sequence, 2*sequence, sequence)
}

func (l *ledger) EventsAfter(_ context.Context, sequence uint64) (page []json.RawMessage, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pulled++
	if l.fails != nil && l.fails() {
		return nil, errTrouble
	}
	for s := max(int(sequence)+1, l.from); s <= l.n && len(page) < l.page; s++ {
		page = append(page, json.RawMessage(bodyOf(s)))
	}
	return page, nil
}

func (l *ledger) grow(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n = n
}

func receiver(t *testing.T, d *database, l *ledger, change ...func(*webhook.Config[*[]string])) *webhook.Receiver[*[]string] {
	t.Helper()
	c := webhook.Config[*[]string]{
		WebhookID: webhookID, Secrets: []string{secret}, Store: d, Source: l, Now: func() time.Time { return now },
		Apply: func(_ context.Context, tx *[]string, e webhook.Event) error {
			*tx = append(*tx, e.ID)
			return nil
		},
	}
	for _, f := range change {
		f(&c)
	}
	r, err := webhook.NewReceiver(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// post delivers an event of the ledger and gives the status of the answer.
func post(t *testing.T, h http.Handler, sequence int) int {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, deliver(t, fmt.Sprint("evt_", sequence), bodyOf(sequence), secret))
	return w.Code
}

// upTo is what has taken effect when the first n events have.
func upTo(n int) string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprint("evt_", i+1)
	}
	return strings.Join(ids, " ")
}

func TestRepeatsAndGaps(t *testing.T) {
	d, l := &database{}, &ledger{n: 9, page: 2}
	r := receiver(t, d, l)
	for _, step := range []struct{ deliver, effects, pulls int }{
		{1, 1, 0}, {1, 1, 0}, {2, 2, 0}, // in order, and repeated
		{6, 7, 3},                       // pulled in pages of two, the event at the mark first
		{4, 7, 3}, {3, 7, 3}, {7, 7, 3}, // what comes late took effect already
		{8, 8, 3},
	} {
		if status := post(t, r, step.deliver); status != http.StatusNoContent {
			t.Fatalf("event %d: %d", step.deliver, status)
		}
		if d.had() != upTo(step.effects) || l.pulled != step.pulls {
			t.Fatalf("after event %d: %s, with %d pulls", step.deliver, d.had(), l.pulled)
		}
	}
	if err := r.CatchUp(t.Context()); err != nil || d.had() != upTo(9) {
		t.Errorf("caught up: %v, %s", err, d.had())
	}
	l.grow(30)
	if err := r.CatchUp(t.Context()); err != nil || d.had() != upTo(30) || d.at() != (webhook.Mark{Sequence: 30, EventID: "evt_30"}) {
		t.Errorf("caught up: %v, %s, %v", err, d.had(), d.at())
	}
}

// Nothing is answered with 2xx that has not taken effect, whatever fails.
func TestTroubleIsNotAcknowledged(t *testing.T) {
	d, l := &database{}, &ledger{n: 5, page: 3}
	var refuse string
	var logged bytes.Buffer
	r := receiver(t, d, l, func(c *webhook.Config[*[]string]) {
		apply := c.Apply
		c.Apply = func(ctx context.Context, tx *[]string, e webhook.Event) error {
			if err := apply(ctx, tx, e); e.ID == refuse {
				return errors.Join(err, errTrouble)
			}
			return nil
		}
		c.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	})
	trouble := func(name string, sequence, effects int) {
		t.Helper()
		if status := post(t, r, sequence); status != http.StatusServiceUnavailable || d.had() != upTo(effects) {
			t.Errorf("%s: answered %d, had %s", name, status, d.had())
		}
	}
	refuse = "evt_2"
	trouble("an effect among those that were missed", 3, 1)
	trouble("an effect", 2, 1)
	if !strings.Contains(logged.String(), errTrouble.Error()) {
		t.Errorf("it is not in the log: %s", logged.String())
	}
	refuse = ""
	l.fails = func() bool { return true }
	trouble("a source that fails", 5, 1)
	l.fails = nil
	l.grow(0)
	trouble("a source that is behind", 5, 1)
	l.grow(5)
	l.from = 4
	trouble("a source that lacks some", 5, 1)
	if err := r.CatchUp(t.Context()); !errors.Is(err, webhook.ErrGap) {
		t.Errorf("catching up: %v", err)
	}
	l.from = 0
	for name, page := range map[string][]string{"repeats itself": {bodyOf(1), bodyOf(1)}, "sends nonsense": {"{}"}} {
		bad := receiver(t, d, l, func(c *webhook.Config[*[]string]) { c.Source = fixed(page) })
		if err := bad.CatchUp(t.Context()); !errors.Is(err, webhook.ErrNotEvent) {
			t.Errorf("a source that %s: %v", name, err)
		}
	}
	d.fail = func() (bool, bool) { return true, false }
	trouble("a commit that fails", 2, 1)
	d.fail = func() (bool, bool) { return false, true }
	trouble("a commit whose answer is lost", 2, 2)
	d.fail = nil
	if status := post(t, r, 5); status != http.StatusNoContent || d.had() != upTo(5) {
		t.Errorf("afterwards: answered %d, had %s", status, d.had())
	}
}

// What the ledger keeps no longer is made up for once, in the transaction of what comes
// after it.
func TestWhatIsLost(t *testing.T) {
	d, l := &database{}, &ledger{from: 4, n: 6, page: 2}
	var trouble error
	r := receiver(t, d, l, func(c *webhook.Config[*[]string]) {
		c.Lost = func(_ context.Context, tx *[]string, after uint64, e webhook.Event) error {
			*tx = append(*tx, fmt.Sprintf("%d..%d", after, e.Sequence))
			return trouble
		}
	})
	trouble = errTrouble
	if err := r.CatchUp(t.Context()); !errors.Is(err, errTrouble) || d.had() != "" {
		t.Errorf("catching up: %v, had %s", err, d.had())
	}
	trouble = nil
	d.fail = func() (bool, bool) { return len(d.effects) == 0, false }
	if status := post(t, r, 6); status != http.StatusServiceUnavailable || d.had() != "" {
		t.Errorf("a commit that fails: %d, had %s", status, d.had())
	}
	d.fail = nil
	const want = "0..4 evt_4 evt_5 evt_6"
	if status := post(t, r, 6); status != http.StatusNoContent || d.had() != want {
		t.Errorf("answered %d, had %s", status, d.had())
	}
	l.grow(9)
	if err := r.CatchUp(t.Context()); err != nil || d.had() != want+" evt_7 evt_8 evt_9" {
		t.Errorf("catching up: %v, had %s", err, d.had())
	}
	// What is only late is not lost.
	if status := post(t, r, 11); status != http.StatusServiceUnavailable || d.had() != want+" evt_7 evt_8 evt_9" {
		t.Errorf("a source that is behind: %d, had %s", status, d.had())
	}
}

// A ledger that gives a sequence to another event than before has lost what it told.
func TestADivergedLedger(t *testing.T) {
	d, l := &database{mark: webhook.Mark{Sequence: 3, EventID: "evt_of_old"}}, &ledger{n: 5, page: 10}
	r := receiver(t, d, l)
	for _, sequence := range []int{3, 5} {
		if status := post(t, r, sequence); status != http.StatusServiceUnavailable {
			t.Errorf("event %d: %d", sequence, status)
		}
	}
	if err := r.CatchUp(t.Context()); !errors.Is(err, webhook.ErrDiverged) || d.had() != "" {
		t.Errorf("catching up: %v, had %s", err, d.had())
	}
}

func TestWhatIsRefused(t *testing.T) {
	d := &database{}
	r := receiver(t, d, &ledger{n: 1, page: 1})
	for _, c := range []struct {
		name   string
		change func(*http.Request)
		want   int
	}{
		{"another method", func(r *http.Request) { r.Method = "GET" }, http.StatusMethodNotAllowed},
		{"another webhook", func(r *http.Request) { r.Header.Set("X-Sigilum-Webhook-Id", "other") }, http.StatusForbidden},
		{"no webhook", func(r *http.Request) { r.Header.Del("X-Sigilum-Webhook-Id") }, http.StatusForbidden},
		{"no signature", func(r *http.Request) { r.Header.Del("webhook-signature") }, http.StatusUnauthorized},
		{"another time", func(r *http.Request) { r.Header.Set("webhook-timestamp", "1") }, http.StatusUnauthorized},
		{"another body", body(bodyOf(2)), http.StatusUnauthorized},
		{"a long body", body(strings.Repeat(" ", webhook.MaxBody+1)), http.StatusRequestEntityTooLarge},
	} {
		request := deliver(t, "evt_1", bodyOf(1), secret)
		c.change(request)
		w := httptest.NewRecorder()
		if r.ServeHTTP(w, request); w.Code != c.want || strings.Contains(w.Body.String(), secret) {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
	}
	w := httptest.NewRecorder()
	if r.ServeHTTP(w, deliver(t, "evt_1", "signed nonsense", secret)); w.Code != http.StatusBadRequest {
		t.Errorf("nonsense: %d", w.Code)
	}
	w = httptest.NewRecorder()
	if r.ServeHTTP(w, deliver(t, "ping_1", `{"event":"ping","id":"ping_1"}`, secret)); w.Code != http.StatusNoContent || d.had() != "" {
		t.Errorf("a ping: %d, had %s", w.Code, d.had())
	}
}

func TestAReceiverNeedsEverything(t *testing.T) {
	good := webhook.Config[struct{}]{
		WebhookID: webhookID, Secrets: []string{secret}, Store: &webhook.Memory{}, Source: &ledger{},
		Apply: func(context.Context, struct{}, webhook.Event) error { return nil },
	}
	if _, err := webhook.NewReceiver(good); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*webhook.Config[struct{}]){
		"webhook": func(c *webhook.Config[struct{}]) { c.WebhookID = "" },
		"store":   func(c *webhook.Config[struct{}]) { c.Store = nil },
		"source":  func(c *webhook.Config[struct{}]) { c.Source = nil },
		"effect":  func(c *webhook.Config[struct{}]) { c.Apply = nil },
		"secret":  func(c *webhook.Config[struct{}]) { c.Secrets = nil },
		"secrets": func(c *webhook.Config[struct{}]) { c.Secrets = []string{"whsec_bad"} },
	} {
		bad := good
		change(&bad)
		if _, err := webhook.NewReceiver(bad); err == nil || strings.Contains(err.Error(), "whsec_bad") {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// Deliveries come at once, late, repeated and never; commits fail, before or after they
// are done, and so do pulls: in the end each event took effect once, in order.
func TestEffectsOnceInAnyWeather(t *testing.T) {
	const events, deliveries, receivers = 60, 40, 3
	for seed := range uint64(10) {
		d, l := &database{}, &ledger{n: events, page: 1 + int(seed%7)}
		d.fail = trouble(seed, func(n int) (bool, bool) { return n == 0, n == 1 })
		pulls := trouble(seed+1000, func(n int) (bool, bool) { return n < 2, false })
		l.fails = func() bool { fails, _ := pulls(); return fails }
		var all sync.WaitGroup
		for i := range receivers {
			r := receiver(t, d, l)
			for n := range 4 {
				all.Go(func() {
					order := rand.New(rand.NewPCG(seed, uint64(10*i+n)))
					for range deliveries {
						sequence := 1 + order.IntN(events)
						if post(t, r, sequence) == http.StatusNoContent && d.at().Sequence < uint64(sequence) {
							t.Errorf("seed %d: event %d was acknowledged at %v", seed, sequence, d.at())
						}
					}
				})
			}
		}
		all.Wait()
		d.fail, l.fails = nil, nil
		if err := receiver(t, d, l).CatchUp(t.Context()); err != nil || d.had() != upTo(events) {
			t.Fatalf("seed %d: %v, had %s", seed, err, d.had())
		}
	}
}

// trouble comes by chance, and is safe for concurrent use.
func trouble(seed uint64, comes func(n int) (bool, bool)) func() (bool, bool) {
	var mu sync.Mutex
	chance := rand.New(rand.NewPCG(seed, seed))
	return func() (bool, bool) {
		mu.Lock()
		defer mu.Unlock()
		return comes(chance.IntN(8))
	}
}

// Who waits for another to fill a gap gives up with his request.
func TestWaitingEndsWithTheRequest(t *testing.T) {
	d, l := &database{}, &ledger{n: 5, page: 5}
	inside, release := make(chan struct{}), make(chan struct{})
	r := receiver(t, d, l, func(c *webhook.Config[*[]string]) {
		c.Source = held{l, inside, release}
	})
	first := make(chan int)
	go func() { first <- post(t, r, 5) }()
	<-inside
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errTrouble)
	if err := r.CatchUp(ctx); !errors.Is(err, errTrouble) {
		t.Errorf("got %v", err)
	}
	close(release)
	if status := <-first; status != http.StatusNoContent {
		t.Errorf("the first: %d", status)
	}
}

// fixed pulls the same whatever was asked for.
type fixed []string

func (f fixed) EventsAfter(context.Context, uint64) (page []json.RawMessage, err error) {
	for _, body := range f {
		page = append(page, json.RawMessage(body))
	}
	return page, nil
}

// held pulls when it is released.
type held struct {
	*ledger
	inside, release chan struct{}
}

func (h held) EventsAfter(ctx context.Context, sequence uint64) ([]json.RawMessage, error) {
	h.inside <- struct{}{}
	<-h.release
	return h.ledger.EventsAfter(ctx, sequence)
}
