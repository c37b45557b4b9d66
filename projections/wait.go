package projections

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/domain"
)

const (
	// channel is where projectors tell, as "<model> <position>", how far they are.
	channel = "claimledger_projections"

	// waitPoll is how often a wait looks for itself. Notifications make it shorter,
	// and this makes up for one that was lost with a connection.
	waitPoll = 200 * time.Millisecond

	// listenRetry is how long the listener leaves the database alone after a failure.
	listenRetry = time.Second
)

// Wait returns nil once the model holds the commit at the position, so that what is
// read next reflects it. When ctx ends first the error is STALE_READ and says how far
// behind the model is.
func (r *Reader) Wait(ctx context.Context, model string, position uint64) error {
	var w *waiter
	var at uint64
	for {
		g, err := serving(ctx, r.pool, model)
		switch {
		case err != nil && ctx.Err() != nil && w != nil:
			return stale(model, at, position)
		case err != nil:
			return publicError(model, err)
		case g.position >= position:
			return nil
		}
		at = g.position
		if w == nil {
			w = r.waiters.add(model, position)
			defer r.waiters.remove(w)
			if called := r.called.Load(); called != nil {
				(*called)(model)
			}
			continue // what was applied before the waiter was added woke nobody
		}
		poll := time.NewTimer(waitPoll)
		select {
		case <-w.woken:
		case <-poll.C:
		case <-ctx.Done():
			poll.Stop()
			return stale(model, at, position)
		}
		poll.Stop()
		if r.waiters.take(w, position) >= position {
			return nil
		}
	}
}

// Moves tells one goroutine when a model moves, again and again, without asking the database.
type Moves struct {
	waiters *waiters
	w       *waiter
}

// Moves makes them. They end with the Reader.
func (r *Reader) Moves(model string) *Moves {
	m := &Moves{r.waiters, r.waiters.addLasting(model)}
	m.w.wake() // of what was before, nothing was heard
	return m
}

// Wait returns nil when the model has reached a position by what was heard, and when
// something may not have been heard: the caller has to look. It returns once for what was
// heard, whatever the caller found then. What is lost with a connection is never heard.
func (m *Moves) Wait(ctx context.Context, position uint64) error {
	if m.waiters.take(m.w, position) >= position {
		return nil
	}
	select {
	case <-m.w.woken:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Waited tells whether some call of Wait waits for a model.
func (r *Reader) Waited(model string) bool {
	r.waiters.mu.Lock()
	defer r.waiters.mu.Unlock()
	return r.waiters.calls[model] > 0
}

// OnWait has a function called whenever a call of Wait begins to wait.
func (r *Reader) OnWait(called func(model string)) { r.called.Store(&called) }

// Heard tells those who wait that a model has reached a position, sooner than they hear it
// from the database.
func (r *Reader) Heard(model string, position uint64) { r.waiters.wake(model, position) }

func stale(model string, at, position uint64) error {
	return domain.Errorf(domain.CodeStaleRead, "The read model %s is at position %d, %d commits behind position %d.",
		model, at, position-at, position)
}

// waiter is one call of Wait. woken has room for one: it may be woken while it looks.
type waiter struct {
	model    string
	position uint64 // guarded by mu, as heard is
	heard    uint64 // where the model is, as it was told
	woken    chan struct{}
}

func (w *waiter) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// waiters wakes the calls of Wait that a notification concerns. It listens on one
// connection, from the first wait on.
type waiters struct {
	pool   *pgxpool.Pool
	ctx    context.Context // of the listener
	cancel context.CancelFunc
	start  sync.Once
	done   sync.WaitGroup

	mu    sync.Mutex
	all   map[*waiter]struct{}
	calls map[string]int // those of Wait, of each model
}

func newWaiters(pool *pgxpool.Pool) *waiters {
	ctx, cancel := context.WithCancel(context.Background())
	return &waiters{pool: pool, ctx: ctx, cancel: cancel, all: map[*waiter]struct{}{}, calls: map[string]int{}}
}

func (ws *waiters) close() {
	ws.cancel()
	ws.start.Do(func() {}) // none starts from now on
	ws.done.Wait()
}

// add adds a call of Wait.
func (ws *waiters) add(model string, position uint64) *waiter {
	w := ws.addLasting(model)
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w.position = position
	ws.calls[model]++
	return w
}

// addLasting adds a waiter that is not removed.
func (ws *waiters) addLasting(model string) *waiter {
	ws.start.Do(func() { ws.done.Go(ws.run) })
	w := &waiter{model: model, woken: make(chan struct{}, 1)}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.all[w] = struct{}{}
	return w
}

func (ws *waiters) remove(w *waiter) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.all, w)
	if ws.calls[w.model]--; ws.calls[w.model] == 0 {
		delete(ws.calls, w.model)
	}
}

// take gives what a waiter has heard, once. Then it waits for a position.
func (ws *waiters) take(w *waiter, position uint64) uint64 {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	heard := w.heard
	w.heard, w.position = 0, position
	return heard
}

// wake wakes who waits for the position of the model or one before it; everyone where
// the model is empty.
func (ws *waiters) wake(model string, position uint64) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		switch {
		case model == "":
			w.wake()
		case w.model == model && w.position <= position:
			w.heard = position
			w.wake()
		}
	}
}

func (ws *waiters) run() {
	for ws.ctx.Err() == nil {
		ws.listen() // its error ends one connection; polling goes on meanwhile
		select {
		case <-ws.ctx.Done():
		case <-time.After(listenRetry):
		}
	}
}

func (ws *waiters) listen() error {
	pooled, err := ws.pool.Acquire(ws.ctx)
	if err != nil {
		return err
	}
	// The connection is kept for long: it must not count against the pool.
	conn := pooled.Hijack()
	defer conn.Close(context.WithoutCancel(ws.ctx))
	if _, err := conn.Exec(ws.ctx, "LISTEN "+channel); err != nil {
		return err
	}
	ws.wake("", 0) // what was told before this moment was not heard
	for {
		n, err := conn.WaitForNotification(ws.ctx)
		if err != nil {
			return err
		}
		model, text, _ := strings.Cut(n.Payload, " ")
		if position, err := strconv.ParseUint(text, 10, 64); err == nil {
			ws.wake(model, position)
		}
	}
}
