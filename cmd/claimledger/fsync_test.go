package main

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// traced is what of a ledger's system calls a trace needs: what is written, and synced.
const traced = "trace=fsync,fdatasync,write,pwrite64,writev,sendto,sendmsg"

// tracedLedger is a ledger whose system calls are written down, with a namespace.
type tracedLedger struct {
	*tenant
	process  *process
	receiver *hooks
	file     string
}

// strace is the tracer's command line. With -D the ledger is the child that signals go to,
// and strace watches from aside.
func strace(t testing.TB, file string) []string {
	path, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed; make fsync-proof says how to")
	}
	return []string{path, "-D", "-f", "-yy", "-s", "1000000", "-e", traced, "-o", file}
}

func newTracedLedger(t testing.TB, be string, env, args, place []string) *tracedLedger {
	t.Helper()
	l := &tracedLedger{file: filepath.Join(t.TempDir(), "trace")}
	l.process = launchUnder(t, strace(t, l.file), be, env, args...)
	l.process.awaitServing()
	l.tenant, l.receiver = newTenant(t, newClient(t, l.process.address), "acme", place...), newHooks(t)
	l.policy(map[string]any{"max_pending": 1_000_000})
	l.webhook(l.receiver, nil)
	return l
}

// ask makes claims one after another, and others many at once.
func (l *tracedLedger) ask() (alone, together []string) {
	l.t.Helper()
	for range 10 {
		claim, _ := l.mustSubmit()
		alone = append(alone, claim)
	}
	together = submitAtOnce(l.tenant, 192)
	_, last := l.mustSubmit()
	l.list(last)
	l.receiver.await(patience, "request.submitted", slices.Concat(alone, together))
	l.process.stop()
	return alone, together
}

// judge reads the trace, but for some of its lines.
func (l *tracedLedger) judge(commits map[domain.Hash]string, without func(at int, line string) bool) *trace {
	l.t.Helper()
	raw, err := os.ReadFile(l.file)
	if err != nil {
		l.t.Fatal(err)
	}
	endpoint, err := url.Parse(l.receiver.url)
	if err != nil {
		l.t.Fatal(err)
	}
	return readTrace(string(raw), l.process.address, endpoint.Host, commits, without)
}

// What the ledger says of a claim, to whomever, it says after the claim is on disk: to the
// client, to the database in which it is projected and which keeps the checkpoints, and to
// the webhook's receiver, whether the claim's commit went to the log alone or in a batch.
// The kernel's word is taken for it.
func TestAnsweredIsSynced(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	l := newTracedLedger(t, beLedger, nil, []string{
		"serve", "--data-dir", dir, "--listen", freeAddress(t), "--database-url", pgtest.New(t), "--webhook-allow-private",
	}, []string{"--data-dir", dir})
	alone, together := l.ask()
	commits := map[domain.Hash]string{}
	readLog(t, dir, func(r eventstore.Record) {
		for _, e := range r.Commit.Events {
			if claim := domain.ClaimOf(e.Payload); claim != "" {
				commits[r.Hash] = claim
			}
		}
	})

	tr := l.judge(commits, nil)
	for _, v := range tr.violations {
		t.Error(v)
	}
	for _, claim := range slices.Concat(alone, together) {
		for _, to := range []string{toClients, toDatabase, toCheckpoint, toReceiver} {
			if !tr.left[to][claim] {
				t.Errorf("the trace does not show that %s went to %s", claim, to)
			}
		}
	}
	batch := tr.together(together)
	t.Logf("%d lines of trace: %d claims alone, each with its own sync, and %d at once, up to %d with one; each went to its client, to PostgreSQL and to its webhook after that",
		tr.at, len(alone), len(together), batch)
	if n := tr.together(alone); n != 1 {
		t.Errorf("%d claims that were submitted one after another share a sync", n)
	}
	if batch < 2 {
		t.Error("no two claims that were submitted at once share a sync: there was no batch")
	}

	// The same without a single sync would have been found out, alone and in a batch.
	one, other := alone[len(alone)/2], together[len(together)/2]
	gone := []int{tr.claims[one].synced, tr.claims[other].synced}
	less := strings.Join(l.judge(nil, func(at int, _ string) bool { return slices.Contains(gone, at) }).violations, "\n")
	for _, claim := range []string{one, other} {
		if !strings.Contains(less, claim+" went to clients before the log was synced") {
			t.Errorf("without the sync of %s it passes", claim)
		}
	}
}

// On a NATS server that does not sync, everything of that is found to be wrong.
func TestUnsyncedIsFound(t *testing.T) {
	t.Parallel()
	e := newExternalOn(t)
	n := &natsNode{name: "nats-1", address: freeAddress(t)}
	e.nodes = append(e.nodes, n)
	env := append([]string{"NATS_SERVER_NAME=" + n.name, "NATS_STORE_DIR=" + filepath.Join(e.dir, n.name)}, e.env...)
	args := append([]string{natsConfig(t), n.address, n.route, e.natsURL("admin"), "serve"}, e.allInOne(freeAddress(t))...)
	l := newTracedLedger(t, beUnsynced, env, args, e.place())
	alone, together := l.ask()
	found := strings.Join(l.judge(nil, nil).violations, "\n")
	for _, claim := range slices.Concat(alone, together) {
		for _, to := range []string{toClients, toDatabase, toReceiver} {
			if !strings.Contains(found, claim+" went to "+to+" before the log was synced") {
				t.Errorf("it passes that %s went to %s", claim, to)
			}
		}
	}
}

// submitAtOnce makes claims with requests that are all on their way at the same time.
func submitAtOnce(tn *tenant, n int) []string {
	var all sync.WaitGroup
	claims := make([]string, n)
	for i := range claims {
		all.Go(func() {
			r, claim, err := tn.submit(newAgent())
			if err != nil || r.status != 201 {
				tn.t.Errorf("submit: %v, %v", r, err)
				return
			}
			claims[i] = claim.ClaimID
		})
	}
	all.Wait()
	return claims
}
