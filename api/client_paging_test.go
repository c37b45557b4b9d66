package api_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/claimledger/claimledger/api/client"
	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/domain"
)

// churn gives claims on a service, approves and revokes them, as fast as the ledger takes it.
type churn struct {
	*node
	t         *testing.T
	namespace string
	to        *service
}

func (c *churn) do(cmd domain.ClaimCommand) {
	c.t.Helper()
	meta := commands.Meta{Actor: domain.Actor{Kind: domain.ActorOperator}, Ref: domain.CommandRef{Name: "test"}}
	_, _, err := c.x.Claims(c.t.Context(), c.namespace, cmd, meta)
	for domain.ErrorCode(err) == domain.CodeServiceUnavailable { // a machine that is too busy for a moment
		_, _, err = c.x.Claims(c.t.Context(), c.namespace, cmd, meta)
	}
	if err != nil {
		c.t.Errorf("%T: %v", cmd, err)
	}
}

// approved is a new claim of an agent.
func (c *churn) approved(key string) (id string) {
	c.t.Helper()
	id = "claim_" + strings.ToLower(newID())
	c.do(domain.Submit{
		ClaimID: id, ServiceID: c.to.id, Service: c.to.slug, ServiceNamespace: c.to.namespace, PublicKey: key,
		AgentIP: "203.0.113.45", Nonce: newID(), Signer: c.namespace, SignatureNonce: newID(),
	})
	c.do(domain.Approve{ClaimID: id})
	return id
}

// Paging by cursor while claims of several namespaces come and go at full speed neither
// skips nor repeats what is approved throughout.
func TestGoClientPagesUnderChange(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	s := n.owner(t, "provider").service("weather")
	a := l.agent(t, "provider")
	s.ready(a)
	var churns []*churn
	for i := range 3 {
		o := n.owner(t, fmt.Sprint("tenant-", i))
		o.policy(map[string]any{"max_agents": 1000, "max_pending": 1000})
		churns = append(churns, &churn{node: n, t: t, namespace: o.namespace, to: s})
	}
	throughout := map[string]bool{}
	var going []string // of each namespace one between two that stay
	for i := range 60 {
		c := churns[i%len(churns)]
		throughout[c.approved(l.agent(t, c.namespace).public)] = true
		going = append(going, c.approved(l.agent(t, c.namespace).public))
	}
	c := n.goClient(t, func(c *client.Config) { c.Signer, c.ServiceKey = a.Signer, s.key })
	eventually(t, "the feed to have them", func() bool {
		page, err := c.GetFeed(t.Context(), client.FeedQuery{Limit: 2000})
		return err == nil && len(page.Claims) == 2*len(throughout)
	})
	var changed atomic.Int64
	stop := make(chan struct{})
	var changing sync.WaitGroup
	for i, c := range churns {
		key := l.agent(t, c.namespace).public
		changing.Go(func() {
			for j := i; ; j += len(churns) {
				select {
				case <-stop:
					return
				default:
				}
				if j < len(going) {
					c.do(domain.Revoke{ClaimID: going[j]})
				}
				c.do(domain.Revoke{ClaimID: c.approved(key)})
				changed.Add(1)
			}
		})
	}
	for pass := range 8 {
		before, seen := changed.Load(), map[string]int{}
		for _, claim := range collect(t, c.AllFeed(t.Context(), client.FeedQuery{Limit: 1 + pass%4})) {
			seen[claim.ClaimID]++
		}
		for id, times := range seen {
			if times > 1 {
				t.Errorf("pass %d: %s came %d times", pass, id, times)
			}
		}
		for id := range throughout {
			if seen[id] != 1 {
				t.Errorf("pass %d: %s, approved throughout, came %d times", pass, id, seen[id])
			}
		}
		t.Logf("pass %d: %d claims, while %d came and went", pass, len(seen), changed.Load()-before)
	}
	close(stop)
	changing.Wait()
}
