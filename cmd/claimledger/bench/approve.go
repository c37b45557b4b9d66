package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/claimledger/claimledger/domain"
)

// pending is a claim that waits for its owner.
type pending struct {
	tenant  *tenant
	ClaimID string `json:"claim_id"`
}

func approveWorkload(name string, connections int, wanted float64) workload {
	return workload{
		name: name, unit: perSecond, wanted: wanted,
		what:      fmt.Sprintf("POST /v1/claims/{id}/approve, %d connections, many namespaces", connections),
		yardstick: fmt.Sprintf("raw publish, %d goroutines", connections),
		open: across(func(ctx context.Context, b *bench, tenants []*tenant) (*pair, error) {
			w := &writing{
				bench: b, workers: b.connections(connections), subjects: len(tenants),
				status: http.StatusOK, event: domain.ClaimApprovedType,
				prepare: func(ctx context.Context, n int) ([]request, error) {
					claims, err := b.submitAll(ctx, tenants, n)
					if err != nil {
						return nil, err
					}
					return decisions(claims, "approve")
				},
			}
			return w.open(ctx)
		}),
	}
}

func decisions(claims []pending, decision string) ([]request, error) {
	return prepareAll(len(claims), func(i int) (*http.Request, error) {
		return claims[i].tenant.decide(claims[i].ClaimID, decision)
	})
}

// submitAll submits n claims and waits until the ledger is done with them.
func (b *bench) submitAll(ctx context.Context, tenants []*tenant, n int) ([]pending, error) {
	w := submitting(b, tenants, setupConnections, byGateway)
	requests, err := w.prepare(ctx, n)
	if err != nil {
		return nil, err
	}
	_, answers, err := w.load(ctx, requests, forever)
	if err != nil {
		return nil, err
	}
	claims := make([]pending, n)
	if err := readClaims(claims, tenants, answers); err != nil {
		return nil, err
	}
	_, err = b.ledger.settle(ctx)
	return claims, err
}

// readClaims reads the answers to submits that went to the tenants by turns.
func readClaims(claims []pending, tenants []*tenant, answers [][]byte) error {
	for i, body := range answers {
		claims[i].tenant = tenants[i%len(tenants)]
		if err := json.Unmarshal(body, &claims[i]); err != nil {
			return err
		}
	}
	return nil
}
