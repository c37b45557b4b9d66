package webhookrelay

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// tally is what an exchange wrote, for the metrics once it is committed.
type tally struct {
	results []result // that were attempted for a webhook that was still this process's
	states  []State
	anyGone bool
}

// endpointChange is what the results of one exchange make of an endpoint.
type endpointChange struct {
	goneAt                     *time.Time
	failed                     int
	lastTriggered, lastFailure *time.Time
	recovered                  bool       // an attempt succeeded
	failingSince               *time.Time // the first failure, or the first after a success
	// postponed are deliveries that were read, and have to wait for a retry now.
	postponed map[*delivery]bool
}

// write writes the outcomes, gives back what there is nothing to do for, and renews what
// there is. The outcome for a webhook that is another's by now is dropped: that other one
// decides what becomes of the delivery. For one that is deleted nobody else does.
func (x *exchange) write(ctx context.Context) error {
	if len(x.held) == 0 && len(x.done) == 0 {
		return nil
	}
	mine, err := x.lock(ctx)
	if err != nil {
		return err
	}
	w := newWriting(len(x.done))
	for _, r := range x.done {
		if h := mine[r.hook]; r.says() && (h != nil || r.hook.deleted) {
			w.add(r, h, x.schedule, x.now)
			x.results = append(x.results, r)
		}
	}
	x.states = w.states
	b := &pgx.Batch{}
	w.queue(b)
	x.queueEndpoints(b)
	if b.Len() == 0 {
		return nil
	}
	return x.tx.SendBatch(ctx, b).Close()
}

// lock locks the endpoints, in the order in which everyone does, and tells which are this
// process's still, and which are gone with their webhooks.
func (x *exchange) lock(ctx context.Context) (mine map[*hook]*held, err error) {
	mine = map[*hook]*held{}
	ids := make([]string, len(x.held))
	for i, h := range x.held {
		ids[i] = h.webhookID
	}
	rows, err := x.tx.Query(ctx, lockEndpointsSQL, ids)
	if err != nil {
		return nil, err
	}
	type ownership struct {
		owner   string
		until   *time.Time
		through int64
	}
	owners := map[string]ownership{}
	var id string
	var o ownership
	if _, err := pgx.ForEachRow(rows, []any{&id, &o.owner, &o.until, &o.through}, func() error {
		owners[id] = o
		return nil
	}); err != nil {
		return nil, err
	}
	for _, h := range x.held {
		o, there := owners[h.webhookID]
		if there && o.owner == h.token {
			mine[h.hook] = h
			if o.until.UnixMicro() != h.until.UnixMicro() {
				x.distrust(h, o.through)
			}
			continue
		}
		h.deleted = !there
		x.gone = append(x.gone, h.hook)
	}
	x.held = slices.DeleteFunc(x.held, func(h *held) bool { return mine[h.hook] == nil })
	return mine, nil
}

// distrust has a webhook be given back of which the database does not say what was written
// last: a server that failed has forgotten it, or it was written and that was not heard. What
// comes after a sequence there is read anew by whoever takes it.
func (x *exchange) distrust(h *held, through int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	h.closing, h.hook.through, h.lost, h.reached = true, through, through+1, through
}

// writing gathers the rows of an exchange's statements, column by column.
type writing struct {
	states  []State
	arrived struct { // with an empty answer
		webhookIDs, eventIDs []string
		attempts             []int
		begunAt              []time.Time
		took                 []time.Duration
		statuses             []int
	}
	finished struct { // all others
		webhookIDs, eventIDs, states []string
		endedAt                      []*time.Time
		attempts                     []int
		begunAt                      []time.Time
		took                         []time.Duration
		statuses                     []int
		responses                    [][]byte
		errors                       []string
	}
	before struct { // that had attempts before
		webhookIDs, eventIDs []string
		attempts             []int
	}
	leaving struct {
		webhookIDs []string
		sequences  []int64
		pings      []int32
	}
	entering struct {
		webhookIDs []string
		sequences  []int64
		pings      []int32
		eventIDs   []string
		claimIDs   []string
		states     []string
		dueAt      []time.Time
		failures   []int
		again      []bool
	}
	retries struct {
		webhookIDs, claimIDs []string
		sequences            []int64
		dueAt                []time.Time
		again                []bool
	}
	parking parking
}

// newWriting has room for so many results.
func newWriting(n int) writing {
	w := writing{states: make([]State, 0, n)}
	c := &w.arrived
	c.webhookIDs, c.eventIDs, c.attempts = make([]string, 0, n), make([]string, 0, n), make([]int, 0, n)
	c.begunAt, c.took, c.statuses = make([]time.Time, 0, n), make([]time.Duration, 0, n), make([]int, 0, n)
	return w
}

// parking is the columns of what is fresh and has to wait.
type parking struct {
	webhookIDs []string
	sequences  []int64
	pings      []int32
	eventIDs   []string
	claimIDs   []string
	dueAt      []time.Time
}

func (p *parking) add(l *delivery, due time.Time) {
	p.webhookIDs, p.sequences, p.pings = append(p.webhookIDs, l.hook.webhookID), append(p.sequences, l.sequence), append(p.pings, l.ping)
	p.eventIDs, p.claimIDs, p.dueAt = append(p.eventIDs, l.event.id), append(p.claimIDs, l.claimID), append(p.dueAt, due)
}

func (p *parking) queue(b *pgx.Batch) {
	if len(p.webhookIDs) > 0 {
		b.Queue(parkSQL, p.webhookIDs, p.sequences, p.pings, p.eventIDs, p.claimIDs, p.dueAt)
	}
}

// add takes in a result; h is nil where the webhook is deleted. A retry is not due yet: what
// the exchange reads is what comes after it, and not itself, which is in memory still.
func (w *writing) add(r result, h *held, s schedule, now time.Time) {
	l, id := r.delivery, r.hook.webhookID
	state, failures, due := StateDelivered, l.failures, r.ended
	if !r.outcome.OK() {
		failures++
		var again bool
		// A ping is a question about now, and has one answer.
		if due, again = s.next(failures, r.outcome, r.ended); again && l.kind != pingEvent {
			state = StatePending
			if least := now.Add(time.Millisecond); due.Before(least) {
				due = least
			}
		} else {
			state, due = StateDead, r.ended
		}
	}
	w.states = append(w.states, state)
	w.finish(r, state)
	if l.attempts > 0 {
		c := &w.before
		c.webhookIDs, c.eventIDs, c.attempts = append(c.webhookIDs, id), append(c.eventIDs, l.event.id), append(c.attempts, l.attempts)
	}
	if h == nil {
		return
	}
	h.change.note(r)
	switch {
	case state != StateDelivered:
		q := &w.entering
		q.webhookIDs, q.sequences, q.pings = append(q.webhookIDs, id), append(q.sequences, l.sequence), append(q.pings, l.ping)
		q.eventIDs, q.claimIDs = append(q.eventIDs, l.event.id), append(q.claimIDs, l.claimID)
		q.states, q.dueAt, q.failures = append(q.states, string(state)), append(q.dueAt, due), append(q.failures, failures)
		q.again = append(q.again, l.again && state == StatePending)
	case l.queued:
		q := &w.leaving
		q.webhookIDs, q.sequences, q.pings = append(q.webhookIDs, id), append(q.sequences, l.sequence), append(q.pings, l.ping)
	}
	if state != StatePending {
		return
	}
	q := &w.retries
	q.webhookIDs, q.claimIDs, q.sequences = append(q.webhookIDs, id), append(q.claimIDs, l.claimID), append(q.sequences, l.sequence)
	q.dueAt, q.again = append(q.dueAt, due), append(q.again, l.again)
	for _, s := range h.waiting[l] {
		h.change.postpone(s)
		if !s.queued {
			w.parking.add(s, due)
		}
	}
}

// finish has the delivery's row be as its attempt left it.
func (w *writing) finish(r result, state State) {
	l, id := r.delivery, r.hook.webhookID
	if c := &w.arrived; state == StateDelivered && len(r.outcome.Response) == 0 {
		c.webhookIDs, c.eventIDs, c.attempts = append(c.webhookIDs, id), append(c.eventIDs, l.event.id), append(c.attempts, l.attempts+1)
		c.begunAt, c.took, c.statuses = append(c.begunAt, r.begun), append(c.took, r.outcome.Duration), append(c.statuses, r.outcome.Status)
		return
	}
	c := &w.finished
	c.webhookIDs, c.eventIDs, c.states = append(c.webhookIDs, id), append(c.eventIDs, l.event.id), append(c.states, string(state))
	c.attempts, c.begunAt, c.took = append(c.attempts, l.attempts+1), append(c.begunAt, r.begun), append(c.took, r.outcome.Duration)
	c.statuses, c.errors = append(c.statuses, r.outcome.Status), append(c.errors, r.outcome.Error)
	response := r.outcome.Response
	if len(response) == 0 {
		response = nil
	}
	c.responses = append(c.responses, response)
	var ended *time.Time
	if state != StatePending {
		ended = &r.ended
	}
	c.endedAt = append(c.endedAt, ended)
}

func (w *writing) queue(b *pgx.Batch) {
	if c := &w.before; len(c.webhookIDs) > 0 {
		b.Queue(keepAttemptsSQL, c.webhookIDs, c.eventIDs, c.attempts)
	}
	if c := &w.arrived; len(c.webhookIDs) > 0 {
		b.Queue(deliverSQL, c.webhookIDs, c.eventIDs, c.attempts, c.begunAt, c.took, c.statuses)
	}
	if c := &w.finished; len(c.webhookIDs) > 0 {
		b.Queue(finishDeliveriesSQL, c.webhookIDs, c.eventIDs, c.states, c.endedAt, c.attempts, c.begunAt, c.took, c.statuses, c.responses, c.errors)
	}
	if c := &w.leaving; len(c.webhookIDs) > 0 {
		b.Queue(leaveQueueSQL, c.webhookIDs, c.sequences, c.pings)
	}
	if c := &w.entering; len(c.webhookIDs) > 0 {
		b.Queue(enterQueueSQL, c.webhookIDs, c.sequences, c.pings, c.eventIDs, c.claimIDs, c.states, c.dueAt, c.failures, c.again)
	}
	w.parking.queue(b)
	if c := &w.retries; len(c.webhookIDs) > 0 {
		b.Queue(postponeSuccessorsSQL, c.webhookIDs, c.claimIDs, c.sequences, c.dueAt, c.again)
	}
}

// queueEndpoints writes how receivers are doing, and who has their webhooks. After a
// silence, failures begin anew.
func (x *exchange) queueEndpoints(b *pgx.Batch) {
	if len(x.held) == 0 {
		return
	}
	n := len(x.held)
	ids, failures, failed, through := make([]string, n), make([]int, n), make([]int, n), make([]int64, n)
	paused, gone, triggered, failedAt := make([]*time.Time, n), make([]*time.Time, n), make([]*time.Time, n), make([]*time.Time, n)
	failingSince, until, recovered := make([]*time.Time, n), make([]*time.Time, n), make([]bool, n)
	var closed []string
	var reached []int64
	var yielded bool
	end := x.now.Add(leaseTerm)
	for i, h := range x.held {
		c := &h.change
		ids[i], failures[i], paused[i], through[i] = h.webhookID, h.endpoint.failures, h.endpoint.pausedUntil, h.reached
		failed[i], gone[i], triggered[i], failedAt[i] = c.failed, c.goneAt, c.lastTriggered, c.lastFailure
		recovered[i], failingSince[i] = c.recovered, c.failingSince
		x.anyGone = x.anyGone || c.goneAt != nil
		if h.closed {
			closed, reached = append(closed, h.webhookID), append(reached, h.reached)
			yielded = yielded || h.yielded
		} else {
			until[i] = &end
		}
	}
	b.Queue(updateEndpointsSQL, ids, failures, paused, gone, failed, triggered, failedAt, recovered, failingSince, through, until, x.schedule.silence())
	if len(closed) > 0 {
		b.Queue(leaveFreshSQL, closed, reached)
	}
	if yielded {
		b.Queue(notifySQL, channelDeliveries)
	}
}

func (e *endpointChange) note(r result) {
	e.lastTriggered = later(e.lastTriggered, r.begun)
	if r.outcome.OK() {
		e.recovered, e.failingSince = true, nil
	} else {
		e.failed++
		e.lastFailure = later(e.lastFailure, r.ended)
		if e.failingSince == nil && r.kind != pingEvent { // a ping is a question, and no loss
			e.failingSince = &r.ended
		}
	}
	if r.outcome.Gone() {
		e.goneAt = later(e.goneAt, r.ended)
	}
}

func (e *endpointChange) postpone(l *delivery) {
	if e.postponed == nil {
		e.postponed = map[*delivery]bool{}
	}
	e.postponed[l] = true
}

func later(a *time.Time, b time.Time) *time.Time {
	if a != nil && a.After(b) {
		return a
	}
	return &b
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
			d.logger.Warn("a webhook delivery is dead after its last retry", "webhook_id", r.hook.webhookID,
				"event_id", r.event.id, "attempts", r.delivery.attempts+1, "status", r.outcome.Status, "reason", r.outcome.Error)
		}
		if r.outcome.Err != nil {
			d.logger.Debug("a webhook attempt failed", "webhook_id", r.hook.webhookID, "event_id", r.event.id, "err", r.outcome.Err)
		}
	}
	// A replay may go on, or a webhook be disabled whose receiver is gone.
	if t.anyGone || slices.ContainsFunc(t.results, func(r result) bool { return r.delivery.again }) {
		d.upkeep()
	}
}
