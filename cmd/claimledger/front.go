package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/claimledger/claimledger/api"
	"github.com/claimledger/claimledger/domain"
)

// maxHeaderBytes bounds a request's header, its line included.
const maxHeaderBytes = 32 << 10

// waits are what a client may take its time with. A request is small, so that these cut
// off who is stuck and not who is slow.
type waits struct{ header, request, answer, idle time.Duration }

// clientWaits are those of this process.
var clientWaits = waits{header: 5 * time.Second, request: 15 * time.Second, answer: 30 * time.Second, idle: 2 * time.Minute}

// front is the process's HTTP server. It answers from the moment on which the address
// is taken, so that nobody waits without a word while the rest starts.
type front struct {
	server      *http.Server
	handler     atomic.Pointer[http.Handler]
	connections *connections
	crowded     http.Handler // refuses what is too much
	failed      chan error
	log         *slog.Logger
}

func listen(listener net.Listener, first http.Handler, c *connections, logger *slog.Logger) *front {
	crowded := api.NewRouter()
	crowded.Otherwise(errCrowded)
	f := &front{connections: c, crowded: crowded, failed: make(chan error, 1), log: logger}
	f.turnTo(first)
	f.server = &http.Server{
		Handler: f, ReadHeaderTimeout: clientWaits.header, ReadTimeout: clientWaits.request,
		WriteTimeout: clientWaits.answer, IdleTimeout: clientWaits.idle, MaxHeaderBytes: maxHeaderBytes,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return api.ConnContext(c.came(ctx, conn), conn)
		},
		ConnState: c.turned,
		ErrorLog:  slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	go func() { f.failed <- f.server.Serve(watched{listener}) }()
	return f
}

// ServeHTTP answers a request with the handler of the moment.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	served := f.connections.take(r)
	if !served || len(r.TransferEncoding) > 0 {
		// RFC 9112, 6.1: a request with both Transfer-Encoding and Content-Length may be
		// two to whatever is between, so that nothing that follows it is to be read. Which
		// had both cannot be seen any more.
		w.Header().Set("Connection", "close")
	}
	if !served && !isHealth(r) {
		f.crowded.ServeHTTP(w, r)
		return
	}
	(*f.handler.Load()).ServeHTTP(w, r)
}

var errCrowded = domain.Errorf(domain.CodeServiceUnavailable, "Too many requests are being answered at this moment.")

// turnTo makes a handler answer from now on.
func (f *front) turnTo(h http.Handler) { f.handler.Store(&h) }

// serve serves until ctx ends.
func (f *front) serve(ctx context.Context) error {
	select {
	case err := <-f.failed:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
		return nil
	}
}

// drain takes no more requests and lets those in flight finish, for a bounded time.
func (f *front) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	if err := f.server.Shutdown(ctx); err != nil {
		f.log.Warn("requests in flight were cut off", "error", err)
		_ = f.server.Close() // there is nothing left to be done about it
	}
}
