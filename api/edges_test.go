package api_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
)

const maxBody = 64 << 10

// A body may have 64 KiB, whether its size was declared or not, and whoever sends it.
func TestBodySize(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	s := o.service("weather")
	body := func(size int) string {
		start, end := `{"name": "weather", "padding": "`, `"}`
		return start + strings.Repeat("x", size-len(start)-len(end)) + end
	}
	chunked := tampered(func(s *sending) { s.TransferEncoding = []string{"chunked"} })
	send := func(size int, options ...option) *reply {
		r := n.prepare(t, "PATCH", "/v1/services/"+s.id, body(size), append([]option{bearer(o.session)}, options...))
		if r.TransferEncoding != nil {
			r.ContentLength = -1
		}
		return n.do(t, r)
	}
	send(maxBody).want(200)
	send(maxBody, chunked).want(200)
	before := l.last()
	send(maxBody+1).want(413, domain.CodeBodyTooLarge)
	send(maxBody+1, chunked).want(413, domain.CodeBodyTooLarge)
	send(1<<20, chunked).want(413, domain.CodeBodyTooLarge)
	send(maxBody+1, bearer("nobody")).want(413, domain.CodeBodyTooLarge) // size comes before authentication
	a := l.agent(t, "acme")
	n.send(t, "POST", "/v1/claims", body(maxBody+1), bearer(s.key), signedBy(a.Signer)).want(413, domain.CodeBodyTooLarge)
	n.send(t, "POST", "/v1/nothing", body(maxBody+1)).want(404) // and routing before size
	if l.last() != before {
		t.Error("something was appended")
	}
}

// raw writes bytes to a connection and reads one answer. One that ends does not write
// on.
func (n *node) raw(t *testing.T, text string, ends bool) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	if c, ok := conn.(*net.TCPConn); ok && ends {
		_ = c.CloseWrite() // the server may have closed all of it
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(body)
}

// What no client library sends.
func TestRawRequests(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	before := l.last()
	head := func(line string, more ...string) string {
		return line + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " + o.session + "\r\n" + strings.Join(more, "")
	}
	tests := map[string]struct {
		text   string
		status int
		code   string
	}{
		"a body that ends too early":   {head("POST /v1/services", "Content-Length: 50\r\n\r\n", `{"slug": "s", `), 400, "INVALID_REQUEST"},
		"chunks that are none":         {head("POST /v1/services", "Transfer-Encoding: chunked\r\n\r\n", "zz\r\n"), 400, "INVALID_REQUEST"},
		"an absolute target":           {head("GET http://elsewhere.example/v1/services", "\r\n"), 200, ""},
		"no path":                      {head("GET http://elsewhere.example", "\r\n"), 404, "NOT_FOUND"},
		"a tunnel":                     {head("CONNECT elsewhere.example:443", "\r\n"), 404, "NOT_FOUND"},
		"a backslash":                  {head(`GET /v1\services`, "\r\n"), 404, "NOT_FOUND"},
		"a header of the log's":        {head("GET /v1/services", "X-Request-ID: a\tb\r\n\r\n"), 200, ""},
		"two lengths":                  {head("POST /v1/services", "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"), 400, ""},
		"a length and chunks together": {head("POST /v1/services", "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400, "INVALID_JSON"},
		"a body that is not UTF-8":     {head("POST /v1/services", "Content-Length: 24\r\n\r\n{\"slug\":\"s\",\"name\":\"\xff\xfe\"}"), 400, "INVALID_JSON"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			answer, body := n.raw(t, test.text, test.code == "INVALID_REQUEST")
			if answer.StatusCode != test.status || test.code != "" && !strings.Contains(body, `"code":"`+test.code+`"`) {
				t.Errorf("%d %s", answer.StatusCode, body)
			}
			if strings.ContainsAny(answer.Header.Get("X-Request-ID"), "\t ") {
				t.Errorf("the request's id is %q", answer.Header.Get("X-Request-ID"))
			}
		})
	}
	if l.last() != before {
		t.Error("something was appended")
	}
}

// Whatever is sent, nothing answers 500, and nothing that is refused appends.
func TestGarbage(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	s := o.service("weather")
	a := l.agent(t, "acme")
	before := l.last()
	odd := []any{nil, true, -1, 1e300, "", "\u0000", "\ufffd", []any{}, map[string]any{}, []any{map[string]any{"a": nil}}, strings.Repeat("x", 5000)}
	for request := range guarded() {
		method, path, _ := strings.Cut(request, " ")
		if method != "POST" && method != "PATCH" || path == "/v1/services" {
			continue
		}
		for i, value := range odd {
			body := map[string]any{}
			for _, field := range []string{"name", "permissions", "url", "events", "secret", "slug", "description", "reason", "expires_at", "auto_approve", "max_pending"} {
				body[field] = odd[(i+len(body))%len(odd)]
			}
			body["reason"] = value
			if r := o.ask(method, path, body, set("Idempotency-Key", fmt.Sprintf("%.100q", value))); r.status < 400 {
				t.Errorf("%s with %v: %d", request, body, r.status)
			}
		}
	}
	for range 50 {
		var noise [64]byte
		_, _ = rand.Read(noise[:]) // never fails
		text := string(bytes.ToValidUTF8(noise[:], []byte("?")))
		n.send(t, "GET", "/v1/services/"+escape(text), nil, bearer(o.session)).want(404)
		n.send(t, "GET", "/v1/verify?namespace="+escape(text)+"&public_key="+escape(text)+"&service="+escape(text), nil, signedBy(a.Signer)).want(400)
		n.send(t, "GET", "/v1/namespaces/claims?limit="+escape(text), nil, bearer(s.key), signedBy(a.Signer)).want(400)
	}
	if l.last() != before {
		t.Errorf("the log went from %d to %d", before, l.last())
	}
}
