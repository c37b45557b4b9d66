package webhookrelay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// askAgainAfter is how long a command to disable a webhook has to come back through
	// the log before it is given again.
	askAgainAfter = 30 * time.Second

	goneReason = "The endpoint answered 410 Gone."
)

// disableGone has the webhooks disabled whose receivers answered 410. They are held here
// from that answer on; the command makes it known, and is given again until it is.
func (u *upkeep) disableGone(ctx context.Context) error {
	rows, err := u.pool.Query(ctx, listGoneSQL, u.clock().Add(-askAgainAfter))
	if err != nil {
		return err
	}
	type gone struct{ WebhookID, Namespace, ServiceID string }
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[gone])
	errs := []error{err}
	for _, g := range all {
		errs = append(errs, u.disable(ctx, g.Namespace, g.ServiceID, g.WebhookID, nil, goneReason))
	}
	return errors.Join(errs...)
}

// disableFailing has the webhooks disabled with which nothing has gone well for too long.
// Enabling one again sends everything that it missed.
func (u *upkeep) disableFailing(ctx context.Context) error {
	rows, err := u.pool.Query(ctx, listFailingSQL, u.disableAfter, u.clock().Add(-askAgainAfter))
	if err != nil {
		return err
	}
	type failing struct {
		WebhookID, Namespace, ServiceID string
		Since                           time.Time
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[failing])
	errs := []error{err}
	for _, f := range all {
		reason := "Every attempt has failed since " + f.Since.UTC().Format(time.RFC3339) + "."
		errs = append(errs, u.disable(ctx, f.Namespace, f.ServiceID, f.WebhookID, &f.Since, reason))
	}
	return errors.Join(errs...)
}

// disable gives the command, and notes that it is given: for a webhook that has been failing
// since then, or is gone, where that is so still.
func (u *upkeep) disable(ctx context.Context, namespace, serviceID, webhookID string, since *time.Time, reason string) error {
	now := u.clock()
	asked, err := u.pool.Exec(ctx, askDisableSQL, webhookID, now, since, now.Add(-askAgainAfter))
	if err != nil || asked.RowsAffected() == 0 {
		return err
	}
	if err := u.disabler.DisableWebhook(ctx, namespace, serviceID, webhookID, reason); err != nil {
		return fmt.Errorf("disable webhook %s: %w", webhookID, err)
	}
	u.logger.Warn("a webhook was disabled", "webhook_id", webhookID, "namespace", namespace, "reason", reason)
	return nil
}

// warn says once of each webhook that it will be disabled if nothing goes well until then.
func (u *upkeep) warn(ctx context.Context) error {
	rows, err := u.pool.Query(ctx, listUnwarnedSQL, u.disableAfter/2)
	if err != nil {
		return err
	}
	type failing struct {
		WebhookID, Namespace string
		Since                time.Time
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[failing])
	errs := []error{err}
	for _, f := range all {
		said, err := u.pool.Exec(ctx, warnSQL, f.WebhookID, u.clock())
		if err == nil && said.RowsAffected() > 0 { // no other relay was quicker
			u.logger.Warn("a webhook will be disabled unless an attempt succeeds", "webhook_id", f.WebhookID, "namespace", f.Namespace,
				"failing_since", f.Since.UTC(), "disabled_at", f.Since.Add(u.disableAfter).UTC())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
