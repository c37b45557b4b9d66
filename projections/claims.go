package projections

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

var (
	claimsLoadSQL       = statement("claims/load.sql")
	claimsUpdateSQL     = statement("claims/update.sql")
	claimCountsAddSQL   = statement("claims/counts_add.sql")
	claimCountsPruneSQL = statement("claims/counts_prune.sql")
)

var claimColumns = []string{
	"claim_id", "namespace", "service_id", "service", "public_key", "agent_ip", "status",
	"subject", "agent_id", "agent_name", "reason", "auto_approved",
	"created_at", "approved_at", "rejected_at", "revoked_at", "expired_at", "expires_at", "position",
}

// claimRow is a row of claims with what was there of it before.
type claimRow struct {
	Claim
	position uint64
	before   domain.Status // empty: no row
	changed  bool
}

type claimSort struct{ namespace, service, status string }

// claimsFold is the part of the model that some commits touch.
type claimsFold struct {
	rows    map[string]*claimRow
	touched []*claimRow // in order
}

func applyClaims(ctx context.Context, t *target, records []eventstore.Record) error {
	f := claimsFold{rows: map[string]*claimRow{}}
	if err := f.load(ctx, t, claimIDs(records)); err != nil {
		return err
	}
	if err := each(records, domain.KindClaims, f.apply); err != nil {
		return err
	}
	return f.store(ctx, t)
}

func (f *claimsFold) load(ctx context.Context, t *target, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	var r claimRow
	// Only what a decision changes, and what the counts go by.
	scan := []any{&r.ClaimID, &r.Namespace, &r.Service, &r.before, &r.AutoApproved, &r.ApprovedAt}
	t.ask(claimsLoadSQL, []any{ids}, scan, func() error {
		row := r
		row.Status = row.before
		f.rows[row.ClaimID] = &row
		return nil
	})
	return t.flush(ctx)
}

func (f *claimsFold) apply(rec eventstore.Record, p domain.Payload) error {
	at := rec.Commit.Time
	switch p := p.(type) {
	case domain.ClaimSubmitted:
		return f.submitted(rec, p)
	case domain.ClaimApproved:
		return f.decided(rec, p.ClaimID, domain.StatusApproved, p.Reason, func(r *claimRow) {
			r.ApprovedAt, r.ExpiresAt, r.AutoApproved = &at, p.ExpiresAt, p.AutoApproved
		}, domain.StatusPending)
	case domain.ClaimRejected:
		return f.decided(rec, p.ClaimID, domain.StatusRejected, p.Reason, func(r *claimRow) { r.RejectedAt = &at }, domain.StatusPending)
	case domain.ClaimRevoked:
		return f.decided(rec, p.ClaimID, domain.StatusRevoked, p.Reason, func(r *claimRow) { r.RevokedAt = &at }, domain.StatusApproved)
	case domain.ClaimExpired:
		return f.decided(rec, p.ClaimID, domain.StatusExpired, p.Reason, func(r *claimRow) { r.ExpiredAt = &at },
			domain.StatusPending, domain.StatusApproved)
	}
	return unknownEvent(p)
}

// unknownEvent refuses an event that a model of its boundary does not know: to pass it
// over would be to answer wrongly from then on.
func unknownEvent(p domain.Payload) error {
	return fmt.Errorf("this program does not know how %s changes the read model", p.EventType())
}

func (f *claimsFold) submitted(rec eventstore.Record, p domain.ClaimSubmitted) error {
	if f.rows[p.ClaimID] != nil {
		return fmt.Errorf("claim %s was submitted before", p.ClaimID)
	}
	r := &claimRow{position: rec.Position, changed: true, Claim: Claim{
		ClaimID: p.ClaimID, Namespace: rec.Commit.Namespace, ServiceID: p.ServiceID, Service: p.Service,
		PublicKey: p.PublicKey, AgentIP: p.AgentIP, Status: domain.StatusPending,
		Subject: p.Subject, AgentID: p.AgentID, AgentName: p.AgentName,
		CreatedAt: rec.Commit.Time, ExpiresAt: p.ExpiresAt,
	}}
	f.rows[p.ClaimID] = r
	f.touched = append(f.touched, r)
	return nil
}

func (f *claimsFold) decided(rec eventstore.Record, id string, to domain.Status, reason string, set func(*claimRow), from ...domain.Status) error {
	r := f.rows[id]
	if r == nil || r.Namespace != rec.Commit.Namespace {
		return fmt.Errorf("claim %s was never submitted in %s", id, rec.Commit.Namespace)
	}
	if !slices.Contains(from, r.Status) {
		return fmt.Errorf("claim %s is %s", id, r.Status)
	}
	if !r.changed {
		r.changed = true
		f.touched = append(f.touched, r)
	}
	r.Status, r.Reason, r.ExpiresAt = to, reason, nil
	set(r)
	return nil
}

func (f *claimsFold) store(ctx context.Context, t *target) error {
	added := rowsOf(claimColumns)
	var changes claimChanges
	counts := map[claimSort]int{}
	for _, r := range f.touched {
		counts[claimSort{r.Namespace, r.Service, string(r.Status)}]++
		if r.before != "" {
			counts[claimSort{r.Namespace, r.Service, string(r.before)}]--
			changes.add(r)
			continue
		}
		added.begin()
		for _, text := range []string{
			r.ClaimID, r.Namespace, r.ServiceID, r.Service, r.PublicKey, r.AgentIP, string(r.Status),
			r.Subject, r.AgentID, r.AgentName, r.Reason,
		} {
			added.text(text)
		}
		added.boolean(r.AutoApproved)
		added.time(r.CreatedAt)
		for _, at := range []*time.Time{r.ApprovedAt, r.RejectedAt, r.RevokedAt, r.ExpiredAt, r.ExpiresAt} {
			added.optionalTime(at)
		}
		added.bigint(r.position)
	}
	if err := t.insert(ctx, "claims", added); err != nil {
		return err
	}
	if len(changes.ids) > 0 {
		t.queue(claimsUpdateSQL, changes.ids, changes.status, changes.reason, changes.auto,
			changes.approved, changes.rejected, changes.revoked, changes.expired, changes.until)
	}
	queueCounts(t, counts)
	return nil
}

// claimChanges are the columns of the rows to update.
type claimChanges struct {
	ids, status, reason                         []string
	auto                                        []bool
	approved, rejected, revoked, expired, until []*time.Time
}

func (c *claimChanges) add(r *claimRow) {
	c.ids = append(c.ids, r.ClaimID)
	c.status = append(c.status, string(r.Status))
	c.reason = append(c.reason, r.Reason)
	c.auto = append(c.auto, r.AutoApproved)
	c.approved = append(c.approved, r.ApprovedAt)
	c.rejected = append(c.rejected, r.RejectedAt)
	c.revoked = append(c.revoked, r.RevokedAt)
	c.expired = append(c.expired, r.ExpiredAt)
	c.until = append(c.until, r.ExpiresAt)
}

func queueCounts(t *target, counts map[claimSort]int) {
	var namespaces, services, statuses []string
	var changes []int
	for sort, change := range counts {
		if change == 0 {
			continue
		}
		namespaces = append(namespaces, sort.namespace)
		services = append(services, sort.service)
		statuses = append(statuses, sort.status)
		changes = append(changes, change)
	}
	if len(changes) == 0 {
		return
	}
	t.queue(claimCountsAddSQL, namespaces, services, statuses, changes)
	// No row stands for none: which sorts were ever seen depends on how commits were
	// cut into batches, and a model does not.
	t.queue(claimCountsPruneSQL, namespaces, services, statuses)
}
