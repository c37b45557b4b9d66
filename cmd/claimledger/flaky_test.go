package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// flaky is an endpoint that fails at random. What it answered well is in its hooks, in that
// order; the signatures of all requests are checked.
type flaky struct {
	*hooks
	failing float64
	came    func() // for each request that was whole

	mu     sync.Mutex
	bodies map[string]string // by event, as they came first
	failed int
}

func newFlaky(t testing.TB, failing float64, came func()) *flaky {
	f := &flaky{hooks: makeHooks(t), failing: failing, came: came, bodies: map[string]string{}}
	f.hooks.serve(f)
	return f
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil { // the sender was killed in the middle; it sends again
		return
	}
	fails := rand.Float64() < f.failing
	f.note(body, fails)
	if fails {
		f.hooks.doubt(r.Header, body)
		f.fail(w, r)
	} else {
		f.hooks.accept(r.Header, body)
		w.WriteHeader(http.StatusNoContent)
	}
	f.came()
}

// note makes sure that an event's bytes are the same each time.
func (f *flaky) note(body []byte, fails bool) {
	var got hook
	err := json.Unmarshal(body, &got)
	f.mu.Lock()
	defer f.mu.Unlock()
	if fails {
		f.failed++
	}
	before, again := f.bodies[got.ID]
	if err != nil || again && before != string(body) {
		f.t.Errorf("event %s came as %s and as %s (%v)", got.ID, before, body, err)
	}
	f.bodies[got.ID] = string(body)
}

// fail answers as an endpoint does that has trouble, or not at all.
func (f *flaky) fail(w http.ResponseWriter, r *http.Request) {
	switch kind := rand.Float64(); {
	case kind < 0.3:
		w.WriteHeader(http.StatusInternalServerError)
	case kind < 0.6:
		reset(w)
	case kind < 0.8: // hangs for a while
		select {
		case <-time.After(rand.N(300 * time.Millisecond)):
		case <-r.Context().Done():
		}
		w.WriteHeader(http.StatusGatewayTimeout)
	case kind < 0.9:
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(pick(http.StatusTooManyRequests, http.StatusServiceUnavailable))
	}
}

// reset breaks the connection off.
func reset(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(fmt.Sprint("hijack: ", err))
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}

// failures is how many requests were not answered well.
func (f *flaky) failures() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}
