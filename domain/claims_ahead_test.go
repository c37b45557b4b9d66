package domain

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// content is what a state knows, whatever way it came to it.
type content struct {
	Version                    uint64
	Time                       time.Time
	Claims                     map[string]contentClaim
	Latest                     map[string]string // service and key → claim
	Services                   map[string][]string
	Pending                    int
	ApprovedAgents, ApprovedOn map[string]int
	Due                        []string
	Nonces, SignatureNonces    map[string]time.Time
	Answers                    map[string]contentAnswer
}

type contentClaim struct {
	Service, Key, Slug string
	Status             Status
	Until, ApprovedAt  *time.Time
	Version            uint64
}

type contentAnswer struct {
	At           time.Time
	Name, Answer string
	Request      Hash
}

func contentOf(s *Claims) content {
	store := &s.claims
	c := content{
		Version: s.version, Time: s.time, Pending: s.pending,
		Claims: map[string]contentClaim{}, Latest: map[string]string{}, Services: map[string][]string{},
		ApprovedAgents: map[string]int{}, ApprovedOn: map[string]int{},
		Nonces: s.nonces.content(s.time), SignatureNonces: s.signatureNonces.content(s.time), Answers: map[string]contentAnswer{},
	}
	for n := range uint32(store.len()) {
		id, now := store.id(n), store.standings[n]
		of := contentClaim{store.service(n), store.key(n), store.slug(n), now.status.status(), now.end(), nil, now.version}
		if !now.approvedAt.none() {
			of.ApprovedAt = new(now.approvedAt.time())
		}
		c.Claims[id] = of
		if latest, ok := store.latestOf(of.Service, of.Key); ok {
			c.Latest[of.Service+" "+of.Key] = store.id(latest)
		}
		c.Services[of.Key] = s.ServicesOf(of.Key, "")
		if n := s.approvedAgents.of(store.agentOf(n)); n > 0 {
			c.ApprovedAgents[of.Key] = n
		}
		if n := s.approvedServices.of(store.serviceOf(n)); n > 0 {
			c.ApprovedOn[of.Service] = n
		}
	}
	if len(c.ApprovedAgents) != s.approvedAgents.some || len(c.ApprovedOn) != s.approvedServices.some {
		c.Due = append(c.Due, "the counts are not those of what is counted")
	}
	for i, d := range store.due {
		c.Due = append(c.Due, fmt.Sprint(d.until.time(), store.id(d.claim), d.until == store.standings[d.claim].until, store.places[d.claim] == uint32(i)+1))
	}
	slices.Sort(c.Due)
	for n := s.answers.head; n < len(s.answers.order); n++ {
		if seen := s.answers.order[n]; s.answers.has(seen.key, s.time) {
			if last, _ := s.answers.sighted(seen.key); last == n {
				told := s.answers.of(n)
				c.Answers[fmt.Sprintf("%x", seen.key)] = contentAnswer{seen.at.time(), told.name, told.answer, told.request}
			}
		}
	}
	return c
}

// content is what is remembered at a time, and when it was seen last.
func (w *window) content(now time.Time) map[string]time.Time {
	known := map[string]time.Time{}
	for _, seen := range w.order {
		if w.has(seen.key, now) {
			known[fmt.Sprintf("%x", seen.key)] = seen.at.time()
		}
	}
	return known
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
	want := encoded(t, settled.Snapshot())
	m.taken = append(m.taken, func(t *rapid.T) {
		if got := encoded(t, taken); !bytes.Equal(got, want) {
			t.Fatalf("taken as\n%x\nnot\n%x", got, want)
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
	m.live.Withdraw()
	m.back(t)
}

// restore goes on from a snapshot, which does not have what is ahead.
func (m *aheadMachine) restore(t *rapid.T) {
	back, err := RestoreClaims("acme", encoded(t, m.live.Snapshot()))
	if err != nil {
		t.Fatal(err)
	}
	m.live = back
	m.back(t)
}

// back holds the state to what is settled.
func (m *aheadMachine) back(t *rapid.T) {
	m.t = t
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
			"restore":  m.restore,
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
