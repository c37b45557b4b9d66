package webhookrelay

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// plan is what a batch of commits changes in the relay's tables.
type plan struct {
	last   checkpoint
	events []*newEvent
	rows   []newDelivery

	created  []createdWebhook
	touched  map[string]*webhook // whose activity or next sequence changed
	fresh    map[string]*webhook // that have new deliveries
	altered  []alteration
	enabled  []string
	upTo     []int64 // the last sequence that each of the enabled has missed
	disabled bool    // some webhook was
	deleted  []string
	ends     []int64 // the last sequence of each of the deleted

	facts     map[string]claimFacts // of every claim in the batch
	submitted []string
	ended     []string
}

type newDelivery struct {
	webhookID, eventID string
	sequence           int64
}

type newEvent struct {
	event
	position uint64
}

type createdWebhook struct {
	namespace string
	position  uint64
	domain.WebhookCreated
}

// hasChanges tells that there is something to look at for upkeep, or for who delivers: a
// webhook that is new may have been asked for a ping already, and what was altered or
// disabled is owned by some relay.
func (p *plan) hasChanges() bool {
	return p.disabled || len(p.created)+len(p.altered)+len(p.enabled)+len(p.deleted) > 0
}

// plan works out what the commits change. It moves the session's webhooks along, so a
// plan that is not written ends the session.
func (s *session) plan(ctx context.Context, batch []eventstore.Record) (*plan, error) {
	p := &plan{last: s.checkpoint, touched: map[string]*webhook{}, fresh: map[string]*webhook{}}
	var err error
	if p.facts, err = s.readFacts(ctx, batch); err != nil {
		return nil, err
	}
	for _, r := range batch {
		if r.Position != p.last.position+1 {
			return nil, fmt.Errorf("the commit after position %d is at position %d", p.last.position, r.Position)
		}
		for _, e := range r.Commit.Events {
			if err := s.take(p, r, e); err != nil {
				return nil, fmt.Errorf("position %d, event %s: %w", r.Position, e.ID, err)
			}
		}
		p.last = checkpoint{r.Position, r.Hash}
	}
	return p, nil
}

// readFacts loads what was submitted before the batch for the claims that it is about.
func (s *session) readFacts(ctx context.Context, batch []eventstore.Record) (map[string]claimFacts, error) {
	wanted := map[string]bool{}
	for _, r := range batch {
		for _, e := range r.Commit.Events {
			if id := domain.ClaimOf(e.Payload); id != "" && e.Type() != domain.ClaimSubmittedType {
				wanted[id] = true
			}
		}
	}
	facts := map[string]claimFacts{}
	if len(wanted) == 0 {
		return facts, nil
	}
	rows, err := s.conn.Query(ctx, readClaimsSQL, slices.Collect(maps.Keys(wanted)))
	if err != nil {
		return nil, err
	}
	read, err := pgx.CollectRows(rows, pgx.RowToStructByPos[claimFacts])
	for _, f := range read {
		facts[f.ClaimID] = f
	}
	return facts, err
}

func (s *session) take(p *plan, r eventstore.Record, e domain.Event) error {
	switch payload := e.Payload.(type) {
	case domain.WebhookCreated:
		s.add(&webhook{id: payload.WebhookID, serviceID: payload.ServiceID, events: eventSet(payload.Events), active: true, next: 1})
		p.created = append(p.created, createdWebhook{r.Commit.Namespace, r.Position, payload})
	case domain.WebhookReconfigured:
		w, err := s.existing(payload.WebhookID)
		if err != nil {
			return err
		}
		w.events = eventSet(payload.Events)
		p.altered = append(p.altered, reconfiguration(payload))
	case domain.WebhookSecretRotated:
		if _, err := s.existing(payload.WebhookID); err != nil {
			return err
		}
		p.altered = append(p.altered, rotation(payload))
	case domain.WebhookResealed:
		if _, err := s.existing(payload.WebhookID); err != nil {
			return err
		}
		p.altered = append(p.altered, resealing(payload))
	case domain.WebhookUpdated:
		w, err := s.existing(payload.WebhookID)
		if err != nil {
			return err
		}
		w.active = payload.Active
		p.touched[w.id] = w
		if payload.Active {
			p.enabled, p.upTo = append(p.enabled, w.id), append(p.upTo, w.next-1)
		} else {
			p.disabled = true
		}
	case domain.WebhookDeleted:
		w, err := s.existing(payload.WebhookID)
		if err != nil {
			return err
		}
		s.end(p, w)
	case domain.ServiceDeleted:
		for _, w := range s.byService[payload.ServiceID] {
			s.end(p, w)
		}
		delete(s.byService, payload.ServiceID)
	default:
		if domain.ClaimOf(e.Payload) != "" {
			return s.takeClaim(p, r, e)
		}
	}
	return nil
}

func (s *session) end(p *plan, w *webhook) {
	s.remove(w)
	delete(p.touched, w.id)
	delete(p.fresh, w.id)
	p.deleted, p.ends = append(p.deleted, w.id), append(p.ends, w.next-1)
}

// takeClaim adds a delivery for each webhook of the claim's service, whichever
// namespace the claim is in, that subscribed to the event. Inactive webhooks get theirs
// too: it waits until the owner enables them.
func (s *session) takeClaim(p *plan, r eventstore.Record, e domain.Event) error {
	claimID := domain.ClaimOf(e.Payload)
	switch payload := e.Payload.(type) {
	case domain.ClaimSubmitted:
		p.facts[claimID] = factsOf(payload)
		p.submitted = append(p.submitted, claimID)
	case domain.ClaimRejected, domain.ClaimRevoked, domain.ClaimExpired:
		p.ended = append(p.ended, claimID)
	}
	facts, ok := p.facts[claimID]
	if !ok {
		return fmt.Errorf("claim %s was not submitted before, or has ended", claimID)
	}
	var added *newEvent
	for _, w := range s.byService[facts.ServiceID] {
		if !w.events[e.Type()] {
			continue
		}
		if added == nil {
			b := newBody(r.Position, r.Commit, e, facts)
			head, err := b.encode()
			if err != nil {
				return err
			}
			added = &newEvent{event{id: e.ID, kind: b.Event, claimID: claimID, occurredAt: b.Timestamp, body: head}, r.Position}
			p.events = append(p.events, added)
		}
		p.rows = append(p.rows, newDelivery{webhookID: w.id, eventID: e.ID, sequence: w.next})
		w.next++
		p.touched[w.id], p.fresh[w.id] = w, w
	}
	return nil
}

// statements are the plan as SQL, in the order that a webhook's life has: what begins
// and ends within one batch leaves nothing behind but a task.
func (p *plan) statements(now time.Time) *pgx.Batch {
	b := &pgx.Batch{}
	for _, w := range p.created {
		authKeyID, authValue := sealedColumns(w.AuthValue)
		b.Queue(createWebhookSQL, w.WebhookID, w.namespace, w.ServiceID, w.URL, eventNames(w.Events),
			w.Secret.KeyID, w.Secret.Data, w.AuthHeader, authKeyID, authValue, w.position)
	}
	for _, a := range p.altered {
		a.queue(b)
	}
	if len(p.touched) > 0 {
		var ids []string
		var active []bool
		var next []int64
		for id, w := range p.touched {
			ids, active, next = append(ids, id), append(active, w.active), append(next, w.next)
		}
		b.Queue(updateWebhooksSQL, ids, active, next)
	}
	if len(p.enabled) > 0 {
		b.Queue(addTasksSQL, p.enabled, taskRequeue, p.upTo)
	}
	if len(p.deleted) > 0 {
		b.Queue(addCancelsSQL, p.deleted, taskCancel, p.ends)
		b.Queue(deleteWebhooksSQL, p.deleted)
	}
	p.claimStatements(b)
	p.deliveryStatements(b, now)
	return b
}

func (p *plan) claimStatements(b *pgx.Batch) {
	if len(p.submitted) > 0 {
		columns := make([][]string, 8)
		for _, id := range p.submitted {
			f := p.facts[id]
			for i, v := range []string{f.ClaimID, f.ServiceID, f.Service, f.PublicKey, f.AgentIP, f.Subject, f.AgentID, f.AgentName} {
				columns[i] = append(columns[i], v)
			}
		}
		b.Queue(addClaimsSQL, columns[0], columns[1], columns[2], columns[3], columns[4], columns[5], columns[6], columns[7])
	}
	if len(p.ended) > 0 {
		b.Queue(endClaimsSQL, p.ended)
	}
}

func (p *plan) deliveryStatements(b *pgx.Batch, now time.Time) {
	if len(p.rows) > 0 {
		var eventIDs, types, claims []string
		var positions []int64
		var bodies [][]byte
		var occurred []time.Time
		for _, e := range p.events {
			eventIDs, types, claims = append(eventIDs, e.id), append(types, e.kind), append(claims, e.claimID)
			positions, bodies, occurred = append(positions, int64(e.position)), append(bodies, e.body), append(occurred, e.occurredAt)
		}
		b.Queue(addEventsSQL, eventIDs, positions, types, claims, occurred, bodies, now)

		webhookIDs, ids, sequences := make([]string, len(p.rows)), make([]string, len(p.rows)), make([]int64, len(p.rows))
		for i, r := range p.rows {
			webhookIDs[i], ids[i], sequences[i] = r.webhookID, r.eventID, r.sequence
		}
		b.Queue(addDeliveriesSQL, webhookIDs, ids, sequences, now)
	}
	if len(p.fresh) > 0 {
		// In the order in which relays take webhooks off this list.
		ids := slices.Sorted(maps.Keys(p.fresh))
		last := make([]int64, len(ids))
		for i, id := range ids {
			last[i] = p.fresh[id].next - 1
		}
		b.Queue(addFreshSQL, ids, last)
	}
	// Told when the transaction commits, to the relays in all processes.
	if len(p.rows) > 0 {
		b.Queue(notifySQL, channelDeliveries)
	}
	if p.hasChanges() {
		b.Queue(notifySQL, channelTasks)
	}
}

// assigned are the plan's events, for who delivers them.
func (p *plan) assigned() []*event {
	all := make([]*event, len(p.events))
	for i, e := range p.events {
		all[i] = &e.event
	}
	return all
}
