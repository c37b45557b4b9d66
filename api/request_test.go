package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/claimledger/claimledger/api/httpsig"
	"github.com/claimledger/claimledger/domain"
)

// sending is a request that is about to be sent.
type sending struct {
	*http.Request
	body   []byte
	target string // the path and the query, as written
	public string // the node's public URL
}

// option changes a request; options work in the order in which they are given.
type option func(*testing.T, *sending)

// set sets a header, or takes it away where the value is empty.
func set(name, value string) option {
	return func(_ *testing.T, s *sending) {
		if value == "" {
			s.Header.Del(name)
		} else {
			s.Header.Set(name, value)
		}
	}
}

func bearer(token string) option { return set("Authorization", "Bearer "+token) }

func managementKey(key string) option { return set("X-Sigma-ApiKey", key) }

func cookie(session string) option { return set("Cookie", "sigilum_token="+session) }

// signedBy signs the request as it stands, for the URL that clients know.
func signedBy(signer *httpsig.Signer) option {
	return func(t *testing.T, s *sending) {
		t.Helper()
		u, err := url.Parse(s.public + s.target)
		if err != nil {
			t.Fatal(err)
		}
		signed := s.Clone(t.Context())
		signed.URL, signed.Host = u, ""
		if err := signer.Sign(signed, s.body); err != nil {
			t.Fatal(err)
		}
		s.Header = signed.Header
	}
}

// tampered changes the request after what came before.
func tampered(f func(*sending)) option { return func(_ *testing.T, s *sending) { f(s) } }

// to sends the request to another path than the one that was signed.
func to(target string) option {
	return func(t *testing.T, s *sending) {
		u, err := url.Parse("http://" + s.URL.Host + target)
		if err != nil {
			t.Fatal(err)
		}
		s.URL = u
	}
}

// with sends another body than the one that was signed.
func with(body string) option {
	return tampered(func(s *sending) { s.body = []byte(body) })
}

// reply is an answer, with what all of them have in common checked.
type reply struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	body   []byte
}

// encode makes a body: text as it is, nothing of nil, and JSON of everything else.
func encode(t *testing.T, body any) []byte {
	t.Helper()
	switch b := body.(type) {
	case nil:
		return nil
	case string:
		return []byte(b)
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func (n *node) prepare(t *testing.T, method, target string, body any, options []option) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.addr+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &sending{Request: r, body: encode(t, body), target: target, public: n.public}
	if s.body != nil {
		s.Header.Set("Content-Type", "application/json")
	}
	if method == http.MethodGet && !n.cutOff {
		// A read shows what was written before it, however slow the machine is.
		s.Header.Set("Ledger-Min-Position", fmt.Sprint(n.last()))
	}
	for _, o := range options {
		o(t, s)
	}
	if s.body != nil {
		s.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(s.body)), nil }
		s.Body, _ = s.GetBody()
		s.ContentLength = int64(len(s.body))
	}
	return s.Request
}

// send sends a request and checks what holds for every answer.
func (n *node) send(t *testing.T, method, target string, body any, options ...option) *reply {
	t.Helper()
	return n.do(t, n.prepare(t, method, target, body, options))
}

func (n *node) do(t *testing.T, r *http.Request) *reply {
	t.Helper()
	answer, err := n.client.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL.RequestURI(), err)
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL.RequestURI(), err)
	}
	rep := &reply{t: t, what: r.Method + " " + r.URL.RequestURI(), status: answer.StatusCode, header: answer.Header, body: got}
	rep.check(r.Method)
	return rep
}

// everyAnswer are headers that every answer has.
var everyAnswer = map[string]*regexp.Regexp{
	"X-Request-Id":            regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`),
	"X-Content-Type-Options":  regexp.MustCompile(`^nosniff$`),
	"X-Frame-Options":         regexp.MustCompile(`^DENY$`),
	"Referrer-Policy":         regexp.MustCompile(`^no-referrer$`),
	"Content-Security-Policy": regexp.MustCompile(`default-src 'none'.*frame-ancestors 'none'`),
}

func (r *reply) check(method string) {
	r.t.Helper()
	for name, want := range everyAnswer {
		if got := r.header.Get(name); !want.MatchString(got) {
			r.t.Errorf("%s: header %s is %q", r.what, name, got)
		}
	}
	switch {
	case method == http.MethodHead || r.status == http.StatusNoContent || r.status == http.StatusNotModified:
		if len(r.body) > 0 {
			r.t.Errorf("%s: an answer without a body has %q", r.what, r.body)
		}
	case r.status >= http.StatusBadRequest:
		r.checkError()
	}
	position := r.header.Get("Ledger-Position")
	fromAPI := r.header.Get("Content-Type") == "application/json" && !strings.HasSuffix(r.what, "/openapi.json")
	if r.status < http.StatusBadRequest && fromAPI && position == "" {
		r.t.Errorf("%s: %d without a Ledger-Position", r.what, r.status)
	}
	if _, err := strconv.ParseUint(position, 10, 64); err != nil && position != "" {
		r.t.Errorf("%s: Ledger-Position is %q", r.what, position)
	}
}

// leaks are signs of what no error shows: as words, for a random name may well spell one of them within.
var leaks = regexp.MustCompile(`goroutine|\.go:|SELECT |SQLSTATE|\bpgx|\bnats:|\bpanic|/tmp/|sk_live_[0-9a-f]{8}|login_[a-z0-9-]+_[A-Z2-7]`)

func (r *reply) checkError() {
	r.t.Helper()
	var body map[string]json.RawMessage
	if err := json.Unmarshal(r.body, &body); err != nil {
		r.t.Errorf("%s: %d with %q: %v", r.what, r.status, r.body, err)
		return
	}
	if r.text("error") == "" || r.text("code") == "" || r.text("request_id") != r.header.Get("X-Request-ID") {
		r.t.Errorf("%s: the error is incomplete: %s", r.what, r.body)
	}
	for name := range body {
		if !strings.Contains(" error code details request_id ", " "+name+" ") {
			r.t.Errorf("%s: the error has the field %s: %s", r.what, name, r.body)
		}
	}
	if r.status == http.StatusInternalServerError || leaks.Match(r.body) {
		r.t.Errorf("%s: %d shows what it should not: %s", r.what, r.status, r.body)
	}
	later := r.status == http.StatusServiceUnavailable || r.status == http.StatusTooManyRequests
	if again := r.header.Get("Retry-After") != ""; again != later {
		r.t.Errorf("%s: %d, Retry-After: %t", r.what, r.status, again)
	}
	if r.header.Get("Cache-Control") != "no-store" {
		r.t.Errorf("%s: %d may be cached: %q", r.what, r.status, r.header.Get("Cache-Control"))
	}
}

// want checks the status, and the code of an error.
func (r *reply) want(status int, code ...domain.Code) *reply {
	r.t.Helper()
	got := domain.Code(r.text("code"))
	if r.status != status || len(code) > 0 && got != code[0] {
		r.t.Fatalf("%s: %d %s, want %d %v\n%s", r.what, r.status, got, status, code, r.body)
	}
	return r
}

// into reads the body.
func (r *reply) into(v any) {
	r.t.Helper()
	if err := json.Unmarshal(r.body, v); err != nil {
		r.t.Fatalf("%s: %v in %q", r.what, err, r.body)
	}
}

// at is the value of a field, named as in "pagination.total"; nil when it is not there.
func (r *reply) at(path string) any {
	var v any
	if json.Unmarshal(r.body, &v) != nil {
		return nil
	}
	for name := range strings.SplitSeq(path, ".") {
		switch parent := v.(type) {
		case map[string]any:
			v = parent[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(parent) {
				return nil
			}
			v = parent[i]
		default:
			return nil
		}
	}
	return v
}

func (r *reply) text(path string) string {
	s, _ := r.at(path).(string)
	return s
}

// fields are the names of the fields that an error has details about.
func (r *reply) fields() string {
	var body struct{ Details []domain.FieldError }
	r.into(&body)
	var names []string
	for _, d := range body.Details {
		names = append(names, d.Field)
	}
	return strings.Join(names, " ")
}

func (r *reply) position() uint64 {
	r.t.Helper()
	position, err := strconv.ParseUint(r.header.Get("Ledger-Position"), 10, 64)
	if err != nil {
		r.t.Fatalf("%s: Ledger-Position: %v", r.what, err)
	}
	return position
}

// refuse sends a request that must be refused, and must leave no trace in the log.
func (n *node) refuse(t *testing.T, status int, code domain.Code, method, target string, body any, options ...option) *reply {
	t.Helper()
	before := n.last()
	r := n.send(t, method, target, body, options...).want(status, code)
	if after := n.last(); after != before {
		t.Errorf("%s: it was refused, and the log went from %d to %d", r.what, before, after)
	}
	return r
}
