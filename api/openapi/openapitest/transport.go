// Package openapitest holds what tests send and receive to the description of the API,
// so that neither the description nor the program can change alone. It is for tests
// only, and never decides whether an answer is the right one: just whether it is one
// that was promised.
package openapitest

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

const (
	// maxKept is how much of a request's body is looked at, far more than the API takes.
	maxKept = 1 << 20
	// maxShown is how much of an answer a failure shows.
	maxShown = 2 << 10
)

// Transport checks every exchange that goes through base (nil: the default one) as
// Check does, and fails the test with what it finds. It may be used by any number of
// goroutines at once, until the test ends.
func Transport(t testing.TB, base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{t, base}
}

type transport struct {
	t    testing.TB
	base http.RoundTripper
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	var sent *recorder
	outgoing := r
	if r.Body != nil && r.Body != http.NoBody {
		sent = &recorder{ReadCloser: r.Body}
		outgoing = r.Clone(r.Context())
		outgoing.Body = sent
	}
	w, err := t.base.RoundTrip(outgoing)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(w.Header.Get("Content-Type"), "text/event-stream") {
		// It has no end to wait for; what its events hold is the test's own to check.
		t.check(r, sent, w, nil)
		return w, nil
	}
	defer w.Body.Close()
	body, err := io.ReadAll(w.Body)
	if err != nil {
		w.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), iotest.ErrReader(err)))
		return w, nil // an answer that broke off promised nothing
	}
	w.Body = io.NopCloser(bytes.NewReader(body))
	t.check(r, sent, w, body)
	return w, nil
}

func (t *transport) check(r *http.Request, sent *recorder, w *http.Response, body []byte) {
	if err := Check(r, sent.bytes(), w, body); err != nil {
		t.t.Errorf("%s %s: %d\n%v\n%s", r.Method, r.URL.RequestURI(), w.StatusCode, err, body[:min(len(body), maxShown)])
	}
}

// recorder keeps what is read from a request's body. The connection may still be
// reading when the answer is there.
type recorder struct {
	io.ReadCloser
	mu   sync.Mutex
	kept []byte
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept = append(r.kept, p[:min(n, maxKept-len(r.kept))]...)
	return n, err
}

func (r *recorder) bytes() []byte {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.kept)
}
