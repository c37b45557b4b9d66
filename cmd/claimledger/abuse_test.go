package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

const (
	// hurryVariable makes a ledger of these tests wait less for its clients, so that
	// they need not wait as long.
	hurryVariable = "TEST_CLIENT_WAITS"
	// trickleEvery is slow enough to run into each of those waits.
	trickleEvery = 100 * time.Millisecond

	mib, gib = 1 << 20, 1 << 30

	memory = "process_resident_memory_bytes"
)

var hurried = waits{header: 2 * time.Second, request: 4 * time.Second, answer: 6 * time.Second, idle: time.Minute}

// hurry makes this process wait less, if it is told to.
func hurry() {
	if os.Getenv(hurryVariable) != "" {
		clientWaits = hurried
	}
}

// In production clients have this long, and no longer.
func TestWaits(t *testing.T) {
	if want := (waits{5 * time.Second, 15 * time.Second, 30 * time.Second, 2 * time.Minute}); clientWaits != want {
		t.Errorf("clients have %v", clientWaits)
	}
	if maxHeaderBytes != 32<<10 {
		t.Errorf("a header may have %d bytes", maxHeaderBytes)
	}
}

// room is how many connections the abused ledger has.
const room = 2000

// abused is a ledger under abuse, with somebody who goes on using it as it is meant.
type abused struct {
	*tenant
	address string
	most    float64 // memory, while it was watched, and what it came to before
	served  int     // rounds of use
}

// Memory stays bounded, others are served, and the offender is cut off, whatever it does.
func TestAbuse(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	p := serveWith(t, []string{hurryVariable + "=yes"}, "--data-dir", dir, "--listen", freeAddress(t), "--max-connections", fmt.Sprint(room))
	tn := newTenant(t, newClient(t, p.address), "acme", "--data-dir", dir)
	tn.policy(map[string]any{"max_pending": 1_000_000, "max_agents": 1_000_000})
	tn.awaitStatus("ready")
	most := 0.0
	for _, offence := range []struct {
		name   string
		within float64 // how much more memory the ledger may take
		commit func(*abused)
	}{
		{"too large", 64 * mib, (*abused).tooLarge},
		{"trickles", 128 * mib, (*abused).trickles},
		{"slow readers", 128 * mib, (*abused).slowReaders},
		{"smuggling", 64 * mib, (*abused).smuggling},
		{"many streams", 64 * mib, (*abused).manyStreams},
		{"idle thousands", 192 * mib, (*abused).idleThousands},
		{"half requests by the thousand", room / 2 * 256 << 10, (*abused).halfRequests},
	} {
		t.Run(offence.name, func(t *testing.T) {
			theirs := *tn
			other := *tn.client
			theirs.client, other.t, theirs.t = &other, t, t
			a := &abused{tenant: &theirs, address: p.address, most: most}
			a.meanwhile(offence.within, func() { offence.commit(a) })
			most = a.most
		})
	}
	p.stop()
}

// figure is one of the process's metrics.
func (a *abused) figure(name string) float64 {
	r, err := a.client.send("GET", "/metrics", nil)
	if err != nil || r.status != http.StatusOK {
		a.t.Errorf("/metrics: %v, %v", r, err)
		return 0
	}
	for line := range strings.Lines(string(r.body)) {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil {
				a.t.Error(err)
			}
			return value
		}
	}
	a.t.Errorf("there is no metric %s", name)
	return 0
}

// use does what a good client does, and must be answered.
func (a *abused) use() {
	r, claim, err := a.submit(newAgent())
	if err != nil || r.status != http.StatusCreated {
		a.t.Errorf("submit: %v, %v", r, err)
		return
	}
	for _, request := range [][2]string{
		{"POST", "/v1/claims/" + claim.ClaimID + "/approve"}, {"GET", "/v1/claims/" + claim.ClaimID}, {"GET", "/health/ready"},
	} {
		if r, err := a.client.send(request[0], request[1], nil, a.asOwner, after(r.position)); err != nil || r.status != http.StatusOK {
			a.t.Errorf("%v: %v, %v", request, r, err)
		}
	}
	a.served++
}

// meanwhile does something to the ledger, while it is used and its memory is watched.
func (a *abused) meanwhile(within float64, what func()) {
	a.t.Helper()
	a.use()
	// What was given back to the system since the offence before, and is taken once more, is
	// no more than there was: when that is given back, nobody can tell.
	before := max(a.most, a.figure(memory))
	stop := make(chan struct{})
	var using sync.WaitGroup
	using.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				a.use()
				a.most = max(a.most, a.figure(memory))
			}
		}
	})
	func() {
		defer using.Wait()
		defer close(stop)
		what()
	}()
	a.use()
	a.most = max(a.most, a.figure(memory))
	a.t.Logf("%.0f MiB before, %.0f at most; a good client was served %d times", before/mib, a.most/mib, a.served)
	if within *= raceCost; a.most-before > within {
		a.t.Errorf("the ledger took %.0f MiB more memory; %.0f are allowed", (a.most-before)/mib, within/mib)
	}
}

func (a *abused) dial() *raw { return dialRaw(a.t, a.address) }

// together runs an offence many times at once.
func together(n int, offence func()) {
	var all sync.WaitGroup
	for range n {
		all.Go(offence)
	}
	all.Wait()
}

// Whoever sends more than a request may have is told so where it can be, and cut off;
// what it sends goes nowhere.
func (a *abused) tooLarge() {
	const post = "POST /v1/claims HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	tests := []struct {
		name, start, part string
		size              int64
		status            int
	}{
		{"a body of 1 GiB", post + "Content-Length: 1073741824\r\n\r\n", "x", gib, 413},
		{"a body of 1 GiB in chunks", post + "Transfer-Encoding: chunked\r\n\r\n", "400\r\n" + strings.Repeat("x", 1024) + "\r\n", gib, 413},
		{"a body to nowhere", "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n", "x", gib, 404},
		{"a body to who wants none", "GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n", "x", gib, 200},
		{"a chunk that does not begin", post + "Transfer-Encoding: chunked\r\n\r\n1;x=", "x", gib, 400},
		{"a header of 10 MiB", "GET /health HTTP/1.1\r\nHost: x\r\nX-Long: ", "x", 10 * mib, 431},
		{"very many headers", "GET /health HTTP/1.1\r\nHost: x\r\n", "A: b\r\n", 10 * mib, 431},
		{"a long path", "GET /", "x", 10 * mib, 431},
		{"a long query", "GET /health?", "x=y&", 10 * mib, 431},
		{"a method without end", "", "G", 10 * mib, 431},
		{"empty lines", "", "\r\n", 10 * mib, 400},
		{"trailers of 10 MiB", post + "Transfer-Encoding: chunked\r\n\r\n0\r\n", "A: b\r\n", 10 * mib, 400},
	}
	for _, test := range tests {
		together(8, func() {
			r := a.dial()
			r.send(test.start)
			sent := r.flood(test.part, test.size)
			// An answer is lost where the connection was reset because of what was
			// still under way.
			status := r.cutOff()
			if sent >= test.size && test.size == gib || status != 0 && status != test.status {
				a.t.Errorf("%s: the server took %d bytes and answered %d, not %d", test.name, sent, status, test.status)
			}
		})
	}
	// A client that asks first is told not to send.
	r := a.dial()
	r.send("POST /v1/claims HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\nExpect: 100-continue\r\n\r\n")
	if resp := r.answer(); resp.StatusCode != http.StatusRequestEntityTooLarge {
		a.t.Errorf("it is answered with %d", resp.StatusCode)
	}
	r.cutOff()
}

// Who is slow in sending is cut off, at each place of a request.
func (a *abused) trickles() {
	tests := []struct{ name, start, slow string }{
		{"silence", "", ""},
		{"a request line", "G", "ET /"},
		{"a header", "GET /health HTTP/1.1\r\n", "A: b\r\n"},
		{"a body", "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n", " "},
		{"a body for nobody", "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n", " "},
		{"chunks", "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"},
		{"a large body but for its end", "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 65000\r\n\r\n" + strings.Repeat(" ", 64_000), " "},
		{"the second request", "GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\n", "A: b\r\n"},
	}
	var all sync.WaitGroup
	for _, test := range tests {
		for range 50 {
			r := a.dial()
			r.send(test.start)
			if test.slow != "" {
				all.Go(func() { r.trickle(test.slow, trickleEvery) })
			}
			all.Go(func() {
				if status := r.cutOff(); status >= 500 {
					a.t.Errorf("%s: answered with %d", test.name, status)
				}
				r.Close()
			})
		}
	}
	all.Wait()
}

// Who does not take its answers is cut off.
func (a *abused) slowReaders() {
	together(20, func() {
		r := a.dial()
		if err := r.SetReadBuffer(4 << 10); err != nil {
			a.t.Error(err)
		}
		// It asks on and on, and takes a byte now and then.
		go func() { r.flood("GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n", gib) }()
		tick := time.NewTicker(trickleEvery)
		defer tick.Stop()
		var one [1]byte
		for range int(hurried.answer * 5 / 4 / trickleEvery) {
			<-tick.C
			if _, err := r.Read(one[:]); err != nil {
				return
			}
		}
		r.cutOff()
	})
}

// Thousands who hold connections for nothing keep nobody out: those that are too many are
// closed, and the rest when their time is over.
func (a *abused) idleThousands() {
	const clients = 5000
	silent := make([]*raw, clients)
	for i := range silent {
		silent[i] = a.dial()
	}
	for _, r := range silent {
		r.cutOff()
	}
	asked := make([]*raw, clients)
	for i := range asked {
		asked[i] = a.dial()
		asked[i].send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
		asked[i].answer()
	}
	if n := a.figure("claimledger_http_connections"); n > room {
		a.t.Errorf("%v connections are open", n)
	}
	for _, r := range asked[:clients-room] {
		r.cutOff()
	}
	if cut := a.figure("claimledger_http_connections_cut_total"); cut < clients-room {
		a.t.Errorf("%v were cut off", cut)
	}
}

// Requests that are as large as may be and lack their last byte: what has been read of them
// is what a connection may cost.
func (a *abused) halfRequests() {
	const clients = room / 2
	start := "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("x", maxHeaderBytes-1000) +
		"\r\nContent-Length: 65536\r\n\r\n" + strings.Repeat(" ", 65535)
	half := make([]*raw, clients)
	for i := range half {
		half[i] = a.dial()
		_, _ = half[i].Write([]byte(start)) // it may be cut off meanwhile
	}
	for _, r := range half {
		r.cutOff()
	}
}

// As many streams as one likes cost no more than connections do.
func (a *abused) manyStreams() {
	const streams = 400
	// Beginning all at once would be another offence: each reads everything first.
	begin := make(chan struct{}, 8)
	together(streams, func() {
		begin <- struct{}{}
		defer func() { <-begin }()
		req, err := http.NewRequestWithContext(a.t.Context(), "GET", a.base+"/v1/namespaces/claims/changes?service="+serviceSlug+"&since=0", nil)
		if err == nil {
			req.Header.Set("Accept", "text/event-stream")
			err = a.asGateway(req, nil)
		}
		if err != nil {
			a.t.Error(err)
			return
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			a.t.Errorf("a stream is answered with %v, %v", resp, err)
			return
		}
		a.t.Cleanup(func() { resp.Body.Close() })
		if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil {
			a.t.Errorf("a stream begins with %q, %v", line, err)
		}
	})
}

// What may be taken for one request here and for another by a proxy is refused, or the
// last on its connection; and other protocols are not spoken.
func (a *abused) smuggling() {
	const post, hidden = "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\n", "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
	tests := []struct {
		name, text string
		status     int
		then       int // the status of what is answered next, 0: the connection is closed
	}{
		{"length and chunks", post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, 400, 0},
		{"chunks and length", post + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + hidden, 400, 0},
		{"two lengths", post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} " + hidden, 400, 0},
		{"a list of lengths", post + "Content-Length: 2, 3\r\n\r\n{} " + hidden, 400, 0},
		{"a signed length", post + "Content-Length: +2\r\n\r\n{}" + hidden, 400, 0},
		{"a negative length", post + "Content-Length: -2\r\n\r\n{}" + hidden, 400, 0},
		{"a length past counting", post + "Content-Length: 99999999999999999999\r\n\r\n{}" + hidden, 400, 0},
		{"a space before the colon", post + "Content-Length : 2\r\n\r\n{}" + hidden, 400, 0},
		{"a folded header", post + "Content-Length: 2\r\n\tX: y\r\n\r\n{}" + hidden, 400, 0},
		{"unknown coding", post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden, 501, 0},
		{"two codings", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden, 501, 0},
		{"a list of codings", post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + hidden, 501, 0},
		{"a bad chunk", post + "Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n" + hidden, 400, 0},
		{"a chunk past counting", post + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}" + hidden, 400, 0},
		{"chunks in HTTP/1.0", "POST /v1/auth/login HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, 400, 0},
		{"two hosts", "GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + hidden, 400, 0},
		{"no host", "GET /health HTTP/1.1\r\n\r\n" + hidden, 400, 0},
		{"a bare line feed in a value", "GET /health HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n" + hidden, 400, 0},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404, 0},
		{"HTTP/3", "GET /health HTTP/3.0\r\nHost: x\r\n\r\n", 505, 0},
		{"a tunnel", "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n" + hidden, 404, 200},
		{"a proxy's request", "GET http://example.com/nowhere HTTP/1.1\r\nHost: example.com\r\n\r\n" + hidden, 404, 200},
		{"an upgrade to HTTP/2", "GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n" + hidden, 200, 200},
		{"an upgrade to a socket", "GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + hidden, 200, 200},
		{"what is meant", post + "Content-Length: 2\r\n\r\n{}" + hidden, 400, 200},
	}
	for _, test := range tests {
		r := a.dial()
		r.send(test.text)
		if status := r.answer().StatusCode; status != test.status {
			a.t.Errorf("%s: answered with %d, not %d", test.name, status, test.status)
		}
		if test.then != 0 {
			if status := r.answer().StatusCode; status != test.then {
				a.t.Errorf("%s: then answered with %d", test.name, status)
			}
			continue
		}
		if rest, err := io.ReadAll(r.read); len(rest) > 0 || os.IsTimeout(err) {
			a.t.Errorf("%s: then %q, %v", test.name, rest, err)
		}
	}
}
