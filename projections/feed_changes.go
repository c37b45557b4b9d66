package projections

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/domain"
)

const (
	// feedKept is how many positions back changes of the approved sets are kept: hours of
	// a very busy ledger, months of a quiet one, and a few hundred megabytes at most.
	// It counts positions and not days, so that what is kept follows from the log alone:
	// two generations that stand at one position have forgotten the same.
	feedKept = 1_000_000

	// feedTrimEvery is how many positions apart old changes are deleted.
	feedTrimEvery = 1000

	// feedChangesPage is how many changes a page has, but for a commit that has more by
	// itself.
	feedChangesPage = 1000
)

var (
	feedTrimSQL      = statement("feed/trim.sql")
	feedForgottenSQL = statement("feed/forgotten.sql")
	feedChangesSQL   = statement("feed/changes.sql")
	feedChangedSQL   = statement("feed/changed.sql")
)

var feedChangeColumns = []string{
	"service_id", "position", "step", "claim_id", "added", "namespace", "public_key", "service",
	"subject", "agent_id", "agent_name", "approved_at", "expires_at", "approval",
}

func addFeedChange(rows *rows, position uint64, step int, added bool, r *feedRow) {
	c := r.claim
	rows.begin()
	rows.text(c.ServiceID)
	rows.bigint(position)
	rows.integer(step)
	rows.text(c.ClaimID)
	rows.boolean(added)
	for _, text := range []string{c.Namespace, c.PublicKey, c.Service, c.Subject, c.AgentID, c.AgentName} {
		rows.text(text)
	}
	rows.optionalTime(r.approvedAt)
	rows.optionalTime(c.ExpiresAt)
	rows.bigint(c.Position)
}

// trimmedTo is up to where a model that stands at a position has forgotten changes.
func trimmedTo(kept, position uint64) uint64 {
	if position <= kept {
		return 0
	}
	return (position - kept) / feedTrimEvery * feedTrimEvery
}

// trimFeed forgets what the way from one position to another made too old.
func trimFeed(t *target, kept, from, to uint64) {
	if up := trimmedTo(kept, to); up > trimmedTo(kept, from) {
		t.queue(feedTrimSQL, up)
	}
}

// FeedChange is a claim that entered or left a service's approved set.
type FeedChange struct {
	Added    bool
	Position uint64 // of the commit that changed the set
	Claim    FeedClaim
}

// FeedChangesPage is what changed after a position, in order.
type FeedChangesPage struct {
	// Changes are those of whole commits.
	Changes []FeedChange
	// Position is up to where the page is complete: what follows it comes after this.
	Position uint64
	// More tells that there are changes after Position already.
	More bool
}

// FeedChanges lists what entered and left a service's approved set after a position.
// Applied in order to the set as it was at that position, or to a reading of it that began
// there and went on while it changed, they make it the set at the page's position.
//
// The error is RESYNC where changes after the position are forgotten, or where one commit
// alone changed more than MaxPage claims: reading the set anew is cheaper then.
func (r *Reader) FeedChanges(ctx context.Context, serviceID string, since uint64) (FeedChangesPage, At, error) {
	var p FeedChangesPage
	at, err := r.read(ctx, FeedModel, func(s snapshot) error {
		for _, most := range []int{feedChangesPage, MaxPage} {
			var forgotten uint64
			var changes []FeedChange
			var b pgx.Batch // one round trip, not two
			s.queue(&b, feedForgottenSQL, serviceID).QueryRow(func(row pgx.Row) error { return row.Scan(&forgotten) })
			s.queue(&b, feedChangesSQL, serviceID, clamp(since), most+1).Query(func(rows pgx.Rows) (err error) {
				changes, err = pgx.CollectRows(rows, scanFeedChange)
				return err
			})
			err := s.conn.SendBatch(ctx, &b).Close()
			switch {
			case errors.Is(err, pgx.ErrNoRows):
				return nil // nothing was ever approved
			case err != nil:
				return err
			case since < forgotten:
				return domain.Errorf(domain.CodeResync, "Changes since position %d are not kept any more; read the whole set again.", since)
			}
			p.Changes, p.More = wholeCommits(changes, most)
			if len(p.Changes) > 0 || !p.More {
				return nil
			}
		}
		return domain.Errorf(domain.CodeResync, "One commit after position %d changed more than %d claims; read the whole set again.", since, MaxPage)
	})
	if err != nil {
		return FeedChangesPage{}, at, err
	}
	p.Position = max(since, at.Position)
	if p.More {
		p.Position = p.Changes[len(p.Changes)-1].Position
	}
	return p, at, nil
}

// wholeCommits leaves out the last commit of a list that was cut off after most changes.
func wholeCommits(changes []FeedChange, most int) (whole []FeedChange, more bool) {
	if len(changes) <= most {
		return changes, false
	}
	end := most
	for end > 0 && changes[end-1].Position == changes[most].Position {
		end--
	}
	return changes[:end], true
}

// FeedsChanged tells which of some services' approved sets changed after a position.
func (r *Reader) FeedsChanged(ctx context.Context, serviceIDs []string, since uint64) ([]string, At, error) {
	var changed []string
	at, err := r.read(ctx, FeedModel, func(s snapshot) error {
		rows, err := s.query(ctx, feedChangedSQL, serviceIDs, clamp(since))
		if err != nil {
			return err
		}
		changed, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	return changed, at, err
}

func scanFeedChange(row pgx.CollectableRow) (FeedChange, error) {
	var f FeedChange
	c := &f.Claim
	err := row.Scan(&f.Position, &f.Added, &c.ClaimID, &c.Namespace, &c.PublicKey, &c.ServiceID, &c.Service, &c.Subject, &c.AgentID, &c.AgentName,
		&c.ApprovedAt, &c.ExpiresAt, &c.Position)
	c.ApprovedAt, c.ExpiresAt = c.ApprovedAt.UTC(), utc(c.ExpiresAt)
	return f, err
}
