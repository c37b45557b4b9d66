package api

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"testing"
	"time"
)

// newWire is a line, and the end of it that the client has.
func newWire(t *testing.T) (*line, net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	r := httptest.NewRequest("GET", "/", nil)
	l := newLine(r.WithContext(ConnContext(t.Context(), server)), 0)
	if l == nil {
		t.Fatal("there is no line")
	}
	return l, client
}

// large is an update of one commit, which a few of fill what a connection holds.
func large(position uint64) update {
	c := commitChanges{position: position, events: fmt.Appendf(nil, "id: %d\ndata: %s\n\n", position, strings.Repeat("x", 512<<10))}
	return update{commits: []commitChanges{c}, position: position}
}

// ids reads the ids of a stream, to the last that is wanted.
func ids(in io.Reader, last uint64) (all []uint64, err error) {
	lines := bufio.NewReader(httputil.NewChunkedReader(in))
	for len(all) == 0 || all[len(all)-1] < last {
		text, err := lines.ReadString('\n')
		if err != nil {
			return all, err
		}
		var id uint64
		if n, _ := fmt.Sscanf(text, "id: %d", &id); n == 1 {
			all = append(all, id)
		}
	}
	_, err = lines.ReadString('x') // the data of the last
	return all, err
}

// attached is a follower with a line that is not busy.
func attached(t *testing.T, h *followers, position uint64) (*follower, net.Conn) {
	t.Helper()
	l, client := newWire(t)
	f, err := h.join("service", position, always)
	if f == nil || err != nil {
		t.Fatalf("it did not join: %v", err)
	}
	h.attach(f, l)
	<-l.work
	if err := l.drain(f); err != nil {
		t.Fatal(err)
	}
	return f, client
}

// A client that takes nothing holds nobody up, and is cut off; one that takes it late gets
// all of it in order.
func TestLinesOfSlowClients(t *testing.T) {
	h := newFollowers(newSlowFeed().source(), maxFollowers, nil) // which does not move
	defer h.close()
	late, lateClient := attached(t, h, 0)
	stuck, stuckClient := attached(t, h, 0)
	quick, quickClient := attached(t, h, 0)
	var told uint64
	tell := func() {
		told++
		if !h.publish(topic{serviceID: "service"}, told-1, large(told)) {
			t.Fatalf("%d was not told", told)
		}
	}
	type result struct {
		ids []uint64
		err error
	}
	const last = maxUpdates + 20
	took := make(chan result, 2)
	read := func(f *follower, client net.Conn) {
		go func() {
			all, err := ids(client, last)
			took <- result{all, err}
		}()
		go func() {
			for {
				select {
				case <-f.line.work:
					if f.line.drain(f) != nil {
						return
					}
				case <-f.ended:
					return
				}
			}
		}()
	}
	read(quick, quickClient)
	for range maxUpdates / 2 {
		tell()
	}
	if at := h.sent(late); at != 0 {
		t.Errorf("a client that has not taken all was told up to %d", at)
	}
	read(late, lateClient)
	for told < last {
		tell()
		for h.sent(quick) == 0 || h.sent(late) == 0 {
			time.Sleep(time.Millisecond) // or they were too slow as well
		}
	}
	for range 2 {
		r := <-took
		for i, id := range r.ids {
			if id != uint64(i+1) {
				t.Fatalf("%d came where %d was to come", id, i+1)
			}
		}
		if r.err != nil || len(r.ids) != last {
			t.Errorf("%d came, and then %v", len(r.ids), r.err)
		}
	}
	<-stuck.ended
	if !errors.Is(stuck.err, errSlow) || h.following() != 2 {
		t.Errorf("the one that takes nothing ended with %v; %v follow", stuck.err, h.following())
	}
	// A chunk of it was begun: no end of the answer may follow.
	stuck.line.close()
	if all, err := ids(stuckClient, last); err != io.ErrUnexpectedEOF || len(all) == 0 {
		t.Errorf("it got %d, and then %v", len(all), err)
	}
}

// Who may not be told any more gets the end of what was begun, and nothing of what waits.
func TestLineOfOneThatEnds(t *testing.T) {
	h := newFollowers(newSlowFeed().source(), maxFollowers, nil)
	defer h.close()
	f, client := attached(t, h, 0)
	var told uint64
	for len(f.updates) < 3 {
		told++
		h.publish(topic{serviceID: "service"}, told-1, large(told))
	}
	h.leave(f)
	type result struct {
		ids []uint64
		err error
	}
	took := make(chan result, 1)
	go func() {
		all, err := ids(client, told)
		took <- result{all, err}
	}()
	<-f.line.work
	if err := f.line.drain(f); err != nil {
		t.Fatal(err)
	}
	f.line.close()
	if _, err := f.line.conn.Write([]byte("0\r\n\r\n")); err != nil { // as the server ends the answer
		t.Fatal(err)
	}
	if r := <-took; r.err != io.EOF || len(r.ids) != int(told)-3 {
		t.Errorf("it got %d of %d, and then %v", len(r.ids), told, r.err)
	}
}

// A client that knows a part of what is told gets the other part, and heartbeats do not go
// back behind what it was told.
func TestLineOfOneAhead(t *testing.T) {
	l, client := newWire(t)
	f := &follower{updates: make(chan update, maxUpdates)}
	u := update{position: 7}
	for _, position := range []uint64{2, 4, 6} {
		u.commits = append(u.commits, commitChanges{position: position, events: fmt.Appendf(nil, "id: %d\n\n", position)})
	}
	if !l.tell(update{commits: u.commits[:1], position: 3}, nil, f.queue) {
		t.Fatal("it was not queued")
	}
	<-l.work
	if err := l.drain(f); err != nil {
		t.Fatal(err)
	}
	l.tell(u, u.chunk(), nil)
	l.tell(u, u.chunk(), nil)
	l.beat(5, time.Second)
	l.close()
	l.tell(large(8), large(8).chunk(), nil)
	l.beat(8, 0)
	l.conn.Close()
	got, err := io.ReadAll(httputil.NewChunkedReader(client))
	want := "id: 2\n\nid: 4\n\nid: 6\n\nevent: heartbeat\ndata: {\"position\":\"7\",\"age\":1}\n\n"
	if string(got) != want || err != io.ErrUnexpectedEOF {
		t.Errorf("it got %q and %v, not %q", got, err, want)
	}
}

func TestNoLine(t *testing.T) {
	_, client := newWire(t)
	for what, change := range map[string]func() (net.Conn, string){
		"HTTP/1.0":      func() (net.Conn, string) { return client, "HTTP/1.0" },
		"HTTP/2":        func() (net.Conn, string) { return client, "HTTP/2.0" },
		"not a socket":  func() (net.Conn, string) { a, _ := net.Pipe(); return a, "HTTP/1.1" },
		"no connection": func() (net.Conn, string) { return nil, "HTTP/1.1" },
	} {
		conn, proto := change()
		r := httptest.NewRequest("GET", "/", nil)
		r.ProtoMajor, r.ProtoMinor = int(proto[5]-'0'), int(proto[7]-'0')
		if l := newLine(r.WithContext(ConnContext(r.Context(), conn)), 0); l != nil {
			t.Errorf("%s has a line", what)
		}
	}
}
