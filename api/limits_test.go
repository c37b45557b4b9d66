package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/claimledger/claimledger/api/httpsig"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// crowd is how many approvals go at once, at most, and most how many may succeed.
const crowd, most = 1000, 10

func TestManyApprovalsAgainstALimit(t *testing.T) {
	t.Run("one node", func(t *testing.T) { l := newLedger(t); manyApprovals(t, l.start()) })
	t.Run("two nodes", func(t *testing.T) { l := newLedger(t); manyApprovals(t, l.start(), l.start()) })
}

func manyApprovals(t *testing.T, nodes ...*node) {
	for _, n := range nodes {
		// A thousand at once are enough work without looking each answer up in the
		// description of the API, as other tests do.
		n.client = &http.Client{Transport: &http.Transport{}, Timeout: patience}
	}
	o := nodes[0].owner(t, "acme")
	o.policy(map[string]any{"max_agents": most, "max_pending": crowd})
	s := o.service("weather")
	ids := s.seed(crowd)

	var mu sync.Mutex
	outcomes := map[string]int{}
	refusals := map[string]int{}
	parallel(crowd, crowd, func(i int) {
		r := o.on(nodes[i%len(nodes)]).insist(ids[i], "approve")
		mu.Lock()
		defer mu.Unlock()
		outcomes[fmt.Sprint(r.status, " ", r.text("code"))]++
		if r.status == 200 && r.at("agents_limit") != float64(most) {
			t.Errorf("an approval answers %s", r.body)
		}
		if r.status != 200 {
			refusals[r.text("error")]++
		}
	})
	if outcomes["200 "] != most || outcomes["409 AGENT_LIMIT_REACHED"] != crowd-most {
		t.Errorf("the approvals ended so: %v", outcomes)
	}
	for text := range refusals {
		if !strings.Contains(text, "10 agents are approved") || !strings.Contains(text, "limit is 10") {
			t.Errorf("a refusal says %q", text)
		}
	}
	for _, n := range nodes {
		list := o.on(n).ask("GET", "/v1/namespaces/acme/claims?status=approved", nil, set("Ledger-Min-Position", fmt.Sprint(o.last()))).want(200)
		if list.at("pagination.total") != float64(most) {
			t.Errorf("%v are approved", list.at("pagination.total"))
		}
	}
	replayed(t, nodes[0].ledger, "acme")
}

// insist gives a command until it is decided, as a client does that is told to try
// again: on a slow disk a thousand at once outlast a request's time. The key makes one
// whose outcome was not known the same command.
func (o *owner) insist(claimID, verb string) *reply {
	for {
		r := o.ask("POST", "/v1/claims/"+claimID+"/"+verb, nil, set("Idempotency-Key", claimID))
		if r.status != http.StatusServiceUnavailable || o.t.Context().Err() != nil {
			return r
		}
	}
}

// replayed folds a namespace's claims from the log: a limit that was passed would be an
// error.
func replayed(t *testing.T, l *ledger, namespace string) *domain.Claims {
	t.Helper()
	claims := domain.NewClaims(namespace)
	err := l.log.Read(t.Context(), domain.ClaimsOf(namespace), 0, func(r eventstore.Record) error { return claims.Apply(r.Commit) })
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

// seed records pending claims of agents that nobody has, on the service in its owner's
// namespace, and gives their ids. A hundred share a commit: one by one they take a
// minute on a slow disk.
func (s *service) seed(n int) []string {
	s.t.Helper()
	b := domain.ClaimsOf(s.namespace)
	head, err := s.log.Tail(s.t.Context(), b)
	var ids []string
	for err == nil && len(ids) < n {
		var payloads []domain.Payload
		for range min(100, n-len(ids)) {
			id := "claim_" + strings.ToLower(newID())
			ids = append(ids, id)
			key := domain.HashOf([]byte(id)) // of a key's size; nobody signs with it
			payloads = append(payloads, domain.ClaimSubmitted{
				ClaimID: id, ServiceID: s.id, ServiceNamespace: s.namespace, Service: s.slug,
				PublicKey: httpsig.FormatKey(key[:]), AgentIP: "203.0.113.45", Nonce: id, Signer: s.namespace, SignatureNonce: id,
			})
		}
		basis := &domain.Basis{RegistryVersion: 1, Limits: domain.Limits{MaxPending: domain.MaxPolicyValue, MaxAgents: 1, MaxServices: 1}}
		commit := domain.NewCommit(newID(), b, s.clock.Now(), domain.Actor{Kind: domain.ActorServiceKey}, domain.CommandRef{Name: "claim.submit"}, basis, payloads)
		var record eventstore.Record
		record, err = s.log.Append(s.t.Context(), head, commit)
		head = record.Head()
	}
	if err != nil {
		s.t.Fatalf("seed: %v", err)
	}
	return ids
}

// parallel does something n times, at most width at once.
func parallel(n, width int, f func(i int)) {
	var group sync.WaitGroup
	next := make(chan int)
	for range width {
		group.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	group.Wait()
}

func TestServiceLimit(t *testing.T) {
	l := newLedger(t)
	o := l.start().owner(t, "acme")
	o.policy(map[string]any{"max_services": 1, "max_agents": 1})
	one, two := o.service("one"), o.service("two")
	a, b := l.agent(t, "acme"), l.agent(t, "acme")
	r := o.decide(one.pending(a), "approve", nil).want(200)
	if r.at("agents_approved") != 1.0 || r.at("agents_limit") != 1.0 {
		t.Errorf("approve answers %s", r.body)
	}
	waiting, other := two.pending(a), one.pending(b)
	r = o.refused(409, domain.CodeServiceLimitReached, "POST", "/v1/claims/"+waiting+"/approve", nil)
	if !strings.Contains(r.text("error"), "1 services") || !strings.Contains(r.text("error"), "limit is 1") {
		t.Errorf("the refusal says %q", r.text("error"))
	}
	o.refused(409, domain.CodeAgentLimitReached, "POST", "/v1/claims/"+other+"/approve", nil)
	o.policy(map[string]any{"max_services": 2})
	if r = o.decide(waiting, "approve", nil).want(200); r.at("agents_approved") != 1.0 {
		t.Errorf("the same agent on another service counts again: %s", r.body)
	}
}
