package domain

import (
	"container/heap"
	"encoding/json"
	"strconv"
	"time"
)

// joinKey makes one map key of two texts, unambiguous whatever they contain.
func joinKey(a, b string) string {
	return strconv.Itoa(len(a)) + ":" + a + b
}

// window remembers keys for a time.
type window struct {
	length time.Duration
	seen   map[string]time.Time
	order  []sighting // oldest first
	bytes  int        // in their keys
}

// sighting is one time that a key was seen. A key that came back after its time has
// two of them until the older one is pruned.
type sighting struct {
	key string
	at  time.Time
}

func newWindow(length time.Duration) window {
	return window{length: length, seen: map[string]time.Time{}}
}

// add gives when the key was seen before; the zero time where that is not known.
func (w *window) add(key string, at time.Time) (before time.Time) {
	before = w.seen[key]
	w.seen[key] = at
	w.order = append(w.order, sighting{key, at})
	w.bytes += len(key)
	return before
}

// takeBack undoes the last add, and tells whether the key is remembered from before.
func (w *window) takeBack(before time.Time) (key string, remembered bool) {
	last := len(w.order) - 1
	key = w.order[last].key
	w.order[last] = sighting{}
	w.order = w.order[:last]
	w.bytes -= len(key)
	// What was pruned meanwhile does not come back.
	remembered = !before.IsZero() && last > 0 && !before.Before(w.order[0].at)
	if remembered {
		w.seen[key] = before
	} else {
		delete(w.seen, key)
	}
	return key, remembered
}

func (w *window) has(key string, now time.Time) bool {
	at, ok := w.seen[key]
	return ok && now.Sub(at) < w.length
}

// prune drops what is past its time and gives the keys that are forgotten with it.
func (w *window) prune(now time.Time) (forgotten []string) {
	for len(w.order) > 0 && now.Sub(w.order[0].at) >= w.length {
		oldest := w.order[0]
		w.order = w.order[1:]
		w.bytes -= len(oldest.key)
		if w.seen[oldest.key].Equal(oldest.at) {
			delete(w.seen, oldest.key)
			forgotten = append(forgotten, oldest.key)
		}
	}
	return forgotten
}

// answers remembers what callers with an idempotency key were told.
type answers struct {
	window
	told []*CommandRef // for each of the window's sightings
	refs map[string]*CommandRef
	size int // bytes in what told holds
}

func newAnswers() answers {
	return answers{window: newWindow(ReplayWindow), refs: map[string]*CommandRef{}}
}

// record gives what takeBack needs; nil where there is nothing to remember.
func (a *answers) record(c *Commit) *memory {
	if c.Command.Key == "" {
		return nil
	}
	ref := c.Command
	return a.tell(&ref, c.Time)
}

func (a *answers) tell(ref *CommandRef, at time.Time) *memory {
	key := joinKey(ref.Caller, ref.Key)
	before := &memory{ref: a.refs[key], at: a.add(key, at)}
	a.told, a.refs[key] = append(a.told, ref), ref
	a.size += ref.size()
	return before
}

// size is how many bytes of text a command's reference holds that callers choose.
func (r *CommandRef) size() int { return len(r.Caller) + len(r.Key) + len(r.Answer) }

// memory is what was remembered under a key before.
type memory struct {
	ref *CommandRef
	at  time.Time
}

// takeBack undoes the last record that was not nil.
func (a *answers) takeBack(before *memory) {
	last := len(a.told) - 1
	a.size -= a.told[last].size()
	a.told[last] = nil
	a.told = a.told[:last]
	if key, remembered := a.window.takeBack(before.at); remembered {
		a.refs[key] = before.ref
	} else {
		delete(a.refs, key)
	}
}

// forget drops what is past its time.
func (a *answers) forget(now time.Time) {
	held := len(a.order)
	for _, key := range a.prune(now) {
		delete(a.refs, key)
	}
	for range held - len(a.order) {
		a.size -= a.told[0].size()
		a.told = a.told[1:]
	}
}

// recall gives the answer that the same command of the same caller had before, nil
// when there was none. Another request under the same key is refused.
func (a *answers) recall(cmd CommandRef, now time.Time) (json.RawMessage, error) {
	if cmd.Key == "" {
		return nil, nil
	}
	key := joinKey(cmd.Caller, cmd.Key)
	if !a.has(key, now) {
		return nil, nil
	}
	before := a.refs[key]
	if before.Name != cmd.Name || before.Request != cmd.Request {
		return nil, ErrIdempotencyMismatch
	}
	return before.Answer, nil
}

// ErrIdempotencyMismatch refuses another request under a key that was used.
var ErrIdempotencyMismatch = Errorf(CodeIdempotencyMismatch, "This Idempotency-Key was used for another request within the last 24 hours.")

// remembers reports whether the caller used the key.
func (a *answers) remembers(ref CommandRef, now time.Time) bool {
	return a.has(joinKey(ref.Caller, ref.Key), now)
}

// dueAt is one wait for the end of a claim's state. It is stale once the claim has
// left that state: comparing times or states would not do, for an approval may be set to
// end at the very moment at which the claim would have ended undecided, and one that was
// taken back may be given again.
type dueAt struct {
	at    time.Time
	claim *claim
	wait  uint64
}

func (d dueAt) stale() bool { return d.claim.wait != d.wait }

// before orders waits by time, and those of one time by their claims' ids: a decision has to
// come out the same whatever way the state came about.
func (d dueAt) before(e dueAt) bool {
	if c := d.at.Compare(e.at); c != 0 {
		return c < 0
	}
	return d.claim.id < e.claim.id
}

// dueHeap orders waits by time. Entries that went stale stay until compact.
type dueHeap []dueAt

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].before(h[j]) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)        { *h = append(*h, x.(dueAt)) }
func (h *dueHeap) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = dueAt{} // let go of the claim
	*h = (*h)[:len(*h)-1]
	return last
}

// first lists what is due, in order, but at most limit of it. It looks only where something
// is due.
func (h dueHeap) first(now time.Time, limit int) (found []*claim) {
	next := dueNodes{heap: h}
	next.offer(0, now)
	for len(next.nodes) > 0 && len(found) < limit {
		i := heap.Pop(&next).(int)
		if !h[i].stale() {
			found = append(found, h[i].claim)
		}
		next.offer(2*i+1, now)
		next.offer(2*i+2, now)
	}
	return found
}

// dueNodes are places in a heap that are to be looked at.
type dueNodes struct {
	heap  dueHeap
	nodes []int
}

func (n *dueNodes) offer(i int, now time.Time) {
	if i < len(n.heap) && !n.heap[i].at.After(now) {
		heap.Push(n, i)
	}
}

func (n *dueNodes) Len() int           { return len(n.nodes) }
func (n *dueNodes) Less(i, j int) bool { return n.heap.Less(n.nodes[i], n.nodes[j]) }
func (n *dueNodes) Swap(i, j int)      { n.nodes[i], n.nodes[j] = n.nodes[j], n.nodes[i] }
func (n *dueNodes) Push(i any)         { n.nodes = append(n.nodes, i.(int)) }
func (n *dueNodes) Pop() any {
	last := n.nodes[len(n.nodes)-1]
	n.nodes = n.nodes[:len(n.nodes)-1]
	return last
}

// compact drops stale entries: those that come first at once, the others when they
// outnumber the live ones.
func (h *dueHeap) compact(live int) {
	for len(*h) > 0 && (*h)[0].stale() {
		heap.Pop(h)
	}
	const slack = 64 // below this many, carrying stale entries costs nothing
	if len(*h) <= 2*live+slack {
		return
	}
	kept := (*h)[:0]
	for _, d := range *h {
		if !d.stale() {
			kept = append(kept, d)
		}
	}
	clear((*h)[len(kept):])
	*h = kept
	heap.Init(h)
}
