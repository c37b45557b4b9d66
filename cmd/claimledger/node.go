package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/api"
	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/api/openapi"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections"
	"github.com/claimledger/claimledger/projections/pgdb"
	"github.com/claimledger/claimledger/projections/pgserver"
	"github.com/claimledger/claimledger/webhookrelay"
)

const (
	// retryInterval is the pause before trying again what must succeed sometime.
	retryInterval = time.Second
	// maxConns bounds the connections of one process: with three, a PostgreSQL with
	// its default of 100 still has room.
	maxConns = 20
	// clockInterval is how often what is due is looked for.
	clockInterval = time.Second
	// postgresDir is where the private PostgreSQL is, in the data directory.
	postgresDir = "postgres"
	// dueNamespaces bounds how many namespaces one look expires claims in.
	dueNamespaces = 100
)

// start starts what the roles need, in the order in which they need it.
func (n *node) start(ctx context.Context) error {
	stream, err := n.startLog(ctx)
	if err != nil {
		return err
	}
	if err := n.startFence(ctx, stream); err != nil {
		return err
	}
	pool, err := n.startDatabase(ctx)
	if err != nil {
		return err
	}
	n.startWatching(ctx, stream, pool)
	var x *commands.Executor
	var keys *secretKeys
	if n.has(roleAPI) || n.has(roleRelay) { // the relay records that a receiver is gone
		if x, err = n.startExecutor(ctx, stream); err != nil {
			return err
		}
		if keys, err = n.startSecretKeys(ctx, x); err != nil {
			return err
		}
	}
	if n.has(roleProjector) {
		if err := n.startProjectors(ctx, stream, pool); err != nil {
			return err
		}
	}
	if n.has(roleRelay) {
		if err := n.startRelay(stream, pool, x, keys); err != nil {
			return err
		}
	}
	if n.has(roleAPI) {
		if err := n.startAPI(ctx, stream, pool, x, keys); err != nil {
			return err
		}
	}
	n.health.routes(n.router, n.metrics)
	return nil
}

// startLog opens the log. One that runs elsewhere may come up later than this process.
func (n *node) startLog(ctx context.Context) (*eventstore.Stream, error) {
	for {
		stream, closeLog, err := n.openLog(ctx, true, n.log)
		if err == nil {
			n.onStop(func(context.Context) error { return closeLog() })
			n.health.add("log", true, func(ctx context.Context) error {
				_, err := stream.Last(ctx)
				return err
			})
			return stream, nil
		}
		if n.embedded() || !mayPass(err) {
			return nil, err
		}
		n.log.Warn("the log cannot be opened yet; trying again", "error", err)
		if sleep(ctx, retryInterval) != nil {
			return nil, err
		}
	}
}

// mayPass tells trouble that may pass by itself from what somebody has to change.
func mayPass(err error) bool {
	var config *eventstore.ConfigError
	var old *eventstore.ServerVersionError
	var usage usageError
	return !errors.As(err, &config) && !errors.As(err, &old) && !errors.As(err, &usage) &&
		!errors.Is(err, eventstore.ErrNotSetUp)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// startDatabase starts the private PostgreSQL where there is no other, and opens it.
// One that runs elsewhere may come up later: commands do not need it.
func (n *node) startDatabase(ctx context.Context) (*pgxpool.Pool, error) {
	url := n.DatabaseURL
	if url == "" {
		server, err := pgserver.Start(ctx, n.postgres(n.placeSettings))
		if err != nil {
			return nil, err
		}
		url = server.URL()
		n.keepDatabase(ctx, server)
	}
	pool, err := pgdb.Open(ctx, url, pgdb.Options{Lazy: true, MaxConns: maxConns})
	if err != nil {
		return nil, err
	}
	n.onStop(func(context.Context) error { pool.Close(); return nil })
	n.health.add("database", !n.has(roleAPI), pool.Ping)
	return pool, nil
}

func (p placeSettings) postgresDir() string { return filepath.Join(p.DataDir, postgresDir) }

func (n *node) postgres(p placeSettings) pgserver.Config {
	return pgserver.Config{Dir: p.postgresDir(), BinDir: p.PostgresBin, Logger: n.log}
}

// keepDatabase starts the private PostgreSQL again when it dies, until the process
// stops, and stops it then.
func (n *node) keepDatabase(ctx context.Context, server *pgserver.Server) {
	ended := make(chan *pgserver.Server, 1)
	go func() {
		current := server
		defer func() { ended <- current }()
		for {
			select {
			case <-ctx.Done():
				return
			case <-current.Done():
			}
			n.log.Error("PostgreSQL ended; starting it again", "error", current.Err())
			for {
				next, err := pgserver.Start(ctx, n.postgres(n.placeSettings))
				if err == nil {
					current = next
					break
				}
				n.log.Error("PostgreSQL does not start; trying again", "error", err)
				if sleep(ctx, retryInterval) != nil {
					return
				}
			}
		}
	}()
	n.onStop(func(ctx context.Context) error { return (<-ended).Stop(ctx) })
}

// startExecutor loads the states that decisions rest on and keeps them current.
func (n *node) startExecutor(ctx context.Context, stream *eventstore.Stream) (*commands.Executor, error) {
	x := commands.NewExecutor(commands.Config{
		Log: stream, Fence: n.fence, Limits: n.limits(), Now: time.Now, NewID: newID,
		Metrics: commands.NewMetrics(n.metrics), Logger: n.log,
		Snapshots: stream.Snapshots(), ClaimsMemory: int64(n.ClaimsMemory) << 20,
	})
	for {
		err := x.Load(ctx)
		if err == nil {
			break
		}
		if n.embedded() || sleep(ctx, retryInterval) != nil {
			return nil, err
		}
		n.log.Warn("the log cannot be read yet; trying again", "error", err)
	}
	n.work(ctx, "following the log", x.Run)
	n.health.add("commands", n.has(roleAPI), n.commandsFresh(x))
	return x, nil
}

// startProjectors keeps the read models up to date, and signs what the log is.
func (n *node) startProjectors(ctx context.Context, stream *eventstore.Stream, pool *pgxpool.Pool) error {
	projectors := projections.NewProjectors(stream, pool, n.log)
	if n.has(roleAPI) {
		projectors.Attend(audience{n})
		n.projectors.Store(projectors)
	}
	signer, err := n.newSigner(stream, pool, projectors)
	if err != nil {
		return err
	}
	n.metrics.MustRegister(projections.NewMetrics(projectors))
	n.health.add("projector", !n.has(roleAPI), n.projectorsWork(projectors))
	n.health.lookAtModels(modelsHere(projectors))
	n.afterSetup(ctx, "projector", projections.Setup, pool, func(ctx context.Context) error {
		ended := make(chan struct{})
		var signing sync.WaitGroup
		signing.Go(func() { signer.Run(ctx, ended) })
		projectors.Run(ctx)
		close(ended)
		signing.Wait()
		return nil
	})
	return nil
}

// audience is who waits in this process for read models to move. Who waits in another one
// is told a few milliseconds later.
type audience struct{ *node }

func (a audience) Waits(model string) bool {
	server := a.server.Load()
	return server != nil && server.Waits(model)
}

func (a audience) Heard(model string, position uint64) {
	if server := a.server.Load(); server != nil {
		server.Heard(model, position)
	}
}

// called tells the projectors of this process that somebody in it waits for a model.
func (n *node) called(model string) {
	if projectors := n.projectors.Load(); projectors != nil {
		projectors.Called(model)
	}
}

// newSigner makes what signs the log's heads, where this process's projector of the
// running hash is the active one.
func (n *node) newSigner(stream *eventstore.Stream, pool *pgxpool.Pool, projectors *projections.Projectors) (*projections.Signer, error) {
	key, err := n.headKey(n.placeSettings)
	if err != nil {
		return nil, err
	}
	reader := projections.NewReader(pool)
	reader.OnWait(n.called)
	n.onStop(func(context.Context) error { reader.Close(); return nil })
	signer := projections.NewSigner(projections.SignerConfig{
		Log: stream, Heads: stream.Heads(), Reads: reader, Key: key, Interval: n.HeadInterval,
		Active: func() bool { return projectors.Active(projections.ChainModel) }, Intact: n.fence.Broken, Now: time.Now, Logger: n.log,
	})
	n.metrics.MustRegister(projections.NewSignerMetrics(signer))
	n.health.add("log head", false, signerWorks(signer))
	n.log.Info("heads of the log are signed with the key", "key_id", key.ID())
	return signer, nil
}

// afterSetup runs something that needs a schema. The schema is made at once where the
// database lets it, so that a process that answers has all that it needs, and as soon
// as possible otherwise: a database that is away keeps nobody from giving commands.
func (n *node) afterSetup(ctx context.Context, what string, setup func(context.Context, *pgxpool.Pool) error,
	pool *pgxpool.Pool, run func(context.Context) error) {
	var done atomic.Bool
	try := func() (err error) {
		if err = setup(ctx, pool); err == nil {
			done.Store(true)
		}
		return err
	}
	err := try()
	n.health.add(what+" schema", !n.has(roleAPI), func(context.Context) error {
		if !done.Load() {
			return domain.Errorf(domain.CodeServiceUnavailable, "It is not made yet; the log of this process says why.")
		}
		return nil
	})
	n.work(ctx, what, func(ctx context.Context) error {
		for ; err != nil; err = try() {
			n.log.Warn("the schema cannot be made yet; trying again", "of", what, "error", err)
			if sleep(ctx, retryInterval) != nil {
				return nil
			}
		}
		return run(ctx)
	})
}

// startSecretKeys reads the keys of the webhooks' secrets and follows their file.
func (n *node) startSecretKeys(ctx context.Context, x *commands.Executor) (*secretKeys, error) {
	path, err := n.keySettings.secretKeys(n.placeSettings)
	if err != nil {
		return nil, err
	}
	keys, err := newSecretKeys(path, func() map[string]int { return x.Directory().SealedWith(time.Now()) }, n.log)
	if err != nil {
		return nil, err
	}
	n.metrics.MustRegister(keys)
	n.health.add("secret keys", false, keys.works)
	n.work(ctx, "secret keys", func(ctx context.Context) error { keys.run(ctx); return nil })
	return keys, nil
}

func (n *node) startRelay(stream *eventstore.Stream, pool *pgxpool.Pool, x *commands.Executor, keys *secretKeys) error {
	relay, err := webhookrelay.New(webhookrelay.Config{
		Log: stream, Pool: pool, Secrets: keys, Disabler: disabler{x}, Alone: n.DatabaseURL == "",
		Retries: n.WebhookRetries, DisableAfter: n.WebhookDisableAfter, Keep: n.WebhookKeep, AllowPrivate: n.WebhookAllowPrivate, Version: version(), Logger: n.log,
	})
	if err != nil {
		return err
	}
	n.metrics.MustRegister(relay.Metrics())
	n.health.add("relay", !n.has(roleAPI), n.relayWorks(relay))
	// Attempts in flight take their time to finish, so they are told at once.
	n.afterSetup(n.quit, "relay", webhookrelay.Setup, pool, relay.Run)
	return nil
}

// disabler records, as any other command, that a webhook's receiver is gone.
type disabler struct{ commands *commands.Executor }

func (d disabler) DisableWebhook(ctx context.Context, namespace, serviceID, webhookID, reason string) error {
	_, _, err := d.commands.Registry(ctx, namespace,
		domain.SetWebhookActive{WebhookID: webhookID, ServiceID: serviceID, Active: false, Reason: reason},
		commands.Meta{Actor: domain.Actor{Kind: domain.ActorRelay}, Ref: domain.CommandRef{Name: "webhook.disable"}})
	if domain.ErrorCode(err) == domain.CodeNotFound {
		return nil // deleted meanwhile
	}
	return err
}

func (n *node) startAPI(ctx context.Context, stream *eventstore.Stream, pool *pgxpool.Pool, x *commands.Executor, keys *secretKeys) error {
	sessionKey, err := n.sessionKey(n.placeSettings)
	if err != nil {
		return err
	}
	reader := projections.NewReader(pool)
	n.onStop(func(context.Context) error { reader.Close(); return nil })
	n.health.add("read models", false, n.modelsFresh(reader))
	if !n.has(roleProjector) {
		n.health.lookAtModels(modelsElsewhere(reader, stream))
	}
	deliveries := deliveryStore{webhookrelay.NewDeliveries(pool)}
	newLimits, err := n.newSettings.limits()
	if err != nil {
		return err
	}
	server, err := api.New(api.Config{
		PublicURL: publicURL(n.PublicURL, n.Listen), SessionKey: sessionKey, SealKey: keys.sealing,
		StaleAfter: n.StaleAfter, Targets: domain.TargetPolicy{AllowPrivate: n.WebhookAllowPrivate},
		Rates:    api.RateLimits{Key: n.RateLimitKey, Address: n.RateLimitAddress, Proxies: n.TrustedProxies},
		Commands: x, Reads: reader, Usage: stream.Usage(), Webhooks: deliveries, Deliveries: deliveries, Heads: stream.Heads(),
		SignUp: n.SignUp, NewLimits: newLimits,
		KeepEmail: func(ctx context.Context, ownerID, email string) error {
			return stream.Profiles().Put(ctx, ownerID, eventstore.Profile{Email: email})
		},
		Now: time.Now, NewID: newID, Logger: n.log, Metrics: n.metrics,
	})
	if err != nil {
		return fmt.Errorf("--public-url: %w", err)
	}
	n.server.Store(server)
	server.Routes(n.router)
	if err := openapi.Routes(n.router, publicURL(n.PublicURL, n.Listen)); err != nil {
		return err
	}
	context.AfterFunc(n.quit, server.EndStreams) // they would not finish by themselves
	n.work(ctx, "use of keys", func(ctx context.Context) error { server.Run(ctx); return nil })
	n.work(n.quit, "clock", func(ctx context.Context) error { return n.expire(ctx, reader, x) })
	return nil
}

// expire is the clock: it expires what is past its time, where the read model says that
// something is. Any number of nodes may do so; the log lets one of them win.
func (n *node) expire(ctx context.Context, reader *projections.Reader, x *commands.Executor) error {
	meta := commands.Meta{Actor: domain.Actor{Kind: domain.ActorClock}, Ref: domain.CommandRef{Name: commands.ExpireOverdue}}
	for sleep(ctx, clockInterval) == nil {
		namespaces, _, err := reader.Due(ctx, time.Now(), dueNamespaces)
		if err != nil {
			n.log.Debug("cannot look for what is due", "error", err)
			continue
		}
		for _, namespace := range namespaces {
			if _, _, err := x.Claims(ctx, namespace, domain.ExpireOverdue{}, meta); err != nil && ctx.Err() == nil {
				n.log.Warn("cannot expire what is due", "namespace", namespace, "error", err)
			}
		}
	}
	return nil
}
