package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// listening is a webhook whose events are forwarded to another receiver too.
type listening struct {
	*endpointOf
	local *hooks
	env   []string
	args  []string
}

func newListening(t *testing.T) *listening {
	t.Helper()
	dir := pgtest.Dir(t)
	p := serve(t, "--data-dir", dir, "--listen", freeAddress(t), "--webhook-allow-private")
	e := newEndpoint(newTenant(t, newClient(t, p.address), "acme", "--data-dir", dir))
	l := &listening{endpointOf: e, local: newHooks(t)}
	l.local.secret = e.receiver.secret
	l.env = []string{
		"CLAIMLEDGER_SESSION=" + e.session, "CLAIMLEDGER_WEBHOOK_SECRET=" + e.receiver.secret,
		"CLAIMLEDGER_SERVICE=" + e.service, "CLAIMLEDGER_WEBHOOK=" + path.Base(e.path),
		"CLAIMLEDGER_DATA_DIR=" + dir, "XDG_CACHE_HOME=" + t.TempDir(),
	}
	l.args = []string{"webhooks", "listen", "--forward-to"}
	return l
}

// start begins to forward events to a URL.
func (l *listening) start(to string, more ...string) *process {
	l.t.Helper()
	return launch(l.t, beLedger, l.env, slices.Concat(l.args, []string{to}, more)...)
}

// interrupt is what Ctrl-C does.
func (l *listening) interrupt(p *process) {
	l.t.Helper()
	p.signal(syscall.SIGINT)
	if code := p.exit(patience); code != 0 {
		l.t.Fatalf("it ended with %d after an interrupt:\n%s", code, p.log.tail(4000))
	}
	for _, secret := range []string{l.session, l.local.secret} {
		if strings.Contains(p.out.String()+p.log.String(), secret) {
			l.t.Error("it has printed a secret")
		}
	}
}

// awaitReport waits for the printed line about an event.
func (l *listening) awaitReport(p *process, part string) string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	line, err := p.out.await(ctx, p.ended, part)
	if err != nil {
		l.t.Fatalf("no line with %q: %v\n%s\n%s", part, err, p.out.tail(4000), p.log.tail(4000))
	}
	return line
}

// What is forwarded is what the ledger delivers, byte for byte and header for header, and
// goes on where it ended.
func TestEventsAreForwardedAsTheyAreDelivered(t *testing.T) {
	t.Parallel()
	l := newListening(t)
	id, _ := l.mustSubmit()
	l.expect(200, "POST", "/v1/claims/"+id+"/approve", map[string]any{"reason": "<b>Ünlikely</b> & \u2028 odd"}, l.asOwner)
	p := l.start(l.local.url)
	l.local.awaitEvents(patience, 2)
	l.receiver.awaitEvents(patience, 2)
	l.awaitReport(p, "     2  request.approved   "+id+"  204 (")
	l.interrupt(p)
	for i, got := range l.local.inOrder() {
		if want := l.receiver.inOrder()[i]; got.body != want.body {
			t.Errorf("forwarded %s, delivered %s", got.body, want.body)
		}
		forwarded, delivered := l.local.last(2)[i], l.receiver.last(2)[i]
		if got, want := slices.Sorted(maps.Keys(forwarded)), slices.Sorted(maps.Keys(delivered)); !slices.Equal(got, want) {
			t.Errorf("forwarded with the headers %v, delivered with %v", got, want)
		}
		for _, name := range []string{"X-Sigilum-Signature", "X-Sigilum-Webhook-Id", "User-Agent", "Content-Type"} {
			if forwarded.Get(name) != delivered.Get(name) {
				t.Errorf("%s is %s, and %s where it was delivered", name, forwarded.Get(name), delivered.Get(name))
			}
		}
	}

	l.expect(200, "POST", "/v1/claims/"+id+"/revoke", nil, l.asOwner)
	p = l.start(l.local.url)
	l.local.awaitEvents(patience, 3)
	l.awaitReport(p, "     3  request.revoked")
	id, _ = l.mustSubmit() // while it listens
	l.awaitReport(p, "     4  request.submitted  "+id)
	l.interrupt(p)
	if events, arrivals := l.local.check(); events != 4 || arrivals != 4 {
		t.Errorf("%d events came, in %d requests", events, arrivals)
	}

	p = l.start(l.local.url, "--after", "3")
	l.awaitReport(p, "     4  request.submitted")
	l.interrupt(p)
	if _, arrivals := l.local.check(); arrivals != 5 {
		t.Errorf("after one more from 4 on: %d requests", arrivals)
	}
	if text := p.log.String(); !strings.Contains(text, "forwarded up to 4; the next run goes on there") {
		t.Errorf("it ended with %s", text)
	}

	p = l.start(l.local.url, "--after", "99") // where there is nothing yet
	eventually(t, patience, func() error {
		if text := p.log.String(); !strings.Contains(text, "after 99") {
			return fmt.Errorf("it says %q", text)
		}
		return nil
	})
	l.interrupt(p)
	if text := p.log.String(); !strings.Contains(text, "nothing was forwarded; the next run goes on after 4\n") {
		t.Errorf("it ended with %s", text)
	}
}

// A program that is down or fails gets the event again, and the next not before.
func TestForwardingWaitsForTheProgram(t *testing.T) {
	t.Parallel()
	l := newListening(t)
	var requests atomic.Int64
	program := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		l.local.ServeHTTP(w, r)
	}))
	t.Cleanup(program.Close)
	l.mustSubmit()
	l.mustSubmit()
	state := filepath.Join(t.TempDir(), "deep", "state")
	p := l.start(program.URL, "--json", "--state-file", state)
	want := []forwarded{
		{Sequence: 1, Attempt: 1, Status: 500, Error: "status 500", AgainIn: 1},
		{Sequence: 1, Attempt: 2, Status: 204, Accepted: true},
		{Sequence: 2, Attempt: 1, Status: 204, Accepted: true},
	}
	l.awaitReport(p, `"sequence":2`)
	l.interrupt(p)
	var reports []forwarded
	for line := range strings.Lines(p.out.String()) {
		var r forwarded
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r.ID == "" || r.Event != "request.submitted" || r.ClaimID == "" {
			t.Errorf("%+v", r)
		}
		r.ID, r.Event, r.ClaimID, r.DurationMS = "", "", "", 0
		reports = append(reports, r)
	}
	if !slices.Equal(reports, want) {
		t.Errorf("got %+v, want %+v", reports, want)
	}

	l.mustSubmit()
	program.Close()
	p = l.start(program.URL, "--state-file", state)
	l.awaitReport(p, "connection failed, again in 1s")
	l.interrupt(p)
	if at, err := sequenceFile(state).read(); at != 2 || err != nil {
		t.Errorf("it goes on after %d, %v", at, err)
	}
	p = l.start(program.URL, "--state-file", state, "--attempts", "1") // which gives it up
	l.awaitReport(p, "connection failed (")
	eventually(t, patience, func() error { return l.remembers(state, 3) })
	l.interrupt(p)
}

func (l *listening) remembers(state string, want uint64) error {
	at, err := sequenceFile(state).read()
	if err == nil && at != want {
		err = fmt.Errorf("it remembers %d", at)
	}
	return err
}

func TestWhoMayNotListen(t *testing.T) {
	t.Parallel()
	l := newListening(t)
	for _, c := range []struct {
		name string
		env  []string
		args []string
		code int
		says string
	}{
		{"another session", []string{"CLAIMLEDGER_SESSION=nonsense"}, nil, exitFailure, "401"},
		{"another webhook", nil, []string{"--webhook", "0f0e0d0c-0b0a-4908-8706-050403020100"}, exitFailure, "404"},
		{"a path for a webhook", nil, []string{"--webhook", "../../etc/passwd"}, exitUsage, "--webhook"},
		{"no secret", []string{"CLAIMLEDGER_WEBHOOK_SECRET="}, nil, exitUsage, "secret is needed"},
		{"a short secret", []string{"CLAIMLEDGER_WEBHOOK_SECRET=hunter2"}, nil, exitUsage, "16 to 256 bytes"},
		{"two secrets", nil, []string{"--webhook-secret-file", "secret"}, exitUsage, "one too many"},
		{"no owner", []string{"CLAIMLEDGER_SESSION="}, nil, exitUsage, "CLAIMLEDGER_MANAGEMENT_KEY"},
		{"another scheme", nil, []string{"--forward-to", "ftp://localhost/"}, exitUsage, "--forward-to"},
		{"no scheme", nil, []string{"--forward-to", "localhost:3000"}, exitUsage, "--forward-to"},
	} {
		r := runWith(t, slices.Concat(l.env, c.env), slices.Concat(l.args, []string{l.local.url}, c.args)...)
		if r.code != c.code || !strings.Contains(r.err, c.says) || strings.Contains(r.err, "hunter2") || strings.Contains(r.err, "nonsense") {
			t.Errorf("%s: it ended with %d: %s", c.name, r.code, r.err)
		}
	}
	if _, arrivals := l.local.check(); arrivals != 0 {
		t.Errorf("%d requests came", arrivals)
	}
}
