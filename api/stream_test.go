package api_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// event is one server-sent event.
type event struct {
	id, kind, data string
}

// events is a stream that a test has opened.
type events struct {
	t    *testing.T
	body io.Closer
	read *bufio.Reader
	err  error // how it ended
}

func (s *service) stream(a *agent, query string, options ...option) *events {
	a.t.Helper()
	options = append([]option{bearer(s.key), signedBy(a.Signer), set("Accept", "text/event-stream")}, options...)
	e, status := open(a.t, s.node, s.node.prepare(a.t, "GET", changesPath+query, nil, options))
	if status != http.StatusOK {
		a.t.Fatalf("%s: no stream, but %d", query, status)
	}
	return e
}

// open sends a request for a stream.
func open(t *testing.T, n *node, r *http.Request) (*events, int) {
	t.Helper()
	answer, err := n.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	if stream := answer.Header.Get("Content-Type") == "text/event-stream"; stream != (answer.StatusCode == http.StatusOK) {
		t.Errorf("%d is %s", answer.StatusCode, answer.Header.Get("Content-Type"))
	}
	return &events{t: t, body: answer.Body, read: bufio.NewReader(answer.Body)}, answer.StatusCode
}

// next reads an event; ok is false at the end of the stream.
func (e *events) next() (got event, ok bool) {
	for {
		line, err := e.read.ReadString('\n')
		line = strings.TrimSuffix(line, "\n")
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case err != nil:
			e.err = err
			return event{}, false
		case line == "":
			return got, true
		case name == "id":
			got.id = value
		case name == "event":
			got.kind = value
		case name == "data" && got.data == "":
			got.data = value
		default:
			e.t.Errorf("the stream has the line %q", line)
		}
	}
}

// change reads on to the next change.
func (e *events) change() string {
	e.t.Helper()
	for {
		got, ok := e.next()
		if !ok {
			e.t.Fatal("the stream ended")
		}
		if got.kind == "change" {
			c := changed{}
			if err := json.Unmarshal([]byte(`{"changes": [`+got.data+`]}`), &c); err != nil {
				e.t.Fatal(err)
			}
			return c.String() + " id " + got.id
		}
	}
}

// beats reads on to a heartbeat at a position or later.
func (e *events) beats(position uint64) {
	e.t.Helper()
	for {
		got, ok := e.next()
		var at struct {
			Position uint64 `json:",string"`
			Age      *float64
		}
		if !ok || got.kind != "heartbeat" {
			e.t.Fatalf("instead of a heartbeat: %v, %t", got, ok)
		}
		if err := json.Unmarshal([]byte(got.data), &at); err != nil || at.Age == nil || got.id != "" {
			e.t.Fatalf("a heartbeat is %v: %v", got, err)
		}
		if at.Position >= position {
			return
		}
	}
}

// ends reads on to the end.
func (e *events) ends(what string, within time.Duration) {
	e.t.Helper()
	began := time.Now()
	for {
		if _, ok := e.next(); !ok {
			break
		}
	}
	if took := time.Since(began); took > within {
		e.t.Errorf("%s: the stream went on for %v", what, took)
	}
}

func TestStream(t *testing.T) { testStream(t, false) }

// Where the connection is not the API's to write to, streams are the same.
func TestStreamBuffered(t *testing.T) { testStream(t, true) }

func testStream(t *testing.T, buffered bool) {
	l := newLedger(t)
	// What bounds ordinary requests does not end a stream.
	n := l.start(func(s *settings) { s.timeout, s.buffered = 500*time.Millisecond, buffered })
	acme, globex := n.owner(t, "acme"), n.owner(t, "globex")
	s, other := n.owner(t, "provider").service("weather"), acme.service("news")
	a := l.agent(t, "acme")
	s.ready(a)
	one := s.approved(acme, a)
	at := l.last()
	stream := s.stream(a, since(0))
	expect := func(stream *events, want string) {
		t.Helper()
		if got := stream.change(); got != want {
			t.Errorf("streamed %s, want %s", got, want)
		}
	}
	expect(stream, fmt.Sprintf("add %s@%d id %d", one, at, at))
	other.approved(acme, l.agent(t, "acme"))
	stream.beats(l.last())
	two, three := s.approved(globex, l.agent(t, "globex")), s.approved(globex, l.agent(t, "globex"))
	for _, id := range []string{two, three} {
		if got := stream.change(); !strings.HasPrefix(got, "add "+id) {
			t.Errorf("streamed %s", got)
		}
	}
	n.operator("globex", domain.DeactivateNamespace{})
	at = l.last()
	// Both left with one commit; only with the second has the stream all of it.
	expect(stream, fmt.Sprintf("remove %s@%d id ", two, at))
	stream.body.Close()
	eventually(t, "the stream to be given up", func() bool { return n.metric(t, "claimledger_feed_followers") == 0 })

	acme.decide(one, "revoke", nil).want(200)
	resumed := s.stream(a, since(0), set("Last-Event-ID", fmt.Sprint(at-1)))
	expect(resumed, fmt.Sprintf("remove %s@%d id ", two, at))
	expect(resumed, fmt.Sprintf("remove %s@%d id %d", three, at, at))
	expect(resumed, fmt.Sprintf("remove %s@%d id %d", one, at+1, at+1))
	expect(s.stream(a, "", set("Last-Event-ID", fmt.Sprint(at))), fmt.Sprintf("remove %s@%d id %d", one, at+1, at+1))
}

func TestStreamEnds(t *testing.T) {
	l := newLedger(t)
	n, elsewhere := l.start(), l.start()
	o := n.owner(t, "acme")
	a := l.agent(t, "acme")
	o.service("first").ready(a)
	for what, end := range map[string]func(*owner, *service){
		"key deactivated": func(o *owner, s *service) {
			o.ask("POST", "/v1/services/"+s.id+"/keys/"+s.keyID+"/deactivate", nil).want(200)
		},
		"key revoked":     func(o *owner, s *service) { o.ask("DELETE", "/v1/services/"+s.id+"/keys/"+s.keyID, nil).want(200) },
		"service deleted": func(o *owner, s *service) { o.ask("DELETE", "/v1/services/"+s.id, nil).want(200) },
	} {
		for where, node := range []*node{n, elsewhere} {
			s := o.service("weather-" + strings.ToLower(newID()[20:]))
			stream := s.stream(a, since(0))
			stream.beats(0)
			end(o.on(node), s)
			stream.ends(fmt.Sprint(what, " on node ", where), time.Second)
		}
	}
	s := o.service("last")
	stream := s.stream(a, since(0))
	stream.beats(0)
	n.server.EndStreams()
	stream.ends("stopping", time.Second)
	s.changes(a, since(0), set("Accept", "text/event-stream")).want(200)
}

// A node that knows too little ends its streams.
func TestStreamGrowsStale(t *testing.T) {
	n, proxy := overFaultyNetwork(t)
	o := n.owner(t, "acme")
	s := o.service("weather")
	a := n.agent(t, "acme")
	s.ready(a)
	s.approved(o, a)
	stream := s.stream(a, since(0))
	stream.change()
	proxy.Refuse()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ok := true; ok; {
			_, ok = stream.next()
		}
	}()
	eventually(t, "the stream to end", func() bool {
		// What came before the refusal may be taken in after it, and makes the node know again.
		if n.x.Age() < 30*time.Second {
			n.clock.advance(31 * time.Second)
		}
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
	if stream.err != io.EOF { // the client gave it up
		t.Errorf("the stream ended with %v", stream.err)
	}
	proxy.Heal()
}
