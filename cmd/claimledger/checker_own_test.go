package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// madeUp is a log that nobody keeps.
type madeUp struct {
	log  *ledgerLog
	next map[domain.Kind]uint64
	at   uint64
	errs []error
}

var madeUpLimits = domain.Limits{MaxPending: 2, MaxAgents: 1, MaxServices: 1}

func newMadeUp() *madeUp {
	m := &madeUp{log: newLedgerLog(), next: map[domain.Kind]uint64{}}
	m.commit(domain.KindRegistry, nil, domain.NamespaceRegistered{OwnerID: "owner_1"}, domain.PolicyChanged{Policy: domain.Policy{Limits: madeUpLimits}})
	return m
}

func (m *madeUp) commit(kind domain.Kind, basis *domain.Basis, payloads ...domain.Payload) {
	m.at++
	m.next[kind]++
	c := domain.NewCommit(strings.Repeat("0", 25)+string(rune('A'+m.at)), domain.Boundary{Namespace: "acme", Kind: kind},
		time.Date(2026, 1, 1, 0, 0, int(m.at), 0, time.UTC), domain.Actor{}, domain.CommandRef{}, basis, payloads)
	c.Version = m.next[kind]
	m.errs = append(m.errs, m.log.add(eventstore.Record{Position: m.at, Commit: c}))
}

// claims commits on limits that version 1 of the registry has.
func (m *madeUp) claims(payloads ...domain.Payload) {
	m.commit(domain.KindClaims, &domain.Basis{RegistryVersion: 1, Limits: madeUpLimits}, payloads...)
}

func ask(claim, key string) domain.Payload {
	return domain.ClaimSubmitted{ClaimID: claim, ServiceID: "s", Service: serviceSlug, PublicKey: key, Nonce: claim, SignatureNonce: claim}
}

// The checker finds what it is there to find.
func TestCheckerFinds(t *testing.T) {
	of := func(claim string) []domain.Payload { return []domain.Payload{ask(claim, "key of "+claim)} }
	tests := []struct {
		name  string
		write func(*madeUp)
		found string // empty: nothing
	}{
		{"a life", func(m *madeUp) {
			m.claims(of("1")...)
			m.claims(domain.ClaimApproved{ClaimID: "1"})
			m.claims(domain.ClaimRevoked{ClaimID: "1"})
		}, ""},
		{"a version that is missing", func(m *madeUp) { m.claims(of("1")...); m.next[domain.KindClaims]++; m.claims(of("2")...) }, "version"},
		{"a transition outside the diagram", func(m *madeUp) { m.claims(of("1")...); m.claims(domain.ClaimRevoked{ClaimID: "1"}) }, "from pending to revoked"},
		{"two active claims", func(m *madeUp) { m.claims(ask("1", "k")); m.claims(ask("2", "k")) }, "active for the same"},
		{"too many pending", func(m *madeUp) { m.claims(of("1")...); m.claims(of("2")...); m.claims(of("3")...) }, "past the limit of 2"},
		{"too many agents", func(m *madeUp) {
			m.claims(of("1")...)
			m.claims(of("2")...)
			m.claims(domain.ClaimApproved{ClaimID: "1"})
			m.claims(domain.ClaimApproved{ClaimID: "2"})
		}, "past the limit of 1"},
		{"limits that were not those", func(m *madeUp) {
			m.commit(domain.KindClaims, &domain.Basis{RegistryVersion: 1, Limits: domain.Limits{MaxPending: 9}}, of("1")...)
		}, "decided on the limits"},
	}
	for _, test := range tests {
		m := newMadeUp()
		test.write(m)
		if found := errors.Join(m.errs...); (found == nil) != (test.found == "") || found != nil && !strings.Contains(found.Error(), test.found) {
			t.Errorf("%s: %v", test.name, found)
		}
	}
}

// What was answered, delivered or projected otherwise than the log has it is found too.
func TestCheckerComparesWithTheLog(t *testing.T) {
	m := newMadeUp()
	m.claims(ask("1", "k"))
	m.claims(domain.ClaimApproved{ClaimID: "1"})
	if err := errors.Join(m.errs...); err != nil {
		t.Fatal(err)
	}
	told := func(answers []acknowledged, acked map[string]string, asked int) *load {
		return &load{tenant: &tenant{namespace: "acme"}, answers: answers, acked: acked, asked: map[string]int{"k": asked}}
	}
	submitted, approved := acknowledged{2, "1", domain.ClaimSubmittedType}, acknowledged{3, "1", domain.ClaimApprovedType}
	acked := map[string]string{"k": "1"}
	for name, test := range map[string]struct {
		load  *load
		wrong int
	}{
		"as it is":                 {told([]acknowledged{submitted, approved}, acked, 1), 0},
		"a commit that is gone":    {told([]acknowledged{submitted, approved, {4, "1", domain.ClaimRevokedType}}, acked, 1), 1},
		"another in its place":     {told([]acknowledged{{3, "1", domain.ClaimSubmittedType}}, acked, 1), 1},
		"a claim that is gone":     {told(nil, map[string]string{"k": "1", "l": "2"}, 1), 1},
		"a claim nobody asked for": {told(nil, map[string]string{}, 0), 2},
		"another claim":            {told(nil, map[string]string{"k": "2"}, 1), 1},
	} {
		if wrong := m.log.lacks(test.load); len(wrong) != test.wrong {
			t.Errorf("%s: %v", name, wrong)
		}
	}

	events := m.log.events["acme"]
	hookOf := func(i, sequence int) *hook {
		h := &hook{ID: events[i].ID, Sequence: sequence}
		h.Data.ClaimID = "1"
		return h
	}
	for name, test := range map[string]struct {
		came  []*hook
		right bool
	}{
		"as they are":     {[]*hook{hookOf(0, 1), hookOf(1, 2)}, true},
		"out of turn":     {[]*hook{hookOf(1, 2), hookOf(0, 1)}, false},
		"one is missing":  {[]*hook{hookOf(0, 1)}, false},
		"wrong sequences": {[]*hook{hookOf(0, 1), hookOf(1, 3)}, false},
		"one twice":       {[]*hook{hookOf(0, 1), hookOf(0, 1), hookOf(1, 2)}, false},
	} {
		if wrong := misdelivered(m.log.events["acme"], test.came); (len(wrong) == 0) != test.right {
			t.Errorf("%s: %v", name, wrong)
		}
	}

	rows := modelRows{position: 3, rows: []string{"claims (1)", "claims (2)"}}
	for _, other := range []modelRows{
		{position: 4, rows: rows.rows}, {position: 3, hash: []byte{1}, rows: rows.rows}, {position: 3, rows: rows.rows[:1]}, {position: 3, rows: []string{"claims (1)", "claims (3)"}},
	} {
		if rows.differs(other) == "" || rows.differs(rows) != "" {
			t.Errorf("%v passes for %v", other, rows)
		}
	}
}
