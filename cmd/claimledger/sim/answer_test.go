package sim

import (
	"bytes"
	"context"
	"reflect"
	"time"

	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/domain"
)

// judge holds the answer of a command to the log: there is a moment between the question
// and the answer at which it is right.
func (w *world) judge(c *command) {
	switch {
	case c.crashed, c.err != nil && domain.ErrorCode(c.err) == domain.CodeServiceUnavailable:
		return // it was told nothing
	case c.result.Position > w.ledger.last() && !w.torn:
		w.fail("command %d was answered with the position %d, past the log's end", c.no, c.result.Position)
	case c.result.Appended:
		w.judgeAppended(c)
	case w.torn && w.stale(c.node):
		// What the log lost and the node has, it cannot know until it looks.
	case !w.explained(c):
		w.fail("no state between its question and its answer explains the answer of %s: %s", c, c.outcome())
	}
}

// stale reports whether a node may know what the log lost.
func (w *world) stale(n *node) bool { return n != nil && !n.afresh }

func (w *world) judgeAppended(c *command) {
	found := w.model.commands[agent(c.no)]
	if len(found) != 1 {
		return // judgeRecorded says so
	}
	if stored := found[0].Commit.Command.Answer; len(stored) > 0 && string(stored) != encoded(c.answer) {
		w.fail("command %d was answered %s, and the log says %s", c.no, encoded(c.answer), stored)
	}
}

func (w *world) explained(c *command) bool {
	m := w.model
	switch code := domain.ErrorCode(c.err); {
	case code == domain.CodeNotFound && c.node != nil && c.knownRegistry == 0:
		return true // the namespace has not come to the node yet
	case code == domain.CodeIdempotencyMismatch && m.usedElsewhere(c):
		return true
	}
	for version := m.head(c.boundary()).Version; ; version-- {
		if c.claim != nil && m.explainsClaim(c, version) || c.registry != nil && m.explainsRegistry(c, version) {
			return true
		}
		if version <= c.asked {
			return false
		}
	}
}

// usedElsewhere reports whether the caller used the command's key in another boundary.
func (m *model) usedElsewhere(c *command) bool {
	for b := range m.boundaries {
		if _, used := m.sightings[b.String()+" key "+c.meta.Ref.Caller+" "+c.meta.Ref.Key]; used && b != c.boundary() {
			return true
		}
	}
	return false
}

func (m *model) explainsRegistry(c *command, version uint64) bool {
	r := m.registryAt(c.namespace, version)
	d, err := r.Decide(c.registry, c.meta.Ref, m.w.limits, later(r.Time(), c.result.Time))
	return len(d.Payloads) == 0 && sameError(err, c.err) && (err != nil || encoded(d.Answer) == encoded(c.answer))
}

// explainsClaim tries what the node may have known of the registries: its own namespace's
// from when it was asked, and of the services that they were created.
func (m *model) explainsClaim(c *command, version uint64) bool {
	s := m.claimsAt(c.namespace, version)
	for known := m.head(domain.RegistryOf(c.namespace)).Version; known >= c.knownRegistry; known-- {
		terms := m.registryAt(c.namespace, known).Terms()
		for _, exists := range []func(string) bool{m.exists, func(id string) bool { return m.created[id] }} {
			terms.ServiceExists = exists
			d, err := s.Decide(c.claim, c.meta.Ref, terms, later(s.Time(), c.result.Time))
			if len(d.Payloads) == 0 && sameError(err, c.err) && (err != nil || encoded(d.Answer) == encoded(c.answer)) {
				return true
			}
		}
		if known == 0 {
			break
		}
	}
	return false
}

func sameError(a, b error) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Error() == b.Error()
}

// question is a verify that is under way.
type question struct {
	world                   *world
	node                    *node
	life                    int
	namespace, service, key string
}

// ask does what the API does: the position first, then the claims, then what stands above
// them.
func (q *question) ask(x *commands.Executor) {
	w, now := q.world, q.world.clock(q.node)
	position := x.Position()
	var v domain.Verdict
	var settled uint64
	err := x.ViewClaims(context.Background(), q.namespace, func(s *domain.Claims) uint64 {
		v, settled = s.Verify(q.service, q.key, now), s.Settled()
		if q.node.life == q.life && !w.torn {
			q.judgeState(s, position)
		}
		return v.Version
	})
	if err == nil && q.node.life == q.life && !w.torn {
		q.judge(v, max(settled, v.Version), now)
		w.note("  it answers %+v", v)
	}
}

// judgeState holds what a node knows to the log. The simulation waits meanwhile.
func (q *question) judgeState(s *domain.Claims, position uint64) {
	w, b := q.world, domain.ClaimsOf(q.namespace)
	w.model.take()
	all := w.model.boundaries[b]
	due := uint64(0) // what the position promises
	for _, r := range all {
		if r.Position <= position {
			due = r.Commit.Version
		}
	}
	switch {
	case s.Settled() > uint64(len(all)):
		w.fail("node %d holds version %d of %s for recorded, and the log ends at %d", q.node.id, s.Settled(), b, len(all))
	case s.Settled() < due:
		w.fail("node %d says that it is complete up to %d and lacks version %d of %s", q.node.id, position, due, b)
	case s.Ahead() == 0 && !sameClaims(s, w.model.claimsAt(q.namespace, s.Version())):
		w.fail("node %d has other claims of %s at version %d than the log", q.node.id, q.namespace, s.Version())
	}
}

// judge holds an answer to the log, up to the version that it rests on.
func (q *question) judge(v domain.Verdict, version uint64, now time.Time) {
	w, b := q.world, domain.ClaimsOf(q.namespace)
	w.model.take()
	switch all := w.model.boundaries[b]; {
	case version > uint64(len(all)):
		w.fail("node %d verifies on version %d of %s, and the log ends at %d", q.node.id, version, b, len(all))
	case encoded(w.model.claimsAt(q.namespace, version).Verify(q.service, q.key, now)) != encoded(v):
		w.fail("node %d authorizes what the log does not: %+v", q.node.id, v)
	}
}

// sameClaims reports whether two states know the same.
func sameClaims(a, b *domain.Claims) bool {
	one, err := a.Snapshot().Encode()
	two, errTwo := b.Snapshot().Encode()
	return err == nil && errTwo == nil && bytes.Equal(one, two)
}

// finish lets everything end well, and looks at all once more.
func (w *world) finish() {
	w.note("nothing goes wrong any more")
	for range 10_000 {
		if !w.moves() {
			break
		}
	}
	for _, n := range w.nodes {
		if n.state == up {
			w.look(n)
		}
	}
	w.check()
	for _, n := range w.nodes {
		if w.failed == nil && n.state == up && n.fence.Broken() == nil {
			w.judgeAtEnd(n)
		}
	}
	w.replay()
}

// moves lets everything go on that waits, and reports whether anything did.
func (w *world) moves() (moved bool) {
	for len(w.ledger.late) > 0 {
		w.ledger.arrive(0)
		moved = true
	}
	for waiting := w.gate.all(); len(waiting) > 0; waiting = w.gate.all() {
		w.gate.release(waiting[0], works)
		w.settle()
		moved = true
	}
	for _, n := range w.nodes {
		if n.state == up {
			w.follow(n, 1_000_000)
			moved = moved || len(w.inFlight(n)) > 0
		}
	}
	return moved || len(w.gate.all()) > 0
}

// judgeAtEnd compares all that a node knows with the log.
func (w *world) judgeAtEnd(n *node) {
	for _, ns := range sorted(w.model.registries) {
		n.exec.Directory().View(ns, func(r *domain.Registry) {
			if !reflect.DeepEqual(r.Snapshot(), w.model.registries[ns].Snapshot()) {
				w.fail("node %d ends with another registry of %s than the log", n.id, ns)
			}
		})
		go func() {
			_ = n.exec.ViewClaims(context.Background(), ns, func(s *domain.Claims) uint64 {
				if !sameClaims(s, w.model.claimsOf(ns)) {
					w.fail("node %d ends with other claims of %s than the log", n.id, ns)
				}
				return 0
			})
		}()
		w.settle()
		for waiting := w.gate.all(); len(waiting) > 0; waiting = w.gate.all() {
			w.gate.release(waiting[0], works)
			w.settle()
		}
	}
}

// replay folds the log anew, as an auditor would.
func (w *world) replay() {
	again := newModel(w)
	for _, r := range w.model.records {
		commit, err := domain.DecodeCommit(r.Stored)
		if err == nil {
			r.Commit = commit
			err = again.fold(r)
		}
		if err != nil {
			w.fail("replaying the log: %v", err)
			return
		}
	}
	for ns := range w.model.registries {
		if !reflect.DeepEqual(again.claimsOf(ns), w.model.claimsOf(ns)) || !reflect.DeepEqual(again.registryOf(ns), w.model.registryOf(ns)) {
			w.fail("replaying the log gives another state")
		}
	}
}
