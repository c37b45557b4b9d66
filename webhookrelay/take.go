package webhookrelay

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/domain"
)

// candidate is a webhook that has something due.
type candidate struct {
	endpoint
	last, through             int64
	due, owned, retriesAreDue bool
}

// take takes webhooks, finds out whether those that this process has are still to be
// delivered to, and reads what may be attempted.
func (x *exchange) take(ctx context.Context) error {
	x.tidy(x.changed)
	candidates, err := x.candidates(ctx)
	if err != nil {
		return err
	}
	chosen := x.choose(candidates)
	if err := x.takeChosen(ctx, chosen); err != nil {
		return err
	}
	if err := x.readTargets(ctx); err != nil {
		return err
	}
	if err := x.share(ctx); err != nil {
		return err
	}
	return x.readDue(ctx)
}

// candidates are the webhooks with something to do, in the order of their ids. Of those
// that this process has it takes in what there is.
func (x *exchange) candidates(ctx context.Context) ([]candidate, error) {
	rows, err := x.tx.Query(ctx, candidatesSQL, x.now, x.tokens())
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for h := range x.mine() {
		h.due = false
	}
	var others []candidate
	var c candidate
	_, err = pgx.ForEachRow(rows, []any{&c.webhookID, &c.last, &c.due, &c.through, &c.failures, &c.pausedUntil, &c.owned, &c.retriesAreDue}, func() error {
		if !x.has(c.webhookID) {
			return nil
		}
		if h := x.hooks[c.webhookID]; h != nil {
			h.last, h.due = max(h.last, c.last), c.due
		} else if _, retriesOnly := c.room(x.now); x.former[c.webhookID] == nil && !c.owned && (c.retriesAreDue || !retriesOnly && (c.due || c.last > c.through)) {
			others = append(others, c)
		}
		return nil
	})
	return others, err
}

// choose gives the webhooks to take, by turns where there are more than places, and never
// more whose last attempt failed than maxSuspects.
func (x *exchange) choose(candidates []candidate) map[string]candidate {
	x.mu.Lock()
	places, suspects := maxInFlight-len(x.hooks), maxSuspects
	for _, h := range x.hooks {
		if h.suspect() {
			suspects--
		}
	}
	x.mu.Unlock()
	first := 0
	for first < len(candidates) && candidates[first].webhookID <= x.cursor {
		first++
	}
	chosen := map[string]candidate{}
	for i := range candidates {
		c := candidates[(first+i)%len(candidates)]
		if x.leaves(c.webhookID) || c.suspect() && suspects <= 0 {
			continue
		}
		if places <= 0 {
			x.crowded = true
			break
		}
		places--
		if c.suspect() {
			suspects--
		}
		chosen[c.webhookID] = c
		x.cursor = c.webhookID
	}
	return chosen
}

// tokens is how those of the shard begin, but for their mark.
func (l *shard) tokens() string { return fmt.Sprintf("%s/%d.", l.presence.owner, l.n) }

func (x *exchange) takeChosen(ctx context.Context, chosen map[string]candidate) error {
	if len(chosen) == 0 {
		return nil
	}
	ids := make([]string, 0, len(chosen))
	for id := range chosen {
		ids = append(ids, id)
	}
	x.takes++
	token, until := fmt.Sprint(x.presence.mark(), x.tokens(), x.takes), x.now.Add(leaseTerm)
	rows, err := x.tx.Query(ctx, takeSQL, ids, x.now, token, until, x.tokens())
	if err != nil {
		return err
	}
	var e endpoint
	var through int64
	_, err = pgx.ForEachRow(rows, []any{&e.webhookID, &through, &e.failures, &e.pausedUntil}, func() error {
		c := chosen[e.webhookID]
		h := newHook(x.shard, e, through)
		h.token, h.until, h.taken = token, until, x.now
		h.last, h.due = c.last, c.due
		x.taken[h.webhookID] = h
		return nil
	})
	return err
}

// readTargets reads how the new webhooks are called, and now and then the others. One that
// is not to be called any more is given back.
func (x *exchange) readTargets(ctx context.Context) error {
	hooks := map[string]*hook{}
	var ids, tokens []string
	add := func(h *hook) {
		hooks[h.webhookID] = h
		ids, tokens = append(ids, h.webhookID), append(tokens, h.token)
	}
	for _, h := range x.taken {
		add(h)
	}
	if x.look {
		x.mu.Lock()
		for h := range x.mine() {
			add(h)
		}
		x.mu.Unlock()
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := x.tx.Query(ctx, readEndpointsSQL, ids, tokens, x.now)
	if err != nil {
		return err
	}
	targets := map[string]*target{}
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var id string
		var t target
		var secret domain.Sealed
		var authKeyID *string
		var authValue []byte
		var formerKeyIDs []string
		var formerSecrets [][]byte
		err := row.Scan(&id, &t.url, &secret.KeyID, &secret.Data, &t.authHeader, &authKeyID, &authValue, &formerKeyIDs, &formerSecrets)
		if err != nil {
			return id, err
		}
		var auth *domain.Sealed
		if authKeyID != nil {
			auth = &domain.Sealed{KeyID: *authKeyID, Data: authValue}
		}
		secrets := []domain.Sealed{secret}
		for i, id := range formerKeyIDs {
			secrets = append(secrets, domain.Sealed{KeyID: id, Data: formerSecrets[i]})
		}
		if targets[id] = nil; x.open(&t, id, secrets, auth) {
			targets[id] = &t
		}
		return id, nil
	})
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, h := range hooks {
		t, callable := targets[id]
		h.target = t
		h.closing = h.closing || t == nil
		if callable && t == nil {
			x.left[id] = leave{until: x.now.Add(leftFor)}
		}
	}
	return nil
}

// open decrypts a webhook's secrets. Where it cannot, the webhook's deliveries wait:
// they are not at fault, and the right key may come.
func (d *deliverer) open(t *target, webhookID string, secrets []domain.Sealed, auth *domain.Sealed) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
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

// reading is the columns of what is to be read.
type reading struct {
	ids, tokens  []string
	after        []int64
	fresh, queue []int
	retriesOnly  []bool
}

// row is a delivery as it is read.
type row struct {
	webhookID, eventID string
	*delivery
	waitsUntil *time.Time
}

func (x *exchange) readDue(ctx context.Context) error {
	var r reading
	hooks := map[string]*hook{}
	x.mu.Lock()
	want := func(h *hook) {
		fresh, queue := h.wants(x.now)
		if fresh == 0 && queue == 0 {
			return
		}
		hooks[h.webhookID] = h
		_, retriesOnly := h.room(x.now)
		r.ids, r.tokens, r.after = append(r.ids, h.webhookID), append(r.tokens, h.token), append(r.after, h.read)
		r.fresh, r.queue, r.retriesOnly = append(r.fresh, fresh), append(r.queue, queue), append(r.retriesOnly, retriesOnly)
	}
	for h := range x.mine() {
		want(h)
	}
	for _, h := range x.taken {
		want(h)
	}
	x.mu.Unlock()
	if len(r.ids) == 0 {
		return nil
	}
	rows, err := x.readRows(ctx, r, hooks)
	if err != nil {
		return err
	}
	if err := x.addEvents(ctx, rows); err != nil {
		return err
	}
	return x.keep(ctx, rows, r, hooks)
}

func (x *exchange) readRows(ctx context.Context, r reading, hooks map[string]*hook) ([]row, error) {
	found, err := x.tx.Query(ctx, readDueSQL, r.ids, r.tokens, r.after, r.fresh, r.queue, r.retriesOnly, x.now)
	if err != nil {
		return nil, err
	}
	var rows []row
	for found.Next() {
		l := row{delivery: &delivery{}}
		if err := found.Scan(&l.webhookID, &l.eventID, &l.sequence, &l.ping, &l.attempts, &l.queued, &l.failures, &l.again, &l.waitsUntil); err != nil {
			found.Close()
			return nil, err
		}
		l.hook = hooks[l.webhookID]
		rows = append(rows, l)
	}
	return rows, found.Err()
}

// addEvents gives the rows their events, those that are not in memory from the database.
func (x *exchange) addEvents(ctx context.Context, rows []row) error {
	missing := map[string]*event{}
	for i := range rows {
		if e, ok := x.events.Get(rows[i].eventID); ok {
			rows[i].event = e
		} else {
			missing[rows[i].eventID] = nil
		}
	}
	if len(missing) == 0 {
		return nil
	}
	ids := make([]string, 0, len(missing))
	for id := range missing {
		ids = append(ids, id)
	}
	found, err := x.tx.Query(ctx, readEventsSQL, ids)
	if err != nil {
		return err
	}
	read, err := pgx.CollectRows(found, func(r pgx.CollectableRow) (*event, error) {
		e := &event{}
		return e, r.Scan(&e.id, &e.kind, &e.claimID, &e.occurredAt, &e.body)
	})
	if err != nil {
		return err
	}
	x.events.add(read)
	for _, e := range read {
		missing[e.id] = e
	}
	for i := range rows {
		if rows[i].event != nil {
			continue
		}
		if rows[i].event = missing[rows[i].eventID]; rows[i].event == nil {
			return fmt.Errorf("there is no event %s of webhook %s", rows[i].eventID, rows[i].webhookID)
		}
	}
	return nil
}

// keep takes in what was read that is not in memory. What has to wait for an earlier event
// of its claim goes into the queue. Where there is less that is fresh than was looked for,
// there is none up to the last that was known before.
func (x *exchange) keep(ctx context.Context, rows []row, r reading, hooks map[string]*hook) error {
	var p parking
	x.mu.Lock()
	fresh := map[*hook]int{}
	for _, l := range rows {
		h := l.hook
		if !l.queued {
			x.reached[h] = l.sequence
			fresh[h]++
		}
		switch {
		case l.waitsUntil != nil:
			p.add(l.delivery, *l.waitsUntil)
		case !l.queued || !h.has(l.place):
			x.read[h] = append(x.read[h], l.delivery)
		}
	}
	for i, id := range r.ids {
		if h := hooks[id]; fresh[h] < r.fresh[i] {
			x.reached[h] = max(x.reached[h], h.last)
		}
	}
	x.mu.Unlock()
	b := &pgx.Batch{}
	p.queue(b)
	if b.Len() == 0 {
		return nil
	}
	b.Queue(durablySQL)
	return x.tx.SendBatch(ctx, b).Close()
}
