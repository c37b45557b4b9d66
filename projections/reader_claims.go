package projections

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/domain"
)

// Claim is a claim in its present state. An empty text was not given.
type Claim struct {
	ClaimID      string
	Namespace    string
	ServiceID    string
	Service      string // the slug
	PublicKey    string
	AgentIP      string
	Status       domain.Status
	Subject      string
	AgentID      string
	AgentName    string
	Reason       string // given with the last decision
	AutoApproved bool
	CreatedAt    time.Time
	ApprovedAt   *time.Time
	RejectedAt   *time.Time
	RevokedAt    *time.Time
	ExpiredAt    *time.Time
	ExpiresAt    *time.Time // when the present state ends by itself
}

// ClaimsQuery selects claims of a namespace.
type ClaimsQuery struct {
	Namespace string
	Status    domain.Status // empty: any
	Service   string        // a slug; empty: any
	Limit     int
	Offset    int
}

// ClaimsPage is a part of a list.
type ClaimsPage struct {
	Claims []Claim
	Total  int // in the whole list
}

var (
	claimSQL      = statement("claims/get.sql")
	claimsListSQL = statement("claims/list.sql")
	claimCountSQL = statement("claims/count.sql")
	claimsDueSQL  = statement("claims/due.sql")
	claimSetsSQL  = statement("claims/sets.sql")
)

// Claim finds a claim by its id.
func (r *Reader) Claim(ctx context.Context, claimID string) (Claim, At, error) {
	var claim Claim
	at, err := r.read(ctx, ClaimsModel, func(s snapshot) (err error) {
		rows, err := s.query(ctx, claimSQL, claimID)
		if err != nil {
			return err
		}
		claim, err = pgx.CollectExactlyOneRow(rows, scanClaim)
		if errors.Is(err, pgx.ErrNoRows) {
			return domain.Errorf(domain.CodeNotFound, "There is no such claim.")
		}
		return err
	})
	return claim, at, err
}

// Claims lists a namespace's claims, the latest first.
func (r *Reader) Claims(ctx context.Context, q ClaimsQuery) (ClaimsPage, At, error) {
	var p ClaimsPage
	if err := page(q.Limit, q.Offset); err != nil {
		return p, At{}, err
	}
	// The conditions are in the statement only where they apply: each combination
	// has its own plan, on its own index.
	sql, args := claimsListSQL, []any{q.Namespace, q.Limit, q.Offset}
	var conditions string
	if q.Status != "" {
		args = append(args, string(q.Status))
		conditions += " AND status = $4"
	}
	if q.Service != "" {
		args = append(args, q.Service)
		conditions += " AND service = $" + string(rune('0'+len(args)))
	}
	sql = strings.Replace(sql, "{conditions}", conditions, 1)

	at, err := r.read(ctx, ClaimsModel, func(s snapshot) (err error) {
		if err := s.row(ctx, claimCountSQL, q.Namespace, string(q.Status), q.Service).Scan(&p.Total); err != nil {
			return err
		}
		rows, err := s.query(ctx, sql, args...)
		if err != nil {
			return err
		}
		p.Claims, err = pgx.CollectRows(rows, scanClaim)
		return err
	})
	return p, at, err
}

func scanClaim(row pgx.CollectableRow) (Claim, error) {
	var c Claim
	err := row.Scan(&c.ClaimID, &c.Namespace, &c.ServiceID, &c.Service, &c.PublicKey, &c.AgentIP, &c.Status,
		&c.Subject, &c.AgentID, &c.AgentName, &c.Reason, &c.AutoApproved,
		&c.CreatedAt, &c.ApprovedAt, &c.RejectedAt, &c.RevokedAt, &c.ExpiredAt, &c.ExpiresAt)
	c.CreatedAt = c.CreatedAt.UTC()
	for _, t := range []**time.Time{&c.ApprovedAt, &c.RejectedAt, &c.RevokedAt, &c.ExpiredAt, &c.ExpiresAt} {
		*t = utc(*t)
	}
	return c, err
}

// ClaimState names the claims of a namespace that are in one state.
type ClaimState struct {
	Namespace string
	Status    domain.Status
}

// ClaimSet tells one set of claims from another without naming them.
type ClaimSet struct {
	Claims int
	Mix    int64
}

// Add adds a claim.
func (s ClaimSet) Add(id string) ClaimSet {
	sum := sha256.Sum256([]byte(id))
	return ClaimSet{s.Claims + 1, s.Mix ^ int64(binary.BigEndian.Uint64(sum[:]))}
}

// ClaimSets are the claims in each state, of all namespaces, without the states that none
// is in. It looks at every claim.
func (r *Reader) ClaimSets(ctx context.Context) (map[ClaimState]ClaimSet, At, error) {
	sets := map[ClaimState]ClaimSet{}
	at, err := r.read(ctx, ClaimsModel, func(s snapshot) error {
		rows, err := s.query(ctx, claimSetsSQL)
		if err != nil {
			return err
		}
		var state ClaimState
		var set ClaimSet
		_, err = pgx.ForEachRow(rows, []any{&state.Namespace, &state.Status, &set.Claims, &set.Mix}, func() error {
			sets[state] = set
			return nil
		})
		return err
	})
	return sets, at, err
}

// Due lists namespaces with claims that are past their time and not recorded as
// expired yet, those that wait longest first.
func (r *Reader) Due(ctx context.Context, now time.Time, limit int) ([]string, At, error) {
	if err := page(limit, 0); err != nil {
		return nil, At{}, err
	}
	var namespaces []string
	at, err := r.read(ctx, ClaimsModel, func(s snapshot) (err error) {
		rows, err := s.query(ctx, claimsDueSQL, now, limit)
		if err != nil {
			return err
		}
		namespaces, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	return namespaces, at, err
}
