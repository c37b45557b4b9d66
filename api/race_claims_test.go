package api_test

import (
	"maps"
	"slices"
)

// Two who may decide for a namespace decide one claim.
func twoDecisions(l *lane) func(int) {
	pairs := [][]string{{"approve", "reject"}, {"approve", "approve"}, {"reject", "expire"}, {"approve", "revoke"}, {"expire", "approve"}}
	l.policy(map[string]any{"max_pending": 1000})
	ids := l.service("weather").seed(raceRounds)
	return func(i int) {
		verbs := pairs[i%len(pairs)]
		l.run(i, l.decision(ids[i], verbs[0]), l.decision(ids[i], verbs[1]))
	}
}

// Agents ask while as many claims wait as may, and one of those is decided.
func pastMaxPending(l *lane) func(int) {
	l.policy(map[string]any{"max_pending": 2})
	s := l.service("weather")
	waiting := s.seed(2)
	return func(i int) {
		verb := []string{"reject", "expire", "approve"}[i%3]
		got := l.run(i, l.decision(waiting[0], verb), l.submission(s, l.agent(l.t, l.namespace)), l.submission(s, l.agent(l.t, l.namespace)))
		waiting = waiting[1:]
		for _, r := range got[1:] {
			if r.text("status") == "pending" {
				waiting = append(waiting, r.text("claim_id"))
			}
		}
		for len(waiting) < 2 { // as many again as may
			waiting = append(waiting, s.pending(l.agent(l.t, l.namespace)))
			l.read()
		}
	}
}

// Two agents are approved while there is room for one or for none, and one that is
// approved loses it: by the owner's word, and by the policy when they ask.
func pastMaxAgents(l *lane) func(int) {
	l.policy(map[string]any{"max_pending": 1000, "max_agents": 2})
	byWord, byPolicy := l.service("weather"), l.service("news")
	l.policy(map[string]any{"auto_approve": map[string]any{"service_ids": []string{byPolicy.id}}})
	ids := byWord.seed(2 * raceRounds)
	var approved []string
	return func(i int) {
		a := l.agent(l.t, l.namespace)
		var runners []runner
		if len(approved) > 0 {
			runners = append(runners, l.decision(approved[0], "revoke"))
			approved = approved[1:]
		}
		runners = append(runners, l.decision(ids[2*i], "approve"), l.submission(byPolicy, a))
		if i%2 == 0 {
			runners = append(runners, l.decision(ids[2*i+1], "approve"))
		}
		for _, r := range l.run(i, runners...) {
			if r.text("status") == "approved" {
				approved = append(approved, r.text("claim_id"))
			}
		}
	}
}

// The same for services of which there may be so many with an approved claim.
func pastMaxServices(l *lane) func(int) {
	l.policy(map[string]any{"max_pending": 1000, "max_agents": 1000, "max_services": 1})
	one, two, three := l.service("one"), l.service("two"), l.service("three")
	l.policy(map[string]any{"auto_approve": map[string]any{"service_ids": []string{three.id}}})
	ones, twos := one.seed(raceRounds), two.seed(raceRounds)
	var approved []string
	return func(i int) {
		runners := []runner{l.decision(ones[i], "approve"), l.decision(twos[i], "approve"), l.submission(three, l.agent(l.t, l.namespace))}
		if len(approved) > 0 {
			runners = append(runners, l.decision(approved[0], "revoke"))
			approved = approved[1:]
		}
		for _, r := range l.run(i, runners...) {
			if r.text("status") == "approved" {
				approved = append(approved, r.text("claim_id"))
			}
		}
		for len(approved) > 1 { // so that the next round has room for another service
			l.decide(approved[0], "revoke", nil).want(200)
			approved = approved[1:]
			l.read()
		}
	}
}

// One agent asks twice: with one request, with one body signed twice, under one
// idempotency key, and with two bodies.
func theSameSubmit(l *lane) func(int) {
	l.policy(map[string]any{"max_pending": 1000})
	s := l.service("weather")
	kinds := []struct {
		name   string
		loser  string // what the second is told; the first is told 201
		submit func(a *agent) func(at *node) *reply
	}{
		{"one request", "409 SIGNATURE_NONCE_REPLAY", func(a *agent) func(*node) *reply {
			signed := l.nodes[0].prepare(l.t, "POST", "/v1/claims", s.claim(a), []option{bearer(s.key), signedBy(a.Signer)})
			return func(at *node) *reply {
				r := signed.Clone(l.t.Context())
				r.URL.Host, r.Host = at.addr, at.addr
				r.Body, _ = signed.GetBody()
				return at.do(l.t, r)
			}
		}},
		{"one body", "409 NONCE_REPLAY", func(a *agent) func(*node) *reply {
			body := s.claim(a)
			return func(at *node) *reply {
				return at.send(l.t, "POST", "/v1/claims", body, bearer(s.key), signedBy(a.Signer))
			}
		}},
		{"one idempotency key", "201", func(a *agent) func(*node) *reply {
			body := s.claim(a)
			return func(at *node) *reply {
				return at.send(l.t, "POST", "/v1/claims", body, bearer(s.key), signedBy(a.Signer), idempotent(a.public))
			}
		}},
		{"two bodies", "200", func(a *agent) func(*node) *reply {
			return func(at *node) *reply {
				return at.send(l.t, "POST", "/v1/claims", s.claim(a), bearer(s.key), signedBy(a.Signer))
			}
		}},
	}
	return func(i int) {
		kind := kinds[i%len(kinds)]
		send := kind.submit(l.agent(l.t, l.namespace))
		got := together(2, func(j int) *reply { return send(l.nodes[j]) })
		told := map[string]int{}
		ids := map[string]bool{}
		for _, r := range got {
			told[statusAndCode(r)]++
			if r.status < 300 {
				ids[r.text("claim_id")] = true
			}
		}
		want := map[string]int{"201": 1}
		want[kind.loser]++
		if !maps.Equal(told, want) || len(ids) != 1 {
			l.t.Errorf("%s: they were told %v, about %v", kind.name, told, slices.Collect(maps.Keys(ids)))
		}
		if n := l.read(); n != 1 {
			l.t.Errorf("%s: %d commits", kind.name, n)
		}
	}
}
