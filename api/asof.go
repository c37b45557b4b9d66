package api

import (
	"context"

	"github.com/claimledger/claimledger/projections"
)

// claimsRead is one of the ways to list claims.
type claimsRead func(context.Context, projections.ClaimsQuery) (projections.ClaimsPage, projections.At, error)

// claimsAt prepares to list claims as they are, or as they were with as_of. What a
// position of the past says no longer changes; one that the read model has not reached is
// waited for like Ledger-Min-Position, because whether it will come nobody can tell.
func (s *Server) claimsAt(c *call, q *query) (claimsRead, waiting, error) {
	if !q.values.Has("as_of") {
		wait, err := s.readAfter(c, projections.ClaimsModel)
		return s.config.Reads.Claims, wait, err
	}
	moment := q.moment("as_of")
	if moment.Time != nil && moment.Time.After(s.config.Now()) {
		q.Add("as_of", "must not be in the future")
	}
	least, err := c.minPosition()
	read := func(ctx context.Context, query projections.ClaimsQuery) (projections.ClaimsPage, projections.At, error) {
		return s.config.Reads.ClaimsAsOf(ctx, query, moment)
	}
	return read, func(ctx context.Context) error {
		position := least
		if moment.Position != nil {
			position = max(position, *moment.Position)
		} else {
			// What has happened until now, as far as this node has heard of it.
			position = max(position, s.commands.Position(), s.commands.Heads(c.owner.namespace))
		}
		return s.wait(ctx, projections.HistoryModel, position, minPositionWait)
	}, err
}
