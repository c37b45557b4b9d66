package api

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

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
	PublicURL  string                          // what clients see; part of every signature
	SessionKey []byte                          // signs sessions; at least MinSessionKey bytes
	SealKey    func() (*domain.SealKey, error) // what webhooks' secrets are sealed with now
	StaleAfter time.Duration                   // how old knowledge may be that authorizes someone
	Targets    domain.TargetPolicy
	Rates      RateLimits
	Heartbeat  time.Duration // of streams; 0: 10 s
	// MaxFollowers bounds how many callers stream changes or wait for them; 0: 20,000.
	MaxFollowers int

	Commands *commands.Executor
	Reads    *projections.Reader
	Usage    UsageStore
	Webhooks WebhookHealth
	// Deliveries is what there is to know and to ask of deliveries.
	Deliveries DeliveryStore
	Heads      HeadSource

	// SignUp lets anybody begin a namespace with a passkey; KeepEmail keeps the address
	// that he may give, beside the log.
	SignUp    bool
	NewLimits *domain.Limits // that such a namespace begins with; nil: the default ones
	KeepEmail func(ctx context.Context, ownerID, email string) error

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
	FailingSince    *time.Time // since when every attempt has failed; nil: the last one did not
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
	followers   *followers
	head        *newestHead
	headWaits   atomic.Int64 // requests for a head that are being answered

	relyingParty *relyingParty // nil: there are no passkeys here
	page         []byte
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
	relyingParty := newRelyingParty(public)
	byKey, err := newRateLimiter(c.Rates.Key, c.Now)
	if err != nil {
		return nil, err
	}
	byAddress, err := newRateLimiter(c.Rates.Address, c.Now)
	if err != nil {
		return nil, err
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = heartbeatEvery
	}
	s := &Server{
		byKey: byKey, byAddress: byAddress,
		config:      c,
		commands:    c.Commands,
		verifier:    verifier,
		sessions:    &sessions{key: c.SessionKey, issuer: c.PublicURL, secure: public.Scheme == "https", now: c.Now},
		nonces:      newNonces(c.Now),
		usage:       newUsage(c.Usage, c.Now),
		crossOrigin: crossOrigin,
		metrics:     newHTTPMetrics(c.Metrics),
		head:        &newestHead{source: c.Heads},

		relyingParty: relyingParty,
		page:         ownersPage(relyingParty != nil, c.SignUp),
	}
	s.followers = newFollowers(s.changeSource(), cmp.Or(c.MaxFollowers, maxFollowers), c.Logger)
	c.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "claimledger_feed_followers",
		Help: "Callers that stream changes of the feed from this node or wait for some. Near 20,000: add nodes, for more are turned away.",
	}, s.followers.following))
	return s, nil
}

// Run does what goes on beside requests, until ctx ends.
func (s *Server) Run(ctx context.Context) {
	defer s.followers.close()
	s.usage.run(ctx, s.config.Logger)
}

// EndStreams ends the streams, and the requests that wait for changes, and lets no more
// begin: the process is to stop, and they would never finish by themselves.
func (s *Server) EndStreams() { s.followers.stop() }

// Waits tells whether somebody waits at this node for a read model to move: to read what
// was just written, or for changes.
func (s *Server) Waits(model string) bool {
	return s.config.Reads.Waited(model) || model == projections.FeedModel && s.followers.following() > 0
}

// Heard tells them that it has reached a position.
func (s *Server) Heard(model string, position uint64) { s.config.Reads.Heard(model, position) }

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
		{"GET", "/v1/namespaces/claims/changes", signedService, "", s.changes},
		{"GET", "/v1/namespaces/{namespace}", signed, "", s.getNamespace},
		{"GET", "/v1/namespaces/{namespace}/claims", asOwner, read, s.listClaims},
		{"GET", "/v1/namespaces/{namespace}/events", asOwner, read, s.namespaceEvents},
		{"GET", "/v1/namespaces/{namespace}/policy", asOwner, read, s.getPolicy},
		{"PATCH", "/v1/namespaces/{namespace}/policy", asOwner, updateModel, s.changePolicy},
		{"GET", "/v1/verify", signedMaybe, "", s.verify},
		{"GET", "/v1/log/head", anyone, "", s.logHead},

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
		{"PATCH", "/v1/services/{service}/webhooks/{webhook}", asOwner, updateModel, s.updateWebhook},
		{"DELETE", "/v1/services/{service}/webhooks/{webhook}", asOwner, deleteModel, s.deleteWebhook},
		{"POST", "/v1/services/{service}/webhooks/{webhook}/rotate-secret", asOwner, updateModel, s.rotateSecret},
		{"GET", "/v1/services/{service}/webhooks/{webhook}/deliveries", asOwner, read, s.listDeliveries},
		{"GET", "/v1/services/{service}/webhooks/{webhook}/deliveries/{delivery}", asOwner, read, s.getDelivery},
		{"POST", "/v1/services/{service}/webhooks/{webhook}/deliveries/{delivery}/redeliver", asOwner, updateModel, s.redeliver},
		{"POST", "/v1/services/{service}/webhooks/{webhook}/replay", asOwner, updateModel, s.replay},
		{"POST", "/v1/services/{service}/webhooks/{webhook}/ping", asOwner, updateModel, s.ping},
		{"GET", "/v1/services/{service}/webhooks/{webhook}/events", asOwner, read, s.pullEvents},

		{"POST", loginPath, anyone, "", s.login},
		{"POST", loginPath + "/passkey/options", anyone, "", s.signInOptions},
		{"POST", loginPath + "/passkey", anyone, "", s.signIn},
		{"POST", "/v1/auth/signup/options", anyone, "", s.signUpOptions},
		{"POST", "/v1/auth/signup", anyone, "", s.signUp},
		{"POST", "/v1/auth/logout", inSession, "", s.logout},
		{"GET", "/v1/auth/me", asOwner, "", s.me},
		{"GET", "/v1/auth/passkeys", inSession, "", s.listPasskeys},
		{"POST", "/v1/auth/passkeys/options", inSession, "", s.passkeyOptions},
		{"POST", "/v1/auth/passkeys", inSession, "", s.addPasskey},
		{"DELETE", "/v1/auth/passkeys/{passkey}", inSession, "", s.removePasskey},
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
