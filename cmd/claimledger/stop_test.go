package main

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// stopsInTime is what SIGTERM leaves a process.
const stopsInTime = 10 * time.Second

// hangingReceiver takes deliveries and does not answer.
func hangingReceiver(t *testing.T) (url string, busy <-chan struct{}) {
	arrived, release := make(chan struct{}, 1000), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-release
	}))
	t.Cleanup(func() { close(release); server.Close() })
	return server.URL, arrived
}

// A ledger that is told to stop in the middle of its work ends in order: in time, though
// a receiver and a client hang, and with everything that it answered for.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	flags := []string{"--data-dir", dir, "--listen", freeAddress(t), "--webhook-allow-private", "--webhook-retries", "1s,1s,1s"}
	p := serve(t, flags...)
	receiver := newHooks(t)
	tn := newTenant(t, newClient(t, p.address), "acme", "--data-dir", dir)
	tn.policy(map[string]any{"max_pending": 1_000_000})
	tn.webhook(receiver, nil)
	url, busy := hangingReceiver(t)
	tn.webhook(receiver, map[string]any{"url": url})
	stuck, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close()
	if _, err := stuck.Write([]byte("POST /v1/claims HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")); err != nil {
		t.Fatal(err)
	}
	l := newLoad(tn)
	l.begin(8)
	l.await(30)
	<-busy
	began := time.Now()
	p.signal(syscall.SIGTERM)
	if code := p.exit(stopsInTime); code != 0 {
		t.Errorf("it ended with %d:\n%s", code, p.log.tail(4000))
	}
	t.Logf("it stopped within %s", time.Since(began).Round(time.Millisecond))
	l.halt()
	if running(postmaster(dir)) {
		t.Error("PostgreSQL goes on after the ledger has stopped")
	}
	p = serve(t, flags...)
	l.settle()
	l.checkReadModel()
	receiver.await(patience, "request.submitted", l.claims())
	receiver.check()
	p.stop()
	l.checkLog(dir)
}

// Who follows changes is let go, and not cut off when the time for requests is over.
func TestStopEndsStreams(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	p := serve(t, "--data-dir", dir, "--listen", freeAddress(t))
	tn := newTenant(t, newClient(t, p.address), "acme", "--data-dir", dir)
	ended := make(chan error, 2)
	follow := func(query string, accept string) {
		r, err := tn.send("GET", "/v1/namespaces/claims/changes?since=0"+query, nil, tn.asGateway, func(r *http.Request, _ []byte) error {
			r.Header.Set("Accept", accept)
			return nil
		})
		if err == nil && r.status != http.StatusOK {
			err = errors.New(r.String())
		}
		ended <- err
	}
	go follow("", "text/event-stream")
	go follow("&wait=60", "application/json")
	eventually(t, patience, func() error {
		r, err := tn.send("GET", "/metrics", nil)
		if err == nil && !bytes.Contains(r.body, []byte("claimledger_feed_followers 2\n")) {
			err = errors.New("they do not follow yet")
		}
		return err
	})
	p.signal(syscall.SIGTERM)
	for range 2 {
		if err := <-ended; err != nil {
			t.Errorf("it was not let go in order: %v", err)
		}
	}
	if code := p.exit(stopsInTime); code != 0 || strings.Contains(p.log.String(), "requests in flight were cut off") {
		t.Errorf("it ended with %d:\n%s", code, p.log.tail(4000))
	}
}

func TestStopWhileStarting(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	for _, at := range []string{`"msg":"making a PostgreSQL cluster"`, `"msg":"PostgreSQL accepts connections"`} {
		p := launch(t, beLedger, nil, "serve", "--data-dir", dir, "--listen", "127.0.0.1:0")
		if _, err := p.log.await(t.Context(), p.ended, at); err != nil {
			t.Fatal(err)
		}
		p.signal(syscall.SIGTERM)
		if code := p.exit(stopsInTime); code != 0 {
			t.Errorf("told to stop while starting, it ended with %d:\n%s", code, p.log.tail(4000))
		}
	}
	serve(t, "--data-dir", dir, "--listen", "127.0.0.1:0").stop()
}

// A process that waits for what is not there yet ends when it is told to.
func TestStopWhileWaiting(t *testing.T) {
	t.Parallel()
	session, secret, head := keyFile(t, 0o600, hexText(32)), keyFile(t, 0o600, hexText(32)), keyFile(t, 0o600, hexText(32))
	p := launch(t, beLedger, nil, "serve", "--listen", "127.0.0.1:0", "--nats-url", "nats://127.0.0.1:1", "--database-url", "postgres://127.0.0.1:1/x",
		"--session-key-file", session, "--secret-key-file", secret, "--head-key-file", head)
	if _, err := p.log.await(t.Context(), p.ended, "the log cannot be opened yet"); err != nil {
		t.Fatal(err)
	}
	p.stop()
	left, err := filepath.Glob(filepath.Join(p.cmd.Dir, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("a process that keeps nothing itself left %v, %v", left, err)
	}
}
