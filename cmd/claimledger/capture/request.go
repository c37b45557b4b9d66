// Package capture reads a webhook request as somebody has captured it, and finds out
// which of its signatures verify, and why the others do not. It sends and keeps nothing,
// and shows no secret.
package capture

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"regexp"
	"strconv"
	"strings"
)

// MaxSize is how much of a captured request is read. The longest event is a fraction of it.
const MaxSize = 1 << 20

// Request is a captured request.
type Request struct {
	Header http.Header
	Body   []byte
	// Missing is how many bytes of the body the capture lacks, by its own Content-Length.
	Missing int
	// Extra is how many bytes the body has beyond its Content-Length, where they are not
	// white space alone.
	Extra int
}

// ErrUnreadable says that something is no captured request.
var ErrUnreadable = errors.New("that is no captured request")

var requestLine = regexp.MustCompile(`^[A-Z]+ \S+( HTTP/[0-9.]+)?$`)

// Parse reads a request as it came over the connection: a request line, which may be
// missing, headers, an empty line, and the body to the last byte.
func Parse(raw []byte) (Request, error) {
	if len(raw) > MaxSize {
		return Request{}, fmt.Errorf("%w: it has more than %d bytes", ErrUnreadable, MaxSize)
	}
	first, rest, _ := bytes.Cut(raw, []byte("\n"))
	if requestLine.Match(bytes.TrimRight(first, "\r")) {
		raw = rest
	}
	head, body, found := cutEmptyLine(raw)
	if !found {
		return Request{}, fmt.Errorf("%w: no empty line ends its headers", ErrUnreadable)
	}
	header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(head))).ReadMIMEHeader()
	if err != nil {
		return Request{}, fmt.Errorf("%w: its headers cannot be read", ErrUnreadable) // and are not repeated
	}
	return framed(http.Header(header), body)
}

// cutEmptyLine splits headers, the empty line with them, from a body.
func cutEmptyLine(raw []byte) (head, body []byte, found bool) {
	for end := 0; end < len(raw); {
		n := bytes.IndexByte(raw[end:], '\n') + 1
		if n == 0 {
			return nil, nil, false
		}
		line := raw[end : end+n]
		end += n
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			return raw[:end], raw[end:], true
		}
	}
	return nil, nil, false
}

// framed takes off a body what frames it on a connection, and the white space that an
// editor has put after its end. Anything else there may be what was altered.
func framed(header http.Header, body []byte) (Request, error) {
	r := Request{Header: header, Body: body}
	if strings.EqualFold(header.Get("Transfer-Encoding"), "chunked") {
		read, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(body)))
		if err != nil {
			return Request{}, fmt.Errorf("%w: its chunks end before the last", ErrUnreadable)
		}
		r.Body = read
		return r, nil
	}
	if beyond := r.measure(); beyond > 0 && r.Extra == 0 {
		r.Body = body[:len(body)-beyond]
	}
	return r, nil
}

// measure compares the body with its Content-Length, where there is one, and tells how
// much longer it is.
func (r *Request) measure() (beyond int) {
	length, err := strconv.Atoi(r.Header.Get("Content-Length"))
	if err != nil || length < 0 {
		return 0
	}
	beyond = len(r.Body) - length
	r.Missing = max(0, -beyond)
	if beyond > 0 && len(bytes.TrimSpace(r.Body[length:])) > 0 {
		r.Extra = beyond
	}
	return beyond
}

// New is a request of which the headers were noted one by one, as "name: value", and the
// body by itself.
func New(headers []string, body []byte) (Request, error) {
	if len(body) > MaxSize {
		return Request{}, fmt.Errorf("%w: its body has more than %d bytes", ErrUnreadable, MaxSize)
	}
	h := http.Header{}
	for _, line := range headers {
		name, value, found := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); !found || name == "" {
			return Request{}, fmt.Errorf("%w: a header is a name, a colon and a value", ErrUnreadable)
		}
		h.Add(name, strings.TrimSpace(value))
	}
	r := Request{Header: h, Body: body}
	r.measure()
	return r, nil
}
