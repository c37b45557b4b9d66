package logtest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// Proxy stands between a client and its server, and fails on demand in the ways
// that leave a client in doubt.
type Proxy struct {
	listener net.Listener
	server   string // address
	running  sync.WaitGroup

	mu     sync.Mutex
	links  map[*link]bool
	mode   proxyMode
	onLoss func()
	moved  chan struct{} // closed, and replaced, when the mode changes
}

type proxyMode int

const (
	forwarding        proxyMode = iota
	losingRequest               // the next append is dropped, and its connection cut
	losingAnswer                // the next append is passed on, what is answered dropped, and the connection cut
	losingBatch                 // the next end of a batch is dropped, and its connection cut
	losingBatchAnswer           // the next answer to a batch is dropped, and its connection cut
	holding                     // what clients say waits
	stalling                    // everything is dropped
	refusing                    // no connection is kept
)

// link is one connection of a client with the one to the server.
type link struct {
	client, server net.Conn
	onAnswer       func() // what the server says next is dropped, and this called
}

func (l *link) close() {
	l.client.Close()
	l.server.Close()
}

// NewProxy forwards to a server's address until the test ends.
func NewProxy(t testing.TB, server string) *Proxy {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: listener, server: server, links: make(map[*link]bool), moved: make(chan struct{})}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		listener.Close()
		p.set(refusing, nil)
		p.running.Wait()
	})
	return p
}

// Addr is where clients connect.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// LoseRequest has the next append not reach the server; then is called before the
// client learns of it.
func (p *Proxy) LoseRequest(then func()) { p.set(losingRequest, then) }

// LoseAnswer has the next append recorded without its answer; then is called
// before the client learns of it.
func (p *Proxy) LoseAnswer(then func()) { p.set(losingAnswer, then) }

// LoseBatch has the next batch not end, so that nothing of it is recorded; then is
// called before the client learns of it.
func (p *Proxy) LoseBatch(then func()) { p.set(losingBatch, then) }

// LoseBatchAnswer has the next batch recorded without its answer; then is called
// before the client learns of it.
func (p *Proxy) LoseBatchAnswer(then func()) { p.set(losingBatchAnswer, then) }

// Hold keeps back what clients say until the proxy is told what to do with it.
func (p *Proxy) Hold() { p.set(holding, nil) }

// Stall leaves all connections open and passes nothing on.
func (p *Proxy) Stall() { p.set(stalling, nil) }

// Refuse cuts all connections and takes no new ones.
func (p *Proxy) Refuse() { p.set(refusing, nil) }

// Heal makes it an ordinary proxy again. What was dropped is not made up for, so
// the connections that were stalled are cut.
func (p *Proxy) Heal() { p.set(forwarding, nil) }

func (p *Proxy) set(mode proxyMode, onLoss func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if mode == refusing || p.mode == stalling {
		for l := range p.links {
			l.close()
		}
	}
	p.mode, p.onLoss = mode, onLoss
	close(p.moved)
	p.moved = make(chan struct{})
}

// released waits while clients are held, and gives what to do with what they said.
func (p *Proxy) released() proxyMode {
	for {
		p.mu.Lock()
		mode, moved := p.mode, p.moved
		p.mu.Unlock()
		if mode != holding {
			return mode
		}
		<-moved
	}
}

// lose goes back to forwarding, and reports whether something was to be lost in this
// way until now: each loss happens once.
func (p *Proxy) lose(mode proxyMode) (onLoss func(), due bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode != mode {
		return nil, false
	}
	p.mode = forwarding
	return p.onLoss, true
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			client.Close()
			continue
		}
		l := &link{client: client, server: server}
		p.mu.Lock()
		if p.mode == refusing {
			l.close()
		}
		p.links[l] = true
		p.mu.Unlock()
		p.running.Go(func() { p.pump(l, l.client, l.server, p.request) })
		p.running.Go(func() { p.pump(l, l.server, l.client, p.answer) })
	}
}

// errCut ends a link on purpose.
var errCut = errors.New("cut")

// pump passes on what check lets through, until either side ends.
func (p *Proxy) pump(l *link, from io.Reader, to io.Writer, check func(*link, []byte) ([]byte, error)) {
	defer func() {
		l.close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.links, l)
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		chunk, err := check(l, buffer[:n])
		if err != nil {
			return
		}
		if _, err := to.Write(chunk); err != nil {
			return
		}
	}
}

// What tells the parts of the protocol apart.
var (
	anAppend    = []byte("HPUB ledger.")
	batchEnd    = []byte("Nats-Batch-Commit")
	batchAnswer = []byte(`"batch":`)
)

// request passes on what a client says.
func (p *Proxy) request(l *link, chunk []byte) ([]byte, error) {
	switch mode := p.released(); {
	case mode == stalling:
		return nil, nil
	case mode == losingRequest && bytes.Contains(chunk, anAppend),
		mode == losingBatch && bytes.Contains(chunk, batchEnd):
		if onLoss, due := p.lose(mode); due {
			onLoss()
			return nil, errCut
		}
	case mode == losingAnswer && bytes.Contains(chunk, anAppend):
		if onLoss, due := p.lose(mode); due {
			p.mu.Lock()
			l.onAnswer = onLoss
			p.mu.Unlock()
		}
	}
	return chunk, nil
}

// answer passes on what the server says. The first thing that it says after an
// append, when it is to be lost, may also be something else; the client is in
// doubt all the same.
func (p *Proxy) answer(l *link, chunk []byte) ([]byte, error) {
	p.mu.Lock()
	mode, onLoss := p.mode, l.onAnswer
	p.mu.Unlock()
	if mode == losingBatchAnswer && bytes.Contains(chunk, batchAnswer) {
		onLoss, _ = p.lose(mode)
	}
	switch {
	case mode == stalling:
		return nil, nil
	case onLoss != nil:
		onLoss()
		return nil, errCut
	}
	return chunk, nil
}
