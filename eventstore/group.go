package eventstore

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Bounds of what is on its way, and of what waits.
const (
	// maxBatchCommits is the most that the server takes in one batch.
	maxBatchCommits = 1000
	// maxBatchBytes keeps a batch within one block of the file in which the server
	// stages it, and small commits from waiting long for the bytes of others.
	maxBatchBytes = 4 << 20
	// maxPending and maxPendingBytes bound what was taken on and has not ended. Even at
	// the pace of a slow disk it is recorded in a few seconds, which is how long callers
	// wait.
	maxPending      = 8192
	maxPendingBytes = 32 << 20
)

// pace is how commits share what a disk or a quorum costs.
type pace struct {
	// batchFrom is how many commits have to wait for a batch to pay.
	batchFrom int
	// maxPlain is how many commits may be on their way one by one: enough that the
	// server never waits for the next, and no more, for the rest makes a batch.
	maxPlain int
	// maxBatches is how many batches may be on their way; the server takes 50 of all
	// processes together.
	maxBatches int
}

// paceOf is what BenchmarkPace and BenchmarkBatch show of servers that run elsewhere. One
// node syncs the disk for each message that comes alone, and for a batch, which it stages
// in files of its own, pays about as much as for fifteen of them, whatever its size. A
// quorum replicates together what comes together anyway, so that a batch saves it less. On
// both, a second batch on its way only halves the first.
func paceOf(replicas int) pace {
	if replicas == 1 {
		return pace{batchFrom: 20, maxPlain: 4, maxBatches: 1}
	}
	return pace{batchFrom: 32, maxPlain: 31, maxBatches: 1}
}

// paceInMemory is that of one node which stages batches in memory, where a batch costs
// what one commit costs.
var paceInMemory = pace{batchFrom: 2, maxPlain: 1, maxBatches: 1}

func (g *group) setPace(p pace) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pace = p
}

// ErrBusy means that too many commits wait to be recorded already. Nothing was
// recorded, and it may be tried again a little later.
var ErrBusy = errors.New("too many commits are waiting to be recorded")

// group decides which commits go to the log together. What comes while others are on
// their way waits for the next turn, and then shares it.
//
// Each boundary has a lane, of which one turn at a time is on its way: one commit, or
// one with those that follow it in a chain. So commits of this process never contend
// with each other for a place in the log.
type group struct {
	pace
	// send makes an attempt at a turn, which may leave some of it open.
	send func(turn []*appending)

	mu             sync.Mutex
	lanes          map[string]*lane // by subject; only those with commits
	ready          []*lane          // have commits and nothing on its way; longest waiting first
	commits, bytes int              // in the lanes
	plain, batches int              // attempts on their way
}

// lane is the commits of one boundary, in the order in which they came.
type lane struct {
	subject string
	waiting []*appending
	sent    []*appending
	last    Head // that was recorded since the lane was made
	listed  bool // as ready
}

func newGroup(p pace, send func([]*appending)) *group {
	return &group{pace: p, send: send, lanes: make(map[string]*lane)}
}

// add takes a commit on, unless too many have not ended or its time is over.
func (g *group) add(a *appending) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := a.ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if g.commits == maxPending || g.bytes+len(a.rec.Stored) > maxPendingBytes {
		return ErrBusy
	}
	l := g.lanes[a.subject]
	if l == nil {
		l = &lane{subject: a.subject}
		g.lanes[a.subject] = l
	}
	l.waiting = append(l.waiting, a)
	g.count(a, 1)
	g.list(l)
	g.dispatch()
	return nil
}

// list has a lane wait for its turn, if it has something for one.
func (g *group) list(l *lane) {
	if !l.listed && l.sent == nil && len(l.waiting) > 0 {
		l.listed = true
		g.ready = append(g.ready, l)
	}
}

func (g *group) count(a *appending, sign int) {
	g.commits += sign
	g.bytes += sign * len(a.rec.Stored)
}

// abandon ends a commit whose time is over. One that waits is not sent; one that was
// sent with others can't be called back, nor do they stop for its sake. One that is on
// its way alone sees for itself.
func (g *group) abandon(a *appending) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch a.state {
	case waiting:
		if l := g.lanes[a.subject]; l != nil {
			g.remove(l, a)
		}
		a.end(0, fmt.Errorf("%w: %w", ErrUnavailable, a.ctx.Err()))
	case batched:
		a.end(0, fmt.Errorf("%w: %w", ErrOutcomeUnknown, a.ctx.Err()))
	}
}

func (g *group) remove(l *lane, a *appending) {
	if i := slices.Index(l.waiting, a); i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
		g.count(a, -1)
	}
}

// dispatch sends what may go now. The caller holds mu.
func (g *group) dispatch() {
	for g.batches < g.maxBatches && len(g.ready) > 0 {
		limit := maxBatchCommits
		if !g.enough() {
			if g.batches > 0 || g.plain >= g.maxPlain {
				return
			}
			limit = 1
		}
		turn := g.take(limit)
		if len(turn) == 0 {
			continue
		}
		attempts := &g.plain
		if len(turn) > 1 {
			attempts = &g.batches
		}
		*attempts++
		go g.attempt(turn, attempts)
	}
}

// enough reports whether a batch pays.
func (g *group) enough() bool {
	commits := 0
	for _, l := range g.ready {
		if commits += l.chain(g.batchFrom); commits >= g.batchFrom {
			return true
		}
	}
	return false
}

// chain is how many commits of the lane can go in one turn, counted up to limit.
func (l *lane) chain(limit int) int {
	n := min(len(l.waiting), 1)
	for n < min(len(l.waiting), limit) && l.waiting[n].behind == l.waiting[n-1].Pending {
		n++
	}
	return n
}

// take removes the next turn from the queue: as many commits as may go together. Those
// of a lane stand together in it, in their order.
func (g *group) take(limit int) (turn []*appending) {
	room := maxBatchBytes
	for len(g.ready) > 0 && len(turn) < limit {
		l := g.ready[0]
		g.clear(l)
		n := 0
		for chain := l.chain(limit - len(turn)); n < chain; n++ {
			if room -= len(l.waiting[n].rec.Stored); room < 0 && len(turn)+n > 0 {
				break
			}
		}
		if n == 0 && len(l.waiting) > 0 {
			break // full
		}
		g.ready, l.listed = g.ready[1:], false
		l.sent, l.waiting = l.waiting[:n:n], l.waiting[n:]
		turn = append(turn, l.sent...)
		if n == 0 {
			delete(g.lanes, l.subject)
		}
	}
	for _, a := range turn {
		a.state = alone
		if len(turn) > 1 {
			a.state = batched
		}
	}
	return turn
}

// clear ends the commits at the front of a lane that can't be recorded any more.
func (g *group) clear(l *lane) {
	for len(l.waiting) > 0 {
		a := l.waiting[0]
		err := a.join()
		if err == nil && a.after.Position < l.last.Position {
			err = &ConflictError{Boundary: a.boundary, Expected: a.after, Actual: l.last}
		}
		if err == nil {
			return
		}
		l.waiting = l.waiting[1:]
		g.count(a, -1)
		a.end(0, err)
	}
}

// attempt sends a turn. What doesn't end by it makes room for the next turn, and holds
// back nothing but its own boundaries.
func (g *group) attempt(turn []*appending, attempts *int) {
	g.send(turn)
	g.mu.Lock()
	defer g.mu.Unlock()
	*attempts--
	for _, a := range turn {
		a.state = alone
	}
	for rest := turn; len(rest) > 0; {
		l := g.lanes[rest[0].subject]
		rest = rest[len(l.sent):]
		if slices.ContainsFunc(l.sent, (*appending).open) {
			go g.settle(l)
		} else {
			g.release(l)
		}
	}
	g.dispatch()
}

// settle brings what was sent of a lane to its end, one after another.
func (g *group) settle(l *lane) {
	for _, a := range l.sent {
		if a.open() {
			a.finish()
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.release(l)
	g.dispatch()
}

// release lets a lane have its next turn.
func (g *group) release(l *lane) {
	for _, a := range l.sent {
		g.count(a, -1)
		if a.recorded() {
			l.last = a.Head()
		}
	}
	l.sent = nil
	if len(l.waiting) == 0 {
		delete(g.lanes, l.subject)
	}
	g.list(l)
}
