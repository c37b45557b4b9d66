package client_test

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/claimledger/claimledger/api/client"
)

// fakeLedger answers the feed of one service as the ledger does. The real one stands
// behind the client in the tests of the package api; this one can be made to misbehave.
type fakeLedger struct {
	mu       sync.Mutex
	position uint64
	changes  []client.FeedChange
	kept     uint64        // changes up to there are forgotten
	moved    chan struct{} // closed when there is something new

	refusal   string        // a code that everything is refused with
	noPages   string        // a code that full reads are refused with
	stall     bool          // streams are opened and nothing comes
	noStreams bool          // what asks for a stream is answered otherwise
	down      bool          // connections break
	cut       chan struct{} // closed to end all streams
	streams   int           // that were opened
	pages     int           // of full reads
	repeat    bool          // streams tell the first change of all once more
	age       time.Duration // of its own knowledge, as heartbeats tell it
	instead   string        // what something in front of it answers, but for streams
	beat      string        // what heartbeats tell instead
	way       time.Duration // that answers to polls take
}

func newFakeLedger() *fakeLedger {
	return &fakeLedger{moved: make(chan struct{}), cut: make(chan struct{})}
}

// commit changes the set with one commit.
func (l *fakeLedger) commit(changes ...client.FeedChange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.position++
	for _, c := range changes {
		c.Position = l.position
		l.changes = append(l.changes, c)
	}
	close(l.moved)
	l.moved = make(chan struct{})
}

func (l *fakeLedger) approve(id, namespace, key string) {
	l.commit(client.FeedChange{Op: client.OpAdd, Claim: claimOf(id, namespace, key)})
}

func (l *fakeLedger) approveUntil(id, namespace, key string, ends time.Time) {
	claim := claimOf(id, namespace, key)
	claim.ExpiresAt = &ends
	l.commit(client.FeedChange{Op: client.OpAdd, Claim: claim})
}

func (l *fakeLedger) revoke(id string) {
	l.commit(client.FeedChange{Op: client.OpRemove, Claim: client.FeedClaim{ClaimID: id}})
}

func claimOf(id, namespace, key string) client.FeedClaim {
	return client.FeedClaim{ClaimID: id, Namespace: namespace, PublicKey: key, Service: "mail"}
}

// set changes how it behaves.
func (l *fakeLedger) set(f func(*fakeLedger)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l)
}

// cutStreams ends all streams that there are.
func (l *fakeLedger) cutStreams() {
	l.set(func(l *fakeLedger) {
		close(l.cut)
		l.cut = make(chan struct{})
	})
}

func (l *fakeLedger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	refusal, down, instead := l.refusal, l.down, l.instead
	if r.URL.Path == "/v1/namespaces/claims" {
		refusal = cmp.Or(refusal, l.noPages)
	}
	l.mu.Unlock()
	streams := r.Header.Get("Accept") == "text/event-stream"
	switch {
	case down:
		panic(http.ErrAbortHandler)
	case instead != "" && !streams:
		answer(w, http.StatusOK, 0, json.RawMessage(instead))
	case refusal != "":
		refuse(w, refusal, "")
	case r.URL.Path == "/v1/namespaces/claims":
		l.page(w, r)
	case streams:
		l.stream(w, r)
	default:
		l.poll(w, r)
	}
}

func refuse(w http.ResponseWriter, code, field string) {
	status := map[string]int{"RESYNC": 410, "INVALID_REQUEST": 400, "SERVICE_UNAVAILABLE": 503, "SIGNATURE_INVALID": 401, "UNAUTHORIZED": 401, "FORBIDDEN": 403}[code]
	body := map[string]any{"error": "No.", "code": code}
	if field != "" {
		body["details"] = []map[string]string{{"field": field, "message": "is wrong"}}
	}
	answer(w, status, 0, body)
}

func answer(w http.ResponseWriter, status int, position uint64, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Ledger-Position", strconv.FormatUint(position, 10))
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		panic(http.ErrAbortHandler) // the client is gone
	}
}

// page answers two claims a page, in the order of their approval.
func (l *fakeLedger) page(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	l.pages++
	var set []client.FeedChange
	for _, c := range l.changes {
		set = slices.DeleteFunc(set, func(other client.FeedChange) bool { return other.Claim.ClaimID == c.Claim.ClaimID })
		if c.Op == client.OpAdd {
			set = append(set, c)
		}
	}
	position := l.position
	l.mu.Unlock()
	after, _ := strconv.ParseUint(r.URL.Query().Get("cursor"), 10, 64)
	set = slices.DeleteFunc(set, func(c client.FeedChange) bool { return c.Position <= after })
	page := client.FeedPage{Claims: []client.FeedClaim{}}
	for i, c := range set {
		if i == 2 {
			page.Pagination.NextCursor = strconv.FormatUint(set[i-1].Position, 10)
			break
		}
		page.Claims = append(page.Claims, c.Claim)
	}
	answer(w, http.StatusOK, position, page)
}

// since are the changes after a position, and what tells of more.
func (l *fakeLedger) since(position uint64) (changes []client.FeedChange, at uint64, moved chan struct{}, code string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case position < l.kept:
		return nil, 0, nil, "RESYNC"
	case position > l.position:
		return nil, 0, nil, "INVALID_REQUEST"
	}
	first := len(l.changes)
	for first > 0 && l.changes[first-1].Position > position {
		first--
	}
	changes = slices.Clone(l.changes[first:])
	return changes, l.position, l.moved, ""
}

func (l *fakeLedger) poll(w http.ResponseWriter, r *http.Request) {
	from, _ := strconv.ParseUint(r.URL.Query().Get("since"), 10, 64)
	wait, _ := strconv.Atoi(r.URL.Query().Get("wait"))
	over := time.NewTimer(time.Duration(wait) * time.Second)
	defer over.Stop()
	for {
		changes, at, moved, code := l.since(from)
		if code != "" {
			refuse(w, code, "since")
			return
		}
		if len(changes) == 0 && wait > 0 {
			select {
			case <-moved:
				continue
			case <-over.C:
			case <-r.Context().Done():
				return
			}
		}
		l.mu.Lock()
		way := l.way
		l.mu.Unlock()
		select {
		case <-time.After(way):
		case <-r.Context().Done():
			return
		}
		answer(w, http.StatusOK, at, client.FeedChanges{Changes: append([]client.FeedChange{}, changes...), Position: at})
		return
	}
}

func (l *fakeLedger) stream(w http.ResponseWriter, r *http.Request) {
	from, _ := strconv.ParseUint(r.Header.Get("Last-Event-Id"), 10, 64)
	l.mu.Lock()
	l.streams++
	cut, stall, none, repeat := l.cut, l.stall, l.noStreams, l.repeat
	l.mu.Unlock()
	if none {
		answer(w, http.StatusOK, 0, map[string]any{})
		return
	}
	if _, _, _, code := l.since(from); code != "" {
		refuse(w, code, "since")
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	_ = out.Flush() // a client that is gone shows in its context
	heart := time.NewTicker(10 * time.Second)
	defer heart.Stop()
	for beat := true; ; {
		changes, at, moved, _ := l.since(from)
		if stall {
			changes, moved, beat = nil, nil, false
		}
		for i, c := range changes {
			if i == len(changes)-1 || changes[i+1].Position != c.Position {
				fmt.Fprintf(w, "id: %d\n", c.Position)
			}
			data, _ := json.Marshal(c)
			fmt.Fprintf(w, "event: change\ndata: %s\n\n", data)
		}
		if repeat {
			data, _ := json.Marshal(l.changes[0])
			fmt.Fprintf(w, "id: %d\nevent: change\ndata: %s\n\n", l.changes[0].Position, data)
			repeat = false
		}
		if from = at; beat {
			l.mu.Lock()
			data := cmp.Or(l.beat, fmt.Sprintf(`{"position":"%d","age":%g}`, at, l.age.Seconds()))
			l.mu.Unlock()
			fmt.Fprintf(w, "event: heartbeat\ndata: %s\n\n", data)
		}
		_ = out.Flush()
		beat = false
		select {
		case <-moved:
		case <-heart.C:
			beat = true
		case <-cut:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// inMemory carries requests to a handler without a network, so that time can be
// simulated.
type inMemory struct{ http.Handler }

func (m inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	reader, writer := io.Pipe()
	ctx, cancel := context.WithCancel(r.Context())
	p := &pipedAnswer{header: http.Header{}, body: writer, begun: make(chan struct{})}
	go func() {
		defer func() {
			if recover() != nil {
				p.broken = true
				writer.CloseWithError(io.ErrUnexpectedEOF)
			}
			p.WriteHeader(http.StatusOK)
			writer.Close()
		}()
		m.ServeHTTP(p, r.WithContext(ctx))
	}()
	go func() {
		<-ctx.Done()
		reader.CloseWithError(context.Cause(ctx))
	}()
	select {
	case <-p.begun:
	case <-ctx.Done():
		cancel()
		return nil, context.Cause(ctx)
	}
	if p.broken {
		cancel()
		return nil, io.ErrUnexpectedEOF
	}
	return &http.Response{StatusCode: p.status, Header: p.header.Clone(), Body: &endingBody{reader, cancel}, Request: r}, nil
}

type endingBody struct {
	*io.PipeReader
	end context.CancelFunc
}

func (b *endingBody) Close() error {
	b.end()
	return b.PipeReader.Close()
}

type pipedAnswer struct {
	header http.Header
	body   *io.PipeWriter
	once   sync.Once
	begun  chan struct{}
	status int
	broken bool
}

func (p *pipedAnswer) Header() http.Header { return p.header }
func (p *pipedAnswer) FlushError() error   { return nil }
func (p *pipedAnswer) WriteHeader(status int) {
	p.once.Do(func() {
		p.status = cmp.Or(status, http.StatusOK)
		close(p.begun)
	})
}

func (p *pipedAnswer) Write(b []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	return p.body.Write(b)
}

// newClient is a client of a fake ledger, with a gateway's credentials.
func newClient(url string, transport http.RoundTripper) *client.Client {
	signer, err := client.NewSigner("acme", "gateway@example.com", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		panic(err)
	}
	c, err := client.New(client.Config{URL: url, Signer: signer, ServiceKey: "sk_live_example", HTTP: &http.Client{Transport: transport}})
	if err != nil {
		panic(err)
	}
	return c
}

// startFakeLedger serves one on the loopback.
func startFakeLedger() (*fakeLedger, *httptest.Server) {
	l := newFakeLedger()
	return l, httptest.NewServer(l)
}
