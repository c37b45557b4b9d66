package projections

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// eventually polls a condition.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(patienceOfTests)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("it never came that %s", what)
		}
		<-tick.C
	}
}

// run runs projectors until the returned function is called.
func run(ps *Projectors) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { ps.Run(ctx) })
	return func() { cancel(); running.Wait() }
}

func waitForAll(t testing.TB, r *Reader, position uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patienceOfTests)
	defer cancel()
	for _, m := range Models() {
		if err := r.Wait(ctx, m.Name, position); err != nil {
			t.Fatal(err)
		}
	}
}

// checkEqual compares all tables with those of a build in one go.
func checkEqual(t testing.TB, w *world, pool *pgxpool.Pool) {
	t.Helper()
	fresh := newPool(t)
	catchUp(t, w.log, fresh)
	if a, b := dump(t, fresh), dump(t, pool); a != b {
		t.Fatal(firstDifference(a, b))
	}
}

func TestRunFollowsTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	pool := newPool(t)
	reader := newReader(t, pool)
	if _, at, err := reader.FeedRevision(t.Context(), "nothing"); err != nil || at.Age != NeverFresh || at.Position != 0 {
		t.Fatalf("before it starts: %+v, %v", at, err)
	}
	ps := NewProjectors(w.log, pool, nil)
	stop := run(ps)
	defer stop()
	for range 10 {
		w.steps(10)
		waitForAll(t, reader, w.last())
	}
	// Readers may see what is committed before the projector hears of it.
	eventually(t, "the status says so", func() bool {
		return !slices.ContainsFunc(ps.Status(), func(s Status) bool {
			return !s.Active || s.Position != w.last() || s.LagCommits != 0 || s.Applied != w.last() || s.Generation != 1 || s.Waiting != "" || s.Stopped != ""
		})
	})
	// The log's end is confirmed again and again, and so the age stays small.
	began := time.Now()
	eventually(t, "it is fresh after a while", func() bool {
		_, at, err := reader.FeedRevision(t.Context(), "nothing")
		if err != nil {
			t.Fatal(err)
		}
		return time.Since(began) > 1500*time.Millisecond && at.Age < time.Second
	})
	stop()
	for _, s := range ps.Status() {
		if s.Active {
			t.Errorf("active after its end: %+v", s)
		}
	}
	checkEqual(t, w, pool)
}

// endSessions ends all other sessions of a database, as a restart or an administrator
// does. It has one session and no pool, whose other sessions it would end as well.
func endSessions(t testing.TB, admin *pgx.Conn) {
	t.Helper()
	_, err := admin.Exec(context.Background(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid() AND query NOT LIKE 'LISTEN%'`)
	if err != nil {
		t.Fatal(err)
	}
}

// TestKilledAnywhere stops projectors and ends their sessions at whatever moment it
// happens to hit.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 7)
	url := pgtest.New(t)
	pool := openPool(t, url)
	if err := Setup(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	admin, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.Background())
	stop := run(NewProjectors(w.log, pool, nil))
	for i := range 12 {
		w.steps(30)
		if i%3 == 0 {
			stop()
			stop = run(NewProjectors(w.log, pool, nil))
		} else {
			endSessions(t, admin)
		}
	}
	waitForAll(t, newReader(t, openPool(t, url)), w.last())
	stop()
	checkEqual(t, w, pool)
}

// TestKilledInMidBatch loses the session after a batch's rows are written and before
// they are committed, on each model.
func TestKilledInMidBatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 8)
	w.steps(150)
	pool := newPool(t)
	for _, m := range Models() {
		p := newProjector(t, w.log, pool, m.Name)
		apply := p.model.apply
		p.model.apply = func(ctx context.Context, t *target, records []eventstore.Record) error {
			p.model.apply = apply
			if err := apply(ctx, t, records); err != nil {
				return err
			}
			if err := t.flush(ctx); err != nil {
				return err
			}
			_, err := t.conn.Exec(ctx, "SELECT pg_terminate_backend(pg_backend_pid())")
			return err
		}
		if n, err := p.Step(t.Context()); n != 0 || !temporary(err) {
			t.Fatalf("%d commits, %v", n, err)
		}
		// It stands by until the server is done with the session that it has ended.
		eventually(t, "the lock is free", func() bool {
			n, err := p.Step(t.Context())
			if err != nil || n != 0 && n != int(w.last()) {
				t.Fatalf("%d commits, %v", n, err)
			}
			return n != 0
		})
		p.Close()
	}
	checkEqual(t, w, pool)
}

// TestTwoProjectors: one works and the other stands by; when both believe that they are
// active, one alone advances.
func TestTwoProjectors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.steps(50)
	pool := newPool(t)
	ctx := t.Context()
	a, b := newProjector(t, w.log, pool, ClaimsModel), newProjector(t, w.log, pool, ClaimsModel)
	if n, err := a.Step(ctx); n != int(w.last()) || err != nil {
		t.Fatalf("%d commits, %v", n, err)
	}
	if n, err := b.Step(ctx); n != 0 || err != nil {
		t.Fatalf("the standby applied %d commits, %v", n, err)
	}
	if s := b.Status(); s.Active || s.Position != w.last() {
		t.Errorf("%+v", s)
	}

	// A session that lost its lock, as no session does, still has a's checkpoint.
	w.steps(50)
	conn, err := pool.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	rival := *a.tenure
	rival.conn = conn.Hijack()
	b.tenure = &rival
	if n, err := a.Step(ctx); n == 0 || err != nil {
		t.Fatalf("%d commits, %v", n, err)
	}
	if n, err := b.Step(ctx); n != 0 || !errors.Is(err, errLost) {
		t.Fatalf("the rival applied %d commits, %v", n, err)
	}
	if b.tenure != nil {
		t.Error("the rival believes that it is active")
	}
	a.Close()
	w.steps(10)
	if n, err := b.Step(ctx); n == 0 || err != nil {
		t.Fatalf("after the takeover: %d commits, %v", n, err)
	}
	catchUp(t, w.log, pool)
	checkEqual(t, w, pool)
}

func TestStandbyTakesOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.steps(50)
	url := pgtest.New(t)
	pools := []*pgxpool.Pool{openPool(t, url), openPool(t, url)}
	if err := Setup(t.Context(), pools[0]); err != nil {
		t.Fatal(err)
	}
	first, second := NewProjectors(w.log, pools[0], nil), NewProjectors(w.log, pools[1], nil)
	stopFirst := run(first)
	reader := newReader(t, pools[1])
	waitForAll(t, reader, w.last())
	stopSecond := run(second)
	defer stopSecond()
	eventually(t, "the second stands by", func() bool { return second.Status()[0].Position == w.last() })
	w.steps(50)
	waitForAll(t, reader, w.last())
	for i, s := range second.Status() {
		if s.Active || s.Applied != 0 || !first.Status()[i].Active {
			t.Errorf("two are active: %+v", s)
		}
	}
	stopFirst()
	began := time.Now()
	w.steps(50)
	waitForAll(t, reader, w.last())
	t.Logf("the takeover took %v", time.Since(began))
	// Nothing is applied twice, and a projector may hear last of what it has applied.
	eventually(t, "each commit is counted", func() bool {
		counted := true
		for i, s := range second.Status() {
			applied := s.Applied + first.Status()[i].Applied
			if applied > w.last() {
				t.Fatalf("%s: %d commits were applied, of %d", s.Model, applied, w.last())
			}
			counted = counted && applied == w.last()
		}
		return counted
	})
}

func TestRedeliveryIsHarmless(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	w.steps(100)
	pool := newPool(t)
	catchUp(t, w.log, pool)
	before := dump(t, pool)
	var all []eventstore.Record
	w.log.ReadAll(t.Context(), "", 0, func(rec eventstore.Record) error { all = append(all, rec); return nil })
	w.steps(20)
	for _, m := range Models() {
		p := newProjector(t, w.log, pool, m.Name)
		if err := p.activate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.apply(t.Context(), batch{records: all}); err != nil {
			t.Fatal(err)
		}
	}
	if after := dump(t, pool); after != before {
		t.Fatal(firstDifference(before, after))
	}
}

func TestPostgresRestartsUnderIt(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	pool := openPool(t, server.URL())
	if err := Setup(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, 13)
	w.steps(60)
	ps := NewProjectors(w.log, pool, nil)
	stop := run(ps)
	defer stop()
	reader := newReader(t, pool)
	waitForAll(t, reader, w.last())

	ctx, cancel := context.WithTimeout(t.Context(), patienceOfTests)
	defer cancel()
	if err := server.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	w.steps(60)
	if _, _, err := reader.Claim(ctx, "claim_x"); domain.ErrorCode(err) != domain.CodeServiceUnavailable {
		t.Errorf("while it is away: %v", err)
	}
	eventually(t, "the projectors notice", func() bool {
		for _, s := range ps.Status() {
			if s.Waiting == "" || s.Active {
				return false
			}
		}
		return true
	})
	pgtest.Restart(t, server)
	waitForAll(t, reader, w.last())
	stop()
	checkEqual(t, w, pool)
}
