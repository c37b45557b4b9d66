package projections

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// crowd is a world with one service and claims on it in two namespaces.
func crowd(t testing.TB, claims int) (w *world, s worldService, ids []string) {
	w = newWorld(t, 1)
	home := []string{w.register(), w.register()}
	many := domain.MaxPolicyValue
	for _, name := range home {
		w.registry(name, domain.ChangePolicy{MaxAgents: &many, MaxPending: &many})
	}
	for s.service == "" {
		s = w.createService()
	}
	for i := range claims {
		ids = append(ids, w.submitTo(home[i%2], s, publicKey(i)))
	}
	return w, s, ids
}

func (w *world) approve(id string) {
	w.t.Helper()
	for _, c := range w.submitted {
		if c.id == id && w.claim(c.namespace, domain.Approve{ClaimID: id}) {
			return
		}
	}
	w.t.Fatalf("%s cannot be approved", id)
}

func (w *world) revoke(id string) {
	w.t.Helper()
	for _, c := range w.submitted {
		if c.id == id && w.claim(c.namespace, domain.Revoke{ClaimID: id}) {
			return
		}
	}
	w.t.Fatalf("%s cannot be revoked", id)
}

func TestNotFound(t *testing.T) {
	t.Parallel()
	w, s, _ := crowd(t, 1)
	pool := newPool(t)
	catchUp(t, w.log, pool)
	r, ctx := newReader(t, pool), t.Context()
	for what, f := range map[string]func() (At, error){
		"claim": func() (At, error) { _, at, err := r.Claim(ctx, "claim_"+strings.Repeat("Ü", 10_000)); return at, err },
		"events": func() (At, error) {
			_, at, err := r.History(ctx, HistoryQuery{ClaimID: "claim_none", Limit: 1})
			return at, err
		},
		"namespace": func() (At, error) { _, at, err := r.Namespace(ctx, "nobody"); return at, err },
		"service":   func() (At, error) { _, at, err := r.Service(ctx, s.namespace, "none"); return at, err },
		"other's":   func() (At, error) { _, at, err := r.Service(ctx, "another", s.service); return at, err },
		"keys":      func() (At, error) { _, at, err := r.ServiceKeys(ctx, "another", s.service, 10, 0); return at, err },
		"webhooks":  func() (At, error) { _, at, err := r.Webhooks(ctx, "another", s.service); return at, err },
	} {
		if at, err := f(); domain.ErrorCode(err) != domain.CodeNotFound || at.Position != w.last() {
			t.Errorf("%s: %+v, %v", what, at, err)
		}
	}
	if p, _, err := r.Feed(ctx, FeedQuery{ServiceID: "none", Limit: 1}); err != nil || p.Claims == nil || len(p.Claims) != 0 || p.Next != nil {
		t.Errorf("%+v, %v", p, err)
	}
	if p, _, err := r.Claims(ctx, ClaimsQuery{Namespace: "none", Limit: 1}); err != nil || p.Claims == nil || p.Total != 0 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestPagingOutOfBounds(t *testing.T) {
	t.Parallel()
	r, ctx := newReader(t, newPool(t)), t.Context()
	for _, b := range [][2]int{{0, 0}, {-1, 0}, {MaxPage + 1, 0}, {1, -1}, {math.MinInt, math.MaxInt}} {
		_, _, err1 := r.Claims(ctx, ClaimsQuery{Namespace: "n", Limit: b[0], Offset: b[1]})
		_, _, err2 := r.Feed(ctx, FeedQuery{ServiceID: "s", Limit: b[0], Offset: b[1]})
		_, _, err3 := r.Services(ctx, "n", b[0], b[1])
		_, _, err4 := r.ServiceKeys(ctx, "n", "s", b[0], b[1])
		for i, err := range []error{err1, err2, err3, err4} {
			if domain.ErrorCode(err) != domain.CodeInvalidRequest {
				t.Errorf("%v, query %d: %v", b, i, err)
			}
		}
	}
	far := &FeedCursor{math.MaxUint64, "\uffff"}
	if p, _, err := r.Feed(ctx, FeedQuery{ServiceID: "s", Limit: MaxPage, Offset: math.MaxInt, After: far}); err != nil || len(p.Claims) != 0 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestClaimsPaging(t *testing.T) {
	t.Parallel()
	w, s, ids := crowd(t, 45)
	pool := newPool(t)
	catchUp(t, w.log, pool)
	r := newReader(t, pool)
	var got []string
	for offset := 0; ; offset += 7 {
		p, _, err := r.Claims(t.Context(), ClaimsQuery{Namespace: w.names[0], Service: s.slug, Limit: 7, Offset: offset})
		if err != nil || p.Total != 23 {
			t.Fatalf("%d, %v", p.Total, err)
		}
		for _, c := range p.Claims {
			got = append(got, c.ClaimID)
		}
		if len(p.Claims) < 7 {
			break
		}
	}
	var want []string
	for i, id := range slices.Backward(ids) {
		if i%2 == 0 {
			want = append(want, id)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
}

// TestFeedCursor pages while claims before, at and after the cursor come and go: none
// that is approved throughout is skipped or repeated.
func TestFeedCursor(t *testing.T) {
	t.Parallel()
	w, s, ids := crowd(t, 60)
	for _, id := range ids[:40] {
		w.approve(id)
	}
	pool := newPool(t)
	r := newReader(t, pool)
	seen := map[string]int{}
	var after *FeedCursor
	for i := 0; ; i++ {
		catchUp(t, w.log, pool)
		p, at, err := r.Feed(t.Context(), FeedQuery{ServiceID: s.service, Limit: 6, After: after})
		if err != nil || at.Position != w.last() {
			t.Fatalf("%+v, %v", at, err)
		}
		for _, c := range p.Claims {
			seen[c.ClaimID]++
		}
		if after = p.Next; after == nil {
			break
		}
		// The last of the page, whose place the cursor is; one far behind it, one ahead.
		if last := p.Claims[len(p.Claims)-1].ClaimID; i == 1 {
			w.revoke(last)
		}
		if i == 2 {
			w.revoke(ids[0])
			w.revoke(ids[35])
		}
		w.approve(ids[40+i])
	}
	for i, id := range ids[:40] {
		if want := 1; seen[id] != want && i != 35 {
			t.Errorf("claim %d was seen %d times", i, seen[id])
		}
	}
	if seen[ids[35]] != 0 {
		t.Error("a claim was seen after it was revoked")
	}
}

func TestFeedOfInactiveNamespace(t *testing.T) {
	t.Parallel()
	w, s, ids := crowd(t, 10)
	for _, id := range ids[:8] {
		w.approve(id)
	}
	pool := newPool(t)
	r := newReader(t, pool)
	feed := func() (claims []string, revision uint64) {
		t.Helper()
		catchUp(t, w.log, pool)
		p, _, err := r.Feed(t.Context(), FeedQuery{ServiceID: s.service, Limit: 100})
		if err != nil || p.Total != len(p.Claims) {
			t.Fatalf("%+v, %v", p, err)
		}
		for _, c := range p.Claims {
			claims = append(claims, c.ClaimID)
		}
		return claims, p.Revision
	}
	check := func(what string, revision uint64, want ...string) {
		t.Helper()
		if got, r := feed(); !slices.Equal(got, want) || r != revision {
			t.Errorf("%s: revision %d instead of %d\n got %q\nwant %q", what, r, revision, got, want)
		}
	}
	check("active", w.last(), ids[:8]...)
	w.registry(w.names[0], domain.DeactivateNamespace{})
	out := w.last()
	check("one inactive", out, ids[1], ids[3], ids[5], ids[7])
	w.approve(ids[8]) // in the inactive one: nobody sees it yet
	w.revoke(ids[0])
	check("what happens in it does not show", out, ids[1], ids[3], ids[5], ids[7])
	w.registry(w.names[0], domain.ActivateNamespace{})
	check("active again", w.last(), ids[1], ids[2], ids[3], ids[4], ids[5], ids[6], ids[7], ids[8])
}

func TestDue(t *testing.T) {
	t.Parallel()
	w, _, ids := crowd(t, 4) // pending for a day, in two namespaces
	w.approve(ids[0])
	soon := w.now.Add(time.Hour)
	w.claim(w.names[1], domain.Approve{ClaimID: ids[1], ExpiresAt: &soon})
	pool := newPool(t)
	catchUp(t, w.log, pool)
	r := newReader(t, pool)
	for _, c := range []struct {
		at    time.Time
		limit int
		want  []string
	}{
		{w.now, 10, []string{}},
		{soon.Add(-time.Microsecond), 10, []string{}},
		{soon, 10, []string{w.names[1]}},
		{soon.Add(48 * time.Hour), 10, []string{w.names[1], w.names[0]}},
		{soon.Add(48 * time.Hour), 1, []string{w.names[1]}},
	} {
		if got, _, err := r.Due(t.Context(), c.at, c.limit); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%v: %q instead of %q, %v", c.at, got, c.want, err)
		}
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	w, _, _ := crowd(t, 5)
	pool := newPool(t)
	r := newReader(t, pool)
	p := newProjector(t, w.log, pool, FeedModel)
	quickest := time.Hour
	for range 10 {
		done := make(chan error)
		go func() { done <- r.Wait(t.Context(), FeedModel, w.last()) }()
		eventually(t, "it waits", func() bool {
			r.waiters.mu.Lock()
			defer r.waiters.mu.Unlock()
			return len(r.waiters.all) == 1
		})
		began := time.Now()
		if _, err := p.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		quickest = min(quickest, time.Since(began))
		w.submitTo(w.names[0], w.services[0], publicKey(1000+w.serial))
	}
	if quickest >= waitPoll/2 {
		t.Errorf("nobody was notified: the quickest took %v", quickest)
	}
	t.Logf("the quickest took %v", quickest)

	// givenUp is the error of a wait that is given up while it waits.
	givenUp := func(position uint64) error {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Wait(ctx, FeedModel, position) }()
		eventually(t, "it waits", func() bool {
			r.waiters.mu.Lock()
			defer r.waiters.mu.Unlock()
			return len(r.waiters.all) == 1
		})
		cancel()
		return <-done
	}
	at := w.last() - 1
	err := givenUp(at + 7)
	if want := fmt.Sprintf("at position %d, 7 commits behind position %d", at, at+7); domain.ErrorCode(err) != domain.CodeStaleRead || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, not %q", err, want)
	}
	err = givenUp(math.MaxUint64)
	if domain.ErrorCode(err) != domain.CodeStaleRead || !strings.Contains(err.Error(), fmt.Sprint(uint64(math.MaxUint64)-at)) {
		t.Errorf("%v", err)
	}
}

// Moves are heard of one after another, each once.
func TestMoves(t *testing.T) {
	t.Parallel()
	w, _, _ := crowd(t, 1)
	pool := newPool(t)
	r := newReader(t, pool)
	p := newProjector(t, w.log, pool, FeedModel)
	m := r.Moves(FeedModel)
	for range 5 {
		w.submitTo(w.names[0], w.services[0], publicKey(1000+w.serial))
		if _, err := p.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := m.Wait(t.Context(), w.last()); err != nil {
			t.Fatal(err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	r.waiters.wake(FeedModel, w.last()+1)
	if err := m.Wait(ended, w.last()+1); err != nil {
		t.Errorf("what was heard before the wait was not heard: %v", err)
	}
	for tries := 0; m.Wait(ended, w.last()+1) == nil; tries++ {
		if tries > 2 { // one may have been heard of while another was taken
			t.Fatal("it is heard of again and again")
		}
	}
}

// Who begins to wait says so within the process, and is told there.
func TestWaitWithinTheProcess(t *testing.T) {
	t.Parallel()
	w, _, _ := crowd(t, 1)
	pool := newPool(t)
	p := newProjector(t, w.log, pool, FeedModel)
	if _, err := p.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := newReader(t, pool)
	ahead := w.last() + 1 // which is never applied, so that nothing else tells of it
	r.OnWait(func(model string) {
		if !r.Waited(model) || r.Waited(ClaimsModel) || model != FeedModel {
			t.Errorf("who waits for %s is not known", model)
		}
		r.Heard(ClaimsModel, ahead)
		r.Heard(model, ahead)
	})
	if err := r.Wait(t.Context(), FeedModel, ahead); err != nil {
		t.Error(err)
	}
	if r.Waited(FeedModel) {
		t.Error("somebody waits still")
	}
}

// While somebody waits for a model, its projector does not gather what comes.
func TestHurry(t *testing.T) {
	ps := NewProjectors(nil, nil, nil)
	for _, p := range ps.all {
		if once := p.gather(1); once != gatherLeast {
			t.Errorf("%s gathers for %v where it is not known who waits", p.model.Name, once)
		}
	}
	ps.Attend(waitsFor(FeedModel))
	for _, p := range ps.all {
		want := gatherAlone
		if p.model.Name == FeedModel {
			want = gatherEach
		}
		if once := p.gather(1); once != want || p.gather(1000) != gatherMost {
			t.Errorf("%s gathers for %v, want %v", p.model.Name, once, want)
		}
	}
}

// waitsFor is an audience for one model.
type waitsFor string

func (w waitsFor) Waits(model string) bool { return model == string(w) }

func (w waitsFor) Heard(string, uint64) {}

// TestReadsWithoutModels: each way in which read models can be missing is 503 with a
// reason that a person understands, and nothing of the database's.
func TestReadsWithoutModels(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	pool := openPool(t, url)
	r := newReader(t, pool)
	check := func(want string) {
		t.Helper()
		_, _, err := r.Claim(t.Context(), "claim_x")
		waited := r.Wait(t.Context(), ClaimsModel, 5)
		for _, err := range []error{err, waited} {
			e, ok := err.(*domain.Error)
			if !ok || e.Code != domain.CodeServiceUnavailable || !strings.Contains(e.Message, want) || strings.Contains(e.Message, "generations") {
				t.Errorf("%v, not %q", err, want)
			}
		}
	}
	exec := func(sql string) {
		t.Helper()
		if _, err := pool.Exec(context.Background(), sql); err != nil {
			t.Fatal(err)
		}
	}
	check("has to be rebuilt") // nothing there at all
	if err := Setup(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	exec("UPDATE projections.generations SET version = 7 WHERE model = 'claims'")
	check("has version 7")
	exec("UPDATE projections.generations SET version = 1")
	exec("DROP SCHEMA model_claims_v1_g1 CASCADE")
	if _, _, err := r.Claim(t.Context(), "claim_x"); domain.ErrorCode(err) != domain.CodeServiceUnavailable {
		t.Error(err)
	}
	exec("DELETE FROM projections.generations")
	check("has to be rebuilt")
	pool.Reset()
	exec("DROP SCHEMA projections CASCADE")
	check("has to be rebuilt")
}

// TestDroppedModelsBeginAnew drops everything under running projectors: they wait, and
// go on once it is set up again.
func TestDroppedModelsBeginAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 20)
	w.steps(80)
	pool := newPool(t)
	r := newReader(t, pool)
	ps := NewProjectors(w.log, pool, nil)
	defer run(ps)()
	waitForAll(t, r, w.last())
	for _, drop := range []string{"DROP SCHEMA projections CASCADE", ""} {
		for _, m := range Models() {
			g, err := serving(t.Context(), pool, m.Name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := pool.Exec(t.Context(), in(g.schema, "DROP SCHEMA {schema} CASCADE")); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := pool.Exec(t.Context(), drop); err != nil {
			t.Fatal(err)
		}
		w.steps(20)
		eventually(t, "the projectors wait", func() bool {
			for _, s := range ps.Status() {
				if s.Waiting == "" || s.Stopped != "" {
					return false
				}
			}
			return true
		})
		if err := Setup(t.Context(), pool); err != nil {
			t.Fatal(err)
		}
		waitForAll(t, r, w.last())
		checkEqual(t, w, pool)
	}
}
