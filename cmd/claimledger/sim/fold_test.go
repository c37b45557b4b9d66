package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/projections"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
	"github.com/claimledger/claimledger/webhookrelay"
)

// readOff is what a reader of the log up to a position would say, in the simplest way
// that works.
type readOff struct {
	status    map[string]domain.Status
	of        map[string]domain.ClaimSubmitted
	namespace map[string]string
	inactive  map[string]bool
	deleted   map[string]bool
	webhooks  map[string]*expected
	claims    map[string]string // event → claim
}

// expected is what a webhook is to be told.
type expected struct {
	service string
	types   []domain.EventType
	deleted bool
	events  []string // ids, by sequence from 1
}

func (d *derived) readOff(upTo uint64) *readOff {
	f := &readOff{
		status: map[string]domain.Status{}, of: map[string]domain.ClaimSubmitted{}, namespace: map[string]string{},
		inactive: map[string]bool{}, deleted: map[string]bool{}, webhooks: map[string]*expected{}, claims: map[string]string{},
	}
	for _, r := range d.model.records[:min(upTo, uint64(len(d.model.records)))] {
		for _, e := range r.Commit.Events {
			f.take(r.Commit.Namespace, e)
		}
	}
	return f
}

func (f *readOff) take(namespace string, e domain.Event) {
	switch p := e.Payload.(type) {
	case domain.ClaimSubmitted:
		f.status[p.ClaimID], f.of[p.ClaimID], f.namespace[p.ClaimID] = domain.StatusPending, p, namespace
	case domain.ClaimApproved:
		f.status[p.ClaimID] = domain.StatusApproved
	case domain.ClaimRejected:
		f.status[p.ClaimID] = domain.StatusRejected
	case domain.ClaimRevoked:
		f.status[p.ClaimID] = domain.StatusRevoked
	case domain.ClaimExpired:
		f.status[p.ClaimID] = domain.StatusExpired
	case domain.NamespaceDeactivated:
		f.inactive[namespace] = true
	case domain.NamespaceActivated:
		f.inactive[namespace] = false
	case domain.ServiceDeleted:
		f.deleted[p.ServiceID] = true
		for _, w := range f.webhooks {
			w.deleted = w.deleted || w.service == p.ServiceID
		}
	case domain.WebhookCreated:
		f.webhooks[p.WebhookID] = &expected{service: p.ServiceID, types: p.Events}
	case domain.WebhookDeleted:
		f.webhooks[p.WebhookID].deleted = true
	}
	if claim := domain.ClaimOf(e.Payload); claim != "" {
		f.claims[e.ID] = claim
		for _, w := range f.webhooks {
			if !w.deleted && w.service == f.of[claim].ServiceID && slices.Contains(w.types, e.Type()) {
				w.events = append(w.events, e.ID)
			}
		}
	}
}

// approved is the set of a service's feed.
func (f *readOff) approved(service string) map[string]bool {
	set := map[string]bool{}
	for claim, status := range f.status {
		if status == domain.StatusApproved && f.of[claim].ServiceID == service && !f.inactive[f.namespace[claim]] {
			set[claim] = true
		}
	}
	return set
}

// check compares what was derived with the log, in part after every step.
func (d *derived) check() {
	d.world.check()
	if d.failed == nil {
		d.checkDeliveries()
	}
	if d.failed == nil && d.rng.IntN(3) == 0 {
		d.checkClaims()
		d.checkFeed(pick(d.rng, d.services...).id)
	}
}

func (d *derived) checkClaims() {
	for _, ns := range namespaces[:d.fewNames] {
		page, at, err := d.reader.Claims(context.Background(), projections.ClaimsQuery{Namespace: ns, Limit: projections.MaxPage})
		if err != nil {
			d.fail("reading claims: %v", err)
			return
		}
		f, found := d.readOff(at.Position), 0
		for claim, status := range f.status {
			if f.namespace[claim] != ns {
				continue
			}
			found++
			if !slices.ContainsFunc(page.Claims, func(c projections.Claim) bool { return c.ClaimID == claim && c.Status == status }) && page.Total <= projections.MaxPage {
				d.fail("at %d the read model does not show claim %s as %s", at.Position, claim, status)
			}
		}
		if found != page.Total {
			d.fail("at %d the read model has %d claims of %s, the log %d", at.Position, page.Total, ns, found)
		}
	}
}

// checkFeed compares a full read with the log, and with what the changes make of an
// earlier set.
func (d *derived) checkFeed(service string) {
	page, at, err := d.reader.Feed(context.Background(), projections.FeedQuery{ServiceID: service, Limit: projections.MaxPage})
	if err != nil {
		d.fail("reading the feed: %v", err)
		return
	}
	now := d.readOff(at.Position)
	if now.deleted[service] {
		return
	}
	full := map[string]bool{}
	for _, c := range page.Claims {
		full[c.ClaimID] = true
	}
	if want := now.approved(service); fmt.Sprint(full) != fmt.Sprint(want) {
		d.fail("at %d the feed of %s is %v, by the log %v", at.Position, service, full, want)
	}
	since := d.rng.Uint64N(at.Position + 1)
	set := d.readOff(since).approved(service)
	for more, after := true, since; more; {
		changes, _, err := d.reader.FeedChanges(context.Background(), service, after)
		if err != nil {
			d.fail("reading changes: %v", err)
			return
		}
		for _, c := range changes.Changes {
			if delete(set, c.Claim.ClaimID); c.Added {
				set[c.Claim.ClaimID] = true
			}
		}
		more, after = changes.More, changes.Position
	}
	if fmt.Sprint(set) != fmt.Sprint(full) {
		d.fail("the feed of %s is %v at %d; the changes since %d make it %v", service, full, at.Position, since, set)
	}
}

// checkDeliveries makes sure that what a webhook is to be told is there, in order and
// without a gap, and that what counts as delivered was received.
func (d *derived) checkDeliveries() {
	position, err := webhookrelay.NewDeliveries(d.pool).Position(context.Background())
	if err != nil {
		d.fail("reading the relay's position: %v", err)
		return
	}
	f := d.readOff(position)
	for _, id := range sorted(f.webhooks) {
		want := f.webhooks[id]
		if want.deleted {
			continue
		}
		list, err := d.deliveries(id)
		if err != nil {
			d.fail("reading deliveries: %v", err)
			return
		}
		if len(list) != len(want.events) {
			d.fail("at %d webhook %s has %d deliveries of %d", position, id, len(list), len(want.events))
			return
		}
		for i, got := range list {
			if got.ID != want.events[i] || got.Sequence != uint64(i)+1 {
				d.fail("at %d delivery %d of webhook %s is %s with the sequence %d, not %s", position, i+1, id, got.ID, got.Sequence, want.events[i])
			}
			if got.State == webhookrelay.StateDelivered && !d.receivers.got[id+" "+got.ID] {
				d.fail("event %s counts as delivered to webhook %s, which never took it", got.ID, id)
			}
			if got.State == webhookrelay.StateCancelled {
				d.fail("event %s for webhook %s was cancelled", got.ID, id)
			}
		}
	}
}

// deliveries are a webhook's, oldest first.
func (d *derived) deliveries(id string) (all []webhookrelay.Delivery, err error) {
	for before := ""; ; before = all[len(all)-1].ID {
		page, err := webhookrelay.NewDeliveries(d.pool).List(context.Background(), id, "", before, webhookrelay.MaxListed)
		if err != nil {
			return nil, err
		}
		if all = append(all, page...); len(page) < webhookrelay.MaxListed {
			slices.Reverse(all)
			return all, nil
		}
	}
}

// judgeOrder is called when an event is taken for the first time: none of the claim's
// before it may still be on its way.
func (d *derived) judgeOrder(webhook string, e delivered) {
	f := d.readOff(d.ledger.last())
	told := f.webhooks[webhook].events
	before := told[:max(0, slices.Index(told, e.ID))]
	before = slices.DeleteFunc(slices.Clone(before), func(id string) bool { return f.claims[id] != f.claims[e.ID] })
	rows, _ := d.pool.Query(context.Background(), `SELECT event_id FROM webhookrelay.deliveries
		WHERE webhook_id = $1 AND event_id = ANY ($2) AND state = 'pending'`, webhook, before)
	waiting, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		d.fail("reading deliveries: %v", err)
	}
	for _, id := range waiting {
		if !d.receivers.got[webhook+" "+id] {
			d.fail("webhook %s took %s before %s of the same claim", webhook, e.ID, id)
		}
	}
}

// finish lets everything end well, builds the read models anew, and compares.
func (d *derived) finish() {
	d.note("nothing goes wrong any more")
	d.receivers.healed = true
	p := d.processes[0]
	for range 8 { // until what a relay had that was lost is another's, and all retries
		p.log.end, p.log.breaksAt = d.ledger.last(), 0
		for n := 1; n > 0 && d.failed == nil; {
			if _, err := p.relay.Assign(d.t.Context()); err != nil {
				d.fail("assigning: %v", err)
			}
			d.bear("upkeep", p, p.relay.Upkeep(d.t.Context()))
			var err error
			if n, err = p.relay.DeliverDue(d.t.Context()); err != nil {
				d.fail("delivering: %v", err)
			}
		}
		d.passes(time.Hour)
		d.check()
	}
	d.checkDelivered()
	d.catchUp(p, d.processes[1])
	if d.failed == nil {
		d.checkClaims()
		d.compareModels()
	}
}

// checkDelivered: with receivers that take everything, nothing waits any more but what
// is held.
func (d *derived) checkDelivered() {
	for id, want := range d.readOff(d.ledger.last()).webhooks {
		if want.deleted || d.failed != nil {
			continue
		}
		list, err := d.deliveries(id)
		if err != nil {
			d.fail("reading deliveries: %v", err)
		}
		for _, got := range list {
			if got.State == webhookrelay.StatePending {
				d.fail("event %s for webhook %s still waits, with %d attempts, until %v", got.ID, id, got.Attempts, got.DueAt)
			}
		}
	}
}

func (d *derived) catchUp(p, other *process) {
	for _, m := range projections.Models() {
		other.projectors[m.Name].Close()
		p.log.end, p.log.breaksAt = d.ledger.last(), 0
		for n := 1; n > 0 && d.failed == nil; {
			var err error
			if n, err = p.projectors[m.Name].Step(d.t.Context()); err != nil {
				d.fail("projecting %s: %v", m.Name, err)
			}
		}
		p.projectors[m.Name].Close()
	}
}

// compareModels builds the read models anew, all at once, and compares row by row.
func (d *derived) compareModels() {
	anew := &derived{world: d.world, t: d.t, url: pgtest.New(d.t)}
	anew.pool = anew.newPool()
	if err := projections.Setup(d.t.Context(), anew.pool); err != nil {
		d.t.Fatal(err)
	}
	p := &process{projectors: map[string]*projections.Projector{}, log: &lagging{Log: d.ledger.memory}}
	for _, m := range projections.Models() {
		p.projectors[m.Name] = projections.NewProjector(p.log, anew.pool, m, discard)
	}
	anew.catchUp(p, p)
	a, errA := dump(d.pool)
	b, errB := dump(anew.pool)
	if err := errors.Join(errA, errB); err != nil {
		d.fail("reading the read models: %v", err)
	}
	for i, line := range a {
		if i >= len(b) || line != b[i] {
			d.fail("the read models differ from ones that were built anew: %s", line)
			return
		}
	}
	if len(a) != len(b) {
		d.fail("the read models have %d rows, built anew %d", len(a), len(b))
	}
}

// dump is every row of every table of the models, and the checkpoints.
func dump(pool *pgxpool.Pool) (lines []string, err error) {
	ctx := context.Background()
	rows, _ := pool.Query(ctx, `SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname LIKE 'model\_%' ORDER BY 1`)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	queries := []string{"SELECT model || position || hash::text AS x FROM projections.generations ORDER BY 1"}
	for _, table := range tables {
		queries = append(queries, "SELECT '"+table+" ' || x::text FROM "+table+` x ORDER BY x::text COLLATE "C"`)
	}
	for _, query := range queries {
		rows, queryErr := pool.Query(ctx, query)
		found, rowsErr := pgx.CollectRows(rows, pgx.RowTo[string])
		err = errors.Join(err, queryErr, rowsErr)
		lines = append(lines, found...)
	}
	if len(tables) == 0 {
		err = errors.Join(err, errors.New("there are no read models"))
	}
	return slices.DeleteFunc(lines, func(l string) bool { return strings.TrimSpace(l) == "" }), err
}
