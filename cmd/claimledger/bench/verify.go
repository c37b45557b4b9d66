package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"github.com/claimledger/claimledger/api/httpsig"
)

const (
	// verifyNamespaces is over how many namespaces the approved claims spread.
	verifyNamespaces = 100
	// verifyBatch is how many claims are signed for at once while they are prepared:
	// signatures do not live long.
	verifyBatch = 10_000
	// signatureCertificates is how many certificates the yardstick keeps, as the ledger.
	signatureCertificates = 10_000
)

// asking is one side of verify: who is asked, and what a right answer says.
type asking struct {
	*bench
	base, address string
	workers       int
	agents        []agent
	next          int
	perSecond     float64
	during        func(context.Context, func() (Outcome, error)) (Outcome, error)
}

type agent struct {
	tenant    *tenant
	publicKey string
}

func verifyWorkload(name string, connections int, wanted float64) workload {
	return workload{
		name: name, unit: perSecond, wanted: wanted,
		what:      fmt.Sprintf("GET /v1/verify, %d connections, many approved claims", connections),
		yardstick: "the same server, whose handler only checks the signature",
		open: func(ctx context.Context, b *bench) (*pair, error) {
			agents, err := b.approveAll(ctx)
			if err != nil {
				return nil, err
			}
			checker, err := startSignatures(ctx, b.Config)
			if err != nil {
				return nil, err
			}
			sides := [2]*asking{
				{bench: b, base: b.ledger.base, address: b.ledger.address, workers: b.connections(connections), agents: agents, during: b.ledger.during},
				{bench: b, base: "http://" + checker.address, address: checker.address, workers: b.connections(connections), agents: agents, during: checker.during},
			}
			for _, side := range sides {
				side.perSecond = float64(firstRate * side.workers)
				if _, err := side.measure(ctx, min(warmUp, b.Duration)); err != nil {
					return nil, errors.Join(err, checker.stop())
				}
			}
			return &pair{
				ledger: sides[0].measure, yardstick: sides[1].measure,
				close: checker.stop,
			}, nil
		},
	}
}

// approveAll makes claims that their namespaces' policies approve at once.
func (b *bench) approveAll(ctx context.Context) ([]agent, error) {
	tenants, err := b.newTenants(ctx, oneNamespace+1, min(verifyNamespaces, b.Claims), approving)
	if err != nil {
		return nil, err
	}
	var agents []agent
	w := &writing{bench: b, workers: b.connections(setupConnections), status: http.StatusCreated}
	for len(agents) < b.Claims {
		first := len(agents)
		for i := range min(verifyBatch, b.Claims-first) {
			agents = append(agents, agent{tenants[i%len(tenants)], newAgent()})
		}
		requests, err := prepareAll(len(agents)-first, func(i int) (*http.Request, error) {
			a := agents[first+i]
			return a.tenant.submitBy(nil, a.publicKey)
		})
		if err != nil {
			return nil, err
		}
		if _, _, err := w.load(ctx, requests, forever); err != nil {
			return nil, err
		}
		b.say("verify: %d of %d claims are approved", len(agents), b.Claims)
	}
	_, err = b.ledger.settle(ctx)
	return agents, err
}

// measure asks about one agent after another.
func (a *asking) measure(ctx context.Context, d time.Duration) (Outcome, error) {
	n := max(a.workers, int(a.perSecond*d.Seconds()*ahead))
	first := a.next
	a.next += n
	requests, err := prepareAll(n, func(i int) (*http.Request, error) {
		// By a step, so that neighbours in time are not neighbours in the ledger.
		return a.request(a.agents[(first+i)*7919%len(a.agents)])
	})
	if err != nil {
		return Outcome{}, err
	}
	conns, err := connect(ctx, a.address, a.workers, d)
	if err != nil {
		return Outcome{}, err
	}
	defer conns.close()
	conns.status, conns.body, conns.answers = http.StatusOK, []byte(`"authorized":true`), make([][]byte, n)
	o, err := a.during(ctx, func() (Outcome, error) {
		return closedLoop(ctx, a.workers, n, d, func(worker, i int) error { return conns.send(worker, i, requests[i]) })
	})
	if err == nil {
		a.perSecond = o.rate()
	}
	return o, err
}

// request asks as a service's gateway does: with the service's key, and signed for the
// namespace by the gateway's.
func (a *asking) request(about agent) (*http.Request, error) {
	query := url.Values{"namespace": {about.tenant.namespace}, "public_key": {about.publicKey}, "service": {slug}}
	r, err := http.NewRequest("GET", a.base+"/v1/verify?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+about.tenant.key)
	return r, about.tenant.gateway.Sign(r, nil)
}

// signatures is the yardstick of verify, in a process of its own as the ledger is.
type signatures struct {
	*process
	address string
}

// SignatureServer is what its process says of itself.
type SignatureServer struct {
	Address string        `json:"address"`
	CPU     time.Duration `json:"cpu"` // that it has used
}

// NewSignatureServer is a server at an address.
func NewSignatureServer(address string) SignatureServer {
	return SignatureServer{Address: address, CPU: cpuTime()}
}

func startSignatures(ctx context.Context, c Config) (*signatures, error) {
	p, err := startProcess("signature checker", filepath.Join(c.Dir, "signatures.log"), c.Program.Signatures)
	if err != nil {
		return nil, err
	}
	var at SignatureServer
	if err := p.ask(ctx, struct{}{}, &at); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return &signatures{p, at.Address}, nil
}

// during notes the CPU time that the server used for a load.
func (s *signatures) during(ctx context.Context, load func() (Outcome, error)) (Outcome, error) {
	var before, after SignatureServer
	if err := s.ask(ctx, struct{}{}, &before); err != nil {
		return Outcome{}, err
	}
	o, err := load()
	if err == nil {
		err = s.ask(ctx, struct{}{}, &after)
	}
	o.LoadCPU, o.CPU = o.CPU, after.CPU-before.CPU
	return o, err
}

// SignatureHandler checks the signature of a request and answers, as verify would whom
// it authorizes. It is the least that any answer to a signed request costs.
func SignatureHandler(publicURL string) (http.Handler, error) {
	verifier, err := httpsig.NewVerifier(publicURL, signatureCertificates)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := verifier.Verify(r, nil, time.Now()); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"authorized":true}`)) // the client is gone: nobody to tell
	}), nil
}
