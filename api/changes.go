package api

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/projections"
)

const (
	// maxWait is how long a caller may wait for changes, in seconds: proxies and
	// load balancers give up on silence a little later.
	maxWait = 60

	eventStream     = "text/event-stream"
	lastEventHeader = "Last-Event-ID"
	invalidSince    = "must be a position, as in " + positionHeader
)

// changesQuery is what a caller wants to know of its service's approved set.
type changesQuery struct {
	since  uint64
	wait   time.Duration
	stream bool
}

// changes answers what entered and left the approved set of the caller's service: at
// once, as soon as there is something, or on and on.
func (s *Server) changes(c *call) (action, error) {
	q, err := readQuery(c.r)
	if err != nil {
		return nil, err
	}
	slug := q.slug()
	// HEAD asks what the answer to GET would begin with.
	cq := changesQuery{stream: c.r.Method == http.MethodGet && accepts(c.r, eventStream)}
	cq.wait = time.Duration(q.number("wait", 0, 0, maxWait)) * time.Second
	cq.since = q.since(c.r, cq.stream)
	wait, err := s.readModel(c, projections.FeedModel, c.service.namespace)
	if err := allWrong(q.Err(), err); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		if err := c.service.is(slug); err != nil {
			return answer{}, err
		}
		if err := wait(ctx); err != nil {
			return answer{}, err
		}
		if err := s.reached(ctx, cq.since); err != nil {
			return answer{}, err
		}
		return s.once(c, func() (answer, error) { return s.answerChanges(ctx, c, cq) })
	}, nil
}

// since reads where changes begin. A stream that is resumed says so in its own header,
// which counts more than the address that it was first opened with.
func (q *query) since(r *http.Request, stream bool) uint64 {
	id, given := soleHeader(r, lastEventHeader)
	var last, since uint64
	if given {
		last = q.position(lastEventHeader, id) // wrong is wrong, whether or not it counts
	}
	if q.values.Has("since") {
		since = q.position("since", q.text("since"))
	}
	switch {
	case given && stream:
		return last
	case !q.values.Has("since"):
		q.Add("since", "is required")
	}
	return since
}

func (q *query) position(name, text string) uint64 {
	position, err := strconv.ParseUint(text, 10, 64)
	if err != nil || strconv.FormatUint(position, 10) != text || position > math.MaxInt64 {
		q.Add(name, invalidSince)
	}
	return position
}

// reached waits until the feed holds a position that some answer told, and refuses one
// that the ledger does not have.
func (s *Server) reached(ctx context.Context, since uint64) error {
	if since > s.commands.Position() {
		if err := s.commands.Sync(ctx); err != nil {
			return err
		}
		if since > s.commands.Position() {
			var v domain.Violations
			v.Add("since", "lies in the future")
			return v.Err()
		}
	}
	return s.wait(ctx, projections.FeedModel, since, minPositionWait)
}

// accepts tells whether a caller asks for a media type by its name.
func accepts(r *http.Request, wanted string) bool {
	for _, header := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(header, ",") {
			if media, params, err := mime.ParseMediaType(part); err == nil && media == wanted && params["q"] != "0" {
				return true
			}
		}
	}
	return false
}

func (s *Server) answerChanges(ctx context.Context, c *call, q changesQuery) (answer, error) {
	first, err := s.changesPage(ctx, c.service.id, q.since)
	if err != nil {
		return answer{position: first.position}, err
	}
	switch {
	case q.stream:
		return answer{position: first.position, later: func(ctx context.Context, w http.ResponseWriter) (answer, error) {
			u := first
			first = update{} // or it would be kept for as long as the stream is open
			return s.stream(ctx, w, c, u)
		}}, nil
	case q.wait > 0 && len(first.commits) == 0 && c.r.Method == http.MethodGet:
		return answer{later: func(ctx context.Context, w http.ResponseWriter) (answer, error) {
			return s.awaitChanges(ctx, w, c, first, q.wait)
		}}, nil
	}
	return first.answer(), nil
}

// change is a change as callers see it.
type change struct {
	Op       string    `json:"op"`
	Claim    feedClaim `json:"claim"`
	Position string    `json:"position"`
}

// commitChanges is what one commit changed, encoded once for all who follow the service.
type commitChanges struct {
	position uint64
	changes  []json.RawMessage
	events   []byte // the same, as a stream has them
}

// update is what changed up to a position.
type update struct {
	commits  []commitChanges
	position uint64
	more     bool
}

// changesPage reads a page of changes, and refuses to when it may be too old.
func (s *Server) changesPage(ctx context.Context, serviceID string, since uint64) (update, error) {
	if err := s.fresh(); err != nil {
		return update{}, err
	}
	page, at, err := s.config.Reads.FeedChanges(ctx, serviceID, since)
	if err != nil {
		return update{position: at.Position}, err
	}
	if err := s.freshFeed(at); err != nil {
		return update{}, err
	}
	return renderChanges(page)
}

func renderChanges(page projections.FeedChangesPage) (update, error) {
	u := update{position: page.Position, more: page.More}
	for _, f := range page.Changes {
		op := "remove"
		if f.Added {
			op = "add"
		}
		encoded, err := json.Marshal(change{op, renderFeedClaim(f.Claim), strconv.FormatUint(f.Position, 10)})
		if err != nil {
			return u, err
		}
		if n := len(u.commits); n == 0 || u.commits[n-1].position != f.Position {
			u.commits = append(u.commits, commitChanges{position: f.Position})
		}
		last := &u.commits[len(u.commits)-1]
		last.changes = append(last.changes, encoded)
	}
	for i := range u.commits {
		u.commits[i].events = encodeEvents(u.commits[i])
	}
	return u, nil
}

// after is what of an update comes after a position.
func (u update) after(position uint64) update {
	for len(u.commits) > 0 && u.commits[0].position <= position {
		u.commits = u.commits[1:]
	}
	u.position = max(u.position, position)
	return u
}

func (u update) answer() answer {
	list := []json.RawMessage{}
	for _, c := range u.commits {
		list = append(list, c.changes...)
	}
	return answer{position: u.position, body: struct {
		Changes  []json.RawMessage `json:"changes"`
		Position string            `json:"position"`
	}{list, strconv.FormatUint(u.position, 10)}}
}

// awaitChanges answers as soon as something changes after u, which is empty, or when the
// caller's time is up.
func (s *Server) awaitChanges(ctx context.Context, w http.ResponseWriter, c *call, u update, most time.Duration) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	if err := unbounded(w, most+requestTimeout); err != nil {
		return answer{}, err
	}
	f, u, err := s.join(ctx, c, u, func(u update) (bool, error) { return len(u.commits) == 0, nil })
	if f == nil || err != nil {
		return u.answer(), err
	}
	defer s.followers.leave(f)
	for {
		select {
		case next := <-f.updates:
			if u = next.after(u.position); len(u.commits) > 0 {
				return u.answer(), nil
			}
		case <-f.ended:
			if f.err == errStopping {
				return u.answer(), nil
			}
			return answer{}, f.err
		case <-ctx.Done():
			u.position = max(u.position, s.followers.sent(f))
			return u.answer(), nil
		}
	}
}

// join makes the caller one who is told of changes after u, without a gap. What it has to
// read from the model for that goes through take, which tells whether to go on.
func (s *Server) join(ctx context.Context, c *call, u update, take func(update) (bool, error)) (*follower, update, error) {
	for {
		if !u.more {
			f, err := s.followers.join(c.service.id, u.position, func() error { return s.stillGood(c) })
			if f != nil || err != nil {
				return f, u, err
			}
		}
		if err := s.stillGood(c); err != nil {
			return nil, u, err
		}
		next, err := s.changesPage(ctx, c.service.id, u.position)
		if err != nil {
			return nil, u, err
		}
		u = next
		if goOn, err := take(u); !goOn || err != nil {
			return nil, u, err
		}
	}
}

// stillGood refuses a caller whose key has ended since it was authenticated.
func (s *Server) stillGood(c *call) error {
	if _, _, svc, ok := s.commands.Directory().ServiceKey(c.service.keyHash); !ok || svc.ID != c.service.id {
		return domain.Errorf(domain.CodeSignatureInvalid, "The service key is not valid any more.")
	}
	return nil
}

// unbounded takes the limits of ordinary requests off a connection, but for the time that
// writing the next bytes may take.
func unbounded(w http.ResponseWriter, write time.Duration) error {
	rc := http.NewResponseController(w)
	// The server reads on while a request is answered, to see whether the client is
	// still there; the limit for reading a request would end that as well.
	err := errors.Join(rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Now().Add(write)))
	if err != nil {
		return &domain.Error{Code: domain.CodeServiceUnavailable, Message: "This connection cannot be kept open.", Err: err}
	}
	return nil
}
