package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	ledgerclient "github.com/claimledger/claimledger/api/client"
	"github.com/claimledger/claimledger/api/client/webhook"
)

// This is a consumer of webhooks as anybody may write one, with a PostgreSQL of its own
// in which each event has its effect once: here a row in a table. But for what loses
// answers, nothing in it is for tests.

const (
	consumerLedger    = "CONSUMER_LEDGER" // URL
	consumerSession   = "CONSUMER_SESSION"
	consumerService   = "CONSUMER_SERVICE"
	consumerWebhook   = "CONSUMER_WEBHOOK"
	consumerSecret    = "CONSUMER_SECRET"
	consumerDatabase  = "CONSUMER_DATABASE"
	consumerAddress   = "CONSUMER_ADDRESS"
	consumerReady     = "the consumer has caught up"
	consumerForgetful = "an answer is lost"
)

func consumerMain() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := consume(ctx); err != nil {
		fail(err)
	}
}

func consume(ctx context.Context) error {
	pool, err := pgxpool.New(ctx, os.Getenv(consumerDatabase))
	if err != nil {
		return err
	}
	defer pool.Close()
	if _, err := pool.Exec(ctx, consumerTables); err != nil {
		return err
	}
	ledger, err := ledgerclient.New(ledgerclient.Config{URL: os.Getenv(consumerLedger), Session: os.Getenv(consumerSession)})
	if err != nil {
		return err
	}
	receiver, err := webhook.NewReceiver(webhook.Config[pgx.Tx]{
		WebhookID: os.Getenv(consumerWebhook),
		Secrets:   []string{os.Getenv(consumerSecret)},
		Store:     consumerStore{pool},
		Source:    ledger.EventsOf(os.Getenv(consumerService), os.Getenv(consumerWebhook)),
		Apply:     consumerEffect,
		Logger:    slog.New(slog.NewJSONHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	if err := receiver.CatchUp(ctx); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, consumerReady)
	server := &http.Server{Addr: os.Getenv(consumerAddress), Handler: forgetful(receiver), ReadTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

const consumerTables = `
	CREATE TABLE IF NOT EXISTS marks (webhook_id text PRIMARY KEY, sequence bigint NOT NULL, event_id text NOT NULL);
	CREATE TABLE IF NOT EXISTS effects (n bigserial PRIMARY KEY, event_id text NOT NULL, event text NOT NULL, claim_id text NOT NULL)`

// consumerStore keeps the mark beside the effects.
type consumerStore struct{ pool *pgxpool.Pool }

// Update locks the webhook's row for the time of the transaction, so that deliveries at
// the same time take their turn, in whatever process.
func (s consumerStore) Update(ctx context.Context, webhookID string, do func(pgx.Tx, webhook.Mark) (webhook.Mark, error)) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		const lock = `
			INSERT INTO marks VALUES ($1, 0, '')
			ON CONFLICT (webhook_id) DO UPDATE SET webhook_id = excluded.webhook_id
			RETURNING sequence, event_id`
		var before webhook.Mark
		if err := tx.QueryRow(ctx, lock, webhookID).Scan(&before.Sequence, &before.EventID); err != nil {
			return err
		}
		at, err := do(tx, before)
		if err != nil || at == before {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE marks SET sequence = $2, event_id = $3 WHERE webhook_id = $1`, webhookID, at.Sequence, at.EventID)
		return err
	})
}

func consumerEffect(ctx context.Context, tx pgx.Tx, e webhook.Event) error {
	_, err := tx.Exec(ctx, `INSERT INTO effects (event_id, event, claim_id) VALUES ($1, $2, $3)`, e.ID, e.Event, e.Data.ClaimID)
	return err
}

// forgetful loses the answer to every third delivery, after all was done.
func forgetful(receiver http.Handler) http.Handler {
	var deliveries atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if deliveries.Add(1)%3 != 0 {
			receiver.ServeHTTP(w, r)
			return
		}
		receiver.ServeHTTP(httptest.NewRecorder(), r)
		fmt.Fprintln(os.Stderr, consumerForgetful)
		panic(http.ErrAbortHandler)
	})
}
