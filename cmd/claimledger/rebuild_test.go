package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/projections"
	"github.com/claimledger/claimledger/projections/pgserver"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// rebuilt is a ledger that runs, with traffic, beside which its operator rebuilds.
type rebuilt struct {
	*client
	dir     string
	traffic *traffic
	checker *checker
}

func newRebuilt(t *testing.T) *rebuilt {
	t.Helper()
	b := &rebuilt{dir: pgtest.Dir(t)}
	p := serve(t, "--data-dir", b.dir, "--listen", freeAddress(t), "--webhook-allow-private")
	b.client = newClient(t, p.address)
	b.awaitStatus("ready")
	b.traffic = newTraffic(t, p.address, "--data-dir", b.dir)
	for _, l := range b.traffic.loads {
		l.pace = 50 * time.Millisecond // what is checked is what is right, and not how much
	}
	b.checker = &checker{t: t, place: placeSettings{DataDir: b.dir}, database: b.database(), traffic: b.traffic}
	return b
}

func (b *rebuilt) database() string {
	url, ok, err := pgserver.Running(filepath.Join(b.dir, postgresDir))
	if err != nil || !ok {
		b.t.Fatal(ok, err)
	}
	return url
}

// rebuild runs one beside the ledger.
func (b *rebuilt) rebuild(args ...string) result {
	return run(b.t, append([]string{"rebuild", "--data-dir", b.dir}, args...)...)
}

// generations tells what each model has, as "1 kept, 2 serves"; all have to be alike.
func (b *rebuilt) generations() (all string) {
	b.t.Helper()
	var list struct{ Generations []projections.Generation }
	if err := json.Unmarshal([]byte(must(b.t, "rebuild", "list", "--json", "--data-dir", b.dir)), &list); err != nil {
		b.t.Fatal(err)
	}
	models := map[string][]string{}
	for _, g := range list.Generations {
		models[g.Model] = append(models[g.Model], fmt.Sprintf("%d %s", g.Number, g.State))
	}
	for model, states := range models {
		if one := strings.Join(states, ", "); all != "" && one != all {
			b.t.Errorf("%s: %s; another: %s", model, one, all)
		} else {
			all = one
		}
	}
	return all
}

// TestRebuildBesideALedger: models are rebuilt, and rolled back, while everything is
// served and written, and what the ledger then shows is what was answered.
func TestRebuildBesideALedger(t *testing.T) {
	t.Parallel()
	b := newRebuilt(t)
	b.traffic.begin()
	b.traffic.await(10)
	r := b.rebuild("--json")
	if r.code != 0 {
		t.Fatalf("rebuild ended with %d: %s%s", r.code, r.out, r.err)
	}
	compared, serve := 0, 0
	for line := range strings.Lines(r.out) {
		var e rebuildEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		switch {
		case e.Step == projections.StepServes:
			serve++
		case e.Comparison != nil && e.Comparison.Equal() && e.Comparison.Position > 0:
			compared++
		}
	}
	if n := len(projections.Models()); compared != n || serve != n {
		t.Errorf("%d were compared and %d serve:\n%s", compared, serve, r.out)
	}
	b.traffic.await(5)
	b.traffic.settle()
	b.checker.check()
	if out := must(t, "rebuild", "--data-dir", b.dir, "--rollback"); strings.Count(out, "generation 1 serves") != len(projections.Models()) {
		t.Errorf("the rollback says:\n%s", out)
	}
	if got := b.generations(); got != "1 serves, 2 kept" {
		t.Error(got)
	}
	b.traffic.begin()
	b.traffic.await(5)
	b.traffic.settle()
	b.checker.check()

	if r := run(t, "rebuild", "drop", "claims", "1", "--data-dir", b.dir); r.code != exitFailure {
		t.Errorf("dropping what serves ended with %d: %s%s", r.code, r.out, r.err)
	}
	if out := must(t, "rebuild", "drop", "--all", "--data-dir", b.dir); !strings.Contains(out, "claims: generation 2 is dropped\n") {
		t.Errorf("drop says:\n%s", out)
	}
	if got := b.generations(); got != "1 serves" {
		t.Error(got)
	}
	if out := must(t, "rebuild", "list", "--data-dir", b.dir); !strings.Contains(out, "serves") {
		t.Errorf("list says:\n%s", out)
	}
	if r := b.rebuild("--rollback", "feed"); r.code != exitFailure || !strings.Contains(r.err, "feed") {
		t.Errorf("a rollback to nothing ended with %d: %s%s", r.code, r.out, r.err)
	}
}

func TestRebuildBadCommandLines(t *testing.T) {
	t.Parallel()
	nowhere := filepath.Join(t.TempDir(), "nowhere")
	for _, args := range [][]string{
		{"claim"}, {"run", "nonsense"}, {"drop"}, {"drop", "claims"}, {"drop", "claims", "0"}, {"drop", "claims", "1", "--all"}, {"drop", "nonsense", "1"},
	} {
		if r := outcome(t, nil, append(append([]string{"rebuild"}, args...), "--data-dir", nowhere)...); r.code != exitUsage {
			t.Errorf("rebuild %v ended with %d: %s", args, r.code, r.err)
		}
	}
	for _, args := range [][]string{{}, {"claims"}, {"list"}, {"drop", "claims", "1"}, {"--rollback"}} {
		r := outcome(t, nil, append(append([]string{"rebuild"}, args...), "--data-dir", nowhere)...)
		if r.code != exitFailure || !strings.Contains(r.err, "there is no ledger") {
			t.Errorf("rebuild %v of nothing ended with %d: %s", args, r.code, r.err)
		}
	}
}

// TestRebuildIsKilled: a rebuild that is killed, at whatever moment it hits, leaves what
// serves alone, and the next one goes on from there.
func TestRebuildIsKilled(t *testing.T) {
	t.Parallel()
	b := newRebuilt(t)
	b.traffic.begin()
	b.traffic.await(20)
	const rounds = 6
	finished := 0
	for round := range rounds {
		p := launch(t, beLedger, nil, "rebuild", "--data-dir", b.dir)
		steps := rand.N(5 * len(projections.Models()))
		for seen := 0; seen < steps; seen = strings.Count(p.out.String(), "\n") {
			select {
			case <-p.out.wait():
				continue
			case <-p.ended:
			}
			break
		}
		p.kill()
		if p.cmd.ProcessState.ExitCode() == 0 {
			finished++
		}
		b.traffic.await(2)
		if ready, _, err := b.readiness(); err != nil || ready.Status == "unready" {
			t.Fatalf("round %d: %+v, %v", round, ready, err)
		}
	}
	t.Logf("%d of %d were too fast to be killed", finished, rounds)
	if r := b.rebuild(); r.code != 0 {
		t.Fatalf("rebuild ended with %d: %s%s", r.code, r.out, r.err)
	}
	b.traffic.settle()
	b.checker.check()
	if r := run(t, "rebuild", "drop", "--all", "--data-dir", b.dir); r.code != 0 {
		t.Errorf("drop ended with %d: %s", r.code, r.err)
	}
	b.checker.check()
}

// TestReadModelsAreDropped: under a ledger that runs, all read models are lost. Commands
// go on, reads say why they do not, and after a rebuild everything is as it was; no
// webhook is sent again.
func TestReadModelsAreDropped(t *testing.T) {
	t.Parallel()
	b := newRebuilt(t)
	b.traffic.begin()
	b.traffic.await(10)
	for _, also := range []string{"", "DROP SCHEMA projections CASCADE"} {
		b.dropModels(also)
		b.awaitStatus("degraded")
		b.traffic.await(10) // commands go on
		for _, l := range b.traffic.loads {
			r, err := l.tenant.send("GET", "/v1/namespaces/"+l.tenant.namespace+"/claims", nil, l.tenant.asOwner)
			if err != nil || r.status != 503 || r.code != "SERVICE_UNAVAILABLE" || !strings.Contains(string(r.body), "read model claims is missing") || r.header.Get("Retry-After") == "" {
				t.Errorf("a list answers %s, %v", r, err)
			}
		}
		if status := must(t, "status", "--data-dir", b.dir); !strings.Contains(status, "is missing; it has to be rebuilt (claimledger rebuild)") {
			t.Errorf("status says:\n%s", status)
		}
		if r := b.rebuild(); r.code != 0 {
			t.Fatalf("rebuild ended with %d: %s%s", r.code, r.out, r.err)
		}
		b.awaitStatus("ready")
	}
	b.traffic.settle()
	b.checker.check()
	for _, receiver := range b.traffic.receivers {
		if events, arrivals := receiver.check(); events == 0 || arrivals != events {
			t.Errorf("%d events came, %d times", events, arrivals)
		}
	}
}

// dropModels drops every schema of a read model.
func (b *rebuilt) dropModels(also string) {
	b.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, b.database())
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close(ctx)
	rows, _ := conn.Query(ctx, `SELECT nspname FROM pg_namespace WHERE nspname LIKE 'model\_%'`) // an error comes out of the rows as well
	schemas, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, schema := range schemas {
		if err == nil {
			_, err = conn.Exec(ctx, "DROP SCHEMA "+pgx.Identifier{schema}.Sanitize()+" CASCADE")
		}
	}
	if err == nil {
		_, err = conn.Exec(ctx, also)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// TestRebuildProgress: each kind of reader is told how far it is, at which rate and how
// long it will take, and of several models by the one that has most left.
func TestRebuildProgress(t *testing.T) {
	steps := []projections.RebuildStep{
		{Model: "claims", Generation: 2, Step: projections.StepBegun},
		{Model: "feed", Generation: 3, Step: projections.StepResumed, Position: 500},
		{Model: "claims", Generation: 2, Step: projections.StepLoading, Position: 250, UpTo: 1000},
		{Model: "claims", Generation: 2, Step: projections.StepLoading, Position: 1000, UpTo: 1000}, // too soon to tell
		{Model: "claims", Generation: 2, Step: projections.StepIndexing, Position: 1000},
		{Model: "claims", Step: projections.StepCompared, Position: 1000, Comparison: &projections.Comparison{
			Model: "claims", Position: 1000, Old: 1, New: 2, OldVersion: 1, NewVersion: 2, Rows: 7,
			Differences: []projections.Difference{{Table: "claims", Shape: "with colour text", Changed: 1, Examples: []projections.RowDifference{{Old: "(a)", New: "(b)"}}}},
		}},
		{Model: "claims", Generation: 2, Step: projections.StepServes, Position: 1003},
	}
	tell := func(change func(*rebuildProgress)) (out, err string) {
		var o, e bytes.Buffer
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		p := newRebuildProgress(&world{t.Context(), &o, &e}, false, func() time.Time { return now })
		now = now.Add(10 * time.Second)
		change(p)
		for _, s := range steps {
			p.tell(s)
		}
		p.end()
		return o.String(), e.String()
	}
	lines := `claims: generation 2 is begun
feed: generation 3 is taken up again at position 500
loading: 250 of 1000 commits, 25 a second, 30s left
claims: loaded up to position 1000; making indexes
claims: generation 2 (version 2) differs from generation 1 (version 1), which serves, at position 1000
  claims: with colour text; 1 rows changed, 0 gone, 0 new
    old (a)
    new (b)
claims: generation 2 serves, from position 1003 on
`
	if out, err := tell(func(*rebuildProgress) {}); out != lines || err != "" {
		t.Errorf("plain: %s%s", out, err)
	}
	out, bar := tell(func(p *rebuildProgress) { p.terminal = true })
	if without := strings.Replace(lines, "loading: 250 of 1000 commits, 25 a second, 30s left\n", "", 1); out != without {
		t.Errorf("beside a bar: %s", out)
	}
	if !strings.Contains(bar, "loading") || !strings.Contains(bar, "25%") || !strings.Contains(bar, "250/1000") {
		t.Errorf("the bar: %q", bar)
	}
	out, err := tell(func(p *rebuildProgress) { p.json = true })
	events := strings.Split(strings.TrimSpace(out), "\n")
	var e rebuildEvent
	if json.Unmarshal([]byte(events[2]), &e) != nil || len(events) != 6 || err != "" || e.Step != projections.StepLoading || e.UpTo != 1000 || e.Rate != 25 || e.Left != 30 {
		t.Errorf("JSON: %s%s", out, err)
	}
}
