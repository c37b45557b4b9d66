package projections

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/domain"
)

// HistoryEvent is one event as it was recorded.
type HistoryEvent struct {
	Position      uint64
	Index         int // within the commit, from 0
	EventID       string
	Type          domain.EventType
	SchemaVersion int
	Namespace     string
	Kind          domain.Kind
	ClaimID       string // empty: not about a claim
	Actor         domain.Actor
	Time          time.Time
	CommitID      string
	CommitVersion uint64      // within the boundary
	Prev          domain.Hash // of the commit before it in the boundary
	Hash          domain.Hash // of the commit
	// Data is the text that was recorded; of the registry's events without the hashes
	// and the sealed secrets.
	Data json.RawMessage
}

// Place is where the event stands in the ledger.
func (e HistoryEvent) Place() HistoryPlace { return HistoryPlace{e.Position, e.Index} }

// HistoryPlace is an event's place in the ledger. It stays what it is whatever comes.
type HistoryPlace struct {
	Position uint64
	Index    int
}

// Moment is a moment of the ledger, by the position of a commit or by time; the zero
// Moment is none. Times count to the microsecond, which is as exact as they are kept.
type Moment struct {
	Position *uint64
	Time     *time.Time
}

// HistoryQuery selects a part of a namespace's history.
type HistoryQuery struct {
	Namespace string             // empty: the one that the claim is in
	ClaimID   string             // empty: any, and events that are about none
	Types     []domain.EventType // empty: any
	From, To  Moment             // both of them included
	Latest    bool               // newest first
	// After and Before are bounds in the order that was asked for, both of them left
	// out; nil: none.
	After, Before *HistoryPlace
	FromEnd       bool // the last of what is selected instead of the first
	Limit         int
}

// HistoryPage is a part of a history, in the order that was asked for.
type HistoryPage struct {
	Namespace string
	Events    []HistoryEvent
	// Next and Previous tell whether there is something after the last of the events
	// and before the first. Around an empty page nobody looks.
	Next, Previous bool
}

var (
	historyListSQL      = statement("history/list.sql")
	historyListTypesSQL = statement("history/list_types.sql")
	historyFromTimeSQL  = statement("history/from_time.sql")
	historyToTimeSQL    = statement("history/to_time.sql")
	namespaceOfClaimSQL = statement("history/namespace_of_claim.sql")
)

// History gives a part of a namespace's history, from both of its boundaries, in the
// order of the ledger or in the reverse.
func (r *Reader) History(ctx context.Context, q HistoryQuery) (HistoryPage, At, error) {
	var p HistoryPage
	if err := page(q.Limit, 0); err != nil {
		return p, At{}, err
	}
	at, err := r.read(ctx, HistoryModel, func(s snapshot) (err error) {
		if q.Namespace == "" {
			if q.Namespace, err = namespaceOfClaim(ctx, s, q.ClaimID); err != nil {
				return err
			}
		}
		p, err = q.page(ctx, s)
		return err
	})
	return p, at, err
}

func namespaceOfClaim(ctx context.Context, s snapshot, claimID string) (namespace string, err error) {
	err = s.row(ctx, namespaceOfClaimSQL, claimID).Scan(&namespace)
	if errors.Is(err, pgx.ErrNoRows) {
		err = domain.Errorf(domain.CodeNotFound, "There is no such claim.")
	}
	return namespace, err
}

func (q HistoryQuery) page(ctx context.Context, s snapshot) (HistoryPage, error) {
	p := HistoryPage{Namespace: q.Namespace}
	events, err := q.read(ctx, s, q.Limit+1)
	if err != nil {
		return p, err
	}
	more := len(events) > q.Limit
	p.Events = events[:min(len(events), q.Limit)]
	if q.FromEnd {
		slices.Reverse(p.Events)
	}
	less, err := q.behind(ctx, s, p.Events)
	if p.Next, p.Previous = more, less; q.FromEnd {
		p.Next, p.Previous = less, more
	}
	return p, err
}

// behind tells whether there is something on the side of a page from which it was read:
// where that is an end of the history, there is not.
func (q HistoryQuery) behind(ctx context.Context, s snapshot, events []HistoryEvent) (bool, error) {
	bound := q.After
	if q.FromEnd {
		bound = q.Before
	}
	if bound == nil || len(events) == 0 {
		return false, nil
	}
	if q.After, q.Before, q.FromEnd = nil, nil, !q.FromEnd; q.FromEnd {
		first := events[0].Place()
		q.Before = &first
	} else {
		last := events[len(events)-1].Place()
		q.After = &last
	}
	found, err := q.read(ctx, s, 1)
	return len(found) > 0, err
}

// read reads up to limit events, from the side on which q begins.
func (q HistoryQuery) read(ctx context.Context, s snapshot, limit int) ([]HistoryEvent, error) {
	sql, args := q.statement(limit)
	rows, err := s.query(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanHistoryEvent)
}

// statement has the conditions only where they apply: each combination has its own
// plan, on its own index.
func (q HistoryQuery) statement(limit int) (string, pgx.NamedArgs) {
	sql, order := historyListSQL, "ASC"
	if q.Latest != q.FromEnd {
		order = "DESC"
	}
	conditions, args := q.conditions()
	args["limit"] = limit
	if len(q.Types) > 0 {
		types := slices.Clone(q.Types)
		slices.Sort(types)
		sql, args["types"] = historyListTypesSQL, slices.Compact(types)
	}
	return strings.NewReplacer("{conditions}", strings.Join(conditions, " AND "), "{order}", order).Replace(sql), args
}

func (q HistoryQuery) conditions() ([]string, pgx.NamedArgs) {
	where, args := []string{"namespace = @namespace"}, pgx.NamedArgs{"namespace": q.Namespace}
	if q.ClaimID != "" {
		where, args["claim"] = append(where, "claim_id = @claim"), q.ClaimID
	}
	position := "position"
	if len(q.Types) > 0 {
		position = "(position + 0)" // as the index by type has it
	}
	lower, upper := q.After, q.Before
	if q.Latest {
		lower, upper = upper, lower
	}
	if lower != nil {
		where = append(where, "("+position+", index) > (@lower, @lower_index)")
		args["lower"], args["lower_index"] = clamp(lower.Position), lower.Index
	}
	if upper != nil {
		where = append(where, "("+position+", index) < (@upper, @upper_index)")
		args["upper"], args["upper_index"] = clamp(upper.Position), upper.Index
	}
	if p := q.From.Position; p != nil {
		where, args["from"] = append(where, position+" >= @from"), clamp(*p)
	}
	if p := q.To.Position; p != nil {
		where, args["to"] = append(where, position+" <= @to"), clamp(*p)
	}
	// A time is also turned into a position: rows are read in the order of positions,
	// and what lies outside need not be read to be left out.
	if t := q.From.Time; t != nil {
		where, args["from_time"] = append(where, "time >= @from_time AND "+position+" >= ("+historyFromTimeSQL+")"), micros(*t)
	}
	if t := q.To.Time; t != nil {
		where, args["to_time"] = append(where, "time <= @to_time AND "+position+" <= ("+historyToTimeSQL+")"), micros(*t)
	}
	return where, args
}

// micros is a time as the database keeps it.
func micros(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func scanHistoryEvent(row pgx.CollectableRow) (HistoryEvent, error) {
	var e HistoryEvent
	var claimID *string
	var prev, hash, data []byte
	err := row.Scan(&e.Position, &e.Index, &e.EventID, &e.Type, &e.SchemaVersion, &e.Namespace, &e.Kind, &claimID,
		&e.Actor.Kind, &e.Actor.ID, &e.Actor.Agent, &e.Time, &e.CommitID, &e.CommitVersion, &prev, &hash, &data)
	if err != nil {
		return e, err
	}
	if claimID != nil {
		e.ClaimID = *claimID
	}
	e.Time, e.Data = e.Time.UTC(), data
	e.Prev, e.Hash = domain.Hash(prev), domain.Hash(hash)
	return e, nil
}
