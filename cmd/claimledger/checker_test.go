package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/domain/audit"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections"
	"github.com/claimledger/claimledger/projections/pgdb"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// checker compares what a running ledger has answered, shows and has sent with its log,
// which it reads itself.
type checker struct {
	t        testing.TB
	place    placeSettings // of the log
	database string        // of the read models
	traffic  *traffic

	commits int // in the log
}

// check makes sure of all that must hold once everything that was asked is settled.
func (c *checker) check() {
	c.t.Helper()
	stream, closeLog, err := c.place.openLog(context.Background(), false, slog.New(slog.DiscardHandler))
	if err != nil {
		c.t.Fatal(err)
	}
	defer closeLog()
	l := newLedgerLog()
	secrets := c.secrets()
	auditor := audit.New(audit.Scope{From: 1, To: math.MaxUint64}, domain.Chain{})
	var found error // the first is the only one that says something
	readStream(c.t, stream, func(r eventstore.Record) {
		if found == nil {
			if found = auditor.Add(audit.Entry{Position: r.Position, Hash: r.Hash, Stored: r.Stored}); found != nil {
				c.t.Errorf("an auditor finds: %v", found)
			}
		}
		if err := l.add(r); err != nil {
			c.t.Errorf("the commit at %d: %v", r.Position, err)
		}
		for what, secret := range secrets {
			if strings.Contains(string(r.Stored), secret) {
				c.t.Errorf("the commit at %d has %s in it", r.Position, what)
			}
		}
	})
	c.commits = len(l.records)
	for _, load := range c.traffic.loads {
		for _, err := range l.lacks(load) {
			c.t.Errorf("%s: %v", load.tenant.namespace, err)
		}
		c.webhooks(l, load)
		c.feed(load)
	}
	c.models(stream)
}

// secrets must not be anywhere as they are.
func (c *checker) secrets() map[string]string {
	secrets := map[string]string{}
	for i, load := range c.traffic.loads {
		secrets["the service key of "+load.tenant.namespace] = load.tenant.serviceKey
		secrets["the webhook secret of "+load.tenant.namespace] = c.traffic.receivers[i].secret
	}
	return secrets
}

// ledgerLog is what the log says, told in two ways: by the states on which decisions are
// made, which refuse what could not have been decided, and by counting.
type ledgerLog struct {
	records    map[uint64]eventstore.Record
	registries map[string]*domain.Registry
	limits     map[string]map[uint64]domain.Limits // namespace → version of its registry
	claims     map[string]*domain.Claims
	status     map[string]domain.Status
	of         map[string]domain.ClaimSubmitted
	active     map[[3]string]string           // namespace, service and key → claim
	agents     map[string]map[string]int      // namespace → key → approved claims
	pending    map[string]int                 // namespace → claims
	events     map[string][]domain.Event      // of a namespace's claims, in order
	claimsOf   map[string]map[string][]string // namespace → key → claims, in order
}

func newLedgerLog() *ledgerLog {
	return &ledgerLog{
		records: map[uint64]eventstore.Record{}, registries: map[string]*domain.Registry{}, limits: map[string]map[uint64]domain.Limits{},
		claims: map[string]*domain.Claims{}, status: map[string]domain.Status{}, of: map[string]domain.ClaimSubmitted{},
		active: map[[3]string]string{}, agents: map[string]map[string]int{}, events: map[string][]domain.Event{},
		pending: map[string]int{}, claimsOf: map[string]map[string][]string{},
	}
}

func (l *ledgerLog) add(r eventstore.Record) error {
	l.records[r.Position] = r
	ns := r.Commit.Namespace
	if r.Commit.Kind == domain.KindRegistry {
		registry := l.registries[ns]
		if registry == nil {
			registry = domain.NewRegistry(ns)
			l.registries[ns], l.limits[ns] = registry, map[uint64]domain.Limits{}
			l.claims[ns], l.agents[ns], l.claimsOf[ns] = domain.NewClaims(ns), map[string]int{}, map[string][]string{}
		}
		if err := registry.Apply(r.Commit); err != nil {
			return err
		}
		l.limits[ns][registry.Version()] = registry.Policy().Limits
		return nil
	}
	if l.claims[ns] == nil {
		return errors.New("claims of a namespace that was not registered before")
	}
	if err := l.claims[ns].Apply(r.Commit); err != nil {
		return err
	}
	basis := r.Commit.Basis
	if limits, known := l.limits[ns][basis.RegistryVersion]; !known || limits != basis.Limits {
		return fmt.Errorf("it was decided on the limits %+v; version %d of the registry has %+v (%t)", basis.Limits, basis.RegistryVersion, limits, known)
	}
	var errs []error
	for _, e := range r.Commit.Events {
		errs = append(errs, l.count(ns, e))
	}
	if n := len(l.agents[ns]); n > basis.Limits.MaxAgents {
		errs = append(errs, fmt.Errorf("%d agents are approved, past the limit of %d", n, basis.Limits.MaxAgents))
	}
	if n := l.pending[ns]; n > basis.Limits.MaxPending {
		errs = append(errs, fmt.Errorf("%d claims are pending, past the limit of %d", n, basis.Limits.MaxPending))
	}
	return errors.Join(errs...)
}

// may is which state each event leads from, and to.
var may = map[domain.EventType]struct {
	from []domain.Status
	to   domain.Status
}{
	domain.ClaimSubmittedType: {[]domain.Status{""}, domain.StatusPending},
	domain.ClaimApprovedType:  {[]domain.Status{domain.StatusPending}, domain.StatusApproved},
	domain.ClaimRejectedType:  {[]domain.Status{domain.StatusPending}, domain.StatusRejected},
	domain.ClaimRevokedType:   {[]domain.Status{domain.StatusApproved}, domain.StatusRevoked},
	domain.ClaimExpiredType:   {[]domain.Status{domain.StatusPending, domain.StatusApproved}, domain.StatusExpired},
}

func (l *ledgerLog) count(ns string, e domain.Event) error {
	claim := domain.ClaimOf(e.Payload)
	step, known := may[e.Type()]
	if !known || !slices.Contains(step.from, l.status[claim]) {
		return fmt.Errorf("%s of claim %s, which is %q", e.Type(), claim, l.status[claim])
	}
	before := l.status[claim]
	l.status[claim], l.events[ns] = step.to, append(l.events[ns], e)
	if p, ok := e.Payload.(domain.ClaimSubmitted); ok {
		l.of[claim] = p
		l.claimsOf[ns][p.PublicKey] = append(l.claimsOf[ns][p.PublicKey], claim)
	}
	p := l.of[claim]
	pair := [3]string{ns, p.ServiceID, p.PublicKey}
	switch isActive := step.to == domain.StatusPending || step.to == domain.StatusApproved; {
	case !isActive:
		delete(l.active, pair)
	case l.active[pair] != "" && l.active[pair] != claim:
		return fmt.Errorf("claims %s and %s are active for one agent and service", claim, l.active[pair])
	default:
		l.active[pair] = claim
	}
	if step.to == domain.StatusPending {
		l.pending[ns]++
	} else if before == domain.StatusPending {
		l.pending[ns]--
	}
	if step.to == domain.StatusApproved {
		l.agents[ns][p.PublicKey]++
	} else if before == domain.StatusApproved {
		if l.agents[ns][p.PublicKey]--; l.agents[ns][p.PublicKey] == 0 {
			delete(l.agents[ns], p.PublicKey)
		}
	}
	return nil
}

// lacks tells which commits an answer told of that are not where it told, and which claims
// are there for which nobody had asked.
func (l *ledgerLog) lacks(load *load) (wrong []error) {
	for _, a := range load.answers {
		r, ok := l.records[a.position]
		if !ok || !slices.ContainsFunc(r.Commit.Events, func(e domain.Event) bool {
			return e.Type() == a.event && domain.ClaimOf(e.Payload) == a.claim
		}) {
			wrong = append(wrong, fmt.Errorf("%s of claim %s was answered with position %d, and the log does not have it there", a.event, a.claim, a.position))
		}
	}
	// Who asks again because no answer came has another claim where the one before had
	// ended at once, and otherwise the same.
	of := l.claimsOf[load.tenant.namespace]
	for agent, claims := range of {
		if last := claims[len(claims)-1]; load.acked[agent] != last || len(claims) > load.asked[agent] {
			wrong = append(wrong, fmt.Errorf("an agent asked %d times and was told of %q last; the log has %q for it", load.asked[agent], load.acked[agent], claims))
		}
	}
	if len(load.acked) != len(of) {
		wrong = append(wrong, fmt.Errorf("%d agents were told of a claim, and the log has claims of %d", len(load.acked), len(of)))
	}
	return wrong
}

// webhooks waits for every event of a namespace, all signed.
func (c *checker) webhooks(l *ledgerLog, load *load) {
	c.t.Helper()
	receiver := c.traffic.receiver(load)
	receiver.awaitEvents(patience, len(l.events[load.tenant.namespace]))
	receiver.check()
	for _, err := range misdelivered(l.events[load.tenant.namespace], receiver.inOrder()) {
		c.t.Errorf("%s: %v", load.tenant.namespace, err)
	}
}

// misdelivered tells which of a webhook's events came with another sequence than they have
// in the log, or before an event of the same claim that is before them, or not at all.
func misdelivered(events []domain.Event, came []*hook) (wrong []error) {
	place, due := map[string]int{}, map[string][]string{}
	for i, e := range events {
		place[e.ID] = i + 1
		due[domain.ClaimOf(e.Payload)] = append(due[domain.ClaimOf(e.Payload)], e.ID)
	}
	for _, got := range came {
		if place[got.ID] != got.Sequence {
			wrong = append(wrong, fmt.Errorf("the event %s came with sequence %d; it is number %d in the log", got.ID, got.Sequence, place[got.ID]))
		}
		claim := got.Data.ClaimID
		if i := slices.Index(due[claim], got.ID); i != 0 {
			wrong = append(wrong, fmt.Errorf("the event %s of claim %s came out of turn", got.ID, claim))
		} else {
			due[claim] = due[claim][1:]
		}
	}
	for claim, events := range due {
		if len(events) > 0 {
			wrong = append(wrong, fmt.Errorf("the events %v of claim %s did not come in their turn", events, claim))
		}
	}
	return wrong
}

// feed makes sure that the changes since the beginning, or since the middle, make the
// same set as a full read.
func (c *checker) feed(load *load) {
	c.t.Helper()
	tn := load.tenant
	full := map[string]bool{}
	type fed struct {
		ClaimID string `json:"claim_id"`
	}
	for cursor := "start"; cursor != ""; {
		var page struct {
			Claims     []fed
			Pagination struct {
				NextCursor string `json:"next_cursor"`
			}
		}
		path := "/v1/namespaces/claims?service=" + serviceSlug + "&limit=200"
		if cursor != "start" {
			path += "&cursor=" + cursor
		}
		tn.expect(200, "GET", path, nil, tn.asGateway, after(load.position)).decode(c.t, &page)
		for _, claim := range page.Claims {
			full[claim.ClaimID] = true
		}
		cursor = page.Pagination.NextCursor
	}
	applied := map[string]bool{}
	for since := "0"; ; {
		var page struct {
			Changes []struct {
				Op    string
				Claim fed
			}
			Position string
		}
		tn.expect(200, "GET", "/v1/namespaces/claims/changes?service="+serviceSlug+"&since="+since, nil, tn.asGateway, after(load.position)).decode(c.t, &page)
		for _, change := range page.Changes {
			if change.Op == "add" {
				applied[change.Claim.ClaimID] = true
			} else {
				delete(applied, change.Claim.ClaimID)
			}
		}
		if since = page.Position; len(page.Changes) == 0 {
			break
		}
	}
	if !maps.Equal(full, applied) {
		c.t.Errorf("%s: the feed has %d claims, and its changes make %d, or others", tn.namespace, len(full), len(applied))
	}
}

// shortLog is a log that ends at a position, as far as a reader is shown.
type shortLog struct {
	eventstore.Log
	end uint64
}

var errPastEnd = errors.New("past the end")

func (s shortLog) ReadAll(ctx context.Context, kind domain.Kind, after uint64, f func(eventstore.Record) error) error {
	err := s.Log.ReadAll(ctx, kind, after, func(r eventstore.Record) error {
		if r.Position > s.end {
			return errPastEnd
		}
		return f(r)
	})
	if errors.Is(err, errPastEnd) {
		return nil
	}
	return err
}

// models makes sure that each read model comes to what was answered, and then is, row by
// row, what another makes of the log up to the same commit.
func (c *checker) models(stream eventstore.Log) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	pools := [2]*pgxpool.Pool{}
	for i, url := range []string{c.database, pgtest.New(c.t)} {
		pool, err := pgdb.Open(ctx, url, pgdb.Options{MaxConns: 2})
		if err != nil {
			c.t.Fatal(err)
		}
		defer pool.Close()
		pools[i] = pool
	}
	if err := projections.Setup(ctx, pools[1]); err != nil {
		c.t.Fatal(err)
	}
	for _, model := range projections.Models() {
		var served modelRows
		eventually(c.t, patience, func() (err error) {
			served, err = readModel(ctx, pools[0], model.Name)
			if last := c.traffic.position(); err == nil && served.position < last {
				err = fmt.Errorf("the read model %s is at %d; position %d was answered", model.Name, served.position, last)
			}
			return err
		})
		projector := projections.NewProjector(shortLog{stream, served.position}, pools[1], model, nil)
		for n := 1; n > 0; {
			var err error
			if n, err = projector.Step(ctx); err != nil {
				c.t.Fatal(err)
			}
		}
		projector.Close()
		built, err := readModel(ctx, pools[1], model.Name)
		if err != nil {
			c.t.Fatal(err)
		}
		if d := served.differs(built); d != "" {
			c.t.Errorf("the read model %s at %d is not what the log makes: %s", model.Name, served.position, d)
		}
	}
}

// modelRows are all rows of a read model at one moment.
type modelRows struct {
	position uint64
	hash     []byte
	rows     []string // with their table in front
}

func (m modelRows) differs(o modelRows) string {
	if m.position != o.position || string(m.hash) != string(o.hash) {
		return fmt.Sprintf("checkpoints %d %x and %d %x", m.position, m.hash, o.position, o.hash)
	}
	for i := range min(len(m.rows), len(o.rows)) {
		if m.rows[i] != o.rows[i] {
			return m.rows[i] + " instead of " + o.rows[i]
		}
	}
	if len(m.rows) != len(o.rows) {
		return fmt.Sprintf("%d rows instead of %d", len(m.rows), len(o.rows))
	}
	return ""
}

func readModel(ctx context.Context, pool *pgxpool.Pool, model string) (m modelRows, err error) {
	err = pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		var schema string
		err := tx.QueryRow(ctx, `SELECT schema_name, position, hash FROM projections.generations WHERE model = $1 AND serving`, model).
			Scan(&schema, &m.position, &m.hash)
		if err != nil {
			return err
		}
		found, _ := tx.Query(ctx, "SELECT tablename FROM pg_tables WHERE schemaname = $1 ORDER BY 1", schema)
		tables, err := pgx.CollectRows(found, pgx.RowTo[string])
		if err != nil {
			return err
		}
		for _, table := range tables {
			found, _ := tx.Query(ctx, "SELECT x::text FROM "+pgx.Identifier{schema, table}.Sanitize()+` x ORDER BY x::text COLLATE "C"`)
			rows, err := pgx.CollectRows(found, pgx.RowTo[string])
			if err != nil {
				return err
			}
			for _, row := range rows {
				m.rows = append(m.rows, table+" "+row)
			}
		}
		return nil
	})
	return m, err
}
