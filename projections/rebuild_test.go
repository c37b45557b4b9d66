package projections

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

func execute(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(context.Background(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// states tells what became of each generation of a model, as "1 kept, 2 serves".
func states(t testing.TB, pool *pgxpool.Pool, model string) string {
	t.Helper()
	all, err := Generations(context.Background(), pool)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, g := range all {
		if g.Model == model {
			list = append(list, fmt.Sprintf("%d %s", g.Number, g.State))
		}
		if g.Bytes == 0 || g.Schema == "" || g.CreatedAt.IsZero() || (g.State == GenerationKept) != (g.ServedUntil != nil) {
			t.Errorf("%+v", g)
		}
	}
	return strings.Join(list, ", ")
}

func wantStates(t testing.TB, pool *pgxpool.Pool, want string) {
	t.Helper()
	for _, m := range Models() {
		if got := states(t, pool, m.Name); got != want {
			t.Errorf("%s: %s, not %s", m.Name, got, want)
		}
	}
}

// TestRebuild: what is built beside what serves is equal to it, takes its place, and is
// kept up to date by the projectors that run; and back again.
func TestRebuild(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 40)
	w.steps(300)
	pool := newPool(t)
	reader := newReader(t, pool)
	ps := NewProjectors(w.log, pool, nil)
	stop := run(ps)
	defer stop()
	waitForAll(t, reader, w.last())
	compared := map[string]int64{}
	r := &Rebuild{Log: w.log, Pool: pool, Tell: func(s RebuildStep) {
		if s.Comparison != nil {
			compared[s.Model] = s.Comparison.Rows
			if !s.Comparison.Equal() || s.Comparison.Position != w.last() {
				t.Errorf("%+v", s.Comparison)
			}
		}
	}}
	if err := r.Run(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	wantStates(t, pool, "1 kept, 2 serves")
	if len(compared) != len(Models()) || compared[HistoryModel] < int64(w.last()) || compared[ChainModel] != 1 {
		t.Errorf("rows compared: %v", compared)
	}
	w.steps(60)
	waitForAll(t, reader, w.last())
	eventually(t, "the projectors went over", func() bool {
		return !slices.ContainsFunc(ps.Status(), func(s Status) bool { return s.Generation != 2 || !s.Active || s.Waiting != "" })
	})
	if err := r.RollBack(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	wantStates(t, pool, "1 serves, 2 kept")
	w.steps(60)
	waitForAll(t, reader, w.last())
	stop()
	checkEqual(t, w, pool)

	for _, m := range Models() {
		if err := Drop(t.Context(), pool, m.Name, 1); err == nil {
			t.Error("what serves was dropped")
		}
		if err := Drop(t.Context(), pool, m.Name, 2); err != nil {
			t.Error(err)
		}
	}
	wantStates(t, pool, "1 serves")
	if err := r.RollBack(t.Context(), []string{FeedModel}); err == nil || !strings.Contains(err.Error(), "no generation") {
		t.Error(err)
	}
	checkEqual(t, w, pool)
}

// TestRebuildUnderLoad: while it is written, no read fails or goes back in time, before,
// in and after the switch; and waiting for what was just written works throughout.
func TestRebuildUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 41)
	w.steps(300)
	pool := openPool(t, pgtest.New(t))
	if err := Setup(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	reader := newReader(t, pool)
	stop := run(NewProjectors(w.log, pool, nil))
	defer stop()
	waitForAll(t, reader, w.last())

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var load sync.WaitGroup
	load.Go(func() {
		for ctx.Err() == nil {
			w.steps(5)
			if err := reader.Wait(ctx, ClaimsModel, w.last()); err != nil && ctx.Err() == nil {
				t.Errorf("waiting for what was written: %v", err)
			}
		}
	})
	for _, m := range Models() {
		load.Go(func() {
			var before At
			for ctx.Err() == nil {
				at, err := reader.At(ctx, m.Name)
				switch {
				case ctx.Err() != nil:
				case err != nil:
					t.Errorf("a read of %s fails: %v", m.Name, err)
				case at.Position < before.Position:
					t.Errorf("a read of %s is at %d after one at %d", m.Name, at.Position, before.Position)
				case at.Age == NeverFresh:
					t.Errorf("%s is never fresh", m.Name)
				}
				before = at
			}
		})
	}
	r := &Rebuild{Log: w.log, Pool: openPool(t, pool.Config().ConnString())}
	for range 3 {
		if err := r.Run(t.Context(), nil); err != nil {
			t.Error(err)
		}
	}
	cancel()
	load.Wait()
	waitForAll(t, reader, w.last())
	stop()
	wantStates(t, pool, "1 kept, 2 kept, 3 kept, 4 serves")
	checkEqual(t, w, pool)
}

// TestRebuildEndsAnywhere stops rebuilds at whatever moment it happens to hit, in one of
// two ways. What was begun never serves, and the next one goes on with it.
func TestRebuildEndsAnywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 42)
	w.steps(300)
	url := pgtest.New(t)
	pool := openPool(t, url)
	if err := Setup(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	catchUp(t, w.log, pool)
	before := dump(t, pool)
	random := rand.New(rand.NewPCG(42, 0))
	resumed, whole := 0, 0
	for round := 0; whole < 2; round++ {
		ctx, cancel := context.WithCancel(t.Context())
		// Of a rebuild's steps, the one at which it ends; later and later, so that some end.
		at, steps := random.IntN(8+4*round), 0
		rebuilds := openPool(t, url+"&application_name=rebuild")
		r := &Rebuild{Log: w.log, Pool: rebuilds, chunk: 40, Tell: func(s RebuildStep) {
			if s.Step == StepResumed {
				resumed++
			}
			if steps++; steps != at {
				return
			}
			if round%2 == 0 {
				cancel()
			} else {
				execute(t, pool, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'rebuild'")
			}
		}}
		err := r.Run(ctx, nil)
		cancel()
		rebuilds.Close()
		if after := dump(t, pool); after != before {
			t.Fatal(firstDifference(before, after))
		}
		if err == nil {
			whole++
		}
		var building, unserved int
		if err := pool.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE state <> 'whole'), count(DISTINCT model) - count(*) FILTER (WHERE serving)
			FROM projections.generations`).Scan(&building, &unserved); err != nil || building > len(Models()) || unserved != 0 {
			t.Fatalf("%d are being built, %d do not serve, %v", building, unserved, err)
		}
	}
	if resumed == 0 {
		t.Error("none was ever resumed")
	}
}

func TestRebuildTwiceAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 43)
	w.steps(60)
	pool := newPool(t)
	catchUp(t, w.log, pool)
	var second error
	r := &Rebuild{Log: w.log, Pool: pool}
	r.Tell = func(s RebuildStep) {
		if s.Step != StepComparing {
			return
		}
		second = (&Rebuild{Log: w.log, Pool: pool}).Run(t.Context(), []string{ClaimsModel, FeedModel})
		if err := Drop(t.Context(), pool, FeedModel, 2); !errors.Is(err, ErrBeingRebuilt) {
			t.Errorf("what is being built was dropped: %v", err)
		}
		if got := states(t, pool, FeedModel); got != "1 serves, 2 building" {
			t.Error(got)
		}
	}
	if err := r.Run(t.Context(), []string{FeedModel}); err != nil {
		t.Error(err)
	}
	if !errors.Is(second, ErrBeingRebuilt) || !strings.Contains(second.Error(), FeedModel) {
		t.Errorf("the second: %v", second)
	}
	if got := states(t, pool, ClaimsModel); got != "1 serves" {
		t.Error(got)
	}
}

// TestRebuildDiffers: what is not as the log has it does not give way by itself.
func TestRebuildDiffers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 44)
	w.steps(200)
	pool := newPool(t)
	catchUp(t, w.log, pool)
	execute(t, pool, "UPDATE model_claims_v1_g1.claims SET agent_ip = '198.51.100.1' WHERE claim_id = (SELECT min(claim_id) FROM model_claims_v1_g1.claims)")
	execute(t, pool, "DELETE FROM model_history_v1_g1.events WHERE position = 3")
	execute(t, pool, "INSERT INTO model_feed_v1_g1.inactive_namespaces VALUES ('nobody')")
	execute(t, pool, "UPDATE model_history_v1_g1.events SET data = '{ \"spaced\": 1 }' WHERE position = 4 AND index = 0")
	err := (&Rebuild{Log: w.log, Pool: pool}).Run(t.Context(), nil)
	var different *DifferentError
	if !errors.As(err, &different) || different.Refused || strings.Count(err.Error(), "does not serve") != 3 {
		t.Fatal(err)
	}
	for _, m := range Models() {
		want := "1 kept, 2 serves"
		if m.Name == ClaimsModel || m.Name == HistoryModel || m.Name == FeedModel {
			want = "1 serves, 2 different"
		}
		if got := states(t, pool, m.Name); got != want {
			t.Errorf("%s: %s", m.Name, got)
		}
	}
	for model, want := range map[string]string{
		ClaimsModel:  "claims 0 0 1",
		HistoryModel: "events 0 1 1",
		FeedModel:    "inactive_namespaces 1 0 0",
	} {
		var c *Comparison
		err := (&Rebuild{Log: w.log, Pool: pool, Tell: func(s RebuildStep) { c = cmpOr(s.Comparison, c) }}).Run(t.Context(), []string{model})
		if !errors.As(err, &different) || c == nil || len(c.Differences) != 1 {
			t.Fatalf("%+v, %v", c, err)
		}
		d := c.Differences[0]
		if got := fmt.Sprint(d.Table, " ", d.OnlyOld, d.OnlyNew, d.Changed); got != want || len(d.Examples) != int(d.OnlyOld+d.OnlyNew+d.Changed) || d.Shape != "" {
			t.Errorf("%s: %+v, %q", model, d, got)
		}
		if got := states(t, pool, model); got != "1 serves, 2 different, 3 different" {
			t.Errorf("%s: %s", model, got)
		}
	}
}

func cmpOr(a, b *Comparison) *Comparison {
	if a != nil {
		return a
	}
	return b
}

// TestRebuildOfAnotherVersion: one that differs is shown, and serves when that is confirmed.
func TestRebuildOfAnotherVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 45)
	w.steps(200)
	pool := newPool(t)
	catchUp(t, w.log, pool)
	for _, sql := range []string{
		"ALTER TABLE model_claims_v1_g1.claims ADD COLUMN colour text",
		"ALTER TABLE model_claims_v1_g1.claims DROP COLUMN agent_name",
		"CREATE TABLE model_claims_v1_g1.extra ()",
		"ALTER TABLE model_claims_v1_g1.claim_counts DROP CONSTRAINT claim_counts_key",
		"UPDATE projections.generations SET version = 7 WHERE model = 'claims'",
		"UPDATE projections.generations SET version = 7 WHERE model = 'history'",
	} {
		execute(t, pool, sql)
	}
	reader := newReader(t, pool)
	if _, err := reader.At(t.Context(), ClaimsModel); domain.ErrorCode(err) != domain.CodeServiceUnavailable || !strings.Contains(err.Error(), "version 7") {
		t.Error(err)
	}
	var asked []Comparison
	answer := false
	r := &Rebuild{Log: w.log, Pool: pool, Confirm: func(c Comparison) bool { asked = append(asked, c); return answer }}
	var different *DifferentError
	if err := r.Run(t.Context(), []string{ClaimsModel, HistoryModel}); !errors.As(err, &different) || !different.Refused {
		t.Fatal(err)
	}
	if got := states(t, pool, ClaimsModel); got != "1 serves, 2 unfinished" {
		t.Error(got)
	}
	if got := states(t, pool, HistoryModel); got != "1 kept, 2 serves" { // another version, and no difference
		t.Error(got)
	}
	w.steps(20)
	answer = true
	if err := r.Run(t.Context(), []string{ClaimsModel}); err != nil {
		t.Fatal(err)
	}
	if got := states(t, pool, ClaimsModel); got != "1 kept, 2 serves" {
		t.Error(got)
	}
	if len(asked) != 2 {
		t.Fatalf("asked %d times", len(asked))
	}
	var shapes []string
	for _, d := range asked[0].Differences {
		shapes = append(shapes, d.Table+": "+d.Shape)
	}
	want := "claim_counts: another key, so that rows cannot be compared, claims: without colour text; with agent_name text, extra: it is gone"
	if got := strings.Join(shapes, ", "); got != want {
		t.Errorf("%s, not %s", got, want)
	}
	catchUp(t, w.log, pool)
	checkEqual(t, w, pool)
	if err := r.RollBack(t.Context(), []string{ClaimsModel}); err == nil || !strings.Contains(err.Error(), "version 7") {
		t.Errorf("back to a version that is not known here: %v", err)
	}
}

// TestRebuildOfNothing: where all was dropped, or begins anew, there is nothing to compare with.
func TestRebuildOfNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 46)
	w.steps(200)
	pool := newPool(t)
	catchUp(t, w.log, pool)
	before := dump(t, pool)
	drop := func() {
		for _, m := range Models() {
			g, err := serving(t.Context(), pool, m.Name)
			if err != nil {
				t.Fatal(err)
			}
			execute(t, pool, in(g.schema, "DROP SCHEMA {schema} CASCADE"))
		}
	}
	for name, lose := range map[string]func(){
		"schemas":                drop,
		"the schema of all, too": func() { drop(); execute(t, pool, "DROP SCHEMA projections CASCADE") },
		"and it was set up again": func() {
			drop()
			if err := Setup(t.Context(), pool); err != nil {
				t.Fatal(err)
			}
		},
	} {
		lose()
		pool.Reset()
		r := &Rebuild{Log: w.log, Pool: pool, Tell: func(s RebuildStep) {
			if s.Comparison != nil {
				t.Errorf("%s: compared: %+v", name, s)
			}
		}}
		if err := r.Run(t.Context(), nil); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if after := dump(t, pool); after != before {
			t.Fatalf("%s: %s", name, firstDifference(before, after))
		}
		for _, m := range Models() {
			at, err := newReader(t, pool).At(t.Context(), m.Name)
			if err != nil || at.Age == NeverFresh {
				t.Errorf("%s: %s: %+v, %v", name, m.Name, at, err)
			}
		}
	}
}

// TestRebuildStops at what cannot be applied, and names it; what can be is built.
func TestRebuildStops(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 47)
	w.steps(100)
	bad, badID := w.inapplicable()
	pool := newPool(t)
	err := (&Rebuild{Log: w.log, Pool: pool}).Run(t.Context(), nil)
	var stopped *StoppedError
	if !errors.As(err, &stopped) || stopped.Position != bad || stopped.CommitID != badID || strings.Count(err.Error(), badID) != 2 {
		t.Fatal(err)
	}
	for model, want := range map[string]string{ClaimsModel: "1 serves, 2 unfinished", FeedModel: "1 serves, 2 unfinished", HistoryModel: "1 kept, 2 serves"} {
		if got := states(t, pool, model); got != want {
			t.Errorf("%s: %s", model, got)
		}
	}
	// Another log is not the one that they were begun from.
	other := newWorld(t, 48)
	other.steps(150)
	if err := (&Rebuild{Log: other.log, Pool: pool}).Run(t.Context(), []string{ClaimsModel}); !errors.As(err, &stopped) {
		t.Error(err)
	}
	if err := (&Rebuild{Log: w.log, Pool: pool}).Run(t.Context(), []string{"claim"}); err == nil || !strings.Contains(err.Error(), `"claim"`) {
		t.Error(err)
	}
}

// TestTwoVersionsSideBySide: during a deploy, a process that knows another version than
// what serves writes nothing, says so, and takes over when what it knows serves.
func TestTwoVersionsSideBySide(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 49)
	w.steps(80)
	pool := newPool(t)
	reader := newReader(t, pool)
	stop := run(NewProjectors(w.log, pool, nil))
	waitForAll(t, reader, w.last())
	stop()
	// What serves is a later program's from now on.
	execute(t, pool, "UPDATE projections.generations SET version = 7 WHERE model = 'claims'")
	if err := Setup(t.Context(), pool); err != nil { // each process does so when it starts
		t.Fatal(err)
	}
	before := dumpOf(t, pool, "model_claims_v1_g1")
	ps := NewProjectors(w.log, pool, nil)
	defer run(ps)()
	w.steps(40)
	claims := func() Status {
		all := ps.Status()
		return all[slices.IndexFunc(all, func(s Status) bool { return s.Model == ClaimsModel })]
	}
	eventually(t, "the others go on, and it says why it does not", func() bool {
		for _, s := range ps.Status() {
			if s.Model != ClaimsModel && s.Position != w.last() {
				return false
			}
		}
		s := claims()
		return !s.Active && s.Applied == 0 && strings.Contains(s.Waiting, "has version 7 and this program knows version 1")
	})
	if after := dumpOf(t, pool, "model_claims_v1_g1"); after != before {
		t.Error(firstDifference(before, after))
	}
	if _, _, err := reader.Claim(t.Context(), "claim_x"); domain.ErrorCode(err) != domain.CodeServiceUnavailable || !strings.Contains(err.Error(), "version 7") {
		t.Errorf("a read: %v", err)
	}
	// Two versions of a model that are equal in their rows need nobody's word.
	if err := (&Rebuild{Log: w.log, Pool: pool}).Run(t.Context(), []string{ClaimsModel}); err != nil {
		t.Fatal(err)
	}
	waitForAll(t, reader, w.last())
	eventually(t, "it works", func() bool { s := claims(); return s.Active && s.Waiting == "" && s.Generation == 2 })
	if got := states(t, pool, ClaimsModel); got != "1 kept, 2 serves" {
		t.Error(got)
	}
}

// dumpOf is every row of a schema's claims, and its checkpoint.
func dumpOf(t testing.TB, pool *pgxpool.Pool, schema string) string {
	t.Helper()
	var rows string
	err := pool.QueryRow(context.Background(), in(schema, `SELECT g.position || string_agg(c::text, E'\n' ORDER BY claim_id)
		FROM projections.generations g, {schema}.claims c WHERE g.schema_name = $1 GROUP BY g.position`), schema).Scan(&rows)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}
