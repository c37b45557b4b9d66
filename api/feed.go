package api

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/projections"
)

// Bounds of a page of the cache feed.
const defaultFeedLimit, maxFeedLimit = 500, 2000

type feedClaim struct {
	ClaimID    string     `json:"claim_id"`
	Namespace  string     `json:"namespace"`
	PublicKey  string     `json:"public_key"`
	Service    string     `json:"service"`
	ServiceID  string     `json:"service_id"`
	ApprovedAt time.Time  `json:"approved_at"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
	Subject    string     `json:"subject,omitempty"`
	AgentID    string     `json:"agent_id,omitempty"`
	AgentName  string     `json:"agent_name,omitempty"`
}

// feed answers the approved claims on the caller's service, for its cache.
func (s *Server) feed(c *call) (action, error) {
	q, err := readQuery(c.r)
	if err != nil {
		return nil, err
	}
	slug := q.slug()
	query := projections.FeedQuery{ServiceID: c.service.id}
	query.Limit, query.Offset = q.page(defaultFeedLimit, maxFeedLimit)
	query.After = q.feedCursor(c.service.id)
	wait, err := s.readModel(c, projections.FeedModel, c.service.namespace)
	if err := allWrong(q.Err(), err); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		if err := c.service.is(slug); err != nil {
			return answer{}, err
		}
		if err := wait(ctx); err != nil {
			return answer{}, err
		}
		return s.once(c, func() (answer, error) { return s.answerFeed(ctx, c, query) })
	}, nil
}

func (s *Server) answerFeed(ctx context.Context, c *call, query projections.FeedQuery) (answer, error) {
	if err := s.fresh(); err != nil {
		return answer{}, err
	}
	if known := c.r.Header.Get("If-None-Match"); known != "" {
		// Most polls find nothing new: the revision alone tells, without reading the page.
		revision, at, err := s.config.Reads.FeedRevision(ctx, query.ServiceID)
		if err != nil {
			return answer{}, err
		}
		if etag := feedTag(query, revision); matches(known, etag) {
			return answer{position: at.Position, etag: etag}, s.freshFeed(at)
		}
	}
	page, at, err := s.config.Reads.Feed(ctx, query)
	if err != nil {
		return answer{}, err
	}
	if err := s.freshFeed(at); err != nil {
		return answer{}, err
	}
	claims := make([]feedClaim, len(page.Claims))
	for i, f := range page.Claims {
		claims[i] = renderFeedClaim(f)
	}
	pages := feedPagination{pagination: pagination{query.Limit, query.Offset, page.Total, page.Next != nil}}
	if page.Next != nil {
		pages.NextCursor = encodeCursor(query.ServiceID, *page.Next)
	}
	return answer{position: at.Position, etag: feedTag(query, page.Revision), body: struct {
		Claims     []feedClaim    `json:"claims"`
		Pagination feedPagination `json:"pagination"`
	}{claims, pages}}, nil
}

// feedPagination has a cursor too, from which on paging goes on wherever it began.
type feedPagination struct {
	pagination
	NextCursor string `json:"next_cursor,omitempty"`
}

func renderFeedClaim(f projections.FeedClaim) feedClaim {
	return feedClaim{f.ClaimID, f.Namespace, f.PublicKey, f.Service, f.ServiceID, f.ApprovedAt, f.ExpiresAt, f.Subject, f.AgentID, f.AgentName}
}

// freshFeed refuses a feed that a stopped projector has left behind: a cache must not
// be told that what it knows still holds.
func (s *Server) freshFeed(at projections.At) error {
	if at.Age == projections.NeverFresh {
		return domain.Errorf(domain.CodeServiceUnavailable, "The feed has not caught up with the ledger yet.")
	}
	if at.Age > s.config.StaleAfter {
		return domain.Errorf(domain.CodeServiceUnavailable, "The feed is %d seconds behind the ledger, and too old to authorize anyone on.", int(at.Age.Seconds()))
	}
	return nil
}

// feedTag identifies a page of a service's approved set: it changes with the set and
// with the query, and with nothing else.
func feedTag(q projections.FeedQuery, revision uint64) string {
	var after projections.FeedCursor
	if q.After != nil {
		after = *q.After
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d %d %d %s", q.ServiceID, revision, q.Limit, q.Offset, after.Position, after.ClaimID))
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
}
