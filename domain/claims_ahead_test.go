package domain

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// content is what a state knows, whatever way it came to it.
type content struct {
	version              uint64
	time                 time.Time
	claims               map[string]claim
	latest               map[pair]string
	services             map[string][]string
	pending, approved    int
	perAgent, perService map[string]int
	due                  []string
	windows              []map[string]time.Time
	answers              map[string]CommandRef
}

func contentOf(s *Claims) content {
	c := content{
		version: s.version, time: s.time, claims: map[string]claim{}, latest: map[pair]string{}, services: s.services,
		pending: s.pending, approved: s.approved, perAgent: s.approvedAgents, perService: s.approvedService,
		answers: map[string]CommandRef{},
	}
	for id, of := range s.claims {
		of := *of
		of.wait = 0
		c.claims[id] = of
	}
	for p, of := range s.latest {
		c.latest[p] = of.id
	}
	for _, d := range s.due {
		if !d.stale() {
			c.due = append(c.due, fmt.Sprint(d.at, d.claim.id, d.claim.status))
		}
	}
	slices.SortFunc(c.due, cmp.Compare)
	for _, w := range []window{s.nonces, s.signatureNonces, s.answers.window} {
		known := map[string]time.Time{}
		for key, at := range w.seen {
			if w.has(key, s.time) {
				known[key] = at
			}
		}
		c.windows = append(c.windows, known)
	}
	for key, ref := range s.answers.refs {
		if s.answers.has(key, s.time) {
			c.answers[key] = *ref
		}
	}
	return c
}

// aheadMachine decides on commits that may come to nothing.
type aheadMachine struct {
	*claimsMachine
	settled int
	taken   []func(*rapid.T) // snapshots, each with what it must be
}

func newAheadMachine(t *rapid.T) *aheadMachine {
	m := &aheadMachine{claimsMachine: &claimsMachine{claimsHistory: newClaimsHistory(t)}}
	m.apply = func(c *Commit) error { return m.live.ApplyAhead(c) }
	m.equal = func() bool { return reflect.DeepEqual(contentOf(m.live), contentOf(m.replayed)) }
	return m
}

func (m *aheadMachine) settle(t *rapid.T) {
	for range rapid.IntRange(0, m.live.Ahead()).Draw(t, "settled") {
		m.live.Settle()
		m.settled++
	}
	if m.live.Settled() != uint64(m.settled) {
		t.Fatalf("settled up to version %d, not %d", m.live.Settled(), m.settled)
	}
	m.t = t
	m.same()
}

// snapshot holds what is taken of the state to what was settled, whatever comes after.
func (m *aheadMachine) snapshot(t *rapid.T) {
	taken := m.live.Snapshot()
	settled := NewClaims("acme")
	for _, stored := range m.stored[:m.settled] {
		c, err := DecodeCommit(stored)
		if err == nil {
			err = settled.Apply(c)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	m.taken = append(m.taken, func(t *rapid.T) {
		if got, want := taken.written(), settled.Snapshot().written(); !reflect.DeepEqual(got, want) {
			t.Fatalf("taken as\n%+v\nnot\n%+v", got, want)
		}
	})
}

// checkTaken looks at all that was taken so far.
func (m *aheadMachine) checkTaken(t *rapid.T) {
	for _, same := range m.taken {
		same(t)
	}
}

// withdraw takes back what is ahead, and goes on from what is left.
func (m *aheadMachine) withdraw(t *rapid.T) {
	m.t = t
	m.live.Withdraw()
	m.stored, m.prev = m.stored[:m.settled], Hash{}
	m.replayed, m.model = NewClaims("acme"), claimsModel{}
	for _, stored := range m.stored {
		c, err := DecodeCommit(stored)
		if err == nil {
			err = m.replayed.Apply(c)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range c.Events {
			m.model.apply([]Payload{e.Payload})
		}
		m.prev = HashOf(stored)
	}
	m.same()
}

// What came to nothing leaves no trace, whatever was settled in between.
func TestClaimsAhead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newAheadMachine(t)
		actions := map[string]func(*rapid.T){
			"submit":   m.submit,
			"again":    m.submit,
			"approve":  m.approve,
			"reject":   func(t *rapid.T) { m.step(t, Reject{ClaimID: m.claim(t)}) },
			"revoke":   func(t *rapid.T) { m.step(t, Revoke{ClaimID: m.claim(t)}) },
			"sweep":    func(t *rapid.T) { m.step(t, ExpireOverdue{}) },
			"wait":     func(t *rapid.T) { m.after(someWait.Draw(t, "wait")) },
			"terms":    m.changeTerms,
			"settle":   m.settle,
			"withdraw": m.withdraw,
			"snapshot": m.snapshot,
			"":         m.check,
		}
		for range rounds {
			t.Repeat(actions)
			m.checkTaken(t)
		}
	})
}

// A commit that does not fit changes nothing, and nothing is applied for good behind one
// that may come to nothing.
func TestClaimsRefuseACommit(t *testing.T) {
	h := newClaimsHistory(t)
	h.accepted(ask("c1", "svc", "key"))
	before := contentOf(h.live)
	commit := func(payloads ...Payload) *Commit {
		c := NewCommit("01J", h.boundary, h.now, Actor{Kind: ActorClock}, CommandRef{Caller: "k", Key: "k"}, h.terms.Basis(), payloads)
		c.Version = h.live.Version() + 1
		return c
	}
	approved := ClaimApproved{ClaimID: "c1", ExpiresAt: new(h.now.Add(time.Hour))}
	for name, c := range map[string]*Commit{
		"a second time": commit(approved, approved),
		"unknown":       commit(approved, ClaimRevoked{ClaimID: "c2"}),
		"a foreign one": commit(approved, ServiceDeleted{}),
	} {
		for _, apply := range []func(*Commit) error{h.live.Apply, h.live.ApplyAhead} {
			if err := apply(c); err == nil || !reflect.DeepEqual(contentOf(h.live), before) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if err := h.live.ApplyAhead(commit(approved)); err != nil {
		t.Fatal(err)
	}
	if err := h.live.Apply(commit(ClaimRevoked{ClaimID: "c1"})); err == nil {
		t.Error("applied behind a commit that may come to nothing")
	}
	h.live.Withdraw()
	if !reflect.DeepEqual(contentOf(h.live), before) {
		t.Error("a withdrawn commit left something behind")
	}
}
