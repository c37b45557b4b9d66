package main

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// load submits claims from several workers at once. An agent whose answer did not come
// asks again, with fresh nonces, as a client would that does not know better.
type load struct {
	tenant *tenant

	mu       sync.Mutex
	acked    map[string]string // claim by agent
	existed  int               // answers 200: the answer before was lost
	position uint64            // the highest that was answered
	again    []string          // agents without an answer
	refused  []string          // answers that are none of 201, 200, 503
	moved    chan struct{}

	workers sync.WaitGroup
	quit    chan struct{}
}

func newLoad(tn *tenant) *load { return &load{tenant: tn, acked: map[string]string{}} }

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
				if !l.step() {
					return
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

// step submits for one agent; false when no answer came.
func (l *load) step() bool {
	agent := l.next()
	r, claim, err := l.tenant.submit(agent)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.moved != nil {
		close(l.moved)
		l.moved = nil
	}
	switch {
	case err != nil:
		l.again = append(l.again, agent)
		return false
	case r.status == 200:
		l.existed++
	case r.status == 503: // refused, or not known
		l.again = append(l.again, agent)
		return true
	case r.status != 201:
		l.refused = append(l.refused, r.String())
		return true
	}
	l.acked[agent], l.position = claim.ClaimID, max(l.position, r.position)
	return true
}

func (l *load) next() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.again); n > 0 {
		agent := l.again[n-1]
		l.again = l.again[:n-1]
		return agent
	}
	return newAgent()
}

// settle asks again for all whose answer did not come.
func (l *load) settle() {
	l.tenant.t.Helper()
	eventually(l.tenant.t, patience, func() error {
		for l.count(func() int { return len(l.again) }) > 0 {
			if !l.step() {
				return errEnded
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
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	place := placeSettings{DataDir: dir}
	stream, closeLog, err := place.openLog(ctx, true, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer closeLog()
	heads := map[domain.Boundary]eventstore.Head{}
	err = stream.ReadAll(ctx, "", 0, func(r eventstore.Record) error {
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
