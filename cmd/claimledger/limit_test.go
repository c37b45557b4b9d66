package main

import (
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// A limit holds however many owners decide at once, and on whichever node: of a
// thousand approvals ten are recorded.
func TestLimitHoldsOnTwoNodes(t *testing.T) {
	t.Parallel()
	const claims, limit = 1008, 10 // sixteen workers' share is whole
	e := newExternal(t)
	e.setup()
	addresses := []string{freeAddress(t), freeAddress(t)}
	e.role(roleProjector, freeAddress(t))
	var nodes []*tenant
	for i, address := range addresses {
		e.role(roleAPI, address)
		c := newClient(t, address)
		c.awaitStatus("ready")
		if i == 0 {
			nodes = append(nodes, newTenant(t, c, "acme", e.place()...))
			nodes[0].policy(map[string]any{"max_pending": claims, "max_agents": limit})
		} else {
			nodes = append(nodes, nodes[0].at(c))
			nodes[1].session = nodes[0].loginAt(nodes[1].client, e.place()...)
		}
	}
	began := time.Now()
	ids := submitMany(nodes[0], claims)
	submits := time.Since(began)
	outcomes, position := approveAll(nodes, ids)
	t.Logf("%d submits took %s, %d approvals %s", claims, submits, claims, time.Since(began)-submits)
	want := map[string]int{"200": limit, "409 " + string(domain.CodeAgentLimitReached): claims - limit}
	if !maps.Equal(outcomes, want) {
		t.Errorf("%d approvals against a limit of %d: %v", claims, limit, outcomes)
	}
	approved := 0
	for _, claim := range nodes[1].list(position) {
		if claim.Status == string(domain.StatusApproved) {
			approved++
		}
	}
	if approved != limit {
		t.Errorf("%d claims are approved; the limit is %d", approved, limit)
	}
}

// submitMany makes claims, through one node: two would only be in each other's way.
func submitMany(tn *tenant, n int) (ids []string) {
	const workers = 16
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range n / workers {
				r, claim, err := tn.submit(newAgent())
				mu.Lock()
				if err != nil || r.status != 201 {
					tn.t.Errorf("submit: %v, %v", r, err)
				}
				ids = append(ids, claim.ClaimID)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return ids
}

// approveAll approves all at once, through all nodes.
func approveAll(nodes []*tenant, ids []string) (outcomes map[string]int, position uint64) {
	outcomes = map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i, id := range ids {
		node := nodes[i%len(nodes)]
		wg.Go(func() {
			<-begin
			r, err := node.send("POST", "/v1/claims/"+id+"/approve", nil, node.asOwner)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				outcomes[err.Error()]++
			case r.code != "":
				outcomes[fmt.Sprintf("%d %s", r.status, r.code)]++
			default:
				outcomes[fmt.Sprint(r.status)]++
				position = max(position, r.position)
			}
		})
	}
	close(begin)
	wg.Wait()
	return outcomes, position
}
