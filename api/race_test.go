package api_test

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// A race is run in lanes, each in a namespace of its own and with rounds one after
// another, so that what a round began from is known.
const raceLanes, raceRounds = 8, 200 / 8

// lane is a namespace in which requests race, round after round.
type lane struct {
	*owner
	t        *testing.T
	nodes    []*node
	manager  option // a management key that may do all that the owner may
	registry []*domain.Commit
	claims   []*domain.Commit
	head     uint64 // of what was read
}

// TestRaces lets requests on one thing go at the same moment, on two nodes over one log.
func TestRaces(t *testing.T) {
	l := newLedger(t)
	nodes := []*node{l.start(), l.start()}
	for i, r := range []struct {
		name    string
		prepare func(*lane) (round func(i int))
	}{
		{"two decisions", twoDecisions},
		{"the same submit", theSameSubmit},
		{"past max_pending", pastMaxPending},
		{"past max_agents", pastMaxAgents},
		{"past max_services", pastMaxServices},
		{"the same slug", theSameSlug},
		{"past the webhook limit", pastTheWebhookLimit},
		{"a revoked service key", aRevokedServiceKey},
		{"a revoked management key", aRevokedManagementKey},
	} {
		t.Run(r.name, func(t *testing.T) {
			parallel(raceLanes, raceLanes, func(n int) {
				l := &lane{owner: nodes[0].owner(t, fmt.Sprintf("race-%d-%d", i, n)), t: t, nodes: nodes}
				l.manager, _ = l.key("read", "update-data", "delete-data", "update-model", "delete-model")
				round := r.prepare(l)
				l.read()
				for i := range raceRounds {
					round(i)
				}
				l.shows()
			})
		})
	}
}

// runner is one request of a race, and the command that it should come to.
type runner struct {
	send  func(at *node, as option) *reply
	claim domain.ClaimCommand
	other domain.RegistryCommand
}

// run lets requests go at the same moment: the session's and the management key's by
// turns, and each at another node than the one before. What they are answered has to be
// what some order of them would be answered, one after another, and what they record has
// to be that many commits.
func (l *lane) run(turn int, runners ...runner) []*reply {
	l.t.Helper()
	got := together(len(runners), func(i int) *reply {
		as := l.manager
		if (i+turn/2)%2 == 0 {
			as = bearer(l.session)
		}
		return runners[i].send(l.nodes[(i+turn)%2], as)
	})

	var outcome []string
	done := 0
	for _, r := range got {
		if r == nil {
			return nil // it has failed already
		}
		outcome = append(outcome, outcomeOf(r))
		if found := r.status == 200 && r.text("message") != ""; r.status < 300 && !found {
			done++ // all that succeeds is recorded, but for a submit that finds a claim
		}
	}
	if others := l.orders(runners, strings.Join(outcome, "\n\t")); others != nil {
		l.t.Errorf("%s: at once they were told\n\t%s\nand in no order; the orders are\n\t%s",
			l.namespace, strings.Join(outcome, "\n\t"), strings.Join(others, "\n or\n\t"))
	}
	if n := l.read(); n != done {
		l.t.Errorf("%s: %d commits of %d that succeeded", l.namespace, n, done)
	}
	return got
}

// together lets n requests go at the same moment.
func together(n int, send func(i int) *reply) []*reply {
	start := make(chan struct{})
	got := make([]*reply, n)
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			<-start
			got[i] = send(i)
		})
	}
	close(start)
	running.Wait()
	return got
}

// outcomeOf is what matters of an answer.
func outcomeOf(r *reply) string {
	if r.status >= 400 {
		return r.text("code") + ": " + r.text("error")
	}
	return strings.TrimSpace(fmt.Sprint(r.status, " ", r.text("status"), " ", r.text("message"), agents(r.at("agents_approved"))))
}

func agents(n any) string {
	if n == nil {
		return ""
	}
	return fmt.Sprint(n, " approved")
}

// read reads what was recorded since in the lane's boundaries, and counts it. That the
// commits can be folded is part of the proof: one past a limit could not.
func (l *lane) read() int {
	l.t.Helper()
	n, head := 0, l.head
	for boundary, commits := range map[domain.Boundary]*[]*domain.Commit{domain.RegistryOf(l.namespace): &l.registry, domain.ClaimsOf(l.namespace): &l.claims} {
		err := l.log.Read(l.t.Context(), boundary, l.head, func(r eventstore.Record) error {
			*commits, head, n = append(*commits, r.Commit), max(head, r.Position), n+1
			return nil
		})
		if err != nil {
			l.t.Fatal(err)
		}
	}
	l.head = head
	l.fold()
	return n
}

// fold is what the lane's commits come to.
func (l *lane) fold() (*domain.Registry, *domain.Claims) {
	l.t.Helper()
	registry, claims := domain.NewRegistry(l.namespace), domain.NewClaims(l.namespace)
	for _, c := range l.registry {
		if err := registry.Apply(c); err != nil {
			l.t.Fatal(err)
		}
	}
	for _, c := range l.claims {
		if err := claims.Apply(c); err != nil {
			l.t.Fatal(err)
		}
	}
	return registry, claims
}

// orders looks for an order of the commands that has the outcome; where none has it, it
// gives the outcomes that they have.
func (l *lane) orders(runners []runner, want string) (others []string) {
	l.t.Helper()
	found := permute(nil, len(runners), func(order []int) bool {
		registry, claims := l.fold()
		outcome := make([]string, len(runners))
		for _, i := range order {
			if r := runners[i]; r.claim != nil {
				outcome[i] = l.decideClaim(registry, claims, r.claim)
			} else {
				outcome[i] = l.decideOther(registry, r.other)
			}
		}
		others = append(others, strings.Join(outcome, "\n\t"))
		return others[len(others)-1] == want
	})
	if found {
		return nil
	}
	slices.Sort(others)
	return slices.Compact(others)
}

// permute calls f with the orders of n things that begin so, until it is content.
func permute(begin []int, n int, f func([]int) bool) bool {
	if len(begin) == n {
		return f(begin)
	}
	for i := range n {
		if !slices.Contains(begin, i) && permute(append(slices.Clone(begin), i), n, f) {
			return true
		}
	}
	return false
}

func (l *lane) decideClaim(registry *domain.Registry, claims *domain.Claims, cmd domain.ClaimCommand) string {
	terms := registry.Terms()
	terms.ServiceExists = func(id string) bool { _, ok := registry.Service(id); return ok }
	d, err := claims.Decide(cmd, domain.CommandRef{}, terms, claims.Time())
	if err != nil {
		return err.Error()
	}
	if len(d.Payloads) > 0 {
		c := domain.NewCommit(newID(), domain.ClaimsOf(l.namespace), claims.Time(), domain.Actor{}, domain.CommandRef{}, terms.Basis(), d.Payloads)
		c.Version = claims.Version() + 1
		if err := claims.Apply(c); err != nil {
			l.t.Fatal(err)
		}
	}
	switch cmd.(type) {
	case domain.Submit:
		status := 200
		if d.Answer.Created {
			status = 201
		}
		return fmt.Sprint(status, " ", d.Answer.Status, " ", d.Answer.Message)
	case domain.Approve:
		return fmt.Sprint("200 ", d.Answer.Status, " ", agents(d.Answer.AgentsApproved))
	}
	return fmt.Sprint("200 ", d.Answer.Status)
}

func (l *lane) decideOther(registry *domain.Registry, cmd domain.RegistryCommand) string {
	d, err := registry.Decide(cmd, domain.CommandRef{}, domain.DefaultOwnerLimits(), registry.Time())
	if err != nil {
		return err.Error()
	}
	c := domain.NewCommit(newID(), domain.RegistryOf(l.namespace), registry.Time(), domain.Actor{}, domain.CommandRef{}, nil, d.Payloads)
	c.Version = registry.Version() + 1
	if err := registry.Apply(c); err != nil {
		l.t.Fatal(err)
	}
	switch cmd.(type) {
	case domain.CreateService, domain.CreateWebhook:
		return "201"
	}
	return "200"
}

// decision is an owner's command on a claim.
func (l *lane) decision(id, verb string) runner {
	cmd := map[string]domain.ClaimCommand{
		"approve": domain.Approve{ClaimID: id}, "reject": domain.Reject{ClaimID: id}, "revoke": domain.Revoke{ClaimID: id}, "expire": domain.Expire{ClaimID: id},
	}[verb]
	return runner{claim: cmd, send: func(at *node, as option) *reply {
		return at.send(l.t, "POST", "/v1/claims/"+id+"/"+verb, nil, as)
	}}
}

// submission is an agent's claim on a service.
func (l *lane) submission(s *service, a *agent) runner {
	cmd := domain.Submit{
		ClaimID: "claim_" + strings.ToLower(newID()), ServiceID: s.id, Service: s.slug, ServiceNamespace: s.namespace, PublicKey: a.public,
		AgentIP: "203.0.113.45", Nonce: rand.Text(), Signer: a.Namespace, SignatureNonce: rand.Text(),
	}
	return runner{claim: cmd, send: func(at *node, _ option) *reply {
		return at.send(l.t, "POST", "/v1/claims", s.claim(a, map[string]any{"nonce": cmd.Nonce}), bearer(s.key), signedBy(a.Signer))
	}}
}

// shows checks that both nodes' reads have come to what the log has: as many claims in
// each state, services, and webhooks of each service.
func (l *lane) shows() {
	l.t.Helper()
	want := map[string]int{}
	list := "/v1/namespaces/" + l.namespace + "/claims?status="
	states := map[string]string{}
	for _, c := range slices.Concat(l.registry, l.claims) {
		for _, e := range c.Events {
			switch p := e.Payload.(type) {
			case domain.ClaimSubmitted:
				states[p.ClaimID] = "pending"
			case domain.ClaimApproved:
				states[p.ClaimID] = "approved"
			case domain.ClaimRejected:
				states[p.ClaimID] = "rejected"
			case domain.ClaimRevoked:
				states[p.ClaimID] = "revoked"
			case domain.ClaimExpired:
				states[p.ClaimID] = "expired"
			case domain.ServiceCreated:
				want["/v1/services"]++
			case domain.ServiceDeleted:
				want["/v1/services"]--
			case domain.WebhookCreated:
				want["/v1/services/"+p.ServiceID+"/webhooks"]++
			case domain.WebhookDeleted:
				want["/v1/services/"+p.ServiceID+"/webhooks"]--
			}
		}
	}
	for _, status := range domain.Statuses {
		want[list+string(status)] = 0
	}
	for _, status := range states {
		want[list+status]++
	}
	for target, n := range want {
		for _, at := range l.nodes {
			if r := l.on(at).ask("GET", target, nil).want(200); r.at("pagination.total") != float64(n) {
				l.t.Errorf("%s: %v, and the log has %d", r.what, r.at("pagination.total"), n)
			}
		}
	}
}

// statusAndCode is how an answer is named in short.
func statusAndCode(r *reply) string {
	return strings.TrimSpace(fmt.Sprint(r.status, " ", r.text("code")))
}
