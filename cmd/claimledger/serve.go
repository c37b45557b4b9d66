package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/claimledger/claimledger/api"
	"github.com/claimledger/claimledger/domain"
)

// The roles of a process.
const (
	roleAPI       = "api"
	roleProjector = "projector"
	roleRelay     = "relay"
)

const (
	// What a client may take its time with. A request is small, so that these cut off
	// who is stuck and not who is slow.
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 32 << 10

	// stopTimeout bounds a stop as a whole, drainTimeout the requests that are in
	// flight then.
	stopTimeout  = 9 * time.Second
	drainTimeout = 5 * time.Second
)

type serveCommand struct {
	placeSettings
	keySettings
	Listen              string          `default:"127.0.0.1:8787" help:"Where HTTP is served." placeholder:"HOST:PORT"`
	PublicURL           string          `help:"What clients see; part of every signature. Default: http://<listen>." placeholder:"URL"`
	Roles               []string        `enum:"api,projector,relay" default:"api,projector,relay" help:"What this process does: api, projector, relay." placeholder:"ROLE,…"`
	StaleAfter          time.Duration   `default:"30s" help:"How long this node authorizes on what it knows when it is cut off from the log." placeholder:"DURATION"`
	WebhookAllowPrivate bool            `help:"Development: webhooks may go to http and to private addresses."`
	WebhookRetries      []time.Duration `default:"5m,1h,2h,4h,8h" help:"Waits after failed deliveries." placeholder:"DURATION,…"`
	RateLimitKey        float64         `default:"0" help:"Requests a second for each key or session; 0: any number." placeholder:"N"`
	RateLimitAddress    float64         `default:"0" help:"Requests a second for each client address; 0: any number." placeholder:"N"`
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
	case c.MaxServices < 1 || c.MaxKeys < 1 || c.MaxWebhooks < 1:
		return usageError{errors.New("--max-services, --max-keys and --max-webhooks must be at least 1")}
	case c.RateLimitKey < 0 || c.RateLimitAddress < 0:
		return usageError{errors.New("--rate-limit-key and --rate-limit-address must not be negative")}
	case !c.embedded() && c.DatabaseURL == "":
		return usageError{errors.New("--database-url is required with --nats-url: processes on a cluster share one database")}
	}
	_, err := c.replicas()
	return err
}

func (c *serveCommand) limits() domain.OwnerLimits {
	l := domain.DefaultOwnerLimits()
	l.Services, l.KeysPerService, l.WebhooksPerService = c.MaxServices, c.MaxKeys, c.MaxWebhooks
	return l
}

// Run serves until the context ends, and stops in order.
func (c *serveCommand) Run(w *world) (err error) {
	if err := c.validate(); err != nil {
		return err
	}
	logger := c.logger(w.stderr)
	if err := makeDataDir(c.DataDir); err != nil {
		return err
	}
	// First, because it is the likeliest thing to be taken, and nothing is started yet.
	listener, err := (&net.ListenConfig{}).Listen(w.ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w", c.Listen, err)
	}
	defer listener.Close()
	if c.PublicURL == "" {
		c.Listen = listener.Addr().String() // port 0 was a request for any
	}

	n := &node{
		serveCommand: c, log: logger, metrics: prometheus.NewRegistry(),
		router: api.NewRouter(), health: &health{roles: c.Roles},
	}
	n.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	ctx, cancel := context.WithCancel(w.ctx)
	defer func() {
		cancel()
		err = errors.Join(err, n.stop())
	}()
	if err := n.start(ctx); err != nil {
		if w.ctx.Err() != nil {
			return nil // told to stop while starting
		}
		return err
	}
	logger.Info("serving", "listen", c.Listen, "public_url", publicURL(c.PublicURL, c.Listen), "roles", c.Roles, "version", version())
	return serveHTTP(w.ctx, listener, n.router, logger)
}

// serveHTTP serves until ctx ends, and then lets the requests in flight finish.
func serveHTTP(ctx context.Context, listener net.Listener, handler http.Handler, logger *slog.Logger) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	logger.Info("stopping")
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		logger.Warn("requests in flight were cut off", "error", err)
		return server.Close()
	}
	return nil
}

// node is a running process: what was started, to be stopped in the reverse order.
type node struct {
	*serveCommand
	log     *slog.Logger
	metrics *prometheus.Registry
	router  *api.Router
	health  *health

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
func (n *node) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
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
