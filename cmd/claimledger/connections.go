package main

import (
	"container/list"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// usualConnections is how many connections clients may hold unless the operator says
	// otherwise. One costs 20 KB while it is idle, and 150 KB while a request as large as
	// may be is read from it.
	usualConnections = 4096
	// spareConnections are for those who come when nobody can make room: health checks
	// are answered on them, and everyone else is told to try again.
	spareConnections = 64
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

// stage is what a connection is at.
type stage int

const (
	waiting   stage = iota // for a request to come, and to come in whole as far as its header goes
	reading                // a request's body
	answering              // a request
	stages
)

// connections bounds how many connections clients hold. Whoever comes when there are as
// many as may be takes the place of the one that has waited longest, or else of the one
// that has been sending its request for longest: neither has asked for anything yet. A
// request that is being answered is never cut off for another.
type connections struct {
	mu           sync.Mutex
	open         map[net.Conn]*connection
	usual, spare *pool
	cut, refused prometheus.Counter
}

// pool is some of the connections, in each stage the one first that came to it first.
type pool struct {
	most, open int
	at         [stages]*list.List
}

type connection struct {
	net.Conn
	pool  *pool
	stage stage
	place *list.Element
}

func newPool(most int) *pool {
	p := &pool{most: most}
	for s := range p.at {
		p.at[s] = list.New()
	}
	return p
}

func newConnections(most int, metrics prometheus.Registerer) *connections {
	c := &connections{
		open: map[net.Conn]*connection{}, usual: newPool(most), spare: newPool(spareConnections),
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
	k.place = p.at[waiting].PushBack(k)
	p.open++
	c.open[conn] = k
	return context.WithValue(ctx, connectionKey{}, k)
}

// room makes room for one connection more, if there is none.
func (c *connections) room(p *pool) bool {
	if p.open < p.most {
		return true
	}
	for s := waiting; s < answering; s++ {
		if longest := p.at[s].Front(); longest != nil {
			k := longest.Value.(*connection)
			c.drop(k)
			_ = k.Close() // it is gone for us, whatever is left of it
			c.cut.Inc()
			return true
		}
	}
	return false
}

func (c *connections) drop(k *connection) {
	delete(c.open, k.Conn)
	k.pool.at[k.stage].Remove(k.place)
	k.pool.open--
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
	case http.StateIdle:
		c.move(k, waiting)
	case http.StateActive:
		c.move(k, reading)
	case http.StateClosed, http.StateHijacked:
		c.drop(k)
	}
}

func (c *connections) move(k *connection, to stage) {
	k.pool.at[k.stage].Remove(k.place)
	k.stage = to
	k.place = k.pool.at[to].PushBack(k)
}

// received notes that a request is there in whole.
func (c *connections) received(k *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.open[k.Conn]; ok {
		c.move(k, answering)
	}
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
