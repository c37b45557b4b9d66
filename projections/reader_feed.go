package projections

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// FeedClaim is an approved claim as the feed shows it.
type FeedClaim struct {
	ClaimID    string
	Namespace  string
	PublicKey  string
	ServiceID  string
	Service    string // the slug
	Subject    string
	AgentID    string
	AgentName  string
	ApprovedAt time.Time
	ExpiresAt  *time.Time
	Position   uint64 // of the commit that approved it
}

// FeedCursor is a place between two claims of a feed. It stays good whatever changes.
type FeedCursor struct {
	Position uint64
	ClaimID  string
}

// FeedQuery selects a part of a service's approved set.
type FeedQuery struct {
	ServiceID string
	Limit     int
	Offset    int
	After     *FeedCursor // nil: from the start
}

// FeedPage is a part of a service's approved set.
type FeedPage struct {
	Claims []FeedClaim
	Total  int // in the whole set
	// Revision is the position of the last commit that changed the set, 0 when
	// nothing ever did.
	Revision uint64
	Next     *FeedCursor // where the rest begins; nil: there is none
}

var (
	feedSetSQL  = statement("feed/set.sql")
	feedListSQL = statement("feed/list.sql")
)

// Feed lists the approved claims on a service in active namespaces, in the order of
// their approval. A claim that stays in the set keeps its place.
func (r *Reader) Feed(ctx context.Context, q FeedQuery) (FeedPage, At, error) {
	var p FeedPage
	if err := page(q.Limit, q.Offset); err != nil {
		return p, At{}, err
	}
	after := FeedCursor{}
	if q.After != nil {
		after = *q.After
	}
	at, err := r.read(ctx, FeedModel, func(s snapshot) (err error) {
		if p.Revision, p.Total, err = feedSet(ctx, s, q.ServiceID); err != nil {
			return err
		}
		rows, err := s.query(ctx, feedListSQL, q.ServiceID, clamp(after.Position), after.ClaimID, q.Limit+1, q.Offset)
		if err != nil {
			return err
		}
		p.Claims, err = pgx.CollectRows(rows, scanFeedClaim)
		return err
	})
	if len(p.Claims) > q.Limit {
		p.Claims = p.Claims[:q.Limit]
		last := p.Claims[q.Limit-1]
		p.Next = &FeedCursor{last.Position, last.ClaimID}
	}
	return p, at, err
}

// FeedRevision is the revision of a service's approved set alone: what answers "not
// modified" costs no more than this.
func (r *Reader) FeedRevision(ctx context.Context, serviceID string) (uint64, At, error) {
	var revision uint64
	at, err := r.read(ctx, FeedModel, func(s snapshot) (err error) {
		revision, _, err = feedSet(ctx, s, serviceID)
		return err
	})
	return revision, at, err
}

func feedSet(ctx context.Context, s snapshot, serviceID string) (revision uint64, claims int, err error) {
	err = s.row(ctx, feedSetSQL, serviceID).Scan(&revision, &claims)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, 0, nil // nothing was ever approved
	}
	return revision, claims, err
}

func scanFeedClaim(row pgx.CollectableRow) (FeedClaim, error) {
	var c FeedClaim
	err := row.Scan(&c.ClaimID, &c.Namespace, &c.PublicKey, &c.ServiceID, &c.Service, &c.Subject, &c.AgentID, &c.AgentName,
		&c.ApprovedAt, &c.ExpiresAt, &c.Position)
	c.ApprovedAt, c.ExpiresAt = c.ApprovedAt.UTC(), utc(c.ExpiresAt)
	return c, err
}
