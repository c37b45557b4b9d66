package projections

import (
	"encoding/json"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/domain"
)

// selected is what a query selects of a namespace's history, whole and in its order.
func (q HistoryQuery) selected(all []HistoryEvent) []HistoryEvent {
	list := []HistoryEvent{}
	for _, e := range all {
		from := (q.From.Position == nil || e.Position >= *q.From.Position) && (q.From.Time == nil || !e.Time.Before(*q.From.Time))
		to := (q.To.Position == nil || e.Position <= *q.To.Position) && (q.To.Time == nil || !e.Time.After(*q.To.Time))
		if from && to && (q.ClaimID == "" || q.ClaimID == e.ClaimID) && (len(q.Types) == 0 || slices.Contains(q.Types, e.Type)) {
			list = append(list, e)
		}
	}
	if q.Latest {
		slices.Reverse(list)
	}
	return list
}

// randomQuery is filters and an order that find something now and then.
func (w *world) randomQuery(all []HistoryEvent) HistoryQuery {
	types := []domain.EventType{domain.ClaimApprovedType, domain.ClaimSubmittedType, domain.PolicyChangedType, domain.NamespaceActivatedType}
	q := HistoryQuery{Latest: w.rand.IntN(2) == 0, Limit: 1 + w.rand.IntN(40)}
	for range w.rand.IntN(3) {
		eventType, _ := pick(w, types)
		q.Types = append(q.Types, eventType)
	}
	moment := func() (m Moment) {
		e, _ := pick(w, all)
		switch w.rand.IntN(4) {
		case 0:
			m.Position = &e.Position
		case 1:
			m.Time = &e.Time
		}
		return m
	}
	q.From, q.To = moment(), moment()
	if e, _ := pick(w, all); w.rand.IntN(6) == 0 {
		q.ClaimID = e.ClaimID
	}
	return q
}

// Going through a history page by page, there and back, gives each of its events once
// and in order, whatever it is filtered by.
func TestPagesOfHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 11)
	w.steps(500)
	pool := newPool(t)
	catchUp(t, w.log, pool)
	r, f := newReader(t, pool), foldLog(t, w.log, w.last())
	for n := range 150 {
		name, _ := pick(w, w.names)
		q := w.randomQuery(f.spaces[name])
		if n == 0 {
			q = HistoryQuery{Limit: 3}
		}
		q.Namespace = name
		want := q.selected(f.spaces[name])
		there := walk(t, r, q, false)
		if show(there) != show(want) {
			t.Fatalf("%s:\n got %s\nwant %s", show(q), show(there), show(want))
		}
		q.FromEnd = true
		back := walk(t, r, q, true)
		slices.Reverse(back)
		if show(back) != show(want) {
			t.Fatalf("back, %s:\n got %s\nwant %s", show(q), show(back), show(want))
		}
	}
}

// walk goes through a history from one end to the other. Each page knows whether there
// is another on either side.
func walk(t *testing.T, r *Reader, q HistoryQuery, back bool) []HistoryEvent {
	t.Helper()
	list := []HistoryEvent{}
	for {
		p, _, err := r.History(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		behind, ahead := p.Previous, p.Next
		if back {
			behind, ahead = ahead, behind
			slices.Reverse(p.Events)
		}
		if behind != (len(list) > 0 && len(p.Events) > 0) {
			t.Fatalf("%s: after %d events something is behind: %t", show(q), len(list), behind)
		}
		list = append(list, p.Events...)
		if !ahead {
			return list
		}
		if len(p.Events) != q.Limit {
			t.Fatalf("%s: a page of %d that is not the last", show(q), len(p.Events))
		}
		place := list[len(list)-1].Place()
		if q.After = &place; back {
			q.After, q.Before = nil, &place
		}
	}
}

func TestHistoryOutOfBounds(t *testing.T) {
	t.Parallel()
	w, _, _ := crowd(t, 2)
	pool := newPool(t)
	catchUp(t, w.log, pool)
	r := newReader(t, pool)
	for _, limit := range []int{0, -1, MaxPage + 1} {
		if _, _, err := r.History(t.Context(), HistoryQuery{Namespace: "n", Limit: limit}); domain.ErrorCode(err) != domain.CodeInvalidRequest {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
	far, ancient := uint64(math.MaxUint64), time.Time{}
	for _, q := range []HistoryQuery{
		{After: &HistoryPlace{math.MaxUint64, math.MaxInt32}}, {From: Moment{Position: &far}}, {To: Moment{Time: &ancient}},
		{Before: &HistoryPlace{}}, {Before: &HistoryPlace{}, FromEnd: true}, {Types: []domain.EventType{"none"}}, {ClaimID: "claim_none"},
	} {
		q.Namespace, q.Limit = w.names[0], 10
		if p, _, err := r.History(t.Context(), q); err != nil || len(p.Events) != 0 || p.Events == nil || p.Next || p.Previous {
			t.Errorf("%s: %s, %v", show(q), show(p), err)
		}
	}
}

// A page is read from the index that holds just its kind of rows: it costs the same
// whatever else there is, here many events of another namespace.
func TestHistoryReadsNoMoreThanAPage(t *testing.T) {
	t.Parallel()
	w, _, ids := crowd(t, 30)
	pool := newPool(t)
	catchUp(t, w.log, pool)
	g, err := serving(t.Context(), pool, HistoryModel)
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`INSERT INTO {schema}.events SELECT 1000000 + n, 0, 'evt' || n, 'claim.submitted', 1, 'others', 'claims', 'c' || n, 's', 'owner', '', '',
		 timestamptz '2026-03-02' + n * interval '1 s', 'c', n, '', '', '{}' FROM generate_series(1, 100000) n`,
		// A sample may miss a rare type: the planner then takes every row for one of the type
		// that is asked for.
		`ALTER TABLE {schema}.events ALTER COLUMN type SET (n_distinct = 1)`,
		`ANALYZE {schema}.events`,
	} {
		if _, err := pool.Exec(t.Context(), in(g.schema, sql)); err != nil {
			t.Fatal(err)
		}
	}
	moment, position := w.now.Add(-time.Minute), uint64(5)
	for _, q := range []HistoryQuery{
		{}, {Latest: true}, {ClaimID: ids[0]}, {After: &HistoryPlace{5, 0}}, {Types: []domain.EventType{domain.PolicyChangedType}},
		{Types: []domain.EventType{domain.PolicyChangedType, domain.ClaimExpiredType}, Latest: true},
		{From: Moment{Time: &moment}}, {To: Moment{Time: &moment}, Latest: true}, {From: Moment{Position: &position}},
	} {
		for _, name := range []string{w.names[0], "others"} {
			q.Namespace = name
			if n, plan := blocksRead(t, pool, g.schema, q); n > 150 {
				t.Errorf("%s reads %d blocks for a page of ten: %s", show(q), n, plan)
			}
		}
	}
}

// blocksRead is how many blocks PostgreSQL looks at for a page of ten.
func blocksRead(t *testing.T, pool *pgxpool.Pool, schema string, q HistoryQuery) (int, []byte) {
	t.Helper()
	sql, args := q.statement(10)
	var text []byte
	err := pool.QueryRow(t.Context(), "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) "+in(schema, sql), args).Scan(&text)
	var explained []struct {
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		}
	}
	if err == nil {
		err = json.Unmarshal(text, &explained)
	}
	if err != nil {
		t.Fatal(err)
	}
	return explained[0].Plan.Hit + explained[0].Plan.Read, text
}
