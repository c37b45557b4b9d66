package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/projections/pgdb"
)

// changed is an answer with changes.
type changed struct {
	Changes []struct {
		Op    string
		Claim struct {
			ID        string `json:"claim_id"`
			Namespace string
		}
		Position string
	}
	Position string
}

func (c changed) String() string {
	var list []string
	for _, change := range c.Changes {
		list = append(list, change.Op+" "+change.Claim.ID+"@"+change.Position)
	}
	return strings.Join(list, ", ")
}

const changesPath = "/v1/namespaces/claims/changes"

func (s *service) changes(a *agent, query string, options ...option) *reply {
	a.t.Helper()
	return s.node.send(a.t, "GET", changesPath+query, nil, append([]option{bearer(s.key), signedBy(a.Signer)}, options...)...)
}

// ready waits until the feed has caught up for the first time: before, it is refused.
func (s *service) ready(a *agent) {
	a.t.Helper()
	eventually(a.t, "the feed", func() bool { return s.feed(a, "").status == 200 })
}

func since(position any) string { return fmt.Sprintf("?since=%v", position) }

func changesOf(r *reply) (c changed) {
	r.t.Helper()
	r.want(200).into(&c)
	if c.Changes == nil {
		r.t.Fatalf("no list: %s", r.body)
	}
	return c
}

func TestChanges(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	acme, globex := n.owner(t, "acme"), n.owner(t, "globex")
	s := n.owner(t, "provider").service("weather")
	a := l.agent(t, "acme")
	s.ready(a)
	one := s.approved(acme, a)
	at1 := l.last()
	two := s.approved(globex, l.agent(t, "globex"))
	at2 := l.last()
	acme.decide(one, "revoke", nil).want(200)
	at3 := l.last()
	n.operator("globex", domain.DeactivateNamespace{})
	at4 := l.last()
	s.pending(l.agent(t, "acme"))
	n.operator("globex", domain.ActivateNamespace{})
	at5 := l.last()

	all := []string{
		fmt.Sprintf("add %s@%d", one, at1), fmt.Sprintf("add %s@%d", two, at2), fmt.Sprintf("remove %s@%d", one, at3),
		fmt.Sprintf("remove %s@%d", two, at4), fmt.Sprintf("add %s@%d", two, at5),
	}
	for i, from := range []uint64{0, at1, at2, at3, at4, at5} {
		r := s.changes(a, since(from)+"&service=weather", l.latest())
		got := changesOf(r)
		if got.String() != strings.Join(all[i:], ", ") || got.Position != fmt.Sprint(l.last()) || r.position() != l.last() {
			t.Errorf("since %d: %s up to %s (%d)", from, got, got.Position, r.position())
		}
	}
	if r := s.changes(a, since(0)); r.text("changes.2.claim.public_key") != a.public || r.text("changes.2.claim.approved_at") == "" {
		t.Errorf("a claim that left is told as %v", r.at("changes.2"))
	}
	other := acme.service("news")
	if got := changesOf(other.changes(a, since(0))); len(got.Changes) != 0 {
		t.Errorf("another service is told %s", got)
	}
	s.changes(a, since(0)+"&service=news").want(403, domain.CodeForbidden)
	if r := s.changes(a, since(l.last()+1)).want(400, domain.CodeInvalidRequest); r.fields() != "since" {
		t.Errorf("in the future: %s", r.body)
	}
	// It was signed once.
	r := n.prepare(t, "GET", changesPath+since(0), nil, []option{bearer(s.key), signedBy(a.Signer)})
	n.do(t, r.Clone(t.Context())).want(200)
	n.do(t, r).want(409, domain.CodeSignatureNonceReplay)
}

func TestForgottenChanges(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	s, other := o.service("weather"), o.service("news")
	a := l.agent(t, "acme")
	s.approved(o, l.agent(t, "acme"))
	at := l.last()
	s.feed(a, "", l.latest()).want(200)
	l.forget(at)
	s.changes(a, since(at-1)).want(410, domain.CodeResync)
	s.changes(a, since(at-1), set("Accept", "text/event-stream")).want(410, domain.CodeResync)
	s.changes(a, since(at)).want(200)
	other.changes(a, since(0)).want(200)
}

// forget makes the feed as it is a million commits later. What the projector is about to
// write is not to come between noting what is forgotten and forgetting it.
func (l *ledger) forget(position uint64) {
	l.t.Helper()
	conn, err := pgdb.Open(l.t.Context(), l.db, pgdb.Options{MaxConns: 1})
	if err != nil {
		l.t.Fatal(err)
	}
	defer conn.Close()
	tx, err := conn.Begin(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	for _, sql := range []string{
		"LOCK TABLE model_feed_v1_g1.services IN SHARE ROW EXCLUSIVE MODE",
		fmt.Sprintf(`WITH gone AS (DELETE FROM model_feed_v1_g1.changes WHERE position <= %d RETURNING service_id, position)
			UPDATE model_feed_v1_g1.services s
			SET forgotten = greatest(forgotten, (SELECT max(position) FROM gone WHERE gone.service_id = s.service_id))`, position),
	} {
		if _, err := tx.Exec(l.t.Context(), sql); err != nil {
			l.t.Fatal(err)
		}
	}
	if err := tx.Commit(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
}

func TestWaitForChanges(t *testing.T) {
	l := newLedger(t)
	n := l.start(func(s *settings) { s.timeout = time.Second })
	o := n.owner(t, "acme")
	s, other := o.service("weather"), o.service("news")
	a := l.agent(t, "acme")
	s.ready(a)
	ids := []string{s.pending(l.agent(t, "acme")), s.pending(l.agent(t, "acme"))}
	answers := make(chan *reply)
	wait := func(seconds int) {
		at := l.last()
		go func() { answers <- s.changes(a, since(at)+fmt.Sprintf("&wait=%d", seconds)) }()
		eventually(t, "somebody to wait", func() bool { return n.metric(t, "claimledger_feed_followers") == 1 })
	}
	for i, verb := range []string{"approve", "revoke"} {
		wait(20)
		other.approved(o, l.agent(t, "acme")) // wakes nobody
		o.decide(ids[0], verb, nil).want(200)
		got := changesOf(<-answers)
		if want := fmt.Sprintf("%s %s@%d", []string{"add", "remove"}[i], ids[0], l.last()); got.String() != want {
			t.Errorf("told %s, want %s", got, want)
		}
	}
	wait(2)
	if got := changesOf(<-answers); len(got.Changes) != 0 || got.Position != fmt.Sprint(l.last()) {
		t.Errorf("in vain it waited for %s up to %s", got, got.Position)
	}
	wait(20)
	n.server.EndStreams()
	if got := changesOf(<-answers); len(got.Changes) != 0 {
		t.Errorf("told %s on stopping", got)
	}
	s.changes(a, since(l.last())+"&wait=1").want(503, domain.CodeServiceUnavailable)
	if got := changesOf(s.changes(a, since(0)+"&wait=60")); len(got.Changes) != 2 {
		t.Errorf("without a need to wait it was told %s", got)
	}
}

// metric is the value of a metric without labels.
func (n *node) metric(t *testing.T, name string) float64 {
	t.Helper()
	families, err := n.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// A wait that outlasts the key would outlast the client's patience as well.
func TestWaitEndsWithTheKey(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	s := o.service("weather")
	a := l.agent(t, "acme")
	s.ready(a)
	done := make(chan *reply)
	go func() { done <- s.changes(a, since(l.last())+"&wait=60") }()
	eventually(t, "somebody to wait", func() bool { return n.metric(t, "claimledger_feed_followers") == 1 })
	o.ask("DELETE", "/v1/services/"+s.id+"/keys/"+s.keyID, nil).want(200)
	(<-done).want(http.StatusUnauthorized, domain.CodeSignatureInvalid)
}
