package main

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// load submits claims from several workers at once. An agent whose answer did not come
// asks again, with fresh nonces, as a client would that does not know better. Its owner may
// decide about them meanwhile, and asks again as well.
type load struct {
	tenant  *tenant
	pace    time.Duration // between two requests of a worker
	decides bool

	mu       sync.Mutex
	asked    map[string]int    // how often, by agent
	acked    map[string]string // claim by agent
	existed  int               // answers that told of what was recorded before: its own was lost
	limited  int               // decisions that a limit refused
	position uint64            // the highest that was answered
	again    []string          // agents without an answer
	open     []decision        // that may be made
	doubted  []decision        // without an answer
	answers  []acknowledged
	refused  []string // answers that are none of those foreseen
	moved    chan struct{}

	workers sync.WaitGroup
	quit    chan struct{}
}

func newLoad(tn *tenant) *load {
	return &load{tenant: tn, asked: map[string]int{}, acked: map[string]string{}}
}

// begin starts workers, which end with halt.
func (l *load) begin(workers int) {
	l.quit = make(chan struct{})
	for range workers {
		l.workers.Go(func() {
			for {
				select {
				case <-l.quit:
					return
				default:
				}
				pause := l.pace
				if !l.step() {
					pause = pollEvery
				}
				select {
				case <-l.quit:
				case <-time.After(pause):
				}
			}
		})
	}
}

// halt waits for the workers' last answers.
func (l *load) halt() {
	close(l.quit)
	l.workers.Wait()
}

// acknowledged is a commit that an answer told of.
type acknowledged struct {
	position uint64
	claim    string
	event    domain.EventType
}

// step makes a request; false when it was not served.
func (l *load) step() bool {
	if l.decides && rand.N(2) == 0 {
		if d, ok := l.nextDecision(); ok {
			return l.decide(d)
		}
	}
	return l.submit(l.next())
}

func (l *load) submit(agent string) bool {
	r, claim, err := l.tenant.submit(agent)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil || r.status == 503: // refused, or not known
		l.again = append(l.again, agent)
		return false
	case r.status == 200:
		l.existed++
	case r.status == 201:
		l.answers = append(l.answers, acknowledged{r.position, claim.ClaimID, domain.ClaimSubmittedType})
	default:
		l.refused = append(l.refused, r.String())
		return true
	}
	if claim.Status == string(domain.StatusPending) {
		l.open = append(l.open, decision{claim.ClaimID, pick("approve", "approve", "approve", "reject")})
	}
	l.acked[agent] = claim.ClaimID
	l.reached(r.position)
	return true
}

// reached notes an answer's position. The caller holds mu.
func (l *load) reached(position uint64) {
	l.position = max(l.position, position)
	if l.moved != nil {
		close(l.moved)
		l.moved = nil
	}
}

// decision is one of an owner's.
type decision struct{ claim, verb string }

var decided = map[string]domain.EventType{
	"approve": domain.ClaimApprovedType, "reject": domain.ClaimRejectedType,
	"revoke": domain.ClaimRevokedType, "expire": domain.ClaimExpiredType,
}

func pick[T any](from ...T) T { return from[rand.N(len(from))] }

func (l *load) nextDecision() (d decision, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := &l.doubted
	if len(*from) == 0 {
		from = &l.open
	}
	n := len(*from)
	if n == 0 {
		return decision{}, false
	}
	i := rand.N(n)
	d = (*from)[i]
	*from = slices.Delete(*from, i, i+1)
	return d, true
}

func (l *load) decide(d decision) bool {
	r, err := l.tenant.send("POST", "/v1/claims/"+d.claim+"/"+d.verb, nil, l.tenant.asOwner)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil || r.status == 503:
		l.doubted = append(l.doubted, d)
		return false
	case r.status == 200:
		l.answers = append(l.answers, acknowledged{r.position, d.claim, decided[d.verb]})
	case r.status == 409 && (r.code == string(domain.CodeAgentLimitReached)):
		l.limited++
		l.open = append(l.open, decision{d.claim, "reject"})
		return true
	case r.status == 409 && r.code == string(domain.CodeConflict): // recorded, and the answer lost
		l.existed++
	default:
		l.refused = append(l.refused, r.String())
		return true
	}
	if d.verb == "approve" && rand.N(2) == 0 {
		l.open = append(l.open, decision{d.claim, pick("revoke", "expire")})
	}
	l.reached(r.position)
	return true
}

func (l *load) next() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	agent := newAgent()
	if n := len(l.again); n > 0 {
		agent, l.again = l.again[n-1], l.again[:n-1]
	}
	l.asked[agent]++
	return agent
}

var errUnserved = errors.New("a request was not served")

// settle asks again for all whose answer did not come.
func (l *load) settle() {
	l.tenant.t.Helper()
	eventually(l.tenant.t, patience, func() error {
		for l.count(func() int { return len(l.again) }) > 0 {
			if !l.submit(l.next()) {
				return errUnserved
			}
		}
		for l.count(func() int { return len(l.doubted) }) > 0 {
			if d, ok := l.nextDecision(); ok && !l.decide(d) {
				return errUnserved
			}
		}
		return nil
	})
	for _, r := range l.refused {
		l.tenant.t.Errorf("a submit was answered %s", r)
	}
}

func (l *load) count(f func() int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return f()
}

// await waits until so many more claims are acknowledged.
func (l *load) await(more int) {
	l.tenant.t.Helper()
	want := l.count(func() int { return len(l.acked) }) + more
	end := time.After(patience)
	for {
		l.mu.Lock()
		if l.moved == nil {
			l.moved = make(chan struct{})
		}
		have, moved := len(l.acked), l.moved
		l.mu.Unlock()
		if have >= want {
			return
		}
		select {
		case <-moved:
		case <-end:
			l.tenant.t.Fatalf("%d claims were acknowledged within %s, not %d", have, patience, want)
		}
	}
}

// claims are the ids of all claims that were acknowledged.
func (l *load) claims() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ids []string
	for _, id := range l.acked {
		ids = append(ids, id)
	}
	return ids
}

// checkReadModel makes sure that each agent has one claim in the read model, and that
// it is the one that was acknowledged.
func (l *load) checkReadModel() {
	t := l.tenant.t
	t.Helper()
	all := l.tenant.list(l.position)
	of := map[string]string{}
	for _, claim := range all {
		if of[claim.PublicKey] != "" {
			t.Errorf("the agent %s has two claims", claim.PublicKey)
		}
		of[claim.PublicKey] = claim.ClaimID
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for agent, id := range l.acked {
		if of[agent] != id {
			t.Errorf("the claim %s was acknowledged; the read model has %q for its agent", id, of[agent])
		}
	}
}

// checkLog makes sure of the same in the log of a ledger that has been stopped.
func (l *load) checkLog(dir string) {
	t := l.tenant.t
	t.Helper()
	of := map[string]string{}
	readLog(t, dir, func(r eventstore.Record) {
		for _, e := range r.Commit.Events {
			if p, ok := e.Payload.(domain.ClaimSubmitted); ok {
				if of[p.PublicKey] != "" {
					t.Errorf("the log has two claims of %s", p.PublicKey)
				}
				of[p.PublicKey] = p.ClaimID
			}
		}
	})
	for agent, id := range l.acked {
		if of[agent] != id {
			t.Errorf("the claim %s was acknowledged; the log has %q for its agent", id, of[agent])
		}
	}
	if len(of) != len(l.acked) {
		t.Errorf("the log has %d claims, of which %d were acknowledged", len(of), len(l.acked))
	}
}

// readLog reads the log of a ledger that does not run, checking each boundary's chain.
func readLog(t testing.TB, dir string, f func(eventstore.Record)) {
	t.Helper()
	stream, closeLog, err := placeSettings{DataDir: dir}.openLog(context.Background(), true, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer closeLog()
	readStream(t, stream, f)
}

func readStream(t testing.TB, stream eventstore.Log, f func(eventstore.Record)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	heads := map[domain.Boundary]eventstore.Head{}
	err := stream.ReadAll(ctx, "", 0, func(r eventstore.Record) error {
		b := domain.Boundary{Namespace: r.Commit.Namespace, Kind: r.Commit.Kind}
		if before := heads[b]; r.Commit.Version != before.Version+1 || r.Commit.Prev != before.Hash {
			t.Errorf("the commit at %d does not follow the one before in %v", r.Position, b)
		}
		heads[b] = r.Head()
		f(r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
