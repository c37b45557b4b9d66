package webhookrelay

import (
	"slices"
	"time"
)

const (
	// readAhead is how many deliveries of a webhook are read before they can be attempted:
	// enough for a receiver that answers at once while the next ones are being read, and
	// half a claim's events wait for the others.
	readAhead = 128
	// maxUnwritten is how many attempts at a webhook's deliveries may have been made whose
	// outcomes are not written: as many are made again if the process dies.
	maxUnwritten = 64
	// linger is how long a webhook is kept that has nothing to do. What comes next is read
	// without taking it anew.
	linger = time.Second
)

// place is where a delivery stands among its webhook's.
type place struct {
	sequence int64
	ping     int32
}

// delivery is a row that this process may attempt.
type delivery struct {
	*event
	place
	hook               *hook
	claim              *claim
	attempts, failures int
	queued             bool // and not fresh, see migrations/0007_lanes.sql
	again              bool // it is sent once more, as its owner asked
	// How the attempt begins: how it is made, until when it has to be over, and whether its
	// endpoint is suspect.
	target  *target
	until   time.Time
	suspect bool
}

// target is where and with what a webhook is called. The secrets are nowhere but here.
type target struct {
	url                   string
	secrets               []string // the present one first, then those that it replaced
	authHeader, authValue string
}

// hook is a webhook that this process has taken, with those of its deliveries that are in
// memory. Until it gives it back nobody else attempts any of them.
type hook struct {
	endpoint
	shard  *shard
	token  string
	until  time.Time // the lease's end
	target *target   // nil: its secrets cannot be opened
	taken  time.Time
	// idle is since when there has been nothing to do; zero: there is.
	idle time.Time
	// closing has nothing more begin: the webhook is given back when all is written.
	closing bool
	deleted bool // what is under way is the last of it
	yielded bool // it is given back for another relay to take it
	listed  bool // among those that may have something to begin

	rows     []*delivery         // read and not begun, each claim's in the order of its events
	underway map[place]*delivery // begun and not written
	claims   map[string]*claim   // of all that is in memory

	through int64 // as last written
	read    int64 // the last fresh sequence that was read
	last    int64 // and the last that there is, as far as is known
	lost    int64 // the first that was read and is no more in memory; 0: none
	due     bool  // the queue has something due
}

func newHook(l *shard, e endpoint, through int64) *hook {
	return &hook{
		endpoint: e, shard: l, through: through, read: through,
		underway: map[place]*delivery{}, claims: map[string]*claim{},
	}
}

// claim is what is in memory of one claim's deliveries.
type claim struct {
	id    string
	count int
	// busy are those under way, and again those of them that were asked for, for which
	// nothing new waits.
	busy, again int
}

// add takes in what was read.
func (h *hook) add(l *delivery) {
	l.claim = h.claims[l.claimID]
	if l.claim == nil {
		l.claim = &claim{id: l.claimID}
		h.claims[l.claimID] = l.claim
	}
	l.claim.count++
	h.rows = append(h.rows, l)
}

// release takes out what is in memory no more.
func (h *hook) release(l *delivery) {
	if l.claim.count--; l.claim.count == 0 {
		delete(h.claims, l.claim.id)
	}
}

// next is the index of the delivery that may be attempted now, -1 for none. Of a claim's
// events that is the first that is not finished; what is sent once more by request holds
// back nothing that is new.
func (h *hook) next(now time.Time) int {
	room, retriesOnly := h.room(now)
	if room <= 0 || h.closing || h.target == nil || len(h.underway) >= maxUnwritten {
		return -1
	}
	for i, l := range h.rows {
		if retriesOnly && l.failures == 0 || l.claim.busy > 0 && (l.again || l.claim.busy > l.claim.again) {
			continue
		}
		if !slices.ContainsFunc(h.rows[:i], func(before *delivery) bool { return before.holdsBack(l) }) {
			return i
		}
	}
	return -1
}

// holdsBack tells that l must wait for the delivery, which was read before it.
func (d *delivery) holdsBack(l *delivery) bool {
	return d.claim == l.claim && d.sequence <= l.sequence && (l.again || !d.again)
}

// begin takes out the delivery at an index.
func (h *hook) begin(i int) *delivery {
	l := h.rows[i]
	h.rows = slices.Delete(h.rows, i, i+1)
	h.underway[l.place] = l
	h.flying++
	l.suspect, l.target, l.until = h.suspect(), h.target, h.until
	l.claim.busy++
	if l.again {
		l.claim.again++
	}
	return l
}

// written forgets a delivery whose outcome is in the database.
func (h *hook) written(l *delivery) {
	delete(h.underway, l.place)
	l.claim.busy--
	if l.again {
		l.claim.again--
	}
	h.release(l)
}

// lose takes note of a delivery that was read and will not be attempted, because the webhook
// is given back first: whoever takes it next reads it again.
func (h *hook) lose(l *delivery) {
	h.closing = true
	if !l.queued && (h.lost == 0 || l.sequence < h.lost) {
		h.lost = l.sequence
	}
}

// reached is the sequence up to which everything fresh is finished or in the queue, once
// what is in done is written.
func (h *hook) reached(done map[*delivery]bool) int64 {
	first := h.read + 1
	if h.lost > 0 {
		first = min(first, h.lost)
	}
	for _, l := range h.rows {
		if !l.queued {
			first = min(first, l.sequence)
		}
	}
	for _, l := range h.underway {
		if !l.queued && !done[l] {
			first = min(first, l.sequence)
		}
	}
	return max(h.through, first-1)
}

// allIn tells that everything under way is among what is done.
func (h *hook) allIn(done map[*delivery]bool) bool {
	for _, l := range h.underway {
		if _, ended := done[l]; !ended {
			return false
		}
	}
	return true
}

// successors are the deliveries in memory that have to wait for a retry of one.
func (h *hook) successors(l *delivery) (all []*delivery) {
	for _, s := range h.rows {
		if s.sequence > l.sequence && l.holdsBack(s) {
			all = append(all, s)
		}
	}
	return all
}

func (h *hook) forget(gone map[*delivery]bool) {
	h.rows = slices.DeleteFunc(h.rows, func(l *delivery) bool {
		if gone[l] {
			h.release(l)
		}
		return gone[l]
	})
}

// wants is how many deliveries of each lane may be read into memory.
func (h *hook) wants(now time.Time) (fresh, queue int) {
	if h.closing || h.target == nil {
		return 0, 0
	}
	_, retriesOnly := h.room(now)
	// Few at a time cost as much as many.
	if n := readAhead - len(h.rows); n >= readAhead/2 && h.last > h.read && !retriesOnly {
		fresh = n
	}
	if !h.due {
		return fresh, 0
	}
	waiting := 0
	for _, l := range h.rows {
		if l.queued && (!retriesOnly || l.failures > 0) {
			waiting++
		}
	}
	if waiting > readAhead/2 {
		return fresh, 0
	}
	// Those that are in memory come once more, and are passed over.
	queue = readAhead
	for _, l := range h.underway {
		if l.queued {
			queue++
		}
	}
	return fresh, queue
}

// has tells that a delivery is in memory.
func (h *hook) has(p place) bool {
	return h.underway[p] != nil || slices.ContainsFunc(h.rows, func(l *delivery) bool { return l.place == p })
}

// rest tells since when there has been nothing to do.
func (h *hook) rest(now time.Time) {
	fresh, _ := h.wants(now)
	switch {
	case len(h.underway) > 0 || fresh > 0 || h.next(now) >= 0:
		h.idle = time.Time{}
	case h.idle.IsZero():
		h.idle = now
	}
}
