package api_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/api/httpsig"
	"github.com/claimledger/claimledger/api/openapi/openapitest"
)

// impatience is how long a client stays that may be kept waiting for changes.
const impatience = 20 * time.Millisecond

// exchange is a request of a fuzz target as text, to be read as the server would.
type exchange struct {
	method, target string
	headers        []string // names and values; an empty value is none
	body           []byte
	sign           func(*http.Request, *estate)
}

// request reads the text, as package http does before a handler sees it; nil where the
// server would not come so far.
func (x exchange) request(e *estate) *http.Request {
	target, body := e.names.Replace(x.target), x.content(e)
	if strings.ContainsAny(x.method+target, " \r\n") {
		return nil
	}
	text := x.method + " " + target + " HTTP/1.1\r\nHost: ledger.example\r\n"
	if len(body) > 0 {
		text += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	for i := 0; i < len(x.headers); i += 2 {
		value := e.names.Replace(x.headers[i+1])
		if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			return nil
		}
		if value != "" {
			text += x.headers[i] + ": " + value + "\r\n"
		}
	}
	r, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader(text+"\r\n"), bytes.NewReader(body))))
	if err != nil || r.RequestURI == "*" || ofProcess.MatchString(r.URL.EscapedPath()) {
		return nil
	}
	r.RemoteAddr = "192.0.2.1:1234"
	if x.sign != nil {
		x.sign(r, e)
	}
	return r
}

func (x exchange) content(e *estate) []byte { return []byte(e.names.Replace(string(x.body))) }

// send gives a request to the API and holds what happens to what is promised for every
// request: an answer that is described, no defect, and no append unless it succeeded. It
// is nil for what is no request.
func (a *arena) send(t *testing.T, x exchange) *reply {
	t.Helper()
	e := a.ready(t)
	r := x.request(e)
	if r == nil || a.early(r) {
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	patient := !strings.Contains(r.RequestURI, "wait") && !strings.Contains(r.Header.Get("Accept"), "event-stream")
	if !patient {
		defer time.AfterFunc(impatience, cancel).Stop()
	}
	w := recorder{httptest.NewRecorder()}
	a.node.router.ServeHTTP(w, r.WithContext(ctx))
	answer := w.Result()
	body := w.Body.Bytes()
	if r.Method == http.MethodHead {
		body = nil // as package http does
	}
	rep := &reply{t: t, what: r.Method + " " + r.RequestURI, status: answer.StatusCode, header: answer.Header, body: body}
	a.settle(t, r, rep)
	if !patient && ctx.Err() != nil && rep.status == http.StatusServiceUnavailable {
		return rep // to nobody
	}
	if err := openapitest.Check(r, x.content(e), answer, body); err != nil {
		t.Errorf("%v", err)
	}
	rep.check(r.Method)
	if rep.status == http.StatusServiceUnavailable {
		t.Error("nothing was out of order")
	}
	if t.Failed() {
		t.Errorf("%s %v\n%s\nanswered %d %v\n%s\nlog: %s", rep.what, r.Header, x.content(e), rep.status, rep.header, body, a.host.said())
	}
	return rep
}

// early tells whether a request asks for what is yet to come, and so would wait, as it
// should.
func (a *arena) early(r *http.Request) bool {
	return slices.ContainsFunc([]string{r.Header.Get("Ledger-Min-Position"), r.URL.Query().Get("as_of")}, func(text string) bool {
		position, err := strconv.ParseUint(text, 10, 64)
		return err == nil && position > a.last
	})
}

// settle looks at what the request left in the log.
func (a *arena) settle(t *testing.T, r *http.Request, rep *reply) {
	t.Helper()
	before := a.last
	a.last = a.node.last()
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead
	if (rep.status >= http.StatusBadRequest || safe) && a.last != before {
		t.Errorf("%s: %d, and the log went from %d to %d", rep.what, rep.status, before, a.last)
	}
	if a.last == before {
		return
	}
	// Whatever ended with it must be there for the next request.
	a.accepted++
	path := r.URL.Path
	if a.accepted >= acceptedPerEstate || r.Method == http.MethodDelete || strings.HasSuffix(path, "/deactivate") || strings.HasSuffix(path, "/logout") {
		a.estate = nil
	}
}

// recorder is what a handler may want of a connection.
type recorder struct{ *httptest.ResponseRecorder }

func (recorder) SetReadDeadline(time.Time) error  { return nil }
func (recorder) SetWriteDeadline(time.Time) error { return nil }

// profile is the list of components that a signature has to cover.
func profile(body bool) string {
	digest := ""
	if body {
		digest = ` "content-digest"`
	}
	return `("@method" "@target-uri"` + digest + ` "sigilum-namespace" "sigilum-subject" "sigilum-agent-key" "sigilum-agent-cert")`
}

const parameters = `;created=$now;keyid="$keyid";alg="ed25519";nonce="$nonce"`

// signatureNames are names for what a signature needs besides what is the estate's.
func signatureNames(e *estate, body []byte) *strings.Replacer {
	a := e.agent
	sum := sha256.Sum256(body)
	return strings.NewReplacer("$now", strconv.FormatInt(time.Now().Unix(), 10), "$nonce", rand.Text(),
		"$keyid", httpsig.KeyID(a.Namespace, a.Key.Public().(ed25519.PublicKey)), "$cert", a.Certificate,
		"$digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":")
}

// signAs signs whatever signature-input says it covers, and be it nonsense, so that what
// is wrong with it is all that is wrong.
func signAs(r *http.Request, e *estate, public string) {
	_, list, _ := strings.Cut(r.Header.Get("Signature-Input"), "=")
	names, _, _ := strings.Cut(strings.TrimPrefix(list, "("), ")")
	var base strings.Builder
	for name := range strings.FieldsSeq(names) {
		value := r.Header.Get(strings.Trim(name, `"`))
		switch name {
		case `"@method"`:
			value = strings.ToLower(r.Method)
		case `"@target-uri"`:
			value = public + r.RequestURI
		}
		fmt.Fprintf(&base, "%s: %s\n", name, value)
	}
	fmt.Fprintf(&base, `"@signature-params": %s`, list)
	r.Header.Set("Signature", "sig1=:"+base64.StdEncoding.EncodeToString(ed25519.Sign(e.agent.Key, []byte(base.String())))+":")
}

// signed is a request's signature as it should be.
func (a *arena) signed(body []byte) func(*http.Request, *estate) {
	return func(r *http.Request, e *estate) {
		body := []byte(e.names.Replace(string(body)))
		names := signatureNames(e, body)
		r.Header.Set("Sigilum-Namespace", e.namespace)
		r.Header.Set("Sigilum-Subject", "tester@example.com")
		r.Header.Set("Sigilum-Agent-Key", e.agent.public)
		r.Header.Set("Sigilum-Agent-Cert", e.agent.Certificate)
		if len(body) > 0 {
			r.Header.Set("Content-Digest", names.Replace("$digest"))
		}
		r.Header.Set("Signature-Input", "sig1="+profile(len(body) > 0)+names.Replace(parameters))
		signAs(r, e, a.node.public)
	}
}

// caller gives a request the credentials of a caller of some kind.
func (a *arena) caller(kind byte, body []byte) func(*http.Request, *estate) {
	return func(r *http.Request, e *estate) {
		a.signed(body)(r, e)
		switch kind % 4 {
		case 0: // whatever may be asked for
			r.Header.Set("X-Sigma-ApiKey", e.managementKey)
			r.Header.Set("Authorization", "Bearer "+e.serviceKey)
		case 1:
			r.Header.Set("Authorization", "Bearer "+e.session)
		case 2:
			r.Header.Set("Cookie", "sigilum_token="+e.session)
		case 3: // a gateway
			r.Header.Set("Authorization", "Bearer "+e.serviceKey)
			r.Header.Set("X-Sigilum-Claim-Binding", "namespace-only")
		}
	}
}
