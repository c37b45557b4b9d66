package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/claimledger/claimledger/api"
	"github.com/claimledger/claimledger/api/httpsig"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections"
)

// The roles of a process.
const (
	roleAPI       = "api"
	roleProjector = "projector"
	roleRelay     = "relay"
)

const (
	// stopTimeout bounds a stop as a whole, drainTimeout the requests that are in
	// flight then.
	stopTimeout  = 9 * time.Second
	drainTimeout = 5 * time.Second
)

// maxClaimsMemory bounds --claims-memory: a terabyte.
const maxClaimsMemory = 1 << 20

type serveCommand struct {
	placeSettings
	keySettings
	newSettings
	Listen              string          `default:"127.0.0.1:8787" help:"Where HTTP is served." placeholder:"HOST:PORT"`
	PublicURL           string          `help:"What clients see; part of every signature. Default: http://<listen>." placeholder:"URL"`
	Roles               []string        `enum:"api,projector,relay" default:"api,projector,relay" help:"What this process does: api, projector, relay." placeholder:"ROLE,…"`
	HeadInterval        time.Duration   `default:"10s" help:"Between signed heads of the log, while it moves." placeholder:"DURATION"`
	StaleAfter          time.Duration   `default:"30s" help:"How long this node authorizes on what it knows when it is cut off from the log." placeholder:"DURATION"`
	MaxLag              time.Duration   `default:"30s" help:"How far a read model may be behind the log before health checks and status say that something is wrong." placeholder:"DURATION"`
	WebhookAllowPrivate bool            `help:"Development: webhooks may go to http and to private addresses."`
	WebhookRetries      []time.Duration `default:"5m,1h,2h,4h,8h" help:"Waits after failed deliveries." placeholder:"DURATION,…"`
	WebhookDisableAfter time.Duration   `default:"120h" help:"How long every attempt has to fail for a webhook to be disabled; 0: none is." placeholder:"DURATION"`
	WebhookKeep         time.Duration   `default:"2160h" help:"How long webhook deliveries are kept that were delivered, are dead or were cancelled; 0: for ever." placeholder:"DURATION"`
	CORSOrigins         []string        `name:"cors-origins" help:"Origins whose pages may call the API from a browser, such as https://console.example." placeholder:"ORIGIN,…"`
	SignUp              bool            `help:"Anybody may begin a namespace, with a passkey."`
	RateLimitKey        float64         `default:"0" help:"Requests a second for each key or session; 0: any number." placeholder:"N"`
	RateLimitAddress    float64         `default:"0" help:"Requests a second for each client address; 0: any number." placeholder:"N"`
	TrustedProxies      []netip.Prefix  `help:"Proxies that are believed when they say in X-Forwarded-For for whom they ask, as networks such as 10.0.0.0/8. It counts for --rate-limit-address alone." placeholder:"CIDR,…"`
	MaxConnections      int             `default:"0" help:"Connections that clients may hold at once; when there are more, idle ones go first. Default: 4096, or three quarters of the files that the process may open, if that is less." placeholder:"N"`
	ClaimsMemory        int             `default:"256" help:"About how much memory the claims of the namespaces in use may take, in MiB: 256 hold some 800,000 claims. Those used least recently go first, and come back from a snapshot." placeholder:"MIB"`
	MaxServices         int             `default:"50" help:"Services a namespace may have." placeholder:"N"`
	MaxKeys             int             `default:"10" help:"Active keys a service may have." placeholder:"N"`
	MaxWebhooks         int             `default:"5" help:"Webhooks a service may have." placeholder:"N"`
}

func (c *serveCommand) has(role string) bool { return slices.Contains(c.Roles, role) }

// validate refuses what can be seen to be wrong before anything is touched.
func (c *serveCommand) validate() error {
	switch {
	case len(c.Roles) == 0:
		return usageError{errors.New("--roles names no role")}
	case c.StaleAfter <= 0:
		return usageError{errors.New("--stale-after must be longer than nothing")}
	case c.MaxLag <= 0:
		return usageError{errors.New("--max-lag must be longer than nothing")}
	case c.HeadInterval <= 0:
		return usageError{errors.New("--head-interval must be longer than nothing")}
	case c.WebhookDisableAfter < 0 || c.WebhookKeep < 0:
		return usageError{errors.New("--webhook-disable-after and --webhook-keep must not be negative")}
	case c.MaxServices < 1 || c.MaxKeys < 1 || c.MaxWebhooks < 1:
		return usageError{errors.New("--max-services, --max-keys and --max-webhooks must be at least 1")}
	case c.ClaimsMemory < 1 || c.ClaimsMemory > maxClaimsMemory:
		return usageError{fmt.Errorf("--claims-memory must be from 1 to %d", maxClaimsMemory)}
	case slices.ContainsFunc(c.CORSOrigins, func(o string) bool { return !isOrigin(o) }):
		return usageError{errors.New("--cors-origins takes origins such as https://console.example, without a path")}
	case c.RateLimitKey < 0 || c.RateLimitAddress < 0:
		return usageError{errors.New("--rate-limit-key and --rate-limit-address must not be negative")}
	}
	if _, err := c.replicas(); err != nil {
		return err
	}
	if !c.embedded() && c.DatabaseURL == "" {
		return usageError{errors.New("--database-url is required with --nats-url: processes on a cluster share one database")}
	}
	if c.PublicURL != "" {
		if _, err := httpsig.NewVerifier(publicURL(c.PublicURL, ""), 1); err != nil {
			return usageError{fmt.Errorf("--public-url: %w", err)}
		}
	}
	if public, err := url.Parse(publicURL(c.PublicURL, c.Listen)); c.SignUp && (err != nil || !api.TakesPasskeys(public)) {
		return usageError{errors.New("--sign-up needs passkeys, and they a --public-url with https, or localhost, and with a name rather than an IP address")}
	}
	if _, err := c.newSettings.limits(); err != nil {
		return err
	}
	return c.validateKeys()
}

// validateKeys reads the keys that must be there already.
func (c *serveCommand) validateKeys() error {
	if c.has(roleAPI) && (!c.embedded() || c.SessionKeyFile != "") {
		if _, err := c.sessionKey(c.placeSettings); err != nil {
			return err
		}
	}
	if (c.has(roleAPI) || c.has(roleRelay)) && (!c.embedded() || c.SecretKeyFile != "") {
		path, err := c.keySettings.secretKeys(c.placeSettings)
		if err != nil {
			return err
		}
		if _, err := readRing(path); err != nil {
			return err
		}
	}
	if c.has(roleProjector) && (!c.embedded() || c.HeadKeyFile != "") {
		if _, err := c.headKey(c.placeSettings); err != nil {
			return err
		}
	}
	return nil
}

// isOrigin tells whether a text is an origin as browsers write it (RFC 6454, 6.2).
func isOrigin(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && text == u.Scheme+"://"+strings.ToLower(u.Host)
}

func (c *serveCommand) limits() domain.OwnerLimits {
	l := domain.DefaultOwnerLimits()
	l.Services, l.KeysPerService, l.WebhooksPerService = c.MaxServices, c.MaxKeys, c.MaxWebhooks
	return l
}

// Help is shown below the flags.
func (serveCommand) Help() string {
	return `Without --nats-url and --database-url it runs both itself, in the data directory.

Example: claimledger serve --data-dir /var/lib/claimledger --public-url https://ledger.example.com`
}

// Run serves until the context ends, and stops in order.
func (c *serveCommand) Run(w *world) error {
	if err := c.validate(); err != nil {
		return err
	}
	most, err := connectionLimit(c.MaxConnections)
	if err != nil {
		return usageError{err}
	}
	logger := c.logger(w.stderr)
	// First, because it is the likeliest thing to be taken, and nothing is touched yet.
	listener, err := (&net.ListenConfig{}).Listen(w.ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w", c.Listen, err)
	}
	if host, port, err := net.SplitHostPort(c.Listen); err == nil && port == "0" { // any
		_, port, _ = net.SplitHostPort(listener.Addr().String())
		c.Listen = net.JoinHostPort(host, port)
	}
	quit, stopNew := context.WithCancel(w.ctx)
	defer stopNew()
	n := &node{
		serveCommand: c, log: logger, metrics: prometheus.NewRegistry(),
		router: api.NewRouter(), health: &health{roles: c.Roles}, quit: quit,
	}
	n.router.AllowOrigins(c.CORSOrigins)
	n.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	front := listen(listener, n.health.starting(n.metrics, c.CORSOrigins), newConnections(most, n.metrics), logger)

	// What the requests in flight rest on goes on until they are answered, though the
	// process was told to stop; while it starts, there are none.
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.ctx))
	defer cancel()
	starting := context.AfterFunc(w.ctx, cancel)
	err = n.start(ctx)
	starting()
	switch {
	case err == nil:
		n.tellURL()
		n.health.started.Store(true)
		front.turnTo(n.router)
		logger.Info("serving", "listen", c.Listen, "public_url", publicURL(c.PublicURL, c.Listen), "roles", c.Roles, "version", version())
		err = front.serve(w.ctx)
	case w.ctx.Err() != nil:
		err = nil // told to stop while starting
	}
	logger.Info("stopping")
	stopping, done := context.WithTimeout(context.WithoutCancel(w.ctx), stopTimeout)
	defer done()
	stopNew()
	front.drain(stopping)
	cancel()
	return errors.Join(err, n.stop(stopping))
}

// urlFile says, beside the data of a ledger that runs, where it is to be found.
const urlFile = "serve.url"

// tellURL lets commands of the operator on the same data directory know the URL that
// clients see. They can be told otherwise, so that failing to do so stops nothing.
func (n *node) tellURL() {
	if !n.embedded() {
		return
	}
	path := filepath.Join(n.DataDir, urlFile)
	if err := os.WriteFile(path, []byte(publicURL(n.PublicURL, n.Listen)+"\n"), 0o644); err != nil {
		n.log.Warn("operator commands will have to be told the URL", "error", err)
		return
	}
	n.onStop(func(context.Context) error {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// node is a running process: what was started, to be stopped in the reverse order.
type node struct {
	*serveCommand
	log        *slog.Logger
	metrics    *prometheus.Registry
	router     *api.Router
	health     *health
	fence      *eventstore.Fence
	watcher    *eventstore.Watch
	server     atomic.Pointer[api.Server]             // nil while there is none, or where another process has it
	projectors atomic.Pointer[projections.Projectors] // where there is an API as well
	quit       context.Context                        // ends when the process is to stop: nothing new is begun then

	workers sync.WaitGroup
	closers []func(context.Context) error
}

// work runs something beside the requests until ctx ends.
func (n *node) work(ctx context.Context, name string, run func(context.Context) error) {
	n.workers.Go(func() {
		if err := run(ctx); err != nil && ctx.Err() == nil {
			n.log.Error("stopped", "what", name, "error", err)
		}
	})
}

func (n *node) onStop(f func(context.Context) error) { n.closers = append(n.closers, f) }

// stop waits for the workers, whose context has ended, and closes what they used.
func (n *node) stop(ctx context.Context) error {
	done := make(chan struct{})
	go func() { n.workers.Wait(); close(done) }()
	var errs []error
	select {
	case <-done:
	case <-ctx.Done():
		errs = append(errs, errors.New("not everything ended in time"))
	}
	for _, f := range slices.Backward(n.closers) {
		errs = append(errs, f(ctx))
	}
	n.log.Info("stopped")
	return errors.Join(errs...)
}
