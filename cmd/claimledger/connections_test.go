package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/claimledger/claimledger/eventstore/logtest"
)

// crowded is a front with little room. Its handler reads a request's body, says on held
// that it answers, and does so when it may.
type crowded struct {
	*connections
	t       *testing.T
	address string
	held    chan struct{}
	release chan struct{}
}

func newCrowded(t *testing.T, most int) *crowded {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &crowded{
		connections: newConnections(most, prometheus.NewRegistry()), t: t,
		address: listener.Addr().String(), held: make(chan struct{}, 1000), release: make(chan struct{}),
	}
	f := listen(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/begin" {
			c.held <- struct{}{}
		}
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/much" {
			_, _ = w.Write(make([]byte, 16<<20))
		}
		if r.URL.Path == "/hold" {
			c.held <- struct{}{}
			<-c.release
		}
	}), c.connections, logtest.Logger(t))
	t.Cleanup(func() { f.server.Close() })
	return c
}

// client opens a connection that has been answered once and is idle.
func (c *crowded) client() *raw {
	c.t.Helper()
	r := dialRaw(c.t, c.address)
	r.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if status := r.answer().StatusCode; status != http.StatusOK {
		c.t.Fatalf("a client is answered with %d", status)
	}
	c.idles(r)
	return r
}

// idles waits until the server has noticed that it has answered a client.
func (c *crowded) idles(r *raw) {
	c.t.Helper()
	eventually(c.t, patience, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		for conn, k := range c.open {
			if conn.RemoteAddr().String() == r.LocalAddr().String() && k.place != nil {
				return nil
			}
		}
		return errors.New("it is still being answered")
	})
}

func (c *crowded) figures(cut, refused float64) {
	c.t.Helper()
	if got, no := testutil.ToFloat64(c.cut), testutil.ToFloat64(c.refused); got != cut || no != refused {
		c.t.Errorf("%v were cut off and %v refused; should be %v and %v", got, no, cut, refused)
	}
}

// Whoever has waited longest goes first, whether it has asked for something before or
// never has.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	c := newCrowded(t, 3)
	silent := dialRaw(t, c.address)
	first, second := c.client(), c.client()
	first.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n") // so that the second has waited longer
	first.answer()
	c.idles(first)
	third := c.client()
	silent.cutOff()
	fourth := c.client()
	second.cutOff()
	for _, r := range []*raw{first, third, fourth} {
		r.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if status := r.answer().StatusCode; status != http.StatusOK {
			t.Errorf("one that was there is answered with %d", status)
		}
	}
	c.figures(2, 0)
	if n := c.count(); n != 3 {
		t.Errorf("%v connections are counted", n)
	}
}

// Whoever has sent half of a request makes room, and a request that is being answered
// does not.
func TestHalfRequestsMakeRoom(t *testing.T) {
	c := newCrowded(t, 3)
	busy := dialRaw(t, c.address)
	busy.send("POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nall")
	<-c.held
	body, header := dialRaw(t, c.address), dialRaw(t, c.address)
	header.send("GET / HTTP/1.1\r\nHost:")
	body.send("POST /begin HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
	<-c.held
	one := c.client()
	header.cutOff()
	two := c.client()
	body.cutOff()
	for _, r := range []*raw{one, two} {
		r.send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
		<-c.held
	}
	close(c.release)
	for _, r := range []*raw{busy, one, two} {
		if status := r.answer().StatusCode; status != http.StatusOK {
			t.Errorf("a request that was being answered ended with %d", status)
		}
	}
	c.figures(2, 0)
}

// Where everyone is being answered there is no room, but for a word about it and for
// health checks; and room again when somebody has gone.
func TestNoRoom(t *testing.T) {
	const most = 2
	c := newCrowded(t, most)
	var busy []*raw
	for range most {
		r := dialRaw(t, c.address)
		r.send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
		<-c.held
		busy = append(busy, r)
	}
	for path, want := range map[string]int{"/v1/claims": 503, "/health": 200, "/health/ready": 200, "/metrics": 200} {
		r := dialRaw(t, c.address)
		r.send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n")
		resp := r.answer()
		if resp.StatusCode != want || !resp.Close || want == 503 && resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s is answered with %d, %v; close: %t", path, resp.StatusCode, resp.Header, resp.Close)
		}
		r.cutOff()
	}
	c.figures(0, 4)
	// Spare ones make room among themselves, so that nobody can take them for good.
	squatter := dialRaw(t, c.address)
	for range spareConnections {
		r := dialRaw(t, c.address)
		r.send("GET /hold HTTP/1.1\r\nHost:")
	}
	squatter.cutOff()
	close(c.release)
	for _, r := range busy {
		if status := r.answer().StatusCode; status != http.StatusOK {
			t.Errorf("a request that was being answered ended with %d", status)
		}
		c.idles(r)
	}
	c.client()
}

func TestConnectionsWithin(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		files  uint64
		wanted int
		most   int // 0: refused
	}{
		{1024, 0, 768}, {1 << 20, 0, usualConnections}, {1<<64 - 1, 0, usualConnections}, {1024, 768, 768}, {1024, 769, 0},
		{1 << 20, 500_000, 500_000}, {1<<64 - 1, 500_000, 500_000}, {1024, -1, 0}, {1024, 1, 1},
	} {
		if most, err := connectionsWithin(test.files, test.wanted); most != test.most || (err == nil) != (test.most > 0) {
			t.Errorf("of %d files %d connections: %d, %v", test.files, test.wanted, most, err)
		}
	}
}

// Whoever does not take his answers makes room as well, when nobody is idle.
func TestStuckAnswersMakeRoom(t *testing.T) {
	const most = 4
	c := newCrowded(t, most)
	c.stuckAfter = 0
	for range most {
		dialRaw(t, c.address).send("GET /much HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	eventually(t, patience, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		for conn, k := range c.open {
			if k.place != nil || conn.(*answered).since.Load() == 0 {
				return errors.New("not all have an answer that waits")
			}
		}
		if len(c.open) != most {
			return errors.New("not all have come")
		}
		return nil
	})
	for range most {
		c.client()
	}
}
