package api_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// A read shows what the same node has answered before, and its position says so.
func TestReadYourWrites(t *testing.T) {
	l := newLedger(t)
	o := l.start().owner(t, "acme")
	s := o.service("weather")
	o.cutOff = true // so that reads do not say what they want to see
	a := l.agent(t, "acme")
	for i := range 5 {
		id := s.pending(l.agent(t, "acme"))
		written := o.decide(id, "approve", nil).want(200).position()
		for _, target := range []string{"/v1/claims/" + id, "/v1/namespaces/acme/claims?status=approved&limit=1", "/v1/claims/" + id + "/events"} {
			if r := caughtUp(t, func() *reply { return o.ask("GET", target, nil) }).want(200); r.position() < written || !strings.Contains(string(r.body), id) {
				t.Errorf("%s does not show the approval at %d: at %d %s", target, written, r.position(), r.body)
			}
		}
		r := caughtUp(t, func() *reply { return s.node.send(t, "GET", "/v1/namespaces/acme", nil, signedBy(a.Signer)) }).want(200)
		if r.at("active_claims") != float64(i+1) || r.position() < written {
			t.Errorf("resolved at %d after %d: %s", r.position(), written, r.body)
		}
		if r := caughtUp(t, func() *reply { return s.feed(a, "") }).want(200); r.at("pagination.total") != float64(i+1) || r.position() < written {
			t.Errorf("fed at %d after %d: %s", r.position(), written, r.body)
		}
		if r := caughtUp(t, func() *reply { return s.verify(a) }).want(200); r.position() < written {
			t.Errorf("verified at %d after %d", r.position(), written)
		}
		changed := o.policy(map[string]any{"max_pending": 50 + i}).position()
		if r := caughtUp(t, func() *reply { return o.ask("GET", "/v1/namespaces/acme/policy", nil) }).want(200); r.at("max_pending") != float64(50+i) || r.position() < changed {
			t.Errorf("the policy at %d after %d: %s", r.position(), changed, r.body)
		}
	}
}

// caughtUp reads until the answer is another than that the projector is behind: on a busy machine
// it may be for longer than a read waits, and a read that says so has not shown the past.
func caughtUp(t *testing.T, read func() *reply) (r *reply) {
	t.Helper()
	eventually(t, "the read models to catch up", func() bool {
		r = read()
		return r.text("code") != string(domain.CodeStaleRead)
	})
	return r
}

// feed reads the service's feed, signed by the agent.
func (s *service) feed(a *agent, query string, options ...option) *reply {
	a.t.Helper()
	return s.node.send(a.t, "GET", "/v1/namespaces/claims"+query, nil, append([]option{bearer(s.key), signedBy(a.Signer)}, options...)...)
}

// With a position, a write made on one node is read on another.
func TestMinPosition(t *testing.T) {
	l := newLedger(t)
	n, m := l.start(), l.start()
	o := n.owner(t, "acme")
	s := o.service("weather")
	a := l.agent(t, "acme")
	there, here := s.approved(o, l.agent(t, "acme")), o.on(m)
	position := l.last()
	after := set("Ledger-Min-Position", fmt.Sprint(position))
	reads := map[string]func(option) *reply{
		"claim":   func(p option) *reply { return here.ask("GET", "/v1/claims/"+there, nil, p) },
		"history": func(p option) *reply { return here.ask("GET", "/v1/claims/"+there+"/events", nil, p) },
		"list":    func(p option) *reply { return here.ask("GET", "/v1/namespaces/acme/claims", nil, p) },
		"policy":  func(p option) *reply { return here.ask("GET", "/v1/namespaces/acme/policy", nil, p) },
		"resolve": func(p option) *reply { return m.send(t, "GET", "/v1/namespaces/acme", nil, signedBy(a.Signer), p) },
		"verify":  func(p option) *reply { return m.verify(a, "&service=weather", p) },
		"feed": func(p option) *reply {
			return m.send(t, "GET", "/v1/namespaces/claims", nil, bearer(s.key), signedBy(a.Signer), p)
		},
		"services": func(p option) *reply { return here.ask("GET", "/v1/services", nil, p) },
		"service":  func(p option) *reply { return here.ask("GET", "/v1/services/"+s.id, nil, p) },
		"keys":     func(p option) *reply { return here.ask("GET", "/v1/services/"+s.id+"/keys", nil, p) },
		"webhooks": func(p option) *reply { return here.ask("GET", "/v1/services/"+s.id+"/webhooks", nil, p) },
		"api keys": func(p option) *reply { return here.ask("GET", "/v1/api-keys", nil, p) },
	}
	names := slices.Sorted(maps.Keys(reads))
	for _, name := range names {
		if r := reads[name](after).want(200); r.position() < position {
			t.Errorf("%s at %d, and %d was asked for", name, r.position(), position)
		}
		reads[name](set("Ledger-Min-Position", "0")).want(200)
	}

	const far = 100
	future := set("Ledger-Min-Position", fmt.Sprint(position+far))
	behind := regexp.MustCompile(fmt.Sprintf(` %d (commits )?behind `, far))
	answers, waited := make([]*reply, len(names)), make([]time.Duration, len(names))
	parallel(len(names), len(names), func(i int) { // each waits for two seconds
		began := time.Now()
		answers[i] = reads[names[i]](future)
		waited[i] = time.Since(began)
	})
	for i, name := range names {
		if r := answers[i].want(503, domain.CodeStaleRead); !behind.MatchString(r.text("error")) || waited[i] < 1900*time.Millisecond {
			t.Errorf("%s says after %v %q", name, waited[i], r.text("error"))
		}
	}

	next := set("Ledger-Min-Position", fmt.Sprint(position+1))
	done := make(chan *reply)
	go func() { done <- here.ask("GET", "/v1/services", nil, next) }()
	o.policy(map[string]any{"max_pending": 21})
	(<-done).want(200)
}

func TestHistoryOfAClaim(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	s := n.owner(t, "provider").service("weather")
	a := l.agent(t, "acme")
	id := s.pending(a)
	s.pending(l.agent(t, "acme")) // another claim's events are not this one's
	show, keyID := o.key("update-data")
	n.send(t, "POST", "/v1/claims/"+id+"/approve", map[string]any{"reason": "known"}, show).want(200)
	o.decide(id, "revoke", map[string]any{"reason": "<b>gone</b>"}).want(200)

	r := o.ask("GET", "/v1/claims/"+id+"/events", nil).want(200)
	var history struct {
		Events []struct {
			ID, Type, Position, Namespace string
			ClaimID                       string `json:"claim_id"`
			Version                       int
			Actor                         domain.Actor
			Time                          time.Time
			Data                          map[string]any
			Commit                        struct {
				ID, Boundary, Prev, Hash string
				Version                  uint64
			}
		}
	}
	r.into(&history)
	types := []string{"claim.submitted", "claim.approved", "claim.revoked"}
	actors := []domain.Actor{{Kind: "service_key", ID: s.keyID, Agent: a.public}, {Kind: "management_key", ID: keyID}, {Kind: "owner"}}
	if len(history.Events) != len(types) {
		t.Fatalf("the history is %s", r.body)
	}
	for i, e := range history.Events {
		actors[2].ID = e.Actor.ID // the owner's id is not known here
		if e.Type != types[i] || e.Actor != actors[i] || e.ClaimID != id || e.Namespace != "acme" || e.Version != 1 || e.Time.IsZero() || e.Data["claim_id"] != id {
			t.Errorf("event %d is %+v", i, e)
		}
		var position uint64
		if _, err := fmt.Sscan(e.Position, &position); err != nil {
			t.Fatal(err)
		}
		rec, err := l.log.At(t.Context(), position)
		if err != nil {
			t.Fatal(err)
		}
		c := rec.Commit
		if c.ID != e.Commit.ID || c.Version != e.Commit.Version || rec.Hash.String() != e.Commit.Hash || e.Commit.Boundary != "claims" ||
			(c.Prev.String() != e.Commit.Prev && !c.Prev.IsZero()) || !c.Time.Equal(e.Time) || c.Events[0].ID != e.ID {
			t.Errorf("event %d does not lead to its commit: %+v, %+v", i, e, c)
		}
	}
	if history.Events[1].Data["reason"] != "known" || history.Events[2].Data["reason"] != "<b>gone</b>" || history.Events[0].Data["agent_ip"] != "203.0.113.45" {
		t.Errorf("the history is %s", r.body)
	}
	for _, secret := range []string{s.key, o.session} {
		if strings.Contains(string(r.body), secret) {
			t.Error("the history shows a secret")
		}
	}
}

func TestListOfClaims(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	weather, news := o.service("weather"), o.service("news")
	var ids []string
	for i := range 6 {
		s := []*service{weather, news}[i%2]
		ids = append(ids, s.pending(l.agent(t, "acme")))
	}
	weather.pending(l.agent(t, n.owner(t, "globex").namespace))
	for i, verbs := range [][]string{{}, {"approve"}, {"reject"}, {"approve", "revoke"}, {"expire"}} {
		for _, verb := range verbs {
			o.decide(ids[i], verb, nil).want(200)
		}
	}
	list := func(query string) (found []string) {
		t.Helper()
		var page struct {
			Claims []struct {
				ID string `json:"claim_id"`
			}
			Pagination struct{ Total int }
		}
		o.ask("GET", "/v1/namespaces/acme/claims"+query, nil).want(200).into(&page)
		for _, c := range page.Claims {
			found = append(found, c.ID)
		}
		if len(found) != page.Pagination.Total && !strings.Contains(query, "limit") {
			t.Errorf("%s: %d of %d", query, len(found), page.Pagination.Total)
		}
		return found
	}
	latest := []string{ids[5], ids[4], ids[3], ids[2], ids[1], ids[0]}
	for query, want := range map[string][]string{
		"":                 latest,
		"?status=pending":  {ids[5], ids[0]},
		"?status=approved": {ids[1]}, "?status=rejected": {ids[2]}, "?status=revoked": {ids[3]}, "?status=expired": {ids[4]},
		"?service=weather": {ids[4], ids[2], ids[0]}, "?service=news&status=pending": {ids[5]},
		"?limit=2": latest[:2], "?limit=2&offset=2": latest[2:4], "?limit=4&offset=4": latest[4:], "?limit=1&offset=6": nil,
	} {
		if got := list(query); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%q lists %v, want %v", query, got, want)
		}
	}
	if r := o.ask("GET", "/v1/namespaces/acme/claims?limit=2&offset=2", nil); r.at("pagination.has_more") != true || r.at("pagination.total") != 6.0 {
		t.Errorf("pagination is %v", r.at("pagination"))
	}
}

func TestResolve(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	a := l.agent(t, "acme")
	resolve := func() *reply {
		return n.send(t, "GET", "/v1/namespaces/acme", nil, signedBy(a.Signer), set("Ledger-Min-Position", fmt.Sprint(l.last()))).want(200)
	}
	r := resolve()
	if r.text("did") != "did:sigilum:acme" || r.text("namespace") != "acme" || !strings.HasPrefix(r.text("owner"), "owner_") ||
		r.text("created_at") == "" || r.at("active") != true || r.at("active_claims") != 0.0 {
		t.Errorf("resolved to %s", r.body)
	}
	o.service("weather").approved(o, a)
	n.operator("acme", domain.DeactivateNamespace{})
	if r := resolve(); r.at("active") != false || r.at("active_claims") != 1.0 {
		t.Errorf("resolved to %s", r.body)
	}
	nobody := l.agent(t, "nobody")
	n.refuse(t, 404, domain.CodeNotFound, "GET", "/v1/namespaces/nobody", nil, signedBy(nobody.Signer))
}
