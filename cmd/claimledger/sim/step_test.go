package sim

import (
	"fmt"
	"time"

	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/domain"
)

// action is one thing that may happen next. do tells whether it could.
type action struct {
	name string
	do   func(w *world) bool
}

var actions = []action{
	{"command", (*world).giveSome},
	{"release", (*world).releaseSome},
	{"hand over", (*world).handOver},
	{"wait", func(w *world) bool {
		return w.passes(pick(w.rng, time.Millisecond, time.Second, 20*time.Second, time.Minute))
	}},
	{"jump", func(w *world) bool { return w.passes(pick(w.rng, 11*time.Minute, time.Hour, 25*time.Hour)) }},
	{"skew", (*world).skewSome},
	{"crash", (*world).crashSome},
	{"start", (*world).startSome},
	{"cancel", (*world).cancelSome},
	{"arrive", (*world).arriveSome},
	{"watch", (*world).watchSome},
	{"verify", (*world).verifySome},
	{"sweep", (*world).sweepSome},
}

// step lets one thing happen. What cannot happen now is drawn again.
func (w *world) step() {
	if w.tearing && !w.torn && w.rng.IntN(80) == 0 && w.tear() {
		return
	}
	if len(w.gate.all()) > 0 && w.rng.Float64() < w.hurry && w.releaseSome() {
		w.settle()
		return
	}
	total := 0
	for _, a := range actions {
		total += w.weights[a.name]
	}
	for range 20 {
		n := w.rng.IntN(total)
		for _, a := range actions {
			if n -= w.weights[a.name]; n < 0 {
				if a.do(w) {
					w.settle()
					return
				}
				break
			}
		}
	}
}

// some is one of the nodes that fulfil a condition; nil where none does.
func (w *world) some(fits func(*node) bool) *node {
	var found []*node
	for _, n := range w.nodes {
		if fits(n) {
			found = append(found, n)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return pick(w.rng, found...)
}

// ready reports whether a node may be given a command. While it reads a namespace for the
// first time it is not: those who wait for that would go on in an order of their own.
func (w *world) ready(n *node) bool {
	if !n.serves() || len(w.inFlight(n)) >= mostInFlight {
		return false
	}
	for _, o := range w.gate.all() {
		if o.node == n && o.command == background && o.kind != opTail && o.kind != opSave {
			return false
		}
	}
	return true
}

func (w *world) giveSome() bool {
	n := w.some(w.ready)
	if n == nil {
		return false
	}
	c := w.someCommand()
	// Of several that wait for one key the next would be chosen by nobody.
	waiting := 0
	for _, other := range w.inFlight(n) {
		if other.meta.Ref.Key != "" && other.meta.Ref.Key == c.meta.Ref.Key && other.meta.Ref.Caller == c.meta.Ref.Caller {
			waiting++
		}
	}
	if waiting > 1 {
		c.crashed, c.judged = true, true // never sent
		return false
	}
	w.give(n, c)
	return true
}

func (w *world) releaseSome() bool {
	waiting := w.gate.all()
	if len(waiting) == 0 {
		return false
	}
	o, v := pick(w.rng, waiting...), works
	if w.rng.Float64() < w.faults {
		v = unreachable
		switch o.kind {
		case opAppend:
			v = pick(w.rng, unreachable, lostApplied, lostNothing, lostLate)
		case opSave:
			v = pick(w.rng, unreachable, lostApplied, halved)
		}
	}
	if o.kind == opLoad { // a cache may have anything at any time
		v = pick(w.rng, v, v, older, missing, halved, damaged)
	}
	w.note("%s %s", o, v)
	w.gate.release(o, v)
	return true
}

func (w *world) handOver() bool {
	n := w.some(func(n *node) bool { return n.state == up })
	if n == nil {
		return false
	}
	w.note("node %d follows", n.id)
	w.follow(n, pick(w.rng, 0, 1, 1, 2, 5, 100))
	return true
}

// follow hands over commits one by one: what a snapshot then has is chosen by nobody else.
func (w *world) follow(n *node, commits int) {
	for before := n.exec.Position(); ; before = n.exec.Position() {
		select {
		case n.conn.feed <- min(commits, 1):
		default:
		}
		w.settle()
		if commits--; commits <= 0 || n.state != up || n.exec.Position() == before {
			return
		}
	}
}

func (w *world) passes(d time.Duration) bool {
	w.note("%v pass", d)
	w.now = w.now.Add(d)
	w.latest = later(w.latest, w.now)
	return true
}

// skewSome sets a node's clock: its owner did, or the machine.
func (w *world) skewSome() bool {
	n := w.some(func(*node) bool { return true })
	n.skew = pick(w.rng, 0, 0, -time.Second, -time.Minute, -2*time.Hour, time.Second, 3*time.Minute)
	w.note("the clock of node %d is now %v off", n.id, n.skew)
	return true
}

func (w *world) crashSome() bool {
	n := w.some(func(n *node) bool { return n.state != down })
	if n == nil {
		return false
	}
	w.note("node %d crashes", n.id)
	w.crash(n)
	return true
}

func (w *world) startSome() bool {
	n := w.some(func(n *node) bool { return n.state == down && !n.refuses() })
	if n == nil {
		return false
	}
	w.note("node %d starts", n.id)
	w.start(n)
	return true
}

// refuses reports whether the node has found the log broken and stays away from it.
func (n *node) refuses() bool { return n.fence != nil && n.fence.Broken() != nil }

// cancelSome lets a client go away.
func (w *world) cancelSome() bool {
	n := w.some(func(n *node) bool { return len(w.inFlight(n)) > 0 })
	if n == nil {
		return false
	}
	c := pick(w.rng, w.inFlight(n)...)
	w.note("command %d is given up", c.no)
	c.cancel()
	return true
}

func (w *world) arriveSome() bool {
	if len(w.ledger.late) == 0 {
		return false
	}
	w.note("a late commit arrives and is taken: %t", w.ledger.arrive(w.rng.IntN(len(w.ledger.late))))
	return true
}

func (w *world) watchSome() bool {
	n := w.some(func(n *node) bool { return n.serves() && n.fence.Broken() == nil })
	if n == nil {
		return false
	}
	w.look(n)
	return true
}

func (w *world) look(n *node) {
	if w.plant.unfenced {
		return
	}
	err := n.watch.Step(n.ctx)
	w.note("node %d compares the log with its mark: %v", n.id, err)
	// Once it has appended in the place of what was lost, that is the last that it knows:
	// what it knew before, only its follower finds fault with, or its next start.
	n.afresh = n.afresh || w.torn && err == nil && !n.misled
	if err != nil && !w.torn {
		w.fail("the watch of node %d found fault with a sound log: %v", n.id, err)
	}
}

// sweepSome has a node expire what is overdue, as its clock does.
func (w *world) sweepSome() bool {
	n := w.some(w.ready)
	if n == nil {
		return false
	}
	c := w.newCommand(pick(w.rng, namespaces[:w.fewNames]...), domain.Actor{Kind: domain.ActorClock}, domain.CommandRef{Name: commands.ExpireOverdue})
	c.claim = domain.ExpireOverdue{}
	w.give(n, c)
	return true
}

// verifySome asks a node whether an agent may use a service, as the API does.
func (w *world) verifySome() bool {
	n := w.some(w.ready)
	if n == nil || n.refuses() {
		return false
	}
	q := &question{
		world: w, node: n, life: n.life, namespace: pick(w.rng, namespaces[:w.fewNames]...),
		service: pick(w.rng, w.services...).id, key: fmt.Sprintf("ed25519:agent-%d", w.rng.IntN(5)),
	}
	w.note("node %d is asked whether %s may use %s in %s", n.id, q.key, q.service, q.namespace)
	go q.ask(n.exec)
	return true
}

// tear loses some of the log's last commits.
func (w *world) tear() bool {
	last := w.ledger.last()
	lost := uint64(1 + w.rng.IntN(4))
	if last < lost+10 || w.ledger.tear(last-lost) != nil {
		return false
	}
	w.note("the log loses its last %d commits and ends at %d", lost, last-lost)
	w.torn = true
	w.model.tear(last - lost)
	for _, n := range w.nodes {
		n.misled = n.state != down && n.knows() > last-lost
		if n.watch != nil {
			n.watch.Log = watched{w.ledger.memory}
		}
	}
	return true
}
