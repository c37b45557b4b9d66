package api

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/claimledger/claimledger/api/httpsig"
	"github.com/claimledger/claimledger/domain"
)

const (
	// maxBody bounds a request's body.
	maxBody = 64 << 10
	// requestTimeout bounds the work for one request: within it, an append whose
	// answer was lost is settled, or the caller is told that it is not known.
	requestTimeout = 10 * time.Second
	// maxIdempotencyKey is how many characters a client's key for a command may have.
	maxIdempotencyKey = 255

	positionHeader    = "Ledger-Position"
	minPositionHeader = "Ledger-Min-Position"
	requestIDHeader   = "X-Request-ID"
	idempotencyHeader = "Idempotency-Key"
)

// authentication says what a caller has to show.
type authentication int

const (
	anyone        authentication = iota
	signed                       // signed headers
	signedService                // signed headers and a service key
	signedMaybe                  // signed headers, a service key if there is one
	asOwner                      // a session or a management key
	inSession                    // a session
)

// endpoint is one row of the API: who may call it and what answers.
type endpoint struct {
	method, path string
	who          authentication
	permission   domain.Permission // of a management key
	parse        func(*call) (action, error)
}

// action is what an endpoint does once the request has been read without fault. It
// is apart from reading the request because a caller's permissions are looked at in
// between.
type action func(ctx context.Context) (answer, error)

// answer is what a client gets.
type answer struct {
	status   int // 0: 200
	body     any // nil: none
	position uint64
	etag     string
	cookie   *http.Cookie
	lines    lines // instead of a body
	// later goes on with what takes longer than a request may, and bounds itself. What
	// had to be decided before the answer begins was decided.
	later   func(context.Context, http.ResponseWriter) (answer, error)
	written bool // later has written the answer
}

// call is one request, with who makes it.
type call struct {
	r       *http.Request
	id      string
	body    []byte
	signed  *httpsig.Signed
	service *service
	owner   *owner
}

func (c *call) path(name string) string { return mux.Vars(c.r)[name] }

// credential is the id of the key or session that the caller showed, empty for none.
func (c *call) credential() string {
	switch {
	case c.service != nil:
		return c.service.keyID
	case c.owner != nil && c.owner.sessionID != "":
		return c.owner.sessionID
	case c.owner != nil:
		return c.owner.actor.ID
	}
	return ""
}

// signer is the namespace that signed the request, in its registered form.
func (c *call) signer() string { return domain.CanonicalNamespace(c.signed.Namespace) }

// handle turns an endpoint into a handler, with the checks in the order that the API
// promises: size, authentication, fields, permission, and then the endpoint's own.
func (s *Server) handle(e endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		c := &call{r: r, id: w.Header().Get(requestIDHeader)}
		var status int
		defer func() {
			p := recover()
			if p == http.ErrAbortHandler {
				s.metrics.observe(e.method, e.path, status, time.Since(start))
				panic(p) // net/http closes the connection, which tells the client
			}
			if p != nil {
				s.config.Logger.Error("panic", "request_id", c.id, "panic", p, "stack", string(debug.Stack()))
				status = writeError(w, c.id, errors.New("panic"))
			}
			s.metrics.observe(e.method, e.path, status, time.Since(start))
		}()
		a, err := s.bounded(w, c, e)
		if err == nil && a.later != nil {
			a, err = a.later(r.Context(), w)
		}
		switch {
		case err != nil:
			status = s.refuse(w, c, e, a, err)
		case a.written:
			status = a.status
		case a.lines != nil:
			status = http.StatusOK
			s.writeLines(w, c, e, a)
		default:
			status = s.render(w, c, a)
		}
	})
}

func (s *Server) bounded(w http.ResponseWriter, c *call, e endpoint) (answer, error) {
	ctx, cancel := context.WithTimeout(c.r.Context(), requestTimeout)
	defer cancel()
	return s.serve(ctx, w, c, e)
}

func (s *Server) serve(ctx context.Context, w http.ResponseWriter, c *call, e endpoint) (answer, error) {
	if err := s.byAddress.allow(w, clientAddress(c.r, s.config.Rates.Proxies), "address"); err != nil {
		return answer{}, err
	}
	if err := c.readBody(w); err != nil {
		return answer{}, err
	}
	if err := s.authenticate(ctx, c, e); err != nil {
		return answer{}, err
	}
	if err := s.byKey.allow(w, c.credential(), "key"); err != nil {
		return answer{}, err
	}
	act, err := e.parse(c)
	if err != nil {
		return answer{}, err
	}
	if c.owner != nil {
		if err := c.owner.need(e.permission); err != nil {
			return answer{}, err
		}
		if e.who == inSession {
			if err := c.owner.signedIn(); err != nil {
				return answer{}, err
			}
		}
	}
	return act(ctx)
}

// readBody reads the whole body, which a signature may cover.
func (c *call) readBody(w http.ResponseWriter) error {
	tooLarge := domain.Errorf(domain.CodeBodyTooLarge, "A request's body may have %d bytes.", maxBody)
	if c.r.ContentLength > maxBody {
		w.Header().Set("Connection", "close")
		return tooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, c.r.Body, maxBody))
	var most *http.MaxBytesError
	switch {
	case errors.As(err, &most):
		return tooLarge
	case err != nil:
		return &domain.Error{Code: domain.CodeInvalidRequest, Message: "The body ended before its time.", Err: err}
	}
	c.body = body
	return nil
}

func (s *Server) authenticate(ctx context.Context, c *call, e endpoint) (err error) {
	if e.who == signed || e.who == signedService || e.who == signedMaybe {
		if c.signed, err = s.verifier.Verify(c.r, c.body, s.config.Now()); err != nil {
			return err
		}
	}
	switch {
	case e.who == signedService:
		c.service, err = s.authenticateService(ctx, c.r, domain.CodeSignatureInvalid)
	case e.who == signedMaybe && c.r.Header.Get("Authorization") != "":
		c.service, err = s.authenticateService(ctx, c.r, domain.CodeUnauthorized)
	case e.who == asOwner || e.who == inSession:
		c.owner, err = s.authenticateOwner(ctx, c.r)
	}
	return err
}

// once accepts the request's signature once, as the first of the checks that depend
// on what happened before. Trouble on our side gives it free again.
func (s *Server) once(c *call, act func() (answer, error)) (answer, error) {
	if err := s.nonces.use(c.signer(), c.signed.Nonce); err != nil {
		return answer{}, err
	}
	a, err := act()
	if status := statuses[domain.ErrorCode(err)]; status >= http.StatusInternalServerError {
		s.nonces.release(c.signer(), c.signed.Nonce)
	}
	return a, err
}

func (s *Server) render(w http.ResponseWriter, c *call, a answer) int {
	status := a.status
	if status == 0 {
		status = http.StatusOK
	}
	w.Header().Set(positionHeader, strconv.FormatUint(a.position, 10))
	if a.cookie != nil {
		http.SetCookie(w, a.cookie)
	}
	if a.etag != "" {
		w.Header().Set("ETag", a.etag)
		// A cache may keep the answer, and must ask each time whether it still holds.
		w.Header().Set("Cache-Control", "private, no-cache")
		if matches(c.r.Header.Get("If-None-Match"), a.etag) {
			w.WriteHeader(http.StatusNotModified)
			return http.StatusNotModified
		}
	} else {
		w.Header().Set("Cache-Control", "no-store")
	}
	writeJSON(w, status, a.body)
	return status
}

// matches compares entity tags weakly, as RFC 9110, 13.1.2 wants for If-None-Match.
func matches(header, etag string) bool {
	if strings.TrimSpace(header) == "*" {
		return true
	}
	for _, candidate := range strings.Split(header, ",") {
		if strings.TrimPrefix(strings.TrimSpace(candidate), "W/") == etag {
			return true
		}
	}
	return false
}

// refuse answers with an error, and with the position of the state that the refusal
// rests on, where it rests on one.
func (s *Server) refuse(w http.ResponseWriter, c *call, e endpoint, a answer, err error) int {
	w.Header().Set("Cache-Control", "no-store")
	// Without the means to answer there is no state that the answer rests on.
	if a.position > 0 && statuses[domain.ErrorCode(err)] < http.StatusInternalServerError {
		w.Header().Set(positionHeader, strconv.FormatUint(a.position, 10))
	}
	status := writeError(w, c.id, err)
	level := slog.LevelDebug
	if status >= http.StatusInternalServerError {
		level = slog.LevelWarn
	}
	if status == http.StatusInternalServerError {
		level = slog.LevelError
	}
	s.config.Logger.Log(c.r.Context(), level, "refused", "method", e.method, "route", e.path,
		"status", status, "request_id", c.id, "error", err)
	return status
}

var (
	requestIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)
	// secretPattern matches how keys, secrets, login tokens and the tokens of sessions and
	// challenges begin.
	secretPattern = regexp.MustCompile(`sk_live_|whsec_|^login_|^eyJ`)
)

// requestID is the caller's id for a request, or a new one where it has none that is
// fit for a header and a log. A secret is not, whoever put it there.
func requestID(r *http.Request) string {
	if id := r.Header.Get(requestIDHeader); requestIDPattern.MatchString(id) && !secretPattern.MatchString(id) {
		return id
	}
	return rand.Text()
}

// meta says who commands, and recognises a retry by its Idempotency-Key.
func (c *call) meta(name string, actor domain.Actor) (domain.Actor, domain.CommandRef, error) {
	ref := domain.CommandRef{Name: name, Caller: string(actor.Kind) + ":" + actor.ID}
	key, given := soleHeader(c.r, idempotencyHeader)
	if !given {
		return actor, ref, nil
	}
	var v domain.Violations
	v.Text(idempotencyHeader, key, 1, maxIdempotencyKey)
	if err := v.Err(); err != nil {
		return actor, ref, err
	}
	// The key is the client's own text and may hold anything: only its hash is kept.
	ref.Key = domain.HashOf([]byte(key)).String()
	ref.Request = domain.HashOf(append([]byte(c.r.Method+" "+c.r.URL.EscapedPath()+"\n"), c.body...))
	return actor, ref, nil
}

// soleHeader is the value of a header that may be there once. One that is there without a
// value was meant to have one, and is not as good as none; of several, none is right, and
// together they are no value that anybody takes.
func soleHeader(r *http.Request, name string) (value string, given bool) {
	values := r.Header.Values(name)
	return strings.Join(values, "\n"), len(values) > 0
}
