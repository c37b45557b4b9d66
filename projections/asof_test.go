package projections

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// listOf is a page of a namespace's claims by the fold.
func (f *fold) listOf(q ClaimsQuery) ClaimsPage {
	p := ClaimsPage{Claims: []Claim{}}
	for _, id := range slices.Backward(f.newest) {
		c := f.claims[id]
		if c.Namespace != q.Namespace || q.Status != "" && c.Status != q.Status || q.Service != "" && c.Service != q.Service {
			continue
		}
		if p.Total++; p.Total > q.Offset && len(p.Claims) < q.Limit {
			p.Claims = append(p.Claims, *c)
		}
	}
	return p
}

// The state as of a position is what a replay of the log up to there gives: at each of
// a hundred positions, for every filter and page; and the same by the time of a commit.
func TestClaimsAsOf(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 7)
	w.steps(600)
	pool := newPool(t)
	catchUp(t, w.log, pool)
	r, ctx, last := newReader(t, pool), t.Context(), w.last()
	chosen := map[uint64]bool{0: true, last: true}
	for len(chosen) < 100 {
		chosen[uint64(w.rand.Int64N(int64(last+1)))] = true
	}
	f := newFold()
	compare := func(position uint64) {
		for _, name := range append(slices.Clone(w.names), "nobody") {
			for range 1 + w.rand.IntN(2) {
				q := ClaimsQuery{Namespace: name, Limit: 1 + w.rand.IntN(30), Offset: w.rand.IntN(10)}
				q.Status, _ = pick(w, append([]domain.Status{""}, domain.Statuses...))
				q.Service, _ = pick(w, []string{"", "slug-0", "slug-1"})
				compareAsOf(t, r, q, Moment{Position: &position}, f, position)
			}
			q := ClaimsQuery{Namespace: name, Limit: MaxPage}
			compareAsOf(t, r, q, Moment{Position: &position}, f, position)
			if moment, ok := w.timeOf(name, position); ok {
				compareAsOf(t, r, q, Moment{Time: &moment}, f, w.lastOn(name, moment))
			}
		}
	}
	compare(0)
	err := w.log.ReadAll(ctx, "", 0, func(rec eventstore.Record) error {
		for i, e := range rec.Commit.Events {
			f.event(rec, i, e)
		}
		if chosen[rec.Position] {
			compare(rec.Position)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// As it is now is what the list of claims says.
	for _, name := range w.names {
		q := ClaimsQuery{Namespace: name, Limit: MaxPage}
		now, _, err := r.Claims(ctx, q)
		was, _, err2 := r.ClaimsAsOf(ctx, q, Moment{Position: &last})
		if err != nil || err2 != nil || show(now) != show(was) {
			t.Errorf("%s: %v, %v\n now %s\n was %s", name, err, err2, show(now), show(was))
		}
	}
}

func compareAsOf(t *testing.T, r *Reader, q ClaimsQuery, m Moment, f *fold, of uint64) {
	t.Helper()
	got, at, err := r.ClaimsAsOf(t.Context(), q, m)
	if want := f.listOf(q); err != nil || at.Position != of || show(got) != show(want) {
		t.Fatalf("%+v as of %s: at %d instead of %d, %v\n got %s\nwant %s", q, show(m), at.Position, of, err, show(got), show(want))
	}
}

// timeOf is a time at which a namespace's claims were as they are at a position: that of
// the last commit on them, unless the next was made at the same time.
func (w *world) timeOf(name string, position uint64) (at time.Time, ok bool) {
	w.eachOf(name, func(rec eventstore.Record) {
		switch moment := micro(rec.Commit.Time); {
		case rec.Position <= position:
			at, ok = moment, true
		case moment.Equal(at):
			ok = false
		}
	})
	return at, ok
}

// lastOn is the position of a namespace's last commit on claims up to a time.
func (w *world) lastOn(name string, moment time.Time) (position uint64) {
	w.eachOf(name, func(rec eventstore.Record) {
		if !micro(rec.Commit.Time).After(moment) {
			position = rec.Position
		}
	})
	return position
}

func (w *world) eachOf(name string, f func(eventstore.Record)) {
	w.t.Helper()
	err := w.log.ReadAll(context.Background(), domain.KindClaims, 0, func(rec eventstore.Record) error {
		if rec.Commit.Namespace == name {
			f(rec)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestClaimsAsOfEdges(t *testing.T) {
	t.Parallel()
	w, _, _ := crowd(t, 4)
	pool := newPool(t)
	catchUp(t, w.log, pool)
	r := newReader(t, pool)
	q, before, never := ClaimsQuery{Namespace: w.names[0], Limit: 5}, w.now.Add(-time.Hour), uint64(0)
	for _, m := range []Moment{{Position: &never}, {Time: &before}} {
		if p, at, err := r.ClaimsAsOf(t.Context(), q, m); err != nil || at.Position != 0 || p.Total != 0 || p.Claims == nil || len(p.Claims) > 0 {
			t.Errorf("before the namespace: %+v at %d, %v", p, at.Position, err)
		}
	}
	next := w.last() + 1
	_, _, err := r.ClaimsAsOf(t.Context(), q, Moment{Position: &next})
	if want := fmt.Sprintf("is at position %d, 1 commits behind position %d", w.last(), next); domain.ErrorCode(err) != domain.CodeStaleRead || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	if _, _, err := r.ClaimsAsOf(t.Context(), ClaimsQuery{Namespace: "n", Limit: 0}, Moment{Position: &never}); domain.ErrorCode(err) != domain.CodeInvalidRequest {
		t.Errorf("no limit: %v", err)
	}
}
