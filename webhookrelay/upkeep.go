package webhookrelay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	taskRequeue = "requeue" // the webhook was enabled: send what is dead or was held
	taskCancel  = "cancel"  // it was deleted: send nothing more

	// taskRows is how many rows one transaction changes, some ten milliseconds' work:
	// outcomes for the webhook wait as long.
	taskRows = 1000

	// catchUpGap is how far apart the deliveries are due that a webhook missed: a hundred a
	// second, so that a receiver that was down is not brought down again by what waited
	// for it. How many are attempted at a time, maxPerEndpoint bounds as always.
	catchUpGap = 10 * time.Millisecond

	upkeepInterval = 5 * time.Second
	// ownedInterval is how soon a webhook is looked at again whose deliveries a relay still
	// has, which gives them back when what is in flight is written.
	ownedInterval = 250 * time.Millisecond
)

// upkeep does, piece by piece, what a change of a webhook means for the deliveries that
// exist already, and what its owner asks for. Any number of processes may do it at once.
type upkeep struct {
	pool     *pgxpool.Pool
	disabler Disabler
	// disableAfter is how long nothing but failures is borne; 0: for ever
	disableAfter time.Duration
	keep         time.Duration // 0: for ever
	clock        func() time.Time
	logger       *slog.Logger
	requeued     func() // there may be deliveries due
	wake         signal
	presence     *presence
	absent       absences
	owned        bool // the last step left something to do, because a relay had the deliveries
	pruned       pruned
}

func (u *upkeep) run(ctx context.Context) {
	tick := time.NewTicker(upkeepInterval)
	defer tick.Stop()
	look := time.NewTicker(presenceInterval)
	defer look.Stop()
	again := time.NewTimer(ownedInterval)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			if err := u.freeAbsent(ctx); err != nil && ctx.Err() == nil {
				u.logger.Debug("whether other relays are there could not be seen", "err", err)
			}
			continue
		case <-u.wake:
		case <-tick.C:
		case <-again.C:
			if !u.owned {
				continue
			}
		}
		if err := u.step(ctx); err != nil && ctx.Err() == nil {
			u.logger.Warn("webhook upkeep failed, it will be tried again", "err", err)
		}
		if u.owned {
			again.Reset(ownedInterval)
		}
	}
}

// step does all that there is to do. One webhook's trouble leaves the others' alone.
func (u *upkeep) step(ctx context.Context) error {
	u.owned = false
	errs := []error{u.disableGone(ctx)}
	if u.disableAfter > 0 {
		errs = append(errs, u.warn(ctx), u.disableFailing(ctx))
	}
	rows, err := u.pool.Query(ctx, listTasksSQL)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	type task struct{ WebhookID, Kind string }
	tasks, err := pgx.CollectRows(rows, pgx.RowToStructByPos[task])
	errs = append(errs, err)
	for _, t := range tasks {
		piece := u.requeuePiece
		if t.Kind == taskCancel {
			piece = u.cancelPiece
		}
		for more := true; more && err == nil; {
			more, err = u.inTx(ctx, t.WebhookID, piece)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s the deliveries of webhook %s: %w", t.Kind, t.WebhookID, err))
			err = nil
		}
	}
	served, err := u.serveRequests(ctx)
	errs = append(errs, err, u.prune(ctx))
	if len(tasks)+served > 0 {
		u.requeued()
	}
	return errors.Join(errs...)
}

// endpointLock is what a piece of work has while it changes a webhook's deliveries.
type endpointLock struct {
	webhookID string
	owned     bool // a relay has the deliveries in its memory, to attempt them
}

// inTx does one piece of a task under the endpoint's lock, so that nothing is taken or
// recorded for the webhook at the same time. Dying between two pieces leaves the task. A
// webhook that was deleted has no endpoint.
func (u *upkeep) inTx(ctx context.Context, webhookID string, piece func(context.Context, pgx.Tx, endpointLock) (more bool, err error)) (more bool, err error) {
	err = pgx.BeginTxFunc(ctx, u.pool, begin, func(tx pgx.Tx) error {
		l := endpointLock{webhookID: webhookID}
		err := tx.QueryRow(ctx, lockEndpointSQL, webhookID, u.clock()).Scan(&l.owned)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		more, err = piece(ctx, tx, l)
		return err
	})
	return more, err
}

// requeuePiece does nothing where another process has ended the task, or the assigner is
// changing it. What a relay has in its memory it would attempt as it was; so the task waits
// until it has given the webhook back.
func (u *upkeep) requeuePiece(ctx context.Context, tx pgx.Tx, l endpointLock) (more bool, err error) {
	if l.owned {
		u.owned = true
		return false, nil
	}
	var last bool
	err = tx.QueryRow(ctx, requeueSQL, l.webhookID, u.clock(), taskRows, catchUpGap).Scan(&last)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil || !last {
		return err == nil, err
	}
	if _, err := tx.Exec(ctx, resetEndpointSQL, l.webhookID); err != nil {
		return false, err
	}
	_, err = tx.Exec(ctx, endTaskSQL, l.webhookID, taskRequeue)
	return false, err
}

// cancelPiece does nothing where another process is at the task or has ended it. What is in
// flight counts as delivered if it succeeds.
func (u *upkeep) cancelPiece(ctx context.Context, tx pgx.Tx, l endpointLock) (more bool, err error) {
	var did, remains bool
	err = tx.QueryRow(ctx, cancelSQL, l.webhookID, u.clock(), taskRows).Scan(&did, &remains)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil || remains {
		return did, err
	}
	_, err = tx.Exec(ctx, endTaskSQL, l.webhookID, taskCancel)
	return false, err
}
