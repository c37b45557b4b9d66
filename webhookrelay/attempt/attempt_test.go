package attempt_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/domain/signature"
	"github.com/claimledger/claimledger/webhookrelay/attempt"
	"github.com/claimledger/claimledger/webhookrelay/dialguard"
)

const (
	newSecret = "whsec_+wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAP8="
	oldSecret = "my own secret, with spaces"
)

var at = time.Unix(1700000000, 0)

// sender may reach the tests' own servers.
func sender(roots *x509.CertPool) *attempt.Sender {
	return &attempt.Sender{
		Transport: dialguard.NewTransport(dialguard.Options{
			Policy:  domain.TargetPolicy{AllowPrivate: true},
			RootCAs: roots,
		}),
		Version: "1.2.3",
	}
}

func delivery(url string) attempt.Request {
	return attempt.Request{
		URL:       url,
		WebhookID: "webhook-1",
		EventID:   "01JEVENT",
		EventType: "request.approved",
		Body:      []byte("{\"event\":\"request.approved\",\n \"data\":{}}\n"),
		Secrets:   []string{newSecret, oldSecret},
		At:        at,
	}
}

// serve runs a receiver that has read each delivery before it answers.
func serve(t *testing.T, answer http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}

func TestWhatIsSent(t *testing.T) {
	type message struct {
		method, uri string
		header      http.Header
		body        []byte
	}
	got := make(chan message, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- message{r.Method, r.RequestURI, r.Header, body}
	}))
	defer server.Close()

	request := delivery(server.URL + "/hooks/1?a=b")
	request.AuthHeader, request.AuthValue = "Authorization", "Bearer token"
	if o := sender(nil).Send(t.Context(), request); !o.OK() || o.Status != 200 || o.Error != "" || o.Err != nil || o.Duration <= 0 {
		t.Fatalf("got %+v", o)
	}
	m := <-got
	if m.method != "POST" || m.uri != "/hooks/1?a=b" || !bytes.Equal(m.body, request.Body) {
		t.Errorf("got %s %s %s", m.method, m.uri, m.body)
	}
	if err := signature.Verify(m.header, m.body, []string{newSecret}, at, 0); err != nil {
		t.Errorf("the current secret: %v", err)
	}
	if err := signature.Verify(m.header, m.body, []string{oldSecret}, at, 0); err != nil {
		t.Errorf("the older secret: %v", err)
	}
	if err := signature.VerifyBody(m.header, m.body, []string{newSecret}); err != nil {
		t.Errorf("the body's signature: %v", err)
	}
	m.header.Del("Webhook-Signature")
	m.header.Del("X-Sigilum-Signature")
	if want := (http.Header{
		"Authorization":        {"Bearer token"},
		"Content-Length":       {strconv.Itoa(len(request.Body))},
		"Content-Type":         {"application/json"},
		"User-Agent":           {"claimledger/1.2.3"},
		"Webhook-Id":           {"01JEVENT"},
		"Webhook-Timestamp":    {"1700000000"},
		"X-Sigilum-Event":      {"request.approved"},
		"X-Sigilum-Webhook-Id": {"webhook-1"},
	}); !reflect.DeepEqual(m.header, want) {
		t.Errorf("got the headers %v, want %v", m.header, want)
	}
}

// The API refuses these names; should one ever be recorded, it replaces nothing.
func TestTheOwnersHeaderReplacesNoneOfOurs(t *testing.T) {
	got := make(chan *http.Request, 1)
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) { got <- r })
	for _, name := range []string{
		"webhook-id", "Webhook-Signature", "x-sigilum-signature", "Content-Type", "User-Agent", "Host", "Content-Length",
	} {
		request := delivery(server.URL)
		request.AuthHeader, request.AuthValue = name, "forged"
		if o := sender(nil).Send(t.Context(), request); !o.OK() {
			t.Errorf("%s: %+v", name, o)
			continue
		}
		r := <-got
		for header, values := range r.Header {
			if strings.Contains(strings.Join(values, " "), "forged") {
				t.Errorf("%s was replaced", header)
			}
		}
		if r.Host == "forged" || r.ContentLength != int64(len(request.Body)) {
			t.Errorf("%s: host %s, length %d", name, r.Host, r.ContentLength)
		}
	}
}

func TestStatuses(t *testing.T) {
	for status, want := range map[int]string{
		200: "", 201: "", 202: "", 204: "", 299: "",
		301: "status 301, redirects are not followed", 304: "status 304, redirects are not followed",
		308: "status 308, redirects are not followed",
		400: "status 400", 401: "status 401", 404: "status 404", 410: "status 410", 429: "status 429",
		500: "status 500", 503: "status 503", 599: "status 599", 999: "status 999",
	} {
		server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://169.254.169.254/")
			w.WriteHeader(status)
			io.WriteString(w, "answer")
		})
		o := sender(nil).Send(t.Context(), delivery(server.URL))
		if o.Status != status || o.Error != want || o.OK() != (want == "") || o.Gone() != (status == 410) || o.Err != nil {
			t.Errorf("%d: got %+v", status, o)
		}
		if bodiless := status == 204 || status == 304; !bodiless && string(o.Response) != "answer" {
			t.Errorf("%d: kept %q", status, o.Response)
		}
	}
	if new(attempt.Outcome).OK() {
		t.Error("no outcome at all counts as success")
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		status int
		value  string
		want   time.Duration
	}{
		{429, "120", 2 * time.Minute},
		{503, "120", 2 * time.Minute},
		{503, "0", 0},
		{503, "", 0},
		{503, "86400", 24 * time.Hour},
		{503, "86401", 24 * time.Hour},
		{503, "99999999999999999999999999", 24 * time.Hour},
		{503, "-5", 0},
		{503, "1.5", 0},
		{503, "soon", 0},
		{503, "Sun, 01 Mar 2026 12:05:00 GMT", 5 * time.Minute},
		{503, "Sunday, 01-Mar-26 12:05:00 GMT", 5 * time.Minute},
		{503, "Sun Mar  1 12:05:00 2026", 5 * time.Minute},
		{503, "Sun, 01 Mar 2026 11:00:00 GMT", 0},
		{503, "Mon, 01 Mar 2100 12:00:00 GMT", 24 * time.Hour},
		{200, "120", 0},
		{301, "120", 0},
		{500, "120", 0},
	} {
		server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", c.value)
			w.WriteHeader(c.status)
		})
		s := sender(nil)
		s.Now = func() time.Time { return now }
		if o := s.Send(t.Context(), delivery(server.URL)); o.RetryAfter != c.want || o.Status != c.status {
			t.Errorf("%d, %q: got %v, want %v", c.status, c.value, o.RetryAfter, c.want)
		}
	}
}

// A kept connection that the receiver has given up turns out to be dead only after
// the request was written to it. That must not cost an attempt.
func TestADeadKeptConnectionCostsNoAttempt(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			readRequest(conn)
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			readRequest(conn)
			conn.Close()
		}
	}()
	s := sender(nil)
	for n := range 5 {
		if o := s.Send(t.Context(), delivery("http://"+listener.Addr().String())); !o.OK() {
			t.Errorf("attempt %d: %+v", n, o)
		}
	}
}

// readRequest reads until the test body's last byte.
func readRequest(conn net.Conn) {
	var got []byte
	buffer := make([]byte, 4096)
	for !bytes.HasSuffix(got, []byte("{}}\n")) {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		got = append(got, buffer[:n]...)
	}
}

func TestTheCallerCanEndAnAttempt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	if o := sender(nil).Send(ctx, delivery(server.URL)); !o.Interrupted() || o.OK() || o.Error != attempt.ReasonInterrupted {
		t.Errorf("got %+v", o)
	}
}

func TestWhatCannotBeSent(t *testing.T) {
	for name, change := range map[string]func(*attempt.Request){
		"no secret":  func(r *attempt.Request) { r.Secrets = nil },
		"bad secret": func(r *attempt.Request) { r.Secrets = []string{"whsec_hunter2"} },
		"bad URL":    func(r *attempt.Request) { r.URL = "http://127.0.0.1/%zz?token=hunter2" },
	} {
		request := delivery("http://127.0.0.1/")
		change(&request)
		o := sender(nil).Send(t.Context(), request)
		if o.OK() || o.Error != attempt.ReasonNotSent || o.Err == nil || strings.Contains(o.Err.Error(), "hunter2") {
			t.Errorf("%s: got %+v", name, o)
		}
	}
}

// Own secrets may hold any byte: two lists of them that look alike one after another are
// not the same.
func TestSecretsThatLookAlike(t *testing.T) {
	const one, other = "0123456789abcdef", "fedcba9876543210"
	failed := make(chan error, 1)
	var secret string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		failed <- signature.VerifyBody(r.Header, body, []string{secret})
	}))
	defer server.Close()
	s := sender(nil)
	for _, secrets := range [][]string{{one, other}, {one + "\x00" + other}, {one, other + "\x00" + one}, {one + "\x00" + other, one}} {
		request := delivery(server.URL)
		request.Secrets, secret = secrets, secrets[0]
		if o := s.Send(t.Context(), request); !o.OK() {
			t.Fatalf("got %+v", o)
		}
		if err := <-failed; err != nil {
			t.Errorf("%q: %v", secrets, err)
		}
	}
}
