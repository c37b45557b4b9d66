package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/api/client"
	"github.com/claimledger/claimledger/projections"
)

const (
	// syncClaims is how many claims a full sync has, where there are so many.
	syncClaims = 10_000
	// firstSynced is where the namespaces of this workload begin.
	firstSynced = firstStreamed + 1
)

// syncing is a gateway that reads all approved claims on its service.
type syncing struct {
	*bench
	tenant        *tenant
	claims, limit int
	schema        string // of the read model that serves
	db            *pgx.Conn
}

// syncWorkload counts claims a second on both sides, each alone and one request or query
// after another.
func syncWorkload(name string, limit int, wanted float64) workload {
	return workload{
		name: name, unit: perSecond, wanted: wanted,
		what:      fmt.Sprintf("claims of full reads of the feed, in pages of %d by cursor, one after another", limit),
		yardstick: "one query for the same rows at the same database, scanned and encoded as JSON",
		open: func(ctx context.Context, b *bench) (*pair, error) {
			tenants, err := b.newTenants(ctx, firstSynced, 1, approving)
			if err != nil {
				return nil, err
			}
			s := &syncing{bench: b, tenant: tenants[0], claims: min(syncClaims, b.Claims), limit: limit}
			if _, err := s.submitAll(ctx, tenants, s.claims); err != nil {
				return nil, err
			}
			if s.db, err = b.Program.OpenDatabase(ctx, filepath.Join(b.Dir, "ledger")); err != nil {
				return nil, err
			}
			end := func() error { return s.db.Close(context.WithoutCancel(ctx)) }
			if s.schema, err = projections.ServingSchema(ctx, s.db, projections.FeedModel); err == nil {
				for _, side := range []measure{s.read, s.query} {
					if _, sideErr := side(ctx, min(warmUp, b.Duration)); sideErr != nil {
						err = errors.Join(err, sideErr)
					}
				}
			}
			if err != nil {
				return nil, errors.Join(err, end())
			}
			return &pair{ledger: s.read, yardstick: s.query, close: end}, nil
		},
	}
}

// read reads the feed again and again.
func (s *syncing) read(ctx context.Context, d time.Duration) (Outcome, error) {
	conns, err := connect(ctx, s.ledger.address, 1, d)
	if err != nil {
		return Outcome{}, err
	}
	defer conns.close()
	return s.ledger.during(ctx, func() (Outcome, error) {
		return s.repeat(ctx, d, func() (int, error) { return s.readOnce(conns.all[0]) })
	})
}

// repeat does a whole sync again and again, and counts claims.
func (s *syncing) repeat(ctx context.Context, d time.Duration, once func() (int, error)) (Outcome, error) {
	o, err := closedLoop(ctx, 1, unbounded, d, func(int, int) error {
		n, err := once()
		if err == nil && n != s.claims {
			err = fmt.Errorf("a full read has %d claims, not %d", n, s.claims)
		}
		return err
	})
	o.Done *= s.claims
	return o, err
}

var nextCursor = []byte(`"next_cursor":"`)

func (s *syncing) readOnce(conn connection) (claims int, err error) {
	query := url.Values{"limit": {strconv.Itoa(s.limit)}}
	for {
		r, err := http.NewRequest(http.MethodGet, s.ledger.base+"/v1/namespaces/claims?"+query.Encode(), nil)
		if err != nil {
			return 0, err
		}
		r.Header.Set("Authorization", "Bearer "+s.tenant.key)
		request, err := wire(r, s.tenant.gateway.Sign(r, nil))
		if err != nil {
			return 0, err
		}
		if _, err := conn.Write(request); err != nil {
			return 0, err
		}
		resp, err := http.ReadResponse(conn.in, nil)
		if err != nil {
			return 0, err
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return 0, err
		}
		if resp.StatusCode != http.StatusOK {
			return 0, fmt.Errorf("a page was answered %d %s", resp.StatusCode, bytes.TrimSpace(body))
		}
		claims += bytes.Count(body, []byte(`{"claim_id":`))
		_, rest, more := bytes.Cut(body, nextCursor)
		if !more {
			return claims, nil
		}
		cursor, _, _ := bytes.Cut(rest, []byte(`"`))
		query.Set("cursor", string(cursor))
	}
}

// query is the yardstick.
func (s *syncing) query(ctx context.Context, d time.Duration) (Outcome, error) {
	return s.repeat(ctx, d, func() (int, error) {
		rows, err := s.db.Query(ctx, `
			SELECT claim_id, namespace, public_key, service, service_id, approved_at, expires_at, subject, agent_id, agent_name
			FROM `+s.schema+`.claims
			WHERE service_id = $1 AND listed
			ORDER BY position, claim_id`, s.tenant.service)
		if err != nil {
			return 0, err
		}
		claims, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c client.FeedClaim, err error) {
			err = row.Scan(&c.ClaimID, &c.Namespace, &c.PublicKey, &c.Service, &c.ServiceID, &c.ApprovedAt, &c.ExpiresAt, &c.Subject, &c.AgentID, &c.AgentName)
			return c, err
		})
		if err != nil {
			return 0, err
		}
		_, err = json.Marshal(claims)
		return len(claims), err
	})
}
