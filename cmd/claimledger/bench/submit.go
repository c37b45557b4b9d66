package bench

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net/http"

	"github.com/claimledger/claimledger/api/httpsig"
	"github.com/claimledger/claimledger/domain"
)

// oneNamespace is the number of the namespace of which a workload uses no other; those
// of verify come after it.
const oneNamespace = maxNamespaces

// signing makes the key that signs for one agent; nil where the gateway's does.
type signing func(t *tenant) (*httpsig.Signer, string, error)

// byGateway signs as a gateway or service does, with one key for all agents of a
// namespace: its certificate is known to the ledger after the first.
func byGateway(*tenant) (*httpsig.Signer, string, error) { return nil, newAgent(), nil }

// byAgent signs as agents do that come by themselves, with a key and a certificate that
// the ledger has never seen.
func byAgent(t *tenant) (*httpsig.Signer, string, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, "", err
	}
	return newSigner(t.namespace, private), httpsig.FormatKey(public), nil
}

// submitting is a workload that submits claims to namespaces by turns.
func submitting(b *bench, tenants []*tenant, connections int, sign signing) *writing {
	next := 0 // goes on from round to round
	return &writing{
		bench: b, workers: b.connections(connections), subjects: len(tenants),
		status: http.StatusCreated, event: domain.ClaimSubmittedType,
		prepare: func(_ context.Context, n int) ([]request, error) {
			first := next
			next += n
			return prepareAll(n, func(i int) (*http.Request, error) {
				t := tenants[(first+i)%len(tenants)]
				signer, agent, err := sign(t)
				if err != nil {
					return nil, err
				}
				return t.submitBy(signer, agent)
			})
		},
	}
}

// across opens a workload over the namespaces that writing spreads over.
func across(open func(ctx context.Context, b *bench, tenants []*tenant) (*pair, error)) func(context.Context, *bench) (*pair, error) {
	return func(ctx context.Context, b *bench) (*pair, error) {
		tenants, err := b.writers(ctx)
		if err != nil {
			return nil, err
		}
		return open(ctx, b, tenants)
	}
}

// submitsAcross submits to all of them.
func submitsAcross(connections int, sign signing) func(context.Context, *bench) (*pair, error) {
	return across(func(ctx context.Context, b *bench, tenants []*tenant) (*pair, error) {
		return submitting(b, tenants, connections, sign).open(ctx)
	})
}

func submitWorkload(name string, connections int, wanted float64) workload {
	return workload{
		name: name, unit: perSecond, wanted: wanted,
		what:      fmt.Sprintf("POST /v1/claims, %d connections, many namespaces", connections),
		yardstick: fmt.Sprintf("raw publish, %d goroutines", connections),
		open:      submitsAcross(connections, byGateway),
	}
}

func submitOwnKeysWorkload(name string, connections int) workload {
	return workload{
		name: name, unit: perSecond,
		what:      fmt.Sprintf("the same, %d connections, each agent signs with its own new key", connections),
		yardstick: fmt.Sprintf("raw publish, %d goroutines", connections),
		open:      submitsAcross(connections, byAgent),
	}
}

func latencyWorkload(name string, wanted float64) workload {
	return workload{
		name: name, unit: median, wanted: wanted,
		what:      "POST /v1/claims, one after another",
		yardstick: "raw publish, one after another",
		open:      submitsAcross(1, byGateway),
	}
}

func submitOneWorkload(name string, connections int, wanted float64) workload {
	return workload{
		name: name, unit: perSecond, wanted: wanted,
		what:      fmt.Sprintf("the same, %d connections, one namespace", connections),
		yardstick: fmt.Sprintf("raw publish, %d goroutines, one subject", connections),
		open: func(ctx context.Context, b *bench) (*pair, error) {
			tenants, err := b.newTenants(ctx, oneNamespace, 1, nil)
			if err != nil {
				return nil, err
			}
			return submitting(b, tenants, connections, byGateway).open(ctx)
		},
	}
}

// tailWorkload loads both sides at half of what the ledger can take at most.
func tailWorkload(name string, connections int, wanted float64) workload {
	return workload{
		name: name, unit: p99, wanted: wanted,
		what:      fmt.Sprintf("POST /v1/claims at half of its peak rate, %d connections", connections),
		yardstick: "raw publish at the same rate",
		open: across(func(ctx context.Context, b *bench, tenants []*tenant) (*pair, error) {
			w := submitting(b, tenants, connections, byGateway)
			if _, err := w.open(ctx); err != nil {
				return nil, err
			}
			peak, err := w.measure(ctx, b.Duration)
			if err != nil {
				return nil, err
			}
			w.rate = peak.rate() / 2
			return w.pair(), nil
		}),
	}
}
