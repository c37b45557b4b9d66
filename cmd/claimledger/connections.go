package main

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// usualConnections is how many connections clients may hold unless the operator says
	// otherwise. One costs 20 KB while it is idle, and 250 KB while a request as large as
	// may be is read from it, so that these take a gigabyte at most.
	usualConnections = 4096
	// spareConnections are for those who come when nobody can make room: health checks
	// are answered on them, and everyone else is told to try again.
	spareConnections = 64
	// stuckAfter is how long a client may let an answer wait to be taken before its place
	// is another's who needs one: there are round trips of a second, but few.
	stuckAfter = 2 * time.Second
)

// connectionLimit is how many connections clients may hold: as many as the operator said,
// and never so many that the files of the process run out for the log and the database.
func connectionLimit(wanted int) (int, error) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return 0, fmt.Errorf("how many files may be open: %w", err)
	}
	return connectionsWithin(files.Cur, wanted)
}

func connectionsWithin(files uint64, wanted int) (int, error) {
	most := int(min(files/4*3, 1<<30))
	switch {
	case wanted < 0:
		return 0, fmt.Errorf("--max-connections must not be negative")
	case wanted > most:
		return 0, fmt.Errorf("--max-connections may be %d at most: the process may have %d files open (ulimit -n), and needs a quarter of them for itself", most, files)
	case wanted > 0:
		return wanted, nil
	}
	return min(usualConnections, most), nil
}

// connections bounds how many connections clients hold. Whoever comes when there are as
// many as may be takes the place of the one for which nothing has been done for longest:
// one that is idle, or one that is still sending a request, or else one whose client does
// not take the answer. Any other request that is being answered is never cut off for
// another.
type connections struct {
	stuckAfter time.Duration

	mu           sync.Mutex
	open         map[net.Conn]*connection
	usual, spare *pool
	cut, refused prometheus.Counter
}

// pool is some of the connections. Those on which no request is being answered are in
// the order in which they came to that.
type pool struct {
	most, open int
	pending    *list.List
}

type connection struct {
	net.Conn
	pool  *pool
	place *list.Element // among the pending, nil while a request is being answered
}

func newPool(most int) *pool { return &pool{most: most, pending: list.New()} }

func newConnections(most int, metrics prometheus.Registerer) *connections {
	c := &connections{
		stuckAfter: stuckAfter, open: map[net.Conn]*connection{}, usual: newPool(most), spare: newPool(spareConnections),
		cut: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "claimledger_http_connections_cut_total",
			Help: "Connections closed, before a request of theirs was answered, to make room for new ones. Growing: clients hold more connections than --max-connections, or somebody opens them without need.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "claimledger_http_connections_refused_total",
			Help: "Connections that found no room, because requests are being answered on all of --max-connections. Growing: allow more, or run more processes.",
		}),
	}
	metrics.MustRegister(c.cut, c.refused, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "claimledger_http_connections",
		Help: "Connections that clients hold; --max-connections bounds them.",
	}, c.count))
	return c
}

func (c *connections) count() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return float64(len(c.open))
}

type connectionKey struct{}

// came takes a new connection, or closes it where there is no room at all. It is a server's
// ConnContext.
func (c *connections) came(ctx context.Context, conn net.Conn) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.usual
	if !c.room(p) {
		c.refused.Inc()
		p = c.spare
	}
	if !c.room(p) {
		_ = conn.Close() // the server finds out when it reads
		return ctx
	}
	k := &connection{Conn: conn, pool: p}
	k.pend()
	p.open++
	c.open[conn] = k
	return context.WithValue(ctx, connectionKey{}, k)
}

// room makes room for one connection more, if there is none.
func (c *connections) room(p *pool) bool {
	if p.open < p.most {
		return true
	}
	k := c.stuck(p)
	if longest := p.pending.Front(); longest != nil {
		k = longest.Value.(*connection)
	}
	if k == nil {
		return false
	}
	c.drop(k)
	_ = k.Close() // it is gone for us, whatever is left of it
	c.cut.Inc()
	return true
}

// stuck is the connection whose client has let an answer wait for longest, and for too long;
// nil where there is none.
func (c *connections) stuck(p *pool) (longest *connection) {
	if p.pending.Len() > 0 {
		return nil // others come first
	}
	since := time.Now().Add(-c.stuckAfter).UnixNano()
	for conn, k := range c.open {
		if w, ok := conn.(*answered); ok && k.pool == p {
			if at := w.since.Load(); at != 0 && at <= since {
				longest, since = k, at
			}
		}
	}
	return longest
}

// watched is a listener whose connections know since when an answer waits to be taken.
type watched struct{ net.Listener }

func (l watched) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &answered{Conn: conn}, nil
}

type answered struct {
	net.Conn
	since atomic.Int64 // Unix nanoseconds; 0: nothing waits
}

func (a *answered) Write(b []byte) (int, error) {
	a.since.Store(time.Now().UnixNano())
	defer a.since.Store(0)
	return a.Conn.Write(b)
}

// SyscallConn is that of the connection itself: what is written with it does not wait.
func (a *answered) SyscallConn() (syscall.RawConn, error) {
	conn, ok := a.Conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return conn.SyscallConn()
}

func (c *connections) drop(k *connection) {
	delete(c.open, k.Conn)
	k.pool.open--
	k.unpend()
}

// pend makes a connection the last of those on which no request is being answered.
func (k *connection) pend() {
	k.unpend()
	k.place = k.pool.pending.PushBack(k)
}

func (k *connection) unpend() {
	if k.place != nil {
		k.pool.pending.Remove(k.place)
		k.place = nil
	}
}

// turned learns what became of a connection. It is a server's ConnState, which calls a
// connection active once it has the header of a request.
func (c *connections) turned(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.open[conn]
	if !ok {
		return
	}
	switch state {
	case http.StateIdle, http.StateActive:
		k.pend()
	case http.StateClosed, http.StateHijacked:
		c.drop(k)
	}
}

// received notes that a request is there in whole.
func (c *connections) received(k *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k.unpend()
}

// take notes whose request it is, and tells whether the connection may be served: on the
// spare ones only health checks are.
func (c *connections) take(r *http.Request) (served bool) {
	k, ok := r.Context().Value(connectionKey{}).(*connection)
	if !ok {
		return false // closed already
	}
	if r.Body == http.NoBody {
		c.received(k)
	} else {
		r.Body = &wholeBody{r.Body, func() { c.received(k) }}
	}
	return k.pool == c.usual
}

// wholeBody tells when a body has been read to its end.
type wholeBody struct {
	io.ReadCloser
	ended func()
}

func (b *wholeBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.ended()
	}
	return n, err
}
