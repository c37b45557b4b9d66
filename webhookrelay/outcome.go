package webhookrelay

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// tally is what an exchange wrote, for the metrics once it is committed.
type tally struct {
	results []result // that were attempted and whose lease still held
	states  []State
	gone    bool
}

// key is a delivery's.
type key struct{ webhookID, eventID string }

// record writes the outcomes. One whose lease is another's by now is dropped: that
// other one decides what becomes of the delivery.
func (d *deliverer) record(ctx context.Context, tx pgx.Tx, done []result) (tally, error) {
	if len(done) == 0 {
		return tally{}, nil
	}
	endpoints, held, err := d.endLeases(ctx, tx, done)
	if err != nil {
		return tally{}, err
	}
	var w writing
	w.endpoints = endpoints
	for _, r := range done {
		// An attempt that was cut short says nothing; the delivery is due as before.
		if held[key{r.webhookID, r.eventID}] && r.attempted && !r.outcome.Interrupted() {
			w.add(r, d.schedule)
		}
	}
	if len(w.results) == 0 {
		return tally{}, nil
	}
	return w.tally, tx.SendBatch(ctx, w.statements(d.schedule.silence())).Close()
}

// endLeases locks the endpoints, in the order in which everyone does, and gives the
// leases back.
func (d *deliverer) endLeases(ctx context.Context, tx pgx.Tx, done []result) (map[string]*endpointChange, map[key]bool, error) {
	var webhookIDs, eventIDs, tokens []string
	for _, r := range done {
		webhookIDs, eventIDs, tokens = append(webhookIDs, r.webhookID), append(eventIDs, r.eventID), append(tokens, r.token)
	}
	endpoints, held := map[string]*endpointChange{}, map[key]bool{}
	b := &pgx.Batch{}
	b.Queue(lockEndpointsSQL, webhookIDs).Query(func(rows pgx.Rows) error {
		var e endpoint
		_, err := pgx.ForEachRow(rows, []any{&e.webhookID, &e.failures, &e.pausedUntil}, func() error {
			endpoints[e.webhookID] = &endpointChange{endpoint: e}
			return nil
		})
		return err
	})
	b.Queue(endLeasesSQL, webhookIDs, eventIDs, tokens).Query(func(rows pgx.Rows) error {
		var k key
		_, err := pgx.ForEachRow(rows, []any{&k.webhookID, &k.eventID}, func() error {
			held[k] = true
			return nil
		})
		return err
	})
	return endpoints, held, tx.SendBatch(ctx, b).Close()
}

// endpointChange is what the results of one exchange make of an endpoint.
type endpointChange struct {
	endpoint
	goneAt                     *time.Time
	failed                     int
	lastTriggered, lastFailure *time.Time
	recovered                  bool       // an attempt succeeded
	failingSince               *time.Time // the first failure, or the first after a success
}

// writing gathers the rows of an exchange's statements, column by column.
type writing struct {
	tally
	endpoints map[string]*endpointChange

	webhookIDs, eventIDs, states []string
	attempts, failures           []int
	dueAt, endedAt               []time.Time

	begunAt   []time.Time
	took      []time.Duration
	statuses  []int
	responses [][]byte
	errors    []string

	retryWebhookIDs, retryClaimIDs []string
	retrySequences                 []int64
	retryDueAt                     []time.Time
	retryAgain                     []bool
}

func (w *writing) add(r result, s schedule) {
	state, failures, due := StateDelivered, r.delivery.failures, r.ended
	if !r.outcome.OK() {
		failures++
		var again bool
		// A ping is a question about now, and has one answer.
		if due, again = s.next(failures, r.outcome, r.ended); again && r.eventType != pingEvent {
			state = StatePending
			w.retryWebhookIDs, w.retryClaimIDs = append(w.retryWebhookIDs, r.webhookID), append(w.retryClaimIDs, r.claimID)
			w.retrySequences, w.retryDueAt = append(w.retrySequences, r.sequence), append(w.retryDueAt, due)
			w.retryAgain = append(w.retryAgain, r.delivery.again)
		} else {
			state = StateDead
		}
	}
	w.webhookIDs, w.eventIDs, w.states = append(w.webhookIDs, r.webhookID), append(w.eventIDs, r.eventID), append(w.states, string(state))
	w.attempts, w.failures = append(w.attempts, r.delivery.attempts+1), append(w.failures, failures)
	w.dueAt, w.endedAt = append(w.dueAt, due), append(w.endedAt, r.ended)
	w.begunAt, w.took = append(w.begunAt, r.begun), append(w.took, r.outcome.Duration)
	w.statuses, w.errors = append(w.statuses, r.outcome.Status), append(w.errors, r.outcome.Error)
	w.responses = append(w.responses, notNil(r.outcome.Response))
	w.tally.results, w.tally.states = append(w.tally.results, r), append(w.tally.states, state)

	// A deleted webhook has no endpoint any more.
	if e := w.endpoints[r.webhookID]; e != nil {
		e.note(r, s.probe())
		w.gone = w.gone || e.goneAt != nil
	}
}

func (e *endpointChange) note(r result, probe time.Duration) {
	e.endpoint.took(r.outcome, r.ended, probe)
	e.lastTriggered = later(e.lastTriggered, r.begun)
	if r.outcome.OK() {
		e.recovered, e.failingSince = true, nil
	} else {
		e.failed++
		e.lastFailure = later(e.lastFailure, r.ended)
		if e.failingSince == nil && r.eventType != pingEvent { // a ping is a question, and no loss
			e.failingSince = &r.ended
		}
	}
	if r.outcome.Gone() {
		e.goneAt = later(e.goneAt, r.ended)
	}
}

func later(a *time.Time, b time.Time) *time.Time {
	if a != nil && a.After(b) {
		return a
	}
	return &b
}

// statements write it all. After a silence, failures begin anew.
func (w *writing) statements(silence time.Duration) *pgx.Batch {
	b := &pgx.Batch{}
	b.Queue(finishDeliveriesSQL, w.webhookIDs, w.eventIDs, w.states, w.attempts, w.failures, w.dueAt, w.endedAt)
	b.Queue(addAttemptsSQL, w.webhookIDs, w.eventIDs, w.attempts, w.begunAt, w.took, w.statuses, w.responses, w.errors)
	if len(w.retryWebhookIDs) > 0 {
		b.Queue(postponeSuccessorsSQL, w.retryWebhookIDs, w.retryClaimIDs, w.retrySequences, w.retryDueAt, w.retryAgain)
	}
	var ids []string
	var failures, failed []int
	var paused, gone, triggered, failedAt, failingSince []*time.Time
	var recovered []bool
	for id, e := range w.endpoints {
		ids, failures, failed = append(ids, id), append(failures, e.failures), append(failed, e.failed)
		paused, gone = append(paused, e.pausedUntil), append(gone, e.goneAt)
		triggered, failedAt = append(triggered, e.lastTriggered), append(failedAt, e.lastFailure)
		recovered, failingSince = append(recovered, e.recovered), append(failingSince, e.failingSince)
	}
	b.Queue(updateEndpointsSQL, ids, failures, paused, gone, failed, triggered, failedAt, recovered, failingSince, silence)
	return b
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// publish counts what was written, and tells of what a person may want to know.
func (d *deliverer) publish(t tally) {
	for i, r := range t.results {
		d.metrics.attempted(r)
		switch t.states[i] {
		case StateDelivered:
			d.metrics.delivered.Inc()
		case StateDead:
			d.metrics.dead.Inc()
			d.logger.Warn("a webhook delivery is dead after its last retry", "webhook_id", r.webhookID,
				"event_id", r.eventID, "attempts", r.delivery.attempts+1, "status", r.outcome.Status, "reason", r.outcome.Error)
		}
		if r.outcome.Err != nil {
			d.logger.Debug("a webhook attempt failed", "webhook_id", r.webhookID, "event_id", r.eventID, "err", r.outcome.Err)
		}
	}
	if slices.ContainsFunc(t.results, func(r result) bool { return r.delivery.again }) {
		d.finishedAgain()
	}
	if t.gone {
		d.gone()
	}
}
