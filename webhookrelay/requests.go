package webhookrelay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// replayWindow is how many deliveries a replay has queued at a time: what is new waits
// behind no more than these, and a receiver that fails stops the replay and not the
// relay.
const replayWindow = 16

// request is a row of requests that is not done.
type request struct {
	ID, WebhookID string
	Kind          RequestKind
	DeliveryID    string
	FromPosition  *int64
	FromTime      *time.Time
	AskedAt       time.Time
	Replayed      int64
	ReplayLast    *int64
	// Fresh: that the webhook is not there yet may be because the log was not read yet.
	Fresh bool
}

// serveRequests does what owners asked for, each request as far as it goes now.
func (u *upkeep) serveRequests(ctx context.Context) (done int, err error) {
	if _, err := u.pool.Exec(ctx, tidySQL, u.clock()); err != nil {
		return 0, err
	}
	rows, err := u.pool.Query(ctx, listRequestsSQL, replayWindow)
	if err != nil {
		return 0, err
	}
	type open struct{ RequestID, WebhookID string }
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[open])
	errs := []error{err}
	for _, o := range all {
		_, err := u.inTx(ctx, o.WebhookID, func(ctx context.Context, tx pgx.Tx, _ endpointLock) (bool, error) {
			return false, u.serve(ctx, tx, o.RequestID)
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("request %s of webhook %s: %w", o.RequestID, o.WebhookID, err))
		}
	}
	return len(all), errors.Join(errs...)
}

// serve does a request, or a piece of it, and writes that in the same transaction.
// Another process may have done it since it was listed.
func (u *upkeep) serve(ctx context.Context, tx pgx.Tx, requestID string) error {
	rows, err := tx.Query(ctx, readRequestSQL, requestID)
	if err != nil {
		return err
	}
	q, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[request])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	var last int64
	switch err := tx.QueryRow(ctx, lastSequenceSQL, q.WebhookID).Scan(&last); {
	case errors.Is(err, pgx.ErrNoRows) && q.Fresh:
		return nil
	case errors.Is(err, pgx.ErrNoRows): // deleted
	case err != nil:
		return err
	case q.Kind == RequestRedeliver:
		_, err = tx.Exec(ctx, redeliverSQL, q.WebhookID, q.DeliveryID, u.clock())
		if err != nil {
			return err
		}
	case q.Kind == RequestPing:
		if err := u.ping(ctx, tx, q, last); err != nil {
			return err
		}
	case q.Kind == RequestReplay:
		if more, err := u.replay(ctx, tx, q, last); more || err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, endRequestSQL, q.ID, u.clock())
	return err
}

type pingBody struct {
	Event     string    `json:"event"`
	Timestamp time.Time `json:"timestamp"`
	Data      pingData  `json:"data"`
	ID        string    `json:"id"`
}

type pingData struct {
	WebhookID string `json:"webhook_id"`
}

func (u *upkeep) ping(ctx context.Context, tx pgx.Tx, q request, last int64) error {
	id := pingID(q.ID)
	body, err := json.Marshal(pingBody{pingEvent, q.AskedAt.UTC(), pingData{q.WebhookID}, id})
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, addPingSQL, q.WebhookID, id, last, pingEvent, bytes.TrimSpace(body), q.AskedAt, u.clock())
	return err
}

// replay queues the next of a replay, as many as there is room for.
func (u *upkeep) replay(ctx context.Context, tx pgx.Tx, q request, last int64) (more bool, err error) {
	if q.ReplayLast == nil {
		q.ReplayLast = &last // what comes from now on is not old
		if err := tx.QueryRow(ctx, findReplaySQL, q.WebhookID, last, q.FromPosition, q.FromTime).Scan(&q.Replayed); err != nil {
			return false, err
		}
	}
	var queued int
	if err := tx.QueryRow(ctx, countAgainSQL, q.WebhookID).Scan(&queued); err != nil || queued >= replayWindow {
		return true, err
	}
	var next *int64
	err = tx.QueryRow(ctx, replaySQL, q.WebhookID, q.Replayed, *q.ReplayLast, q.FromPosition, q.FromTime, replayWindow-queued, u.clock()).Scan(&next)
	if err != nil || next == nil {
		return false, err
	}
	_, err = tx.Exec(ctx, moveReplaySQL, q.ID, *next, *q.ReplayLast)
	return true, err
}
