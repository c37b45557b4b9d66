package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// FeedClaim is an approved claim on the service of the service key.
type FeedClaim struct {
	ClaimID    string     `json:"claim_id"`
	Namespace  string     `json:"namespace"`
	PublicKey  string     `json:"public_key"`
	Service    string     `json:"service"`
	ServiceID  string     `json:"service_id"`
	ApprovedAt time.Time  `json:"approved_at"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"` // from when on it is refused, whether or not a change was told
	Subject    string     `json:"subject,omitempty"`
	AgentID    string     `json:"agent_id,omitempty"`
	AgentName  string     `json:"agent_name,omitempty"`
}

// FeedQuery selects of the approved claims, oldest approval first.
type FeedQuery struct {
	Service string // the slug of the key's service, or empty
	Limit   int    // at most 2,000; 0: 500
	Offset  int
	Cursor  string // the NextCursor of the page before; not together with Offset
	// IfNoneMatch is the ETag of a page that the caller has.
	IfNoneMatch string
}

// FeedPage is a page of the approved claims.
type FeedPage struct {
	Claims     []FeedClaim    `json:"claims"`
	Pagination FeedPagination `json:"pagination"`

	Position    uint64 `json:"-"` // of the state that it is from
	ETag        string `json:"-"`
	NotModified bool   `json:"-"` // what the caller has still holds, and nothing else is here
}

// FeedPagination is where in the feed a page is.
type FeedPagination struct {
	Pagination
	NextCursor string `json:"next_cursor,omitempty"` // empty: it is the last
}

// FeedChange is a change of the approved set.
type FeedChange struct {
	Op       string    `json:"op"` // OpAdd or OpRemove
	Claim    FeedClaim `json:"claim"`
	Position uint64    `json:"position,string"`
}

// What a FeedChange does to the set.
const (
	OpAdd    = "add"
	OpRemove = "remove"
)

// FeedChanges is what changed, in order.
type FeedChanges struct {
	Changes  []FeedChange `json:"changes"`
	Position uint64       `json:"position,string"` // up to where that is all: since for the next
}

func feedCall(operation string, path ...string) call {
	return call{
		operation: operation, method: http.MethodGet, path: append([]string{"v1", "namespaces", "claims"}, path...),
		shows: signatureAndKey, query: url.Values{}, header: http.Header{},
	}
}

// GetFeed reads a page of the approved claims on the service of the service key.
func (c *Client) GetFeed(ctx context.Context, q FeedQuery, options ...Option) (FeedPage, error) {
	call := feedCall("getFeed")
	set(call.query, "service", q.Service)
	set(call.query, "cursor", q.Cursor)
	Page{q.Limit, q.Offset}.add(call.query)
	if q.IfNoneMatch != "" {
		call.header.Set("If-None-Match", q.IfNoneMatch)
	}
	var page FeedPage
	call.into = &page
	answer, err := c.do(ctx, call, options)
	page.Position, page.ETag, page.NotModified = answer.Position, answer.ETag, answer.Status == http.StatusNotModified
	if known := page.NotModified && q.IfNoneMatch != ""; err == nil && page.Claims == nil && !known {
		err = fmt.Errorf("%s: %w: it has no claims", call.operation, errOther)
	}
	return page, err
}

// AllFeed reads the approved claims by cursor: none that is approved throughout is left
// out or comes twice, whatever changes meanwhile. It ends after the first error. To follow
// on from there, use Cache, or GetFeed and the position of the first page.
func (c *Client) AllFeed(ctx context.Context, q FeedQuery, options ...Option) iter.Seq2[FeedClaim, error] {
	return func(yield func(FeedClaim, error) bool) {
		for {
			page, err := c.GetFeed(ctx, q, options...)
			if err != nil {
				yield(FeedClaim{}, err)
				return
			}
			for _, claim := range page.Claims {
				if !yield(claim, nil) {
					return
				}
			}
			if page.Pagination.NextCursor == "" {
				return
			}
			q.Cursor, q.Offset = page.Pagination.NextCursor, 0
		}
	}
}

// ChangesQuery is from where on changes are asked for.
type ChangesQuery struct {
	Service string // the slug of the key's service, or empty
	Since   uint64
	Wait    time.Duration // for a change to come, in whole seconds up to 60
}

// GetFeedChanges reads what entered and left the approved set after a position. A position
// too old to serve is an Error with the code RESYNC: then read the whole feed. What does
// not say up to where it tells everything is an error too, whoever answered it with 200.
func (c *Client) GetFeedChanges(ctx context.Context, q ChangesQuery, options ...Option) (FeedChanges, error) {
	call := feedCall("getFeedChanges", "changes")
	set(call.query, "service", q.Service)
	call.query.Set("since", strconv.FormatUint(q.Since, 10))
	if q.Wait > 0 {
		call.query.Set("wait", strconv.Itoa(int(q.Wait/time.Second)))
		call.longer = q.Wait
	}
	read, err := fetch[struct {
		Changes  []FeedChange `json:"changes"`
		Position *uint64      `json:"position,string"`
	}](ctx, c, call, options)
	switch {
	case err != nil:
		return FeedChanges{}, err
	case read.Changes == nil || read.Position == nil:
		return FeedChanges{}, fmt.Errorf("%s: %w: it has no changes or no position", call.operation, errOther)
	case *read.Position < q.Since:
		return FeedChanges{}, fmt.Errorf("%s: %w: it is of position %d, before the one that was asked from, %d", call.operation, errOther, *read.Position, q.Since)
	}
	for _, change := range read.Changes {
		if err := change.complete(); err != nil {
			return FeedChanges{}, fmt.Errorf("%s: %w", call.operation, err)
		}
	}
	return FeedChanges{read.Changes, *read.Position}, nil
}

// complete tells whether it says of what it is a change, and when.
func (c *FeedChange) complete() error {
	if c.Position == 0 || c.Claim.ClaimID == "" {
		return fmt.Errorf("%w: a change has no position or no claim_id", errOther)
	}
	return nil
}

const (
	eventStream = "text/event-stream"
	// maxEvent bounds one event of a stream, which is one claim.
	maxEvent = 64 << 10
	// maxAge bounds the age that a heartbeat tells, so that it can be reckoned with.
	maxAge = 365 * 24 * time.Hour
)

// FeedEvent is one event of a stream: a change, or the word that up to Position there was
// no other.
type FeedEvent struct {
	Change *FeedChange // nil: a heartbeat
	// Position is up to where the stream has told everything; 0 within a commit, of which
	// more changes follow.
	Position uint64
	// Age, of a heartbeat, is how long ago Position was all that the ledger held.
	Age time.Duration
}

// FeedStream is changes as they happen. Next and Close are for one goroutine each.
type FeedStream struct {
	operation string
	body      io.ReadCloser
	cancel    context.CancelCauseFunc
	idle      *time.Timer // ends the stream when it is silent for too long
	silence   time.Duration
	lines     *bufio.Scanner
}

var (
	// errNoStream says that what answers is no stream, whatever it is.
	errNoStream = errors.New("the answer is not a stream of events")
	errSilent   = errors.New("the stream is silent")
	errClosed   = errors.New("the stream was closed")
)

// StreamFeedChanges follows what enters and leaves the approved set after q.Since. The
// ledger sends a heartbeat every 10 seconds; a stream that is silent for longer than
// silence (0: for ever) ends. It is opened once, and not again when it ends.
func (c *Client) StreamFeedChanges(ctx context.Context, q ChangesQuery, silence time.Duration, options ...Option) (*FeedStream, error) {
	call := feedCall("getFeedChanges", "changes")
	set(call.query, "service", q.Service)
	call.header.Set("Accept", eventStream)
	call.header.Set("Last-Event-Id", strconv.FormatUint(q.Since, 10))
	if _, err := c.prepare(&call, options); err != nil {
		return nil, fmt.Errorf("%s: %w", call.operation, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	s := &FeedStream{operation: call.operation, cancel: cancel, silence: silence}
	s.idle = time.AfterFunc(max(silence, c.config.Timeout), func() { cancel(errSilent) })
	answer, err := c.send(ctx, &call, nil)
	if err != nil {
		s.idle.Stop()
		cancel(errClosed)
		return nil, err
	}
	s.body = answer.Body
	if media, _, _ := strings.Cut(answer.Header.Get("Content-Type"), ";"); answer.StatusCode != http.StatusOK || strings.TrimSpace(media) != eventStream {
		s.Close()
		return nil, fmt.Errorf("%s: %w", call.operation, errNoStream)
	}
	s.lines = bufio.NewScanner(s.body)
	s.lines.Buffer(make([]byte, 0, 4<<10), maxEvent)
	s.heard()
	return s, nil
}

// allow sets how long the stream may be silent from now on.
func (s *FeedStream) allow(silence time.Duration) {
	s.silence = silence
	s.heard()
}

func (s *FeedStream) heard() {
	if s.silence > 0 {
		s.idle.Reset(s.silence)
	} else {
		s.idle.Stop()
	}
}

// Close ends the stream, and what Next waits for.
func (s *FeedStream) Close() error {
	s.idle.Stop()
	s.cancel(errClosed)
	return s.body.Close()
}

// Next waits for the next event. io.EOF says that the ledger has ended the stream; to open
// it again tells why.
func (s *FeedStream) Next() (FeedEvent, error) {
	var kind, id string
	var data []byte
	for s.lines.Scan() {
		line := s.lines.Bytes()
		if len(line) > 0 {
			name, value, _ := bytes.Cut(line, []byte(":"))
			value = bytes.TrimPrefix(value, []byte(" "))
			switch string(name) {
			case "event":
				kind = string(value)
			case "id":
				id = string(value)
			case "data":
				data = append(data, value...)
			}
			continue
		}
		s.heard()
		if event, known, err := readEvent(kind, id, data); known || err != nil {
			return event, err
		}
		kind, id, data = "", "", nil // of a kind that there was not when this was written
	}
	if err := s.lines.Err(); err != nil {
		return FeedEvent{}, fmt.Errorf("%s: the stream broke: %w", s.operation, err)
	}
	return FeedEvent{}, io.EOF
}

func readEvent(kind, id string, data []byte) (e FeedEvent, known bool, err error) {
	switch kind {
	case "change":
		e.Change = new(FeedChange)
		if err := json.Unmarshal(data, e.Change); err != nil {
			return FeedEvent{}, false, fmt.Errorf("a change of the stream cannot be read: %w", err)
		}
		if err := e.Change.complete(); err != nil {
			return FeedEvent{}, false, err
		}
		if id != "" {
			e.Position, err = strconv.ParseUint(id, 10, 64)
		}
	case "heartbeat":
		var beat struct {
			Position *uint64  `json:"position,string"`
			Age      *float64 `json:"age"` // seconds
		}
		if err := json.Unmarshal(data, &beat); err != nil {
			return FeedEvent{}, false, fmt.Errorf("a heartbeat of the stream cannot be read: %w", err)
		}
		if beat.Position == nil || beat.Age == nil || *beat.Age < 0 {
			return FeedEvent{}, false, fmt.Errorf("%w: a heartbeat has no position or no age", errOther)
		}
		e.Position, e.Age = *beat.Position, time.Duration(min(*beat.Age, maxAge.Seconds())*float64(time.Second))
	default:
		return e, false, nil
	}
	return e, err == nil, err
}
