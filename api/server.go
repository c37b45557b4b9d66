package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/api/httpsig"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/projections"
)

// certificateCache is how many verified certificates are kept, about 1 KB each.
const certificateCache = 10_000

// Config is what the API needs. What it must know of other roles' data comes through
// small interfaces, so that it depends on none of them.
type Config struct {
	PublicURL  string // what clients see; part of every signature
	SessionKey []byte // signs sessions; at least MinSessionKey bytes
	SealKey    *domain.SealKey
	StaleAfter time.Duration // how old knowledge may be that authorizes someone
	Targets    domain.TargetPolicy
	Rates      RateLimits

	Commands *commands.Executor
	Reads    *projections.Reader
	Usage    UsageStore
	Webhooks WebhookHealth

	Now     func() time.Time
	NewID   func() string // ULIDs
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// WebhookHealth tells how deliveries go, for the lists of webhooks.
type WebhookHealth interface {
	WebhookHealth(ctx context.Context, webhookIDs []string) (map[string]Health, error)
}

// Health is how deliveries to one webhook go.
type Health struct {
	FailureCount    int
	LastTriggeredAt *time.Time
	LastFailureAt   *time.Time
}

// Server answers the API. It is safe for concurrent use.
type Server struct {
	config      Config
	commands    *commands.Executor
	verifier    *httpsig.Verifier
	sessions    *sessions
	nonces      *nonces
	usage       *usage
	crossOrigin *http.CrossOriginProtection
	metrics     *httpMetrics
	byKey       *rateLimiter
	byAddress   *rateLimiter
}

// New makes a Server.
func New(c Config) (*Server, error) {
	verifier, err := httpsig.NewVerifier(c.PublicURL, certificateCache)
	if err != nil {
		return nil, err
	}
	public, err := url.Parse(c.PublicURL)
	if err != nil {
		return nil, fmt.Errorf("public URL: %w", err)
	}
	if len(c.SessionKey) < MinSessionKey {
		return nil, fmt.Errorf("the session key has %d bytes; at least %d are needed", len(c.SessionKey), MinSessionKey)
	}
	crossOrigin := http.NewCrossOriginProtection()
	if err := crossOrigin.AddTrustedOrigin(public.Scheme + "://" + public.Host); err != nil {
		return nil, fmt.Errorf("public URL: %w", err)
	}
	byKey, err := newRateLimiter(c.Rates.Key, c.Now)
	if err != nil {
		return nil, err
	}
	byAddress, err := newRateLimiter(c.Rates.Address, c.Now)
	if err != nil {
		return nil, err
	}
	return &Server{
		byKey: byKey, byAddress: byAddress,
		config:      c,
		commands:    c.Commands,
		verifier:    verifier,
		sessions:    &sessions{key: c.SessionKey, issuer: c.PublicURL, secure: public.Scheme == "https", now: c.Now},
		nonces:      newNonces(c.Now),
		usage:       newUsage(c.Usage, c.Now),
		crossOrigin: crossOrigin,
		metrics:     newHTTPMetrics(c.Metrics),
	}, nil
}

// Run does what goes on beside requests, until ctx ends.
func (s *Server) Run(ctx context.Context) { s.usage.run(ctx, s.config.Logger) }

// loginPath is where a login link leads, and where its token is traded for a session.
const loginPath = "/v1/auth/login"

// endpoints is the API: who may call what.
func (s *Server) endpoints() []endpoint {
	const (
		read        = domain.PermissionRead
		updateData  = domain.PermissionUpdateData
		deleteData  = domain.PermissionDeleteData
		updateModel = domain.PermissionUpdateModel
		deleteModel = domain.PermissionDeleteModel
	)
	return slices.Concat([]endpoint{
		{"POST", "/v1/claims", signedService, "", s.submit},
		{"GET", "/v1/claims/{claim}", asOwner, read, s.getClaim},
		{"GET", "/v1/claims/{claim}/events", asOwner, read, s.claimEvents},
		{"POST", "/v1/claims/{claim}/approve", asOwner, updateData, s.approve},
		{"POST", "/v1/claims/{claim}/reject", asOwner, updateData, s.reject},
		{"POST", "/v1/claims/{claim}/revoke", asOwner, deleteData, s.revoke},
		{"POST", "/v1/claims/{claim}/expire", asOwner, deleteData, s.expire},

		{"GET", "/v1/namespaces/claims", signedService, "", s.feed},
		{"GET", "/v1/namespaces/{namespace}", signed, "", s.getNamespace},
		{"GET", "/v1/namespaces/{namespace}/claims", asOwner, read, s.listClaims},
		{"GET", "/v1/namespaces/{namespace}/policy", asOwner, read, s.getPolicy},
		{"PATCH", "/v1/namespaces/{namespace}/policy", asOwner, updateModel, s.changePolicy},
		{"GET", "/v1/verify", signedMaybe, "", s.verify},

		{"GET", "/v1/services", asOwner, read, s.listServices},
		{"POST", "/v1/services", asOwner, updateModel, s.createService},
		{"GET", "/v1/services/{service}", asOwner, read, s.getService},
		{"PATCH", "/v1/services/{service}", asOwner, updateModel, s.updateService},
		{"DELETE", "/v1/services/{service}", asOwner, deleteModel, s.deleteService},
		{"GET", "/v1/services/{service}/keys", asOwner, read, s.listServiceKeys},
		{"POST", "/v1/services/{service}/keys", asOwner, updateModel, s.createServiceKey},
		{"POST", "/v1/services/{service}/keys/{key}/deactivate", asOwner, updateModel, s.deactivateServiceKey},
		{"DELETE", "/v1/services/{service}/keys/{key}", asOwner, deleteModel, s.revokeServiceKey},
		{"GET", "/v1/services/{service}/webhooks", asOwner, read, s.listWebhooks},
		{"POST", "/v1/services/{service}/webhooks", asOwner, updateModel, s.createWebhook},
		{"GET", "/v1/services/{service}/webhooks/{webhook}", asOwner, read, s.getWebhook},
		{"DELETE", "/v1/services/{service}/webhooks/{webhook}", asOwner, deleteModel, s.deleteWebhook},

		{"POST", loginPath, anyone, "", s.login},
		{"POST", "/v1/auth/logout", asOwner, "", s.logout},
		{"GET", "/v1/auth/me", asOwner, "", s.me},
	},
		s.managementKeyEndpoints("/v1/api-keys"),
		s.managementKeyEndpoints("/api-keys"),
	)
}

// managementKeyEndpoints answer at two places: the path that came first stays.
func (s *Server) managementKeyEndpoints(at string) []endpoint {
	return []endpoint{
		{"GET", at, asOwner, domain.PermissionRead, s.listManagementKeys},
		{"POST", at, asOwner, domain.PermissionUpdateModel, s.createManagementKey},
		{"POST", at + "/{key}/deactivate", asOwner, domain.PermissionUpdateModel, s.deactivateManagementKey},
		{"DELETE", at + "/{key}", asOwner, domain.PermissionDeleteModel, s.deleteManagementKey},
	}
}

// Routes adds the API to a router of which other parts of the process have theirs.
func (s *Server) Routes(r *Router) {
	for _, e := range s.endpoints() {
		r.Handle(e.method, e.path, s.handle(e))
	}
	r.Handle("GET", loginPath, http.HandlerFunc(s.loginPage))
}

// Router finds the handler of a path. A path leads to a handler only in its plain
// form: nothing is unescaped, cleaned or redirected, so that whatever checks a path
// before (a proxy, say) has seen the same one.
type Router struct {
	mux *mux.Router
}

// NewRouter makes a Router without routes.
func NewRouter() *Router {
	r := &Router{mux: mux.NewRouter().UseEncodedPath().SkipClean(true)}
	r.mux.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.Refuse(w, req, domain.Errorf(domain.CodeNotFound, "There is nothing at this path."))
	})
	r.mux.MethodNotAllowedHandler = http.HandlerFunc(r.methodNotAllowed)
	return r
}

// Handle adds a handler. HEAD goes where GET goes.
func (r *Router) Handle(method, path string, h http.Handler) {
	methods := []string{method}
	if method == http.MethodGet {
		methods = append(methods, http.MethodHead)
	}
	r.mux.Handle(path, h).Methods(methods...)
}

// ServeHTTP answers a request.
func (r *Router) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	r.mux.ServeHTTP(w, req)
}

// Refuse answers with an error, as the API does.
func (r *Router) Refuse(w http.ResponseWriter, req *http.Request, err error) {
	id := requestID(req)
	w.Header().Set(requestIDHeader, id)
	writeError(w, id, err)
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
	r.Refuse(w, req, domain.Errorf(domain.CodeMethodNotAllowed, "This path does not have the method %s.", req.Method))
}

// allowed asks the router itself which methods a path has, so that the answer is
// about the same route that would be taken.
func (r *Router) allowed(req *http.Request) []string {
	var allow []string
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
		probe := req.Clone(req.Context())
		probe.Method = method
		var match mux.RouteMatch
		if r.mux.Match(probe, &match) && match.MatchErr == nil {
			allow = append(allow, method)
		}
	}
	return allow
}
