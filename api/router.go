package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/mux"

	"github.com/claimledger/claimledger/domain"
)

// Router finds the handler of a path. A path leads to a handler only in its plain
// form: nothing is unescaped, cleaned or redirected, so that whatever checks a path
// before (a proxy, say) has seen the same one.
type Router struct {
	mux     *mux.Router
	plain   map[string]bool // the paths without names in braces
	origins []string
}

// NewRouter makes a Router without routes.
func NewRouter() *Router {
	r := &Router{mux: mux.NewRouter().UseEncodedPath().SkipClean(true), plain: map[string]bool{}}
	r.Otherwise(domain.Errorf(domain.CodeNotFound, "There is nothing at this path."))
	r.mux.MethodNotAllowedHandler = http.HandlerFunc(r.methodNotAllowed)
	return r
}

// Handle adds a handler. HEAD goes where GET goes. A path in plain letters, which has to
// be added first, is never taken for a name in another one's braces: what it does not have
// the method for is 405 and not looked for there.
func (r *Router) Handle(method, path string, h http.Handler) {
	methods := []string{method}
	if method == http.MethodGet {
		methods = append(methods, http.MethodHead)
	}
	if strings.Contains(path, "{") {
		h = r.unlessPlain(h)
	} else {
		r.plain[path] = true
	}
	r.mux.Handle(path, h).Methods(methods...)
}

func (r *Router) unlessPlain(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if r.plain[req.URL.EscapedPath()] {
			r.methodNotAllowed(w, req)
			return
		}
		h.ServeHTTP(w, req)
	})
}

// Otherwise says what a path without a handler is refused with.
func (r *Router) Otherwise(err error) {
	r.mux.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { refuse(w, err) })
}

// ServeHTTP answers a request, of whatever path with an id and with what browsers are
// to know.
func (r *Router) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h.Set(requestIDHeader, requestID(req))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	if len(r.origins) > 0 {
		r.share(w, req)
	}
	if strings.Contains(req.URL.EscapedPath(), "%") {
		// No name here needs an escape. One that is read by some and not by others would
		// let /v1/namespaces/%63laims be a namespace here and the feed elsewhere.
		r.mux.NotFoundHandler.ServeHTTP(w, req)
		return
	}
	r.mux.ServeHTTP(w, req)
}

// What pages of allowed origins may send and see. A session's cookie is not among it:
// such pages send a token or a key.
const (
	sharedHeaders = "Authorization, Content-Type, X-Sigma-ApiKey, X-Request-ID, Idempotency-Key, If-None-Match, Ledger-Min-Position, Last-Event-ID, " +
		"Signature, Signature-Input, Content-Digest, Sigilum-Namespace, Sigilum-Subject, Sigilum-Agent-Id, Sigilum-Agent-Key, " +
		"Sigilum-Agent-Cert, X-Sigilum-Claim-Binding"
	shownHeaders = "Ledger-Position, ETag, Retry-After, X-Request-ID, WWW-Authenticate, Allow"
	// preflightAge is how long a browser may remember the answer to a preflight, in
	// seconds.
	preflightAge = "600"
)

// AllowOrigins lets pages of other origins call the API from a browser, as the Fetch
// standard has it (CORS protocol). An origin is scheme://host, with the port where it
// is not the scheme's own.
func (r *Router) AllowOrigins(origins []string) { r.origins = origins }

// share tells a browser whether a page of another origin may see the answer.
func (r *Router) share(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := req.Header.Get("Origin")
	if !slices.Contains(r.origins, origin) {
		return
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", shownHeaders)
	if req.Method == http.MethodOptions && req.Header.Get("Access-Control-Request-Method") != "" {
		h.Set("Access-Control-Allow-Methods", strings.Join(r.allowed(req), ", "))
		h.Set("Access-Control-Allow-Headers", sharedHeaders)
		h.Set("Access-Control-Max-Age", preflightAge)
	}
}

// refuse answers with an error, as the API does.
func refuse(w http.ResponseWriter, err error) {
	w.Header().Set("Cache-Control", "no-store")
	writeError(w, w.Header().Get(requestIDHeader), err)
}

// methodNotAllowed answers 405 with the methods that the path has (RFC 9110, 15.5.6),
// and OPTIONS with the same.
func (r *Router) methodNotAllowed(w http.ResponseWriter, req *http.Request) {
	allow := append(r.allowed(req), http.MethodOptions)
	slices.Sort(allow)
	w.Header().Set("Allow", strings.Join(allow, ", "))
	if req.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	refuse(w, domain.Errorf(domain.CodeMethodNotAllowed, "This path does not have the method %s.", req.Method))
}

// allowed asks the router itself which methods a path has, so that the answer is
// about the same route that would be taken.
func (r *Router) allowed(req *http.Request) []string {
	var allow []string
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
		probe := req.Clone(req.Context())
		probe.Method = method
		var match mux.RouteMatch
		if !r.mux.Match(probe, &match) || match.MatchErr != nil {
			continue
		}
		if path, err := match.Route.GetPathTemplate(); err == nil && (path == req.URL.EscapedPath() || !r.plain[req.URL.EscapedPath()]) {
			allow = append(allow, method)
		}
	}
	return allow
}
