package projections

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

var (
	namespacesLoadSQL         = statement("namespaces/load.sql")
	namespacesApprovedSQL     = statement("namespaces/approved.sql")
	namespacesUpdateSQL       = statement("namespaces/update.sql")
	namespacesForgetClaimsSQL = statement("namespaces/forget_claims.sql")
)

var (
	namespaceColumns     = []string{"namespace", "owner", "created_at", "active", "policy", "active_claims"}
	approvedClaimColumns = []string{"claim_id", "namespace"}
)

// namespaceRow is a row of namespaces. Of one that was there before, the owner and the
// time are not known, as they do not change.
type namespaceRow struct {
	name      string
	owner     string
	createdAt time.Time
	active    bool
	policy    *string
	approved  int
	stored    bool
	changed   bool
}

// approval tells whether a claim is approved, before the records and after them.
type approval struct {
	namespace   string
	before, now bool
}

type namespacesFold struct {
	rows    map[string]*namespaceRow
	claims  map[string]*approval
	touched []*namespaceRow // in order
	decided []string        // claims, in order
}

func applyNamespaces(ctx context.Context, t *target, records []eventstore.Record) error {
	f := namespacesFold{rows: map[string]*namespaceRow{}, claims: map[string]*approval{}}
	if err := f.load(ctx, t, records); err != nil {
		return err
	}
	if err := each(records, domain.KindRegistry, f.applyRegistry); err != nil {
		return err
	}
	if err := each(records, domain.KindClaims, f.applyClaims); err != nil {
		return err
	}
	return f.store(ctx, t)
}

func (f *namespacesFold) load(ctx context.Context, t *target, records []eventstore.Record) error {
	var names []string
	for _, rec := range records {
		if name := rec.Commit.Namespace; f.rows[name] == nil {
			f.rows[name] = &namespaceRow{name: name}
			names = append(names, name)
		}
	}
	var r namespaceRow
	scan := []any{&r.name, &r.owner, &r.active, &r.policy, &r.approved}
	t.ask(namespacesLoadSQL, []any{names}, scan, func() error {
		*f.rows[r.name] = namespaceRow{name: r.name, owner: r.owner, active: r.active, policy: r.policy, approved: r.approved, stored: true}
		return nil
	})
	if ids := claimIDs(records); len(ids) > 0 {
		var id, namespace string
		t.ask(namespacesApprovedSQL, []any{ids}, []any{&id, &namespace}, func() error {
			f.claims[id] = &approval{namespace, true, true}
			return nil
		})
	}
	return t.flush(ctx)
}

func (f *namespacesFold) touch(name string) (*namespaceRow, error) {
	r := f.rows[name]
	if !r.stored && !r.changed {
		return nil, fmt.Errorf("namespace %s was never registered", name)
	}
	if !r.changed {
		r.changed = true
		f.touched = append(f.touched, r)
	}
	return r, nil
}

func (f *namespacesFold) applyRegistry(rec eventstore.Record, p domain.Payload) error {
	name := rec.Commit.Namespace
	if p, ok := p.(domain.NamespaceRegistered); ok {
		r := f.rows[name]
		if r.stored || r.changed {
			return fmt.Errorf("namespace %s was registered before", name)
		}
		r.owner, r.createdAt, r.active, r.changed = p.OwnerID, rec.Commit.Time, true, true
		f.touched = append(f.touched, r)
		return nil
	}
	r, err := f.touch(name)
	if err != nil {
		return err
	}
	switch p := p.(type) {
	case domain.NamespaceDeactivated:
		r.active = false
	case domain.NamespaceActivated:
		r.active = true
	case domain.OwnerRemoved:
		r.owner = p.FirstOwnerID
	case domain.PolicyChanged:
		policy, err := json.Marshal(p.Policy)
		if err != nil {
			return err
		}
		text := string(policy)
		r.policy = &text
	}
	return nil
}

func (f *namespacesFold) applyClaims(rec eventstore.Record, p domain.Payload) error {
	id, approved := domain.ClaimOf(p), false
	switch p.(type) {
	case domain.ClaimSubmitted:
		return nil
	case domain.ClaimApproved:
		approved = true
	case domain.ClaimRejected, domain.ClaimRevoked, domain.ClaimExpired:
	default:
		return unknownEvent(p)
	}
	c := f.claims[id]
	if c == nil {
		c = &approval{namespace: rec.Commit.Namespace}
		f.claims[id] = c
	}
	if c.now == approved {
		return nil
	}
	r, err := f.touch(rec.Commit.Namespace)
	if err != nil {
		return err
	}
	c.now = approved
	f.decided = append(f.decided, id)
	if approved {
		r.approved++
	} else {
		r.approved--
	}
	return nil
}

func (f *namespacesFold) store(ctx context.Context, t *target) error {
	added, approved := rowsOf(namespaceColumns), rowsOf(approvedClaimColumns)
	for _, r := range f.touched {
		if r.stored {
			t.queueOne("namespace "+r.name, namespacesUpdateSQL, r.name, r.owner, r.active, r.policy, r.approved)
		} else {
			added.begin()
			added.text(r.name)
			added.text(r.owner)
			added.time(r.createdAt)
			added.boolean(r.active)
			if r.policy != nil {
				added.text(*r.policy)
			} else {
				added.null()
			}
			added.bigint(uint64(r.approved))
		}
	}
	var ended []string
	for _, id := range f.decided {
		c := f.claims[id]
		switch {
		case c.now && !c.before:
			approved.begin()
			approved.text(id)
			approved.text(c.namespace)
		case c.before && !c.now:
			ended = append(ended, id)
		}
	}
	if len(ended) > 0 {
		t.queue(namespacesForgetClaimsSQL, ended)
	}
	if err := t.insert(ctx, "namespaces", added); err != nil {
		return err
	}
	return t.insert(ctx, "approved_claims", approved)
}
