package projections

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

var (
	asOfSQL       = statement("history/as_of.sql")
	asOfCountSQL  = statement("history/as_of_count.sql")
	asOfLatestSQL = statement("history/as_of_latest.sql")
	asOfEventsSQL = statement("history/as_of_events.sql")
	asOfTimeSQL   = statement("history/as_of_time.sql")
)

// statusEvents are the events that bring a claim into each state.
var statusEvents = map[domain.Status]domain.EventType{
	domain.StatusPending:  domain.ClaimSubmittedType,
	domain.StatusApproved: domain.ClaimApprovedType,
	domain.StatusRejected: domain.ClaimRejectedType,
	domain.StatusRevoked:  domain.ClaimRevokedType,
	domain.StatusExpired:  domain.ClaimExpiredType,
}

// ClaimsAsOf is Claims as it was at a moment, folded from the history: just after the
// commit at a position, or after the last one that is not later than a time. The answer's
// position is that of the state. The error is STALE_READ while the model does not reach
// up to the position.
func (r *Reader) ClaimsAsOf(ctx context.Context, q ClaimsQuery, moment Moment) (ClaimsPage, At, error) {
	var p ClaimsPage
	if err := page(q.Limit, q.Offset); err != nil {
		return p, At{}, err
	}
	var of uint64
	at, err := r.read(ctx, HistoryModel, func(s snapshot) (err error) {
		if of, err = s.positionOf(ctx, q.Namespace, moment); err != nil {
			return err
		}
		p, err = claimsAsOf(ctx, s, q, of)
		return err
	})
	if err == nil && at.Position < of {
		return ClaimsPage{}, at, stale(HistoryModel, at.Position, of)
	}
	at.Position = of
	return p, at, err
}

// positionOf is the position of the last commit on a namespace's claims that belongs to
// a moment, or one after it with the same claims.
func (s snapshot) positionOf(ctx context.Context, namespace string, moment Moment) (position uint64, err error) {
	if moment.Position != nil {
		return *moment.Position, nil
	}
	err = s.row(ctx, asOfTimeSQL, namespace, micros(*moment.Time)).Scan(&position)
	return position, err
}

func claimsAsOf(ctx context.Context, s snapshot, q ClaimsQuery, of uint64) (p ClaimsPage, err error) {
	args := pgx.NamedArgs{"namespace": q.Namespace, "position": clamp(of), "limit": q.Limit, "offset": q.Offset}
	var latest, conditions string
	if q.Status != "" {
		latest, conditions, args["type"] = asOfLatestSQL, conditions+" AND latest.type = @type", statusEvents[q.Status]
	}
	if q.Service != "" {
		conditions, args["service"] = conditions+" AND s.service = @service", q.Service
	}
	fill := strings.NewReplacer("{latest}", strings.TrimRight(latest, "\n"), "{conditions}", conditions)
	if err := s.row(ctx, fill.Replace(asOfCountSQL), args).Scan(&p.Total); err != nil {
		return p, err
	}
	rows, err := s.query(ctx, fill.Replace(asOfSQL), args)
	if err != nil {
		return p, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return p, err
	}
	p.Claims, err = foldClaims(ctx, s, ids, of)
	return p, err
}

// foldClaims makes claims as they were at a position of what was recorded about them.
func foldClaims(ctx context.Context, s snapshot, ids []string, of uint64) ([]Claim, error) {
	claims := make([]Claim, len(ids))
	if len(ids) == 0 {
		return claims, nil
	}
	rows, err := s.query(ctx, asOfEventsSQL, ids, clamp(of))
	if err != nil {
		return nil, err
	}
	events, err := pgx.CollectRows(rows, scanHistoryEvent)
	if err != nil {
		return nil, err
	}
	f := claimsFold{rows: map[string]*claimRow{}}
	for _, e := range events {
		p, err := domain.DecodePayload(e.Type, e.SchemaVersion, e.Data)
		if err != nil {
			return nil, err
		}
		commit := &domain.Commit{Namespace: e.Namespace, Kind: e.Kind, Time: e.Time}
		if err := f.apply(eventstore.Record{Position: e.Position, Commit: commit}, p); err != nil {
			return nil, err
		}
	}
	for i, id := range ids {
		claims[i] = f.rows[id].stored()
	}
	return claims, nil
}

// stored is the claim as the database would give it back.
func (r *claimRow) stored() Claim {
	c := r.Claim
	texts := []*string{&c.Service, &c.AgentIP, &c.Subject, &c.AgentID, &c.AgentName, &c.Reason}
	for _, text := range texts {
		*text = representable([]any{*text})[0].(string)
	}
	for _, t := range []**time.Time{&c.ApprovedAt, &c.RejectedAt, &c.RevokedAt, &c.ExpiredAt, &c.ExpiresAt} {
		if *t != nil {
			m := micros(**t)
			*t = &m
		}
	}
	return c
}
