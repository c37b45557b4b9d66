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

const (
	// openTimeout bounds opening the log; a cluster may be electing a leader.
	openTimeout = 30 * time.Second
	// lockPatience is how long a ledger that starts waits for the data directory:
	// longer than an operator's command takes there.
	lockPatience = 5 * time.Second
	// lockInterval is how soon it is looked at again.
	lockInterval = 100 * time.Millisecond
)

// openLog opens the log where the settings say it is. For the embedded one, alone says
// that this process is to run the server; otherwise it joins one that runs already,
// and starts one where none does. close ends what was started.
func (p placeSettings) openLog(ctx context.Context, alone bool, logger *slog.Logger) (stream *eventstore.Stream, close func() error, err error) {
	replicas, err := p.replicas()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	nc, server, close, err := p.connect(ctx, alone, logger)
	if err != nil {
		return nil, nil, err
	}
	if server != nil {
		stream, err = server.Open(ctx)
	} else {
		if p.embedded() {
			err = eventstore.Create(ctx, nc, replicas)
		}
		if err == nil {
			stream, err = eventstore.Open(ctx, nc, replicas, logger)
		}
	}
	if errors.Is(err, eventstore.ErrNotSetUp) {
		err = fmt.Errorf("%w: run claimledger setup once", err)
	}
	if err != nil {
		return nil, nil, errors.Join(err, close())
	}
	return stream, close, nil
}

// joinLog opens a log that is there already, beside whatever uses it. A command that reads
// or looks after what there is must not make a ledger where somebody mistyped a path.
func (p placeSettings) joinLog(ctx context.Context, logger *slog.Logger) (*eventstore.Stream, func() error, error) {
	if err := p.hasLedger(); err != nil {
		return nil, nil, err
	}
	return p.openLog(ctx, false, logger)
}

// hasLedger refuses a data directory in which no ledger has begun.
func (p placeSettings) hasLedger() error {
	if !p.embedded() {
		return nil // its streams are made by setup alone
	}
	has, err := eventstore.HasLog(p.natsDir())
	if err == nil && !has {
		err = fmt.Errorf("there is no ledger in %s: no log is in %s", p.DataDir, p.natsDir())
	}
	return err
}

func (p placeSettings) natsDir() string { return filepath.Join(p.DataDir, "nats") }

// connect reaches the NATS server, or starts the embedded one where needed: then there is
// no connection yet.
func (p placeSettings) connect(ctx context.Context, alone bool, logger *slog.Logger) (*nats.Conn, *eventstore.Embedded, func() error, error) {
	if !p.embedded() {
		nc, err := eventstore.Connect(p.NATSURL, p.NATSCreds, logger)
		if err != nil {
			return nil, nil, nil, err
		}
		return nc, nil, func() error { nc.Close(); return nil }, nil
	}
	if err := makeDataDir(p.DataDir); err != nil {
		return nil, nil, nil, err
	}
	giveUp := time.Now().Add(lockPatience)
	server, err := p.startNATS(!alone, logger)
	for isLocked(err) && (!alone || time.Now().Before(giveUp)) {
		// The other process may be a ledger on its way up, and not reachable yet, or one
		// on its way down, or a short command of the operator's.
		if !alone {
			if nc, close, err := p.join(); err == nil {
				return nc, nil, close, nil
			}
		}
		if sleep(ctx, lockInterval) != nil {
			return nil, nil, nil, err
		}
		server, err = p.startNATS(!alone, logger)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	return nil, server, server.Stop, nil
}

func (p placeSettings) startNATS(brief bool, logger *slog.Logger) (*eventstore.Embedded, error) {
	return eventstore.StartEmbedded(eventstore.EmbeddedConfig{Dir: p.natsDir(), Logger: logger, Brief: brief})
}

func isLocked(err error) bool {
	var locked *eventstore.LockedError
	return errors.As(err, &locked)
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
func executor(ctx context.Context, log eventstore.Log, logger *slog.Logger) (*commands.Executor, error) {
	x := commands.NewExecutor(commands.Config{
		Log: log, Limits: domain.DefaultOwnerLimits(), Now: time.Now, NewID: newID,
		Metrics: commands.NewMetrics(prometheus.NewRegistry()), Logger: logger,
	})
	return x, x.Load(ctx)
}
