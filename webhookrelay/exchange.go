package webhookrelay

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/domain"
)

// begin keeps the planner to plain index scans: what it knows about a queue's tables is
// out of date by the time that it is used, and one sequential scan over what was
// delivered costs more than an hour of index scans. Bitmap scans do not mark what is
// dead in an index, so each would pass over all leases since the last vacuum; measured,
// they took half of the throughput.
var begin = pgx.TxOptions{BeginQuery: "BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off"}

// target is where and with what a webhook is called. The secrets are nowhere but here.
type target struct {
	url                   string
	secrets               []string // the present one first, then those that it replaced
	authHeader, authValue string
}

// exchange writes the outcomes that have gathered and, where leasing, leases what is
// due, in one transaction. If it fails, the outcomes are kept for the next one: where
// the transaction was committed all the same, their leases are gone by then, and
// writing them again does nothing.
func (d *deliverer) exchange(ctx context.Context, leasing bool) (leased []*delivery, err error) {
	done := d.takeDone()
	defer func() {
		if err != nil {
			d.putBack(done)
		}
	}()
	tx, err := d.pool.BeginTx(ctx, begin)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	written, err := d.record(ctx, tx, done)
	if err != nil {
		return nil, fmt.Errorf("write the outcomes of attempts: %w", err)
	}
	if leasing {
		if leased, err = d.lease(ctx, tx, d.free(done)); err != nil {
			return nil, fmt.Errorf("lease deliveries: %w", err)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return nil, err
	}
	d.account(done, leased)
	d.publish(written)
	return leased, nil
}

// slots are attempts that may begin.
type slots struct{ all, suspects int }

// free is what there is once the leases of these results have been given back.
func (d *deliverer) free(done []result) slots {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := slots{maxInFlight - d.inFlight + len(done), maxSuspects - d.suspects}
	for _, r := range done {
		if r.suspect {
			s.suspects++
		}
	}
	return s
}

func (d *deliverer) takeDone() []result {
	d.mu.Lock()
	defer d.mu.Unlock()
	done := d.done
	d.done = nil
	return done
}

func (d *deliverer) putBack(done []result) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done = append(done, d.done...)
}

// account keeps the count of what is in flight.
func (d *deliverer) account(done []result, leased []*delivery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range done {
		d.inFlight--
		if r.suspect {
			d.suspects--
		}
	}
	for _, l := range leased {
		d.inFlight++
		if l.suspect {
			d.suspects++
		}
	}
	d.metrics.inFlight.Set(float64(d.inFlight))
}

// lease takes what is due and may be attempted, fairly between webhooks.
func (d *deliverer) lease(ctx context.Context, tx pgx.Tx, free slots) ([]*delivery, error) {
	now := d.clock()
	candidates, err := d.candidates(ctx, tx, now)
	if err != nil {
		return nil, err
	}
	grants := d.share(candidates, free, now)
	if len(grants) == 0 {
		return nil, nil
	}
	endpoints, targets, err := d.lockEndpoints(ctx, tx, grants, now)
	if err != nil {
		return nil, err
	}
	var ids []string
	var rows []int
	var retriesOnly []bool
	suspects := map[string]bool{}
	for _, e := range endpoints {
		// Asked again under the lock: another process may have begun attempts since.
		if n, retries := e.room(now); n > 0 && targets[e.webhookID] != nil {
			ids, rows, retriesOnly = append(ids, e.webhookID), append(rows, min(n, grants[e.webhookID])), append(retriesOnly, retries)
			suspects[e.webhookID] = e.suspect()
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	d.leases++
	token := fmt.Sprintf("%s/%d", d.presence.holder(), d.leases)
	until := now.Add(attemptTimeout + leaseMargin)
	result, err := tx.Query(ctx, leaseSQL, ids, rows, retriesOnly, now, token, until)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(result, func(row pgx.CollectableRow) (*delivery, error) {
		l := &delivery{token: token, leasedUntil: until}
		err := row.Scan(&l.webhookID, &l.eventID, &l.sequence, &l.claimID, &l.eventType, &l.body, &l.occurredAt, &l.attempts, &l.failures, &l.again)
		l.target, l.suspect = targets[l.webhookID], suspects[l.webhookID]
		return l, err
	})
}

// candidates are the webhooks that have something due, in the order of their ids, as
// they look without a lock.
func (d *deliverer) candidates(ctx context.Context, tx pgx.Tx, now time.Time) ([]endpoint, error) {
	rows, err := tx.Query(ctx, candidatesSQL, now)
	if err != nil {
		return nil, err
	}
	var candidates []endpoint
	var e endpoint
	var retryDue bool
	_, err = pgx.ForEachRow(rows, []any{&e.webhookID, &e.failures, &e.pausedUntil, &e.inFlight, &retryDue}, func() error {
		if n, retriesOnly := e.room(now); n > 0 && (retryDue || !retriesOnly) {
			candidates = append(candidates, e)
		}
		return nil
	})
	return candidates, err
}

// share divides the slots: one for each webhook before any gets a second, beginning
// after the one where slots ran out the last time, and never more for endpoints whose
// last attempt failed than maxSuspects in all.
func (d *deliverer) share(candidates []endpoint, free slots, now time.Time) map[string]int {
	first := 0
	for first < len(candidates) && candidates[first].webhookID <= d.cursor {
		first++
	}
	grants := map[string]int{}
	for n := 1; n <= maxPerEndpoint; n++ {
		for i := range candidates {
			e := candidates[(first+i)%len(candidates)]
			if room, _ := e.room(now); n > room || e.suspect() && free.suspects <= 0 {
				continue
			}
			if free.all <= 0 {
				return grants
			}
			free.all--
			if e.suspect() {
				free.suspects--
			}
			grants[e.webhookID]++
			d.cursor = e.webhookID
		}
	}
	return grants
}

// lockEndpoints locks those endpoints that no other process has locked, and reads what
// is needed to call them.
func (d *deliverer) lockEndpoints(ctx context.Context, tx pgx.Tx, grants map[string]int, now time.Time) ([]endpoint, map[string]*target, error) {
	wanted := make([]string, 0, len(grants))
	for id := range grants {
		wanted = append(wanted, id)
	}
	rows, err := tx.Query(ctx, tryLockEndpointsSQL, wanted)
	if err != nil {
		return nil, nil, err
	}
	locked, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(locked) == 0 {
		return nil, nil, err
	}
	if rows, err = tx.Query(ctx, readEndpointsSQL, locked, now); err != nil {
		return nil, nil, err
	}
	targets := map[string]*target{}
	endpoints, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (endpoint, error) {
		var e endpoint
		var t target
		var secret domain.Sealed
		var authKeyID *string
		var authValue []byte
		var formerKeyIDs []string
		var formerSecrets [][]byte
		err := row.Scan(&e.webhookID, &e.failures, &e.pausedUntil, &e.inFlight,
			&t.url, &secret.KeyID, &secret.Data, &t.authHeader, &authKeyID, &authValue, &formerKeyIDs, &formerSecrets)
		if err != nil {
			return e, err
		}
		var auth *domain.Sealed
		if authKeyID != nil {
			auth = &domain.Sealed{KeyID: *authKeyID, Data: authValue}
		}
		secrets := []domain.Sealed{secret}
		for i, id := range formerKeyIDs {
			secrets = append(secrets, domain.Sealed{KeyID: id, Data: formerSecrets[i]})
		}
		if d.open(&t, e.webhookID, secrets, auth) {
			targets[e.webhookID] = &t
		}
		return e, nil
	})
	return endpoints, targets, err
}

// open decrypts a webhook's secrets. Where it cannot, the webhook's deliveries wait:
// they are not at fault, and the right key may come.
func (d *deliverer) open(t *target, webhookID string, secrets []domain.Sealed, auth *domain.Sealed) bool {
	var err error
	t.secrets = make([]string, len(secrets))
	for i := 0; i < len(secrets) && err == nil; i++ {
		t.secrets[i], err = d.seal.Open(secrets[i], webhookID)
	}
	if err == nil && auth != nil {
		t.authValue, err = d.seal.Open(*auth, webhookID)
	}
	switch {
	case err != nil && !d.unopened[webhookID]:
		d.logger.Error("a webhook's secret cannot be opened, so nothing can be sent to it", "webhook_id", webhookID, "err", err)
		d.unopened[webhookID] = true
	case err == nil && d.unopened[webhookID]:
		d.logger.Info("a webhook's secret can be opened again", "webhook_id", webhookID)
		delete(d.unopened, webhookID)
	}
	d.metrics.unopened.Set(float64(len(d.unopened)))
	return err == nil
}
