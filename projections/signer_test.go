package projections

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

func newSigner(t testing.TB, log eventstore.Log, heads eventstore.LogHeads, pool *pgxpool.Pool) *Signer {
	s := NewSigner(SignerConfig{
		Log: log, Heads: heads, Reads: newReader(t, pool), Key: logtest.HeadKey(t, 1),
		Interval: time.Millisecond, Active: func() bool { return true }, Intact: func() error { return nil }, Now: time.Now, Logger: logtest.Logger(t),
	})
	s.patience = 0
	return s
}

// signs makes a look, which has to publish or not, without an error.
func signs(t testing.TB, s *Signer, want bool) {
	t.Helper()
	if published, err := s.Step(t.Context()); err != nil || published != want {
		t.Fatalf("published %t, %v; want %t", published, err, want)
	}
}

// refuses looks until it finds a contradiction.
func refuses(t testing.TB, s *Signer, says string) {
	t.Helper()
	var lies *ContradictionError
	eventually(t, "it finds a contradiction", func() bool {
		published, err := s.Step(t.Context())
		if published || err == nil {
			t.Fatalf("published %t, %v", published, err)
		}
		return errors.As(err, &lies)
	})
	if !strings.Contains(lies.Error(), says) {
		t.Errorf("it says %q, not %q", lies, says)
	}
}

// wantHead checks the newest head against the log itself.
func wantHead(t testing.TB, heads eventstore.LogHeads, log eventstore.Log, position uint64) eventstore.StoredHead {
	t.Helper()
	head, err := heads.Last(t.Context())
	if err == nil {
		err = head.Verify()
	}
	if want := chainOf(t, log, position); err != nil || head.Chain() != want {
		t.Fatalf("the newest head is %+v, %v; want %+v", head, err, want)
	}
	return head
}

func TestSignerSignsWhatIsNew(t *testing.T) {
	t.Parallel()
	w, pool, heads := newWorld(t, 62), newPool(t), &eventstore.MemoryHeads{}
	s := newSigner(t, w.log, heads, pool)
	signs(t, s, false) // nothing is recorded
	w.steps(30)
	signs(t, s, false) // nothing is applied
	catchUp(t, w.log, pool)
	signs(t, s, true)
	first := wantHead(t, heads, w.log, w.last())
	signs(t, s, false)

	// A clock that was ahead does not make times go back.
	w.steps(30)
	catchUp(t, w.log, pool)
	s.c.Now = func() time.Time { return first.Time.Add(-time.Hour) }
	signs(t, s, true)
	if second := wantHead(t, heads, w.log, w.last()); !second.Time.Equal(first.Time) {
		t.Errorf("signed at %v after %v", second.Time, first.Time)
	}

	// Another key signs at once what the one before it has signed.
	s.c.Key = logtest.HeadKey(t, 2)
	signs(t, s, true)
	if third := wantHead(t, heads, w.log, w.last()); third.KeyID != s.c.Key.ID() || third.Sequence != 3 {
		t.Errorf("%+v", third)
	}
	signs(t, s, false)
}

// The first head is no exception: what the database has applied and the log does not have
// is not signed for.
func TestSignerOfALogThatIsBehind(t *testing.T) {
	t.Parallel()
	w, pool, heads := newWorld(t, 64), newPool(t), &eventstore.MemoryHeads{}
	w.steps(20)
	catchUp(t, w.log, pool)
	shorter := eventstore.NewMemory()
	copyLog(t, w.log, shorter, w.last()-1)
	refuses(t, newSigner(t, shorter, heads, pool), "ends at position")
	if head, err := heads.Last(t.Context()); err != nil || head.Sequence != 0 {
		t.Errorf("signed %+v, %v", head, err)
	}
}

// Nothing is signed while the log is known to be broken.
func TestSignerBehindAFence(t *testing.T) {
	t.Parallel()
	w, pool, heads := newWorld(t, 65), newPool(t), &eventstore.MemoryHeads{}
	w.steps(20)
	catchUp(t, w.log, pool)
	s := newSigner(t, w.log, heads, pool)
	fence := eventstore.NewFence(logtest.Logger(t))
	s.c.Intact = fence.Broken
	fence.Close(&eventstore.BrokenError{Position: 3, Found: "a test"})
	if published, err := s.Step(t.Context()); published || !errors.Is(err, fence.Broken()) {
		t.Errorf("published %t, %v", published, err)
	}
}

// copyLog appends the commits of a log up to a position to another.
func copyLog(t testing.TB, from, to eventstore.Log, last uint64) {
	t.Helper()
	heads := map[domain.Boundary]eventstore.Head{}
	err := from.ReadAll(t.Context(), "", 0, func(r eventstore.Record) error {
		if r.Position > last {
			return nil
		}
		b := r.Commit.Boundary()
		copied, err := to.Append(t.Context(), heads[b], r.Commit)
		heads[b] = copied.Head()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// crashing are heads whose next Append fails, before or after it is published.
type crashing struct {
	eventstore.LogHeads
	published bool
}

var errCrash = errors.New("crash")

func (c *crashing) Append(ctx context.Context, after eventstore.StoredHead, head domain.LogHead) (eventstore.StoredHead, error) {
	if c.published {
		if _, err := c.LogHeads.Append(ctx, after, head); err != nil {
			return eventstore.StoredHead{}, err
		}
	}
	return eventstore.StoredHead{}, errCrash
}

// A process that dies between signing and publishing, or before it learns that it has
// published, leaves nothing to be repaired.
func TestSignerKilledWhilePublishing(t *testing.T) {
	t.Parallel()
	w, pool, heads := newWorld(t, 63), newPool(t), &eventstore.MemoryHeads{}
	for sequence, published := range []bool{false, true, false, true} {
		w.steps(20)
		catchUp(t, w.log, pool)
		dies := newSigner(t, w.log, &crashing{heads, published}, pool)
		if _, err := dies.Step(t.Context()); !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		signs(t, newSigner(t, w.log, heads, pool), !published)
		if head := wantHead(t, heads, w.log, w.last()); head.Sequence != uint64(sequence+1) {
			t.Errorf("%d heads were published, not %d", head.Sequence, sequence+1)
		}
	}
}

// recorder are heads that keep all that was published.
type recorder struct {
	eventstore.MemoryHeads
	mu  sync.Mutex
	all []eventstore.StoredHead
}

func (r *recorder) Append(ctx context.Context, after eventstore.StoredHead, head domain.LogHead) (eventstore.StoredHead, error) {
	stored, err := r.MemoryHeads.Append(ctx, after, head)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.all = append(r.all, stored)
	}
	return stored, err
}

// Two that both believe that it is their turn, while projectors restart under them.
func TestTwoSigners(t *testing.T) {
	t.Parallel()
	w, pool, heads := newWorld(t, 64), newPool(t), &recorder{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var running sync.WaitGroup
	for range 2 {
		s := newSigner(t, w.log, heads, pool)
		running.Go(func() {
			for ctx.Err() == nil {
				if _, err := s.Step(ctx); err != nil && ctx.Err() == nil {
					t.Errorf("step: %v", err)
				}
			}
		})
	}
	stop := run(NewProjectors(w.log, pool, nil))
	for i := range 20 {
		w.steps(20)
		if i%4 == 3 {
			stop()
			stop = run(NewProjectors(w.log, pool, nil))
		}
		waitForAll(t, newReader(t, pool), w.last())
	}
	eventually(t, "all of it is signed", func() bool {
		last, err := heads.Last(t.Context())
		return err == nil && last.Position == w.last()
	})
	cancel()
	running.Wait()
	stop()
	heads.mu.Lock()
	defer heads.mu.Unlock()
	var before uint64
	for i, head := range heads.all {
		if head.Sequence != uint64(i+1) || head.Position <= before || head.Chain() != chainOf(t, w.log, head.Position) || head.Verify() != nil {
			t.Errorf("head %d: %+v after position %d", i, head, before)
		}
		before = head.Position
	}
	t.Logf("%d heads of %d commits", len(heads.all), w.last())
}

// altered is a copy of a log that ends before a position, with what is put there instead.
func altered(t testing.TB, w *world, position uint64, instead func(stored string) string) *eventstore.Memory {
	t.Helper()
	copied := eventstore.NewMemory()
	err := w.log.ReadAll(t.Context(), "", 0, func(rec eventstore.Record) error {
		stored := string(rec.Stored)
		if rec.Position == position {
			stored = instead(stored)
		}
		if stored != "" {
			copied.Inject(rec.Commit.Boundary(), []byte(stored))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return copied
}

// What was signed for once is not signed away, also where the database was lost and
// built again from a log that lies.
func TestSignerFindsOutALogThatLies(t *testing.T) {
	t.Parallel()
	const signed, commits = 40, 60
	w, heads := newWorld(t, 65), &eventstore.MemoryHeads{}
	for w.last() < commits {
		w.step()
	}
	pool := newPool(t)
	catchUp(t, &cut{Log: w.log, end: signed}, pool)
	honest := newSigner(t, w.log, heads, pool)
	signs(t, honest, true)
	before := wantHead(t, heads, w.log, signed)

	drop := func(string) string { return "" }
	alter := func(stored string) string { return strings.Replace(stored, `"time":"2026`, `"time":"2025`, 1) }
	ends := func(end uint64) *eventstore.Memory {
		short := eventstore.NewMemory()
		w.log.ReadAll(t.Context(), "", 0, func(rec eventstore.Record) error {
			if rec.Position <= end {
				short.Inject(rec.Commit.Boundary(), rec.Stored)
			}
			return nil
		})
		return short
	}
	for name, c := range map[string]struct {
		log  *eventstore.Memory
		says string
	}{
		"altered before":         {altered(t, w, signed/2, alter), "read on from there"},
		"altered at the head":    {altered(t, w, signed, alter), "read on from there"},
		"dropped the head":       {altered(t, w, signed, drop), "read on from there"},
		"dropped the last":       {altered(t, w, commits, drop), ""},
		"ends before the head":   {ends(signed - 1), "the log ends at position 39"},
		"altered, ends with it":  {altered(t, &world{log: ends(signed)}, signed, alter), "read on from there"},
		"altered after the head": {altered(t, w, signed+1, alter), ""},
	} {
		t.Run(name, func(t *testing.T) {
			again := newPool(t)
			p := newProjector(t, c.log, again, ChainModel)
			if _, err := p.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
			if c.says == "" { // nobody signed for that
				copied := &eventstore.MemoryHeads{}
				if _, err := copied.Append(t.Context(), eventstore.StoredHead{}, before.LogHead); err != nil {
					t.Fatal(err)
				}
				signs(t, newSigner(t, c.log, copied, again), true)
				return
			}
			refuses(t, newSigner(t, c.log, heads, again), c.says)
			if last := wantHead(t, heads, w.log, signed); last.Sequence != before.Sequence {
				t.Errorf("%+v was published", last)
			}
		})
	}

	t.Run("the database was altered", func(t *testing.T) {
		if _, err := pool.Exec(t.Context(), "UPDATE model_chain_v1_g1.chain SET hash = sha256(hash)"); err != nil {
			t.Fatal(err)
		}
		refuses(t, honest, "read on from there")
	})
	t.Run("the log was altered under it", func(t *testing.T) {
		again := newPool(t)
		catchUp(t, w.log, again)
		refuses(t, newSigner(t, altered(t, w, signed+5, alter), heads, again), "read on from there")
		refuses(t, newSigner(t, ends(commits-5), heads, again), "the log ends at position 55")
	})
	t.Run("a head that nobody signed", func(t *testing.T) {
		forged := before.LogHead
		forged.Position++
		if _, err := heads.Append(t.Context(), before, forged); err != nil {
			t.Fatal(err)
		}
		again := newPool(t)
		catchUp(t, w.log, again)
		refuses(t, newSigner(t, w.log, heads, again), "was not signed")
	})
}

func TestSignerRuns(t *testing.T) {
	t.Parallel()
	w, pool, heads := newWorld(t, 66), newPool(t), &eventstore.MemoryHeads{}
	w.steps(30)
	catchUp(t, w.log, pool)
	s := newSigner(t, w.log, heads, pool)
	var active atomic.Bool
	s.c.Active = active.Load
	metrics := prometheus.NewPedanticRegistry()
	metrics.MustRegister(NewSignerMetrics(s))
	value := func(name string) float64 {
		families, err := metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "claimledger_log_head_"+name {
				return f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		return -1
	}
	if problems, err := testutil.GatherAndLint(metrics); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx, ended) })
	if status := s.Status(); status.Active || status.Position != 0 || value("position") != -1 || value("active") != 0 {
		t.Errorf("while it stands by: %+v", status)
	}
	active.Store(true)
	eventually(t, "it signs", func() bool { return s.Status().Position == w.last() })
	wantHead(t, heads, w.log, w.last())
	eventually(t, "it says so", func() bool { return s.Status().Active && value("position") == float64(w.last()) })
	if value("active") != 1 || value("contradicted") != 0 || value("age_seconds") < 0 || value("lag_seconds") < 0 {
		t.Errorf("%+v", s.Status())
	}

	// A running hash that is not the log's is noticed, and that it is in order again.
	set := func(sql string) {
		if _, err := pool.Exec(t.Context(), "UPDATE model_chain_v1_g1.chain SET commits = commits "+sql); err != nil {
			t.Fatal(err)
		}
	}
	set("+ 1")
	eventually(t, "it contradicts", func() bool { return s.Status().Contradiction != nil && value("contradicted") == 1 })
	set("- 1")
	eventually(t, "it does not", func() bool { return s.Status().Contradiction == nil && value("contradicted") == 0 })

	// At its end it signs what was applied last.
	cancel()
	w.steps(10)
	catchUp(t, w.log, pool)
	close(ended)
	running.Wait()
	wantHead(t, heads, w.log, w.last())
	if status := s.Status(); status.Active {
		t.Errorf("after its end: %+v", status)
	}
}

// Without the log or the database it waits, and says so.
func TestSignerWaits(t *testing.T) {
	t.Parallel()
	w, pool := newWorld(t, 67), newPool(t)
	w.steps(10)
	catchUp(t, w.log, pool)
	s := newSigner(t, w.log, unreachable{}, pool)
	s.look(t.Context())
	if status := s.Status(); !errors.Is(status.Waiting, eventstore.ErrUnavailable) || status.Contradiction != nil {
		t.Errorf("without the log: %+v", status)
	}
	s = newSigner(t, w.log, &eventstore.MemoryHeads{}, pool)
	pool.Close()
	s.look(t.Context())
	if status := s.Status(); status.Waiting == nil || status.Contradiction != nil {
		t.Errorf("without the database: %+v", status)
	}
}

type unreachable struct{ eventstore.LogHeads }

func (unreachable) Last(context.Context) (eventstore.StoredHead, error) {
	return eventstore.StoredHead{}, eventstore.ErrUnavailable
}
