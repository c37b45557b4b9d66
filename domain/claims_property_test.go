package domain

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// claimsModel is what a boundary should hold, kept in the simplest way that works: a
// list of claims, looked through from one end to the other for every question.
type claimsModel struct{ claims []*modelClaim }

type modelClaim struct {
	id, service, key string
	status           Status
	until            *time.Time
}

func (m *claimsModel) apply(payloads []Payload) {
	for _, p := range payloads {
		if s, ok := p.(ClaimSubmitted); ok {
			m.claims = append(m.claims, &modelClaim{s.ClaimID, s.ServiceID, s.PublicKey, StatusPending, s.ExpiresAt})
			continue
		}
		c := m.find(ClaimOf(p))
		c.until = nil
		switch p := p.(type) {
		case ClaimApproved:
			c.status, c.until = StatusApproved, p.ExpiresAt
		case ClaimRejected:
			c.status = StatusRejected
		case ClaimRevoked:
			c.status = StatusRevoked
		case ClaimExpired:
			c.status = StatusExpired
		}
	}
}

func (m *claimsModel) find(id string) *modelClaim {
	for _, c := range m.claims {
		if c.id == id {
			return c
		}
	}
	return nil
}

// at is the state of a claim as everybody must see it.
func (c *modelClaim) at(now time.Time) Status {
	if c.until != nil && !now.Before(*c.until) {
		return StatusExpired
	}
	return c.status
}

// counts are the figures that limits are about, and the active claims of each pair.
func (m *claimsModel) counts(now time.Time) (pending, agents, services int, active map[string]int) {
	keys, ids := map[string]bool{}, map[string]bool{}
	active = map[string]int{}
	for _, c := range m.claims {
		switch c.at(now) {
		case StatusPending:
			pending++
		case StatusApproved:
			keys[c.key], ids[c.service] = true, true
		default:
			continue
		}
		active[c.service+" "+c.key]++
	}
	return pending, len(keys), len(ids), active
}

// rounds of some 30 steps each make a history long enough for the same things to come
// around again.
const rounds = 4

// claimsMachine gives random commands at random times.
type claimsMachine struct {
	*claimsHistory
	model claimsModel
	n     int // claims asked for so far
}

var (
	someServices = rapid.SampledFrom([]string{"svc-0", "svc-1", "svc-2", "svc-3"})
	someKeys     = rapid.SampledFrom([]string{"key-0", "key-1", "key-2", "key-3", "key-4"})
	someAddress  = rapid.SampledFrom([]string{"203.0.113.7", "198.51.100.7", "::ffff:203.0.113.7", "2001:db8::1"})
	someLimit    = rapid.IntRange(1, 4)
	someWait     = rapid.SampledFrom([]time.Duration{0, 0, 1, time.Second, 30 * time.Minute, time.Hour - 1, time.Hour, 9 * time.Hour, 24 * time.Hour})
)

func (m *claimsMachine) step(t *rapid.T, cmd ClaimCommand) {
	m.t = t
	m.ref = CommandRef{Name: fmt.Sprintf("%T", cmd)}
	if key := rapid.SampledFrom([]string{"", "", "", "a", "b"}).Draw(t, "idempotency key"); key != "" {
		m.ref.Key, m.ref.Caller = key, rapid.SampledFrom([]string{"k-1", "k-2"}).Draw(t, "caller")
	}
	_, agents, services, _ := m.model.counts(m.now)
	d, err := m.when(cmd)
	if err != nil && ErrorCode(err) == CodeInternal {
		t.Fatalf("%T: %v", cmd, err)
	}
	m.model.apply(d.Payloads)
	m.checkAdded(t, d, agents, services)
}

// checkAdded holds a decision to the limits. A limit may be below what is there, so
// what counts is that nothing was added beyond it.
func (m *claimsMachine) checkAdded(t *rapid.T, d ClaimDecision, agentsBefore, servicesBefore int) {
	pending, agents, services, _ := m.model.counts(m.now)
	limits := m.terms.Policy.Limits
	for _, p := range d.Payloads {
		switch p := p.(type) {
		case ClaimSubmitted:
			if m.model.find(p.ClaimID).status == StatusPending && pending > limits.MaxPending {
				t.Fatalf("%d pending with a limit of %d", pending, limits.MaxPending)
			}
		case ClaimApproved:
			if agents > agentsBefore && agents > limits.MaxAgents {
				t.Fatalf("%d agents with a limit of %d", agents, limits.MaxAgents)
			}
			if services > servicesBefore && services > limits.MaxServices {
				t.Fatalf("%d services with a limit of %d", services, limits.MaxServices)
			}
			if d.Answer.AgentsLimit > 0 && d.Answer.AgentsApproved != agents {
				t.Fatalf("%d agents are approved, the answer says %d", agents, d.Answer.AgentsApproved)
			}
		}
	}
}

func (m *claimsMachine) submit(t *rapid.T) {
	m.n++
	cmd := ask(fmt.Sprint("c", m.n), someServices.Draw(t, "service"), someKeys.Draw(t, "key"))
	cmd.AgentIP = someAddress.Draw(t, "address")
	// Small numbers come again: replays.
	cmd.Nonce = fmt.Sprint("nonce-", rapid.IntRange(0, 30).Draw(t, "nonce"))
	cmd.SignatureNonce = fmt.Sprint("signature-", rapid.IntRange(0, 30).Draw(t, "signature nonce"))
	m.step(t, cmd)
}

func (m *claimsMachine) claim(t *rapid.T) string {
	return fmt.Sprint("c", rapid.IntRange(max(1, m.n-8), m.n+1).Draw(t, "claim"))
}

func (m *claimsMachine) approve(t *rapid.T) {
	cmd := Approve{ClaimID: m.claim(t)}
	if wait := rapid.SampledFrom([]time.Duration{-1, 0, 1, time.Hour, 24 * time.Hour}).Draw(t, "until"); wait >= 0 {
		cmd.ExpiresAt = new(m.now.Add(wait))
	} else if c := m.model.find(cmd.ClaimID); c != nil && c.until != nil && rapid.Bool().Draw(t, "as long as it would wait") {
		cmd.ExpiresAt = c.until
	}
	m.step(t, cmd)
}

func (m *claimsMachine) changeTerms(t *rapid.T) {
	m.terms.RegistryVersion++
	m.terms.Active = rapid.IntRange(0, 5).Draw(t, "active") > 0
	p := Policy{Limits: Limits{someLimit.Draw(t, "pending"), someLimit.Draw(t, "agents"), someLimit.Draw(t, "services"), rapid.IntRange(0, 25).Draw(t, "hours")}}
	if rapid.Bool().Draw(t, "auto-approve") {
		p.AutoApprove.ServiceIDs = []string{someServices.Draw(t, "listed")}
	}
	if rapid.Bool().Draw(t, "range") {
		p.AutoApprove.CIDRs = []string{"203.0.113.0/24"}
	}
	m.terms.Policy = p
	m.deleted = map[string]bool{someServices.Draw(t, "deleted"): rapid.Bool().Draw(t, "is deleted")}
}

// check compares the boundary with the model, at this moment and at the next due one.
func (m *claimsMachine) check(t *rapid.T) {
	_, _, _, active := m.model.counts(m.now)
	for pair, n := range active {
		if n > 1 {
			t.Fatalf("%d active claims for %s", n, pair)
		}
	}
	moments := []time.Time{m.now}
	if due, ok := m.live.NextDue(); ok {
		moments = append(moments, due.Add(-1), due)
	}
	for _, now := range moments {
		latest := map[[2]string]*modelClaim{}
		for _, c := range m.model.claims {
			latest[[2]string{c.service, c.key}] = c
		}
		for _, c := range latest {
			v := m.live.Verify(c.service, c.key, now)
			want := c.at(now)
			if v.ClaimID != c.id || v.Authorized != (want == StatusApproved) || (!v.Authorized && v.Reason != string(want)) {
				t.Fatalf("claim %s is %s, verify says %+v", c.id, want, v)
			}
		}
	}
	m.checkServices(t)
	m.checkDue(t)
}

// checkServices checks the services of each key, in the order of its first claims on them.
func (m *claimsMachine) checkServices(t *rapid.T) {
	of, slugged := map[string][]string{}, map[string][]string{}
	for _, c := range m.model.claims {
		if !slices.Contains(of[c.key], c.service) {
			of[c.key] = append(of[c.key], c.service)
			if c.service == "svc-1" {
				slugged[c.key] = []string{c.service}
			}
		}
	}
	for key, want := range of {
		if got := m.live.ServicesOf(key, ""); !slices.Equal(got, want) {
			t.Fatalf("%s has claims on %q, not on %q", key, got, want)
		}
		if got := m.live.ServicesOf(key, "svc-1-slug"); !slices.Equal(got, slugged[key]) {
			t.Fatalf("%s has claims on %q of a slug, not on %q", key, got, slugged[key])
		}
	}
}

// checkDue checks that nothing that ends by itself is forgotten.
func (m *claimsMachine) checkDue(t *rapid.T) {
	var first *time.Time
	overdue := 0
	for _, c := range m.model.claims {
		if c.until == nil {
			continue
		}
		if first == nil || c.until.Before(*first) {
			first = c.until
		}
		if !m.now.Before(*c.until) {
			overdue++
		}
	}
	due, ok := m.live.NextDue()
	if ok != (first != nil) || (ok && !due.Equal(*first)) {
		t.Fatalf("next due %v %t, want %v", due, ok, first)
	}
	if got := len(m.live.claims.overdue(m.now, 1000)); got != overdue {
		t.Fatalf("%d overdue, want %d", got, overdue)
	}
}

// Whatever is asked for in whatever order: limits hold, no pair has two active
// claims, and (in the helper, after each commit) the replayed log gives the very
// state that was decided on, refusals record nothing, and deciding changes nothing.
func TestClaimsProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &claimsMachine{claimsHistory: newClaimsHistory(t)}
		actions := map[string]func(*rapid.T){
			"submit":  m.submit,
			"again":   m.submit, // as likely as all the rest needs it to be
			"approve": m.approve,
			"reject":  func(t *rapid.T) { m.step(t, Reject{ClaimID: m.claim(t)}) },
			"revoke":  func(t *rapid.T) { m.step(t, Revoke{ClaimID: m.claim(t)}) },
			"expire":  func(t *rapid.T) { m.step(t, Expire{ClaimID: m.claim(t)}) },
			"sweep":   func(t *rapid.T) { m.step(t, ExpireOverdue{}) },
			"wait":    func(t *rapid.T) { m.after(someWait.Draw(t, "wait")) },
			"terms":   m.changeTerms,
			"restore": func(t *rapid.T) { sameRestored(t, m.live) },
			"":        m.check,
		}
		for range rounds {
			t.Repeat(actions)
		}
	})
}

// A boundary that was loaded in the middle goes on like one that was always there.
func TestClaimsLoadedFromTheLog(t *testing.T) {
	h := newClaimsHistory(t)
	h.terms.Policy.MaxPending = 3
	for i := range 40 {
		h.after(7 * time.Hour)
		h.accepted(ask(fmt.Sprint("c", i), "svc", fmt.Sprint("key-", i%6)))
		if i%3 == 0 && h.status(fmt.Sprint("c", i)) == StatusPending {
			h.accepted(Approve{ClaimID: fmt.Sprint("c", i), ExpiresAt: new(h.now.Add(20 * time.Hour))})
		}
		loaded := NewClaims("acme")
		for _, stored := range h.stored {
			c, err := DecodeCommit(stored)
			if err != nil {
				t.Fatal(err)
			}
			if err := loaded.Apply(c); err != nil {
				t.Fatal(err)
			}
		}
		h.replayed = loaded
		h.same()
	}
}
