package api

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/projections"
)

// Bounds of a page of a history.
const defaultHistoryLimit, maxHistoryLimit = 100, 500

const (
	oldestFirst = "asc"
	newestFirst = "desc"
)

type historyEvent struct {
	ID        string           `json:"id"`
	Type      domain.EventType `json:"type"`
	Version   int              `json:"version"`
	Position  string           `json:"position"`
	Cursor    string           `json:"cursor"`
	Namespace string           `json:"namespace"`
	ClaimID   string           `json:"claim_id,omitempty"`
	Actor     domain.Actor     `json:"actor"`
	Time      time.Time        `json:"time"`
	Summary   string           `json:"summary"`
	Data      any              `json:"data"`
	Commit    historyCommit    `json:"commit"`
}

// historyCommit is what an auditor needs to find the event's commit and to check that
// nothing stands between it and the one before.
type historyCommit struct {
	ID       string      `json:"id"`
	Boundary domain.Kind `json:"boundary"`
	Version  uint64      `json:"version"`
	Prev     domain.Hash `json:"prev"`
	Hash     domain.Hash `json:"hash"`
}

func renderEvent(e projections.HistoryEvent) historyEvent {
	return historyEvent{
		ID: e.EventID, Type: e.Type, Version: e.SchemaVersion, Position: strconv.FormatUint(e.Position, 10),
		Cursor: formatCursor(e.Place()), Namespace: e.Namespace, ClaimID: e.ClaimID, Actor: e.Actor, Time: e.Time,
		Summary: domain.SummaryOf(e.Actor, e.Namespace, e.Type, e.SchemaVersion, e.Data), Data: e.Data,
		Commit: historyCommit{ID: e.CommitID, Boundary: e.Kind, Version: e.CommitVersion, Prev: e.Prev, Hash: e.Hash},
	}
}

// HistoryLine is an event as a line of a history in NDJSON has it, for who shows the log
// without the API.
func HistoryLine(e projections.HistoryEvent) any { return renderEvent(e) }

// historyPagination tells how to go on: Next is for after, Previous for before, and
// where one is not there, neither is the page.
type historyPagination struct {
	Limit    int    `json:"limit"`
	Order    string `json:"order"`
	Next     string `json:"next,omitempty"`
	Previous string `json:"previous,omitempty"`
}

type historyBody struct {
	Events     []historyEvent    `json:"events"`
	Pagination historyPagination `json:"pagination"`
}

func renderHistory(q projections.HistoryQuery, p projections.HistoryPage) historyBody {
	body := historyBody{make([]historyEvent, len(p.Events)), historyPagination{Limit: q.Limit, Order: oldestFirst}}
	for i, e := range p.Events {
		body.Events[i] = renderEvent(e)
	}
	if q.Latest {
		body.Pagination.Order = newestFirst
	}
	if p.Next {
		body.Pagination.Next = body.Events[len(body.Events)-1].Cursor
	}
	if p.Previous {
		body.Pagination.Previous = body.Events[0].Cursor
	}
	return body
}

// historyRequest is what a request asks of a history.
type historyRequest struct {
	query   projections.HistoryQuery
	lines   bool // as NDJSON
	limited bool // a limit was given
}

// readHistory reads what the requests for histories have in common.
func readHistory(c *call, q *query) historyRequest {
	h := historyRequest{lines: wantsLines(c.r), limited: q.values.Has("limit")}
	h.query = projections.HistoryQuery{
		Types: q.eventTypes("type"),
		From:  q.moment("from"), To: q.moment("to"),
		After: q.cursor("after"), Before: q.cursor("before"),
		Limit: q.number("limit", defaultHistoryLimit, 1, maxHistoryLimit),
	}
	if q.values.Has("after") && q.values.Has("before") {
		q.Add("before", "must not be given together with after")
	}
	if reversed(h.query.From, h.query.To) {
		q.Add("to", "must not be before from")
	}
	switch order := q.text("order"); {
	case order == newestFirst:
		h.query.Latest = true
	case order != oldestFirst && q.values.Has("order"):
		q.Add("order", "must be asc or desc")
	}
	h.query.FromEnd = h.query.Before != nil
	return h
}

func reversed(from, to projections.Moment) bool {
	return from.Position != nil && to.Position != nil && *from.Position > *to.Position ||
		from.Time != nil && to.Time != nil && from.Time.After(*to.Time)
}

// namespaceEvents answers the history of a namespace.
func (s *Server) namespaceEvents(c *call) (action, error) {
	q, err := readQuery(c.r)
	if err != nil {
		return nil, err
	}
	h := readHistory(c, q)
	h.query.Namespace, h.query.ClaimID = c.owner.namespace, q.claimID("claim_id")
	wait, err := s.readAfter(c, projections.HistoryModel)
	if err := allWrong(q.Err(), err); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		if err := c.owner.owns(c.path("namespace")); err != nil {
			return answer{}, err
		}
		if err := wait(ctx); err != nil {
			return answer{}, err
		}
		return s.answerHistory(ctx, c, h)
	}, nil
}

// claimEvents answers the history of a claim.
func (s *Server) claimEvents(c *call) (action, error) {
	q, err := readQuery(c.r)
	if err != nil {
		return nil, err
	}
	h := readHistory(c, q)
	h.query.ClaimID = c.path("claim")
	wait, err := s.readAfter(c, projections.HistoryModel)
	if err := allWrong(q.Err(), err); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		if err := wait(ctx); err != nil {
			return answer{}, err
		}
		return s.answerHistory(ctx, c, h)
	}, nil
}

func (s *Server) answerHistory(ctx context.Context, c *call, h historyRequest) (answer, error) {
	query := h.query
	if h.lines && !h.limited {
		// All of it, page by page: also what comes before a cursor begins at its start.
		query.Limit, query.FromEnd = maxHistoryLimit, false
	}
	page, at, err := s.config.Reads.History(ctx, query)
	if domain.ErrorCode(err) == domain.CodeNotFound {
		s.catchUp(ctx, projections.HistoryModel)
		page, at, err = s.config.Reads.History(ctx, query)
	}
	switch {
	case err != nil:
		return answer{position: at.Position}, err
	case page.Namespace != c.owner.namespace:
		return answer{position: at.Position}, errOtherOwner
	case !h.lines:
		return answer{position: at.Position, body: renderHistory(query, page)}, nil
	}
	query.Namespace, query.To = page.Namespace, upTo(query.To, at.Position)
	rest := &historyLines{reads: s.config.Reads, query: query, page: page, end: h.limited}
	return answer{position: at.Position, lines: rest.next}, nil
}

// upTo bounds a history by the position at which it is first read, so that its end does
// not run ahead of who reads it.
func upTo(to projections.Moment, position uint64) projections.Moment {
	if to.Position == nil || *to.Position > position {
		to.Position = &position
	}
	return to
}

// historyLines is a history that is read page by page.
type historyLines struct {
	reads *projections.Reader
	query projections.HistoryQuery
	page  projections.HistoryPage // that goes out next, when it has events
	end   bool                    // nothing is read after it
}

// next gives the next lines, none at the end.
func (h *historyLines) next(ctx context.Context) ([]any, error) {
	if len(h.page.Events) == 0 && !h.end {
		page, _, err := h.reads.History(ctx, h.query)
		if err != nil {
			return nil, err
		}
		h.page = page
	}
	lines := make([]any, len(h.page.Events))
	for i, e := range h.page.Events {
		lines[i] = renderEvent(e)
	}
	if n := len(h.page.Events); n > 0 {
		last := h.page.Events[n-1].Place()
		h.query.After = &last
	}
	h.end = h.end || !h.page.Next
	h.page.Events = nil
	return lines, nil
}

// eventTypes reads a list of event types: given again and again, or with commas.
func (q *query) eventTypes(name string) (types []domain.EventType) {
	known := domain.EventTypes()
	for _, value := range q.values[name] {
		for text := range strings.SplitSeq(value, ",") {
			t := domain.EventType(text)
			if _, ok := known[t]; !ok {
				q.Add(name, "must be types of events, such as claim.approved, with commas between them")
				return nil
			}
			if !slices.Contains(types, t) {
				types = append(types, t)
			}
		}
	}
	return types
}

// claimID reads the id of a claim.
func (q *query) claimID(name string) string {
	id := q.text(name)
	if q.values.Has(name) && !claimIDPattern.MatchString(id) {
		q.Add(name, "must be a claim's id, as submit answers it")
	}
	return id
}

// moment reads a position, or a time as in RFC 3339.
func (q *query) moment(name string) (m projections.Moment) {
	if !q.values.Has(name) {
		return m
	}
	text := q.text(name)
	if position, err := strconv.ParseUint(text, 10, 64); err == nil && strconv.FormatUint(position, 10) == text {
		m.Position = &position
		return m
	}
	t, err := domain.ParseTime(text)
	if err != nil {
		q.Add(name, "must be a position, or a time such as 2030-01-31T12:00:00Z (in a query, + is %2B)")
		return m
	}
	t = t.UTC().Truncate(time.Microsecond)
	m.Time = &t
	return m
}
