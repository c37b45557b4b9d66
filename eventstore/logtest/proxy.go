package logtest

import (
	"bytes"
	"errors"
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

// Hold keeps back what clients say until the proxy is told what to do with it. A client does
// not notice, however long that takes, but that its requests are not answered: what it says is
// taken, and its pings are answered.
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
		said := make(chan []byte, maxSaid)
		p.running.Go(func() { defer close(said); p.listen(l, said) })
		p.running.Go(func() { p.pass(l, said) })
		p.running.Go(func() { p.answers(l) })
	}
}

// errCut ends a link on purpose.
var errCut = errors.New("cut")

func (p *Proxy) end(l *link) {
	l.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// maxSaid is how many pieces of what a client says are taken while it is held: more than any
// test has it say.
const maxSaid = 4096

// listen takes what a client says, until either side ends.
func (p *Proxy) listen(l *link, said chan<- []byte) {
	defer p.end(l)
	buffer := make([]byte, 64<<10)
	for {
		n, err := l.client.Read(buffer)
		if err != nil {
			return
		}
		said <- p.letPings(l, bytes.Clone(buffer[:n]))
	}
}

// letPings passes a held client's pings on ahead of what else it says, so that the server
// answers them, and gives the rest.
func (p *Proxy) letPings(l *link, chunk []byte) (rest []byte) {
	p.mu.Lock() // nothing else is said to the server until then
	defer p.mu.Unlock()
	if p.mode != holding {
		return chunk
	}
	for line := range bytes.Lines(chunk) {
		if !bytes.Equal(line, aPing) {
			rest = append(rest, line...)
		} else if _, err := l.server.Write(line); err != nil {
			break // the link ends
		}
	}
	return rest
}

// pass passes on what a client has said, as request has it, until either side ends.
func (p *Proxy) pass(l *link, said <-chan []byte) {
	defer p.end(l)
	for chunk := range said {
		chunk, err := p.request(l, chunk)
		if err == nil {
			_, err = l.server.Write(chunk)
		}
		if err != nil {
			break
		}
	}
	l.close()
	for range said { // so that who listens ends
	}
}

// answers passes on what the server says, as answer has it, until either side ends.
func (p *Proxy) answers(l *link) {
	defer p.end(l)
	buffer := make([]byte, 64<<10)
	for {
		n, err := l.server.Read(buffer)
		if err != nil {
			return
		}
		chunk, err := p.answer(l, buffer[:n])
		if err != nil {
			return
		}
		if _, err := l.client.Write(chunk); err != nil {
			return
		}
	}
}

// What tells the parts of the protocol apart.
var (
	aPing       = []byte("PING\r\n")
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
