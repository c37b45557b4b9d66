package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// What a client may take its time with. A request is small, so that these cut off who
// is stuck and not who is slow.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 32 << 10
)

// front is the process's HTTP server. It answers from the moment on which the address
// is taken, so that nobody waits without a word while the rest starts.
type front struct {
	server  *http.Server
	handler atomic.Pointer[http.Handler]
	failed  chan error
	log     *slog.Logger
}

func listen(listener net.Listener, first http.Handler, logger *slog.Logger) *front {
	f := &front{failed: make(chan error, 1), log: logger}
	f.turnTo(first)
	f.server = &http.Server{
		Handler: f, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	go func() { f.failed <- f.server.Serve(listener) }()
	return f
}

// ServeHTTP answers a request with the handler of the moment.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*f.handler.Load()).ServeHTTP(w, r)
}

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
