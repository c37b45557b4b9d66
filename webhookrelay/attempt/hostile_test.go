package attempt_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/webhookrelay/attempt"
	"github.com/claimledger/claimledger/webhookrelay/dialguard"
)

// impatient gives up soon, for receivers that never finish.
const impatient = 200 * time.Millisecond

const keptBytes = 4096

// answerRaw runs a receiver that reads each delivery and then does as it likes with
// the connection, which is closed afterwards.
func answerRaw(t *testing.T, answer func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				readRequest(conn)
				answer(conn)
			}()
		}
	}()
	return "http://" + listener.Addr().String()
}

// untilGone waits for the client to close the connection.
func untilGone(conn net.Conn) { io.Copy(io.Discard, conn) }

// forever writes the same bytes until the client closes the connection.
func forever(w io.Writer, text string) {
	for {
		if _, err := io.WriteString(w, text); err != nil {
			return
		}
	}
}

func TestAnswersWithoutAnEnd(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for name, c := range map[string]struct {
		answer func(net.Conn)
		reason string
	}{
		"says nothing":      {untilGone, attempt.ReasonTimeout},
		"stops in a header": {func(c net.Conn) { io.WriteString(c, ok+"X-Slow: "); untilGone(c) }, attempt.ReasonTimeout},
		"stops in the body": {
			func(c net.Conn) { io.WriteString(c, ok+"Content-Length: 100\r\n\r\nslow"); untilGone(c) }, attempt.ReasonTimeout},
		"stops in a chunk": {
			func(c net.Conn) { io.WriteString(c, ok+"Transfer-Encoding: chunked\r\n\r\nff\r\nslow"); untilGone(c) }, attempt.ReasonTimeout},
		"endless header":  {func(c net.Conn) { io.WriteString(c, ok+"X-Long: "); forever(c, "xxxxxxxx") }, attempt.ReasonResponse},
		"endless headers": {func(c net.Conn) { io.WriteString(c, ok); forever(c, "X-Many: x\r\n") }, attempt.ReasonResponse},
		"endless informational answers": {
			func(c net.Conn) { forever(c, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n") }, attempt.ReasonResponse},
		"endless chunk extension": {
			func(c net.Conn) { io.WriteString(c, ok+"Transfer-Encoding: chunked\r\n\r\n1;"); forever(c, "xxxxxxxx") }, attempt.ReasonResponse},
		"endless status line": {func(c net.Conn) { forever(c, "HTTP/1.1 200 ") }, attempt.ReasonResponse},
		"not HTTP":            {func(c net.Conn) { io.WriteString(c, "SSH-2.0-OpenSSH\r\n") }, attempt.ReasonResponse},
		"closes":              {func(net.Conn) {}, attempt.ReasonConnection},
		"closes in a header":  {func(c net.Conn) { io.WriteString(c, ok+"X-Cut: y") }, attempt.ReasonConnection},
		"closes in the body": {
			func(c net.Conn) { io.WriteString(c, ok+"Content-Length: 100\r\n\r\ncut") }, attempt.ReasonConnection},
		"resets": {func(c net.Conn) { c.(*net.TCPConn).SetLinger(0) }, attempt.ReasonConnection},
	} {
		t.Run(name, func(t *testing.T) {
			s := sender(nil)
			if c.reason == attempt.ReasonTimeout {
				s.Timeout = impatient
			}
			o := s.Send(t.Context(), delivery(answerRaw(t, c.answer)))
			if o.OK() || o.Error != c.reason || o.Err == nil {
				t.Errorf("got %+v, want %s", o, c.reason)
			}
			if c.reason == attempt.ReasonTimeout && o.Duration < impatient {
				t.Errorf("gave up after %v", o.Duration)
			}
		})
	}
}

func TestHeadersAreBounded(t *testing.T) {
	for size, want := range map[int]string{15 << 10: "", 17 << 10: attempt.ReasonResponse} {
		server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", size))
		})
		if o := sender(nil).Send(t.Context(), delivery(server.URL)); o.Error != want {
			t.Errorf("%d bytes: got %+v", size, o)
		}
	}
}

// More than is read of an answer is no failure: the receiver has the event.
func TestLongAnswers(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"endless": func(w http.ResponseWriter, _ *http.Request) { forever(w, "endless ") },
		"long":    func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 1<<20)) },
		"16 KiB":  func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 16<<10)) },
		"4 KiB":   func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, keptBytes)) },
	} {
		o := sender(nil).Send(t.Context(), delivery(serve(t, answer).URL))
		if !o.OK() || len(o.Response) != keptBytes {
			t.Errorf("%s: status %d, %s, kept %d bytes", name, o.Status, o.Error, len(o.Response))
		}
	}
}

// A receiver of ours that stops reading cannot be made to send more than the sockets
// hold: what is not read is not buffered.
func TestAnEndlessAnswerEndsSoon(t *testing.T) {
	written := make(chan int64, 1)
	url := answerRaw(t, func(c net.Conn) {
		n, _ := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n")
		more, _ := io.Copy(c, endless{})
		written <- int64(n) + more
	})
	if o := sender(nil).Send(t.Context(), delivery(url)); !o.OK() {
		t.Fatalf("got %+v", o)
	}
	const socketBuffers = 32 << 20 // generous: Linux grows a loopback pair's to some 10 MiB
	if n := <-written; n > socketBuffers {
		t.Errorf("%d bytes were sent", n)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestACompressedBombStaysCompressed(t *testing.T) {
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	w.Write(make([]byte, 10<<20))
	w.Close()
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(bomb.Bytes())
	})
	o := sender(nil).Send(t.Context(), delivery(server.URL))
	if !o.OK() || !bytes.Equal(o.Response, bomb.Bytes()[:keptBytes]) {
		t.Errorf("status %d, %s, kept %d bytes", o.Status, o.Error, len(o.Response))
	}
}

func TestTLSFailures(t *testing.T) {
	start := func(address string, config *tls.Config) *httptest.Server {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Listener.Close()
		server.Listener = listener
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.TLS = config
		server.StartTLS()
		t.Cleanup(server.Close)
		return server
	}
	const named, unnamed = "127.0.0.1:0", "127.0.0.2:0" // in httptest's certificate, and not
	modern := start(named, &tls.Config{})
	roots := x509.NewCertPool()
	roots.AddCert(modern.Certificate())
	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	for name, c := range map[string]struct {
		url   string
		roots *x509.CertPool
	}{
		"an old version":        {start(named, &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}).URL, roots},
		"an unknown authority":  {modern.URL, nil},
		"another name":          {start(unnamed, &tls.Config{}).URL, roots},
		"wants our certificate": {start(named, &tls.Config{ClientAuth: tls.RequireAnyClientCert}).URL, roots},
		"no TLS at all":         {strings.Replace(plain.URL, "http:", "https:", 1), roots},
	} {
		if o := sender(c.roots).Send(t.Context(), delivery(c.url)); o.OK() || o.Error != attempt.ReasonTLS {
			t.Errorf("%s: got %+v", name, o)
		}
	}
	if o := sender(roots).Send(t.Context(), delivery(modern.URL)); o.Status != http.StatusNotFound {
		t.Errorf("the control: got %+v", o)
	}
}

// What a tenant reads is one of a few words: it holds no address, no port, and is the
// same whether or not something listens where the guard refused to go.
func TestWhatATenantIsTold(t *testing.T) {
	open, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	port := func(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
	nowhere := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no DNS in this test")
	}}
	production := domain.TargetPolicy{Ports: []int{port(open), port(closed)}}
	development := domain.TargetPolicy{AllowPrivate: true}
	for _, c := range []struct {
		policy domain.TargetPolicy
		url    string
		want   string
	}{
		{production, fmt.Sprintf("https://127.0.0.1:%d/?token=hunter2", port(open)), attempt.ReasonRefused},
		{production, fmt.Sprintf("https://127.0.0.1:%d/?token=hunter2", port(closed)), attempt.ReasonRefused},
		{production, fmt.Sprintf("http://hook.example.com:%d/?token=hunter2", port(open)), attempt.ReasonRefused},
		{production, "https://hook.example.com:1/?token=hunter2", attempt.ReasonRefused},
		{production, fmt.Sprintf("https://hook.example.com:%d/?token=hunter2", port(open)), attempt.ReasonName},
		{development, fmt.Sprintf("http://127.0.0.1:%d/?token=hunter2", port(closed)), attempt.ReasonConnection},
	} {
		s := attempt.Sender{Transport: dialguard.NewTransport(dialguard.Options{Policy: c.policy, Resolver: nowhere})}
		o := s.Send(t.Context(), delivery(c.url))
		if o.OK() || o.Error != c.want || o.Status != 0 || len(o.Response) != 0 {
			t.Errorf("%s: got %+v, want %s", c.url, o, c.want)
		}
		for _, secret := range []string{"hunter2", newSecret, oldSecret} {
			if o.Err == nil || strings.Contains(o.Err.Error(), secret) {
				t.Errorf("%s: for the log: %v", c.url, o.Err)
			}
		}
	}
}
