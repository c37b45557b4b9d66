package webhookrelay

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// begin keeps the planner to plain index scans: what it knows about a queue's tables is
// out of date by the time that it is used, and one sequential scan over what was
// delivered costs more than an hour of index scans. Bitmap scans do not mark what is
// dead in an index, so each would pass over all that was queued since the last vacuum.
var begin = pgx.TxOptions{BeginQuery: "BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off"}

// beginLightly is for what need not be on the disk when the transaction ends. A server that
// fails within the half second until then forgets which deliveries arrived and which
// webhooks were taken last: they are attempted once more, in their order, because the relay
// that had them sees that they were forgotten, see distrust. What the row of the endpoint does
// not tell of is on the disk, see durablySQL.
var beginLightly = pgx.TxOptions{BeginQuery: begin.BeginQuery + "; SET LOCAL synchronous_commit = off"}

const durablySQL = "SET LOCAL synchronous_commit = on"

// exchange is one conversation with the database.
type exchange struct {
	*shard
	now  time.Time
	tx   pgx.Tx
	look bool // whether the webhooks that this process has are still its to deliver to
	// changed tells that webhooks may have been.
	changed bool

	done []result
	// held are the webhooks whose rows in the database change, in the order of their ids:
	// those with results, those to be renewed, and those that are given back.
	held []*held

	tally
	taken   map[string]*hook      // new ones
	crowded bool                  // there is no place for more of them
	read    map[*hook][]*delivery // what was read for each, in order
	reached map[*hook]int64       // up to where all that is fresh is among them, or was parked
	// gone are webhooks that are another's by now, or deleted.
	gone []*hook
}

// held is a webhook as an exchange sees it.
type held struct {
	*hook
	endpoint endpoint // as it is written
	reached  int64
	closed   bool // it is given back
	change   endpointChange
	// waiting are, for deliveries that failed, those in memory that come after them.
	waiting map[*delivery][]*delivery
}

// exchange writes the outcomes that have gathered and, where taking, takes webhooks that
// have something due and reads what may be attempted, in one transaction. If it fails,
// everything in memory is as before: where the transaction was committed all the same, what
// is written once more is written over itself.
func (l *shard) exchange(ctx context.Context, now time.Time, taking bool) (err error) {
	x := &exchange{shard: l, now: now, taken: map[string]*hook{}, read: map[*hook][]*delivery{}, reached: map[*hook]int64{}}
	x.changed = l.altered.Swap(false)
	x.look = taking && (x.changed || now.Sub(l.looked) >= pollInterval)
	x.gather()
	defer func() {
		if err != nil {
			x.putBack()
			l.altered.Store(x.changed || l.altered.Load())
		}
	}()
	// Where a delivery is given up, its claim's next one goes: what comes after a failed
	// attempt rests on its being known.
	options := beginLightly
	if slices.ContainsFunc(x.done, func(r result) bool { return !r.outcome.OK() }) {
		options = begin
	}
	if x.tx, err = l.pool.BeginTx(ctx, options); err != nil {
		return err
	}
	defer x.tx.Rollback(context.WithoutCancel(ctx))
	if err := x.write(ctx); err != nil {
		return fmt.Errorf("write the outcomes of attempts: %w", err)
	}
	if taking {
		if err := x.take(ctx); err != nil {
			return fmt.Errorf("read what is due: %w", err)
		}
	}
	if err := x.tx.Commit(ctx); err != nil {
		return err
	}
	x.apply()
	l.publish(x.tally)
	return nil
}

// gather takes what there is to write out of memory.
func (x *exchange) gather() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.done, x.shard.done = x.shard.done, make([]result, 0, len(x.shard.done))
	results := map[*hook]bool{}
	done := map[*delivery]bool{}
	waiting := map[*hook]map[*delivery][]*delivery{}
	for _, r := range x.done {
		results[r.hook] = true
		done[r.delivery] = r.says()
		if r.says() && !r.outcome.OK() {
			if waiting[r.hook] == nil {
				waiting[r.hook] = map[*delivery][]*delivery{}
			}
			waiting[r.hook][r.delivery] = r.hook.successors(r.delivery)
		}
	}
	for h := range x.mine() {
		h.rest(x.now)
		over := h.closing || !h.idle.IsZero() && x.now.Sub(h.idle) >= linger
		closed := over && h.allIn(done)
		if closed {
			h.closing = true // nothing begins meanwhile
		}
		if !closed && !results[h] && h.until.Sub(x.now) > leaseTerm/2 {
			continue
		}
		x.held = append(x.held, &held{hook: h, endpoint: h.endpoint, reached: h.reached(done), closed: closed, waiting: waiting[h]})
	}
	slices.SortFunc(x.held, func(a, b *held) int { return strings.Compare(a.webhookID, b.webhookID) })
}

func (x *exchange) putBack() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.shard.done = append(x.done, x.shard.done...)
}

// apply has memory be as the database is now.
func (x *exchange) apply() {
	d := x.deliverer
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range x.done {
		d.underway--
		r.hook.written(r.delivery)
		if h := r.hook; d.former[h.webhookID] == h && len(h.underway) == 0 {
			delete(d.former, h.webhookID)
		}
	}
	freed := false
	for _, h := range x.held {
		if h.closed {
			freed = freed || h.target == nil
			x.drop(h.hook)
			continue
		}
		h.hook.through, h.hook.until = h.reached, x.now.Add(leaseTerm)
		h.hook.forget(h.change.postponed)
	}
	for _, h := range x.gone {
		x.drop(h)
	}
	for id, h := range x.taken {
		d.hooks[id] = h
	}
	for h, rows := range x.read {
		for _, l := range rows {
			h.add(l)
		}
	}
	for h, last := range x.reached {
		h.read = max(h.read, last)
	}
	if x.look {
		x.looked = x.now
	}
	if x.crowded {
		for _, h := range x.longest(mostAtOnce) {
			h.closing = true
		}
	}
	again := false // there is something to give back
	for h := range x.mine() {
		d.list(h)
		again = again || h.closing && len(h.underway) == 0
	}
	if again {
		x.signal.raise()
	}
	if freed {
		d.upkeep()
	}
	d.metrics.inFlight.Set(float64(d.underway))
}

// drop forgets a webhook that is not this process's any more.
func (x *exchange) drop(h *hook) {
	h.closing, h.rows = true, nil
	if x.hooks[h.webhookID] == h {
		delete(x.hooks, h.webhookID)
	}
	if len(h.underway) > 0 {
		x.former[h.webhookID] = h
	}
}
