package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// openTimeout bounds opening the log; a cluster may be electing a leader.
const openTimeout = 30 * time.Second

// openLog opens the log where the settings say it is. For the embedded one, alone says
// that this process is to run the server; otherwise it joins one that runs already,
// and starts one where none does. close ends what was started.
func (p placeSettings) openLog(ctx context.Context, alone bool, logger *slog.Logger) (stream *eventstore.Stream, close func() error, err error) {
	replicas, err := p.replicas()
	if err != nil {
		return nil, nil, err
	}
	nc, close, err := p.connect(alone, logger)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if p.embedded() {
		err = eventstore.Create(ctx, nc, replicas)
	}
	if err == nil {
		stream, err = eventstore.Open(ctx, nc, replicas, logger)
	}
	if errors.Is(err, eventstore.ErrNotSetUp) {
		err = fmt.Errorf("%w: run claimledger setup once", err)
	}
	if err != nil {
		return nil, nil, errors.Join(err, close())
	}
	return stream, close, nil
}

func (p placeSettings) natsDir() string { return filepath.Join(p.DataDir, "nats") }

// connect reaches the NATS server, and starts the embedded one where needed.
func (p placeSettings) connect(alone bool, logger *slog.Logger) (*nats.Conn, func() error, error) {
	if !p.embedded() {
		nc, err := eventstore.Connect(p.NATSURL, p.NATSCreds, logger)
		if err != nil {
			return nil, nil, err
		}
		return nc, func() error { nc.Close(); return nil }, nil
	}
	if err := makeDataDir(p.DataDir); err != nil {
		return nil, nil, err
	}
	server, err := eventstore.StartEmbedded(eventstore.EmbeddedConfig{Dir: p.natsDir(), Logger: logger})
	var locked *eventstore.LockedError
	if errors.As(err, &locked) && !alone {
		return p.join()
	}
	if err != nil {
		return nil, nil, err
	}
	nc, err := server.Connect()
	if err != nil {
		return nil, nil, errors.Join(err, server.Stop())
	}
	return nc, server.Stop, nil
}

// join reaches the embedded server of a running ledger on the same data directory.
func (p placeSettings) join() (*nats.Conn, func() error, error) {
	access, err := eventstore.ReadOperatorFile(p.natsDir())
	if err != nil {
		return nil, nil, err
	}
	nc, err := nats.Connect(access.URL, nats.UserInfo(access.User, access.Password), nats.Name("claimledger operator"),
		nats.ReconnectBufSize(-1)) // the log refuses a connection that sends late what was given up
	if err != nil {
		return nil, nil, fmt.Errorf("the running ledger (pid %d) does not answer: %w", access.PID, err)
	}
	return nc, func() error { nc.Close(); return nil }, nil
}

// executor makes an executor over the log for a command of the operator, with its
// directory read.
func executor(ctx context.Context, stream *eventstore.Stream, logger *slog.Logger) (*commands.Executor, error) {
	x := commands.NewExecutor(commands.Config{
		Log: stream, Limits: domain.DefaultOwnerLimits(), Now: time.Now, NewID: newID,
		Metrics: commands.NewMetrics(prometheus.NewRegistry()), Logger: logger,
	})
	return x, x.Load(ctx)
}
