package projections

import (
	"context"
	"fmt"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

var (
	feedLoadSQL       = statement("feed/load.sql")
	feedInactiveSQL   = statement("feed/inactive.sql")
	feedUpdateSQL     = statement("feed/update.sql")
	feedDeleteSQL     = statement("feed/delete.sql")
	feedSetsSQL       = statement("feed/sets.sql")
	feedDeactivateSQL = statement("feed/deactivate.sql")
	feedActivateSQL   = statement("feed/activate.sql")
	feedRelistSQL     = statement("feed/relist.sql")
)

var feedColumns = []string{
	"claim_id", "service_id", "namespace", "public_key", "service", "subject", "agent_id", "agent_name",
	"approved_at", "expires_at", "position", "listed",
}

// feedRow is a claim that is pending or approved.
type feedRow struct {
	claim      FeedClaim // Position 0: pending
	approvedAt *time.Time
	listed     bool
	stored     bool
	changed    bool
	ended      bool
}

// feedSetChange is how a service's approved set changed.
type feedSetChange struct {
	revision uint64
	claims   int // more than before
}

// feedFold is the part of the model that some commits of claims boundaries touch.
type feedFold struct {
	rows     map[string]*feedRow
	touched  []*feedRow // in order
	inactive map[string]bool
	sets     map[string]*feedSetChange

	changes   *rows
	changedAt uint64 // position of the last of them
	step      int    // of the next one in the same commit
}

// applyFeed folds commits, and forgets changes that are older than kept positions.
func applyFeed(kept uint64) func(context.Context, *target, []eventstore.Record) error {
	return func(ctx context.Context, t *target, records []eventstore.Record) error {
		if err := foldFeedAndNamespaces(ctx, t, records); err != nil {
			return err
		}
		trimFeed(t, kept, records[0].Position-1, records[len(records)-1].Position)
		return nil
	}
}

// foldFeedAndNamespaces folds commits on claims many at a time, and between those, one at
// a time, the commits that take a whole namespace's claims out of the feed or back into it.
func foldFeedAndNamespaces(ctx context.Context, t *target, records []eventstore.Record) error {
	start := 0
	for i, rec := range records {
		for step, e := range rec.Commit.Events {
			var sql string
			switch e.Payload.(type) {
			case domain.NamespaceDeactivated:
				sql = feedDeactivateSQL
			case domain.NamespaceActivated:
				sql = feedActivateSQL
			default:
				continue
			}
			if err := foldFeed(ctx, t, records[start:i]); err != nil {
				return err
			}
			start = i
			t.queueOne("activity of "+rec.Commit.Namespace, sql, rec.Commit.Namespace)
			t.queue(feedRelistSQL, rec.Commit.Namespace, rec.Position, sql == feedActivateSQL, step)
		}
	}
	return foldFeed(ctx, t, records[start:])
}

func foldFeed(ctx context.Context, t *target, records []eventstore.Record) error {
	f := feedFold{rows: map[string]*feedRow{}, inactive: map[string]bool{}, sets: map[string]*feedSetChange{}, changes: rowsOf(feedChangeColumns)}
	if err := f.load(ctx, t, records); err != nil {
		return err
	}
	if err := each(records, domain.KindClaims, f.apply); err != nil {
		return err
	}
	if err := t.insert(ctx, "changes", f.changes); err != nil {
		return err
	}
	return f.store(ctx, t)
}

func (f *feedFold) load(ctx context.Context, t *target, records []eventstore.Record) error {
	var namespaces []string
	asked := map[string]bool{}
	for _, rec := range records {
		name := rec.Commit.Namespace
		if rec.Commit.Kind == domain.KindClaims && !asked[name] {
			asked[name] = true
			namespaces = append(namespaces, name)
		}
	}
	if len(namespaces) == 0 {
		return nil
	}
	var name string
	t.ask(feedInactiveSQL, []any{namespaces}, []any{&name}, func() error {
		f.inactive[name] = true
		return nil
	})
	if ids := claimIDs(records); len(ids) > 0 {
		f.loadRows(t, ids)
	}
	return t.flush(ctx)
}

func (f *feedFold) loadRows(t *target, ids []string) {
	var r feedRow
	var position *uint64
	c := &r.claim
	scan := []any{&c.ClaimID, &c.Namespace, &c.PublicKey, &c.ServiceID, &c.Service, &c.Subject, &c.AgentID, &c.AgentName,
		&r.approvedAt, &c.ExpiresAt, &position, &r.listed}
	t.ask(feedLoadSQL, []any{ids}, scan, func() error {
		row := r
		row.stored = true
		if position != nil {
			row.claim.Position = *position
		}
		f.rows[row.claim.ClaimID] = &row
		return nil
	})
}

func (f *feedFold) apply(rec eventstore.Record, p domain.Payload) error {
	switch p := p.(type) {
	case domain.ClaimSubmitted:
		if f.rows[p.ClaimID] != nil {
			return fmt.Errorf("claim %s was submitted before", p.ClaimID)
		}
		r := &feedRow{claim: FeedClaim{
			ClaimID: p.ClaimID, Namespace: rec.Commit.Namespace, PublicKey: p.PublicKey,
			ServiceID: p.ServiceID, Service: p.Service, Subject: p.Subject, AgentID: p.AgentID, AgentName: p.AgentName,
		}}
		f.rows[p.ClaimID] = r
		f.touch(r)
		return nil
	case domain.ClaimApproved:
		return f.approved(rec, p)
	case domain.ClaimRejected, domain.ClaimRevoked, domain.ClaimExpired:
		return f.ended(rec, domain.ClaimOf(p))
	}
	return unknownEvent(p)
}

func (f *feedFold) active(rec eventstore.Record, id string) (*feedRow, error) {
	r := f.rows[id]
	if r == nil || r.ended || r.claim.Namespace != rec.Commit.Namespace {
		return nil, fmt.Errorf("claim %s is not pending or approved in %s", id, rec.Commit.Namespace)
	}
	f.touch(r)
	return r, nil
}

func (f *feedFold) touch(r *feedRow) {
	if !r.changed {
		r.changed = true
		f.touched = append(f.touched, r)
	}
}

func (f *feedFold) approved(rec eventstore.Record, p domain.ClaimApproved) error {
	r, err := f.active(rec, p.ClaimID)
	if err != nil {
		return err
	}
	if r.claim.Position != 0 {
		return fmt.Errorf("claim %s was approved before", p.ClaimID)
	}
	r.claim.Position, r.approvedAt, r.claim.ExpiresAt = rec.Position, &rec.Commit.Time, p.ExpiresAt
	if !f.inactive[rec.Commit.Namespace] {
		r.listed = true
		f.changeSet(rec, r, +1)
	}
	return nil
}

func (f *feedFold) ended(rec eventstore.Record, id string) error {
	r, err := f.active(rec, id)
	if err != nil {
		return err
	}
	r.ended = true
	if r.listed {
		f.changeSet(rec, r, -1)
	}
	return nil
}

func (f *feedFold) changeSet(rec eventstore.Record, r *feedRow, change int) {
	if rec.Position != f.changedAt {
		f.changedAt, f.step = rec.Position, 0
	}
	addFeedChange(f.changes, rec.Position, f.step, change > 0, r)
	f.step++
	set := f.sets[r.claim.ServiceID]
	if set == nil {
		set = &feedSetChange{}
		f.sets[r.claim.ServiceID] = set
	}
	set.revision = rec.Position
	set.claims += change
}

func (f *feedFold) store(ctx context.Context, t *target) error {
	added := rowsOf(feedColumns)
	var ended []string
	var changes feedRowChanges
	for _, r := range f.touched {
		c := r.claim
		switch {
		case r.ended && r.stored:
			ended = append(ended, c.ClaimID)
		case r.ended:
		case r.stored:
			changes.add(r)
		default:
			added.begin()
			for _, text := range []string{c.ClaimID, c.ServiceID, c.Namespace, c.PublicKey, c.Service, c.Subject, c.AgentID, c.AgentName} {
				added.text(text)
			}
			added.optionalTime(r.approvedAt)
			added.optionalTime(c.ExpiresAt)
			if c.Position != 0 {
				added.bigint(c.Position)
			} else {
				added.null()
			}
			added.boolean(r.listed)
		}
	}
	if len(ended) > 0 {
		t.queue(feedDeleteSQL, ended)
	}
	if len(changes.ids) > 0 {
		t.queue(feedUpdateSQL, changes.ids, changes.approved, changes.until, changes.positions, changes.listed)
	}
	if len(f.sets) > 0 {
		var services []string
		var revisions []uint64
		var changes []int
		for id, set := range f.sets {
			services, revisions, changes = append(services, id), append(revisions, set.revision), append(changes, set.claims)
		}
		t.queue(feedSetsSQL, services, revisions, changes)
	}
	return t.insert(ctx, "claims", added)
}

// feedRowChanges are the columns of the rows to update: claims that were pending and are
// approved now.
type feedRowChanges struct {
	ids             []string
	approved, until []*time.Time
	positions       []uint64
	listed          []bool
}

func (c *feedRowChanges) add(r *feedRow) {
	c.ids = append(c.ids, r.claim.ClaimID)
	c.approved = append(c.approved, r.approvedAt)
	c.until = append(c.until, r.claim.ExpiresAt)
	c.positions = append(c.positions, r.claim.Position)
	c.listed = append(c.listed, r.listed)
}
