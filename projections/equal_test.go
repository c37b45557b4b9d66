package projections

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections/pgdb"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// patienceOfTests bounds what takes milliseconds on an idle machine.
const patienceOfTests = time.Minute

func openPool(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgdb.Open(context.Background(), url, pgdb.Options{MaxConns: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// newPool is a pool on a fresh database with the read models set up.
func newPool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool := openPool(t, pgtest.New(t))
	if err := Setup(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	return pool
}

func newReader(t testing.TB, pool *pgxpool.Pool) *Reader {
	r := NewReader(pool)
	t.Cleanup(r.Close)
	return r
}

func newProjector(t testing.TB, log eventstore.Log, pool *pgxpool.Pool, model string) *Projector {
	t.Helper()
	m, err := modelByName(model)
	if err != nil {
		t.Fatal(err)
	}
	p := NewProjector(log, pool, m, nil)
	t.Cleanup(p.Close)
	return p
}

// catchUp applies all that is in the log to all models.
func catchUp(t testing.TB, log eventstore.Log, pool *pgxpool.Pool) {
	t.Helper()
	for _, m := range Models() {
		p := newProjector(t, log, pool, m.Name)
		for {
			n, err := p.Step(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
		}
		p.Close()
	}
}

// cut is a log that ends at a position, for readers that read it whole.
type cut struct {
	eventstore.Log
	end uint64
}

func (c *cut) ReadAll(ctx context.Context, kind domain.Kind, after uint64, f func(eventstore.Record) error) error {
	err := c.Log.ReadAll(ctx, kind, after, func(rec eventstore.Record) error {
		if rec.Position > c.end {
			return errFull
		}
		return f(rec)
	})
	if err == errFull {
		return nil
	}
	return err
}

// dump is every row of every table of the models, and the checkpoints.
func dump(t testing.TB, pool *pgxpool.Pool) string {
	t.Helper()
	ctx := context.Background()
	var out strings.Builder
	for _, m := range Models() {
		g, err := serving(ctx, pool, m.Name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "== %s at %d %s\n", m.Name, g.position, g.hash)
		rows, _ := pool.Query(ctx, "SELECT tablename FROM pg_tables WHERE schemaname = $1 ORDER BY 1", g.schema)
		tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		for _, table := range tables {
			rows, _ := pool.Query(ctx, in(g.schema, "SELECT x::text FROM {schema}."+table+` x ORDER BY x::text COLLATE "C"`))
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&out, "-- %s\n%s\n", table, strings.Join(lines, "\n"))
		}
	}
	return out.String()
}

// firstDifference is where two dumps differ.
func firstDifference(a, b string) string {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(as), len(bs)) {
		if as[i] != bs[i] {
			return fmt.Sprintf("line %d:\n%s\n%s", i, as[i], bs[i])
		}
	}
	return fmt.Sprintf("%d and %d lines", len(as), len(bs))
}

// checkAgainst compares everything that readers can see with the fold.
func (f *fold) checkAgainst(t testing.TB, r *Reader, position uint64) {
	t.Helper()
	ctx := context.Background()
	check := func(what string, at At, err error, got, want any) {
		t.Helper()
		switch {
		case err != nil:
			t.Fatalf("%s: %v", what, err)
		case at.Position != position:
			t.Fatalf("%s: at position %d instead of %d", what, at.Position, position)
		case show(got) != show(want):
			t.Fatalf("%s at position %d:\n got %s\nwant %s", what, position, show(got), show(want))
		}
	}
	for id, want := range f.claims {
		got, at, err := r.Claim(ctx, id)
		check("claim", at, err, got, want)
		events, at, err := r.History(ctx, HistoryQuery{ClaimID: id, Limit: 10})
		check("history", at, err, events.Events, f.history[id])
	}
	for name, want := range f.namespaces {
		got, at, err := r.Namespace(ctx, name)
		check("namespace", at, err, got, want)
		f.checkLists(t, r, name, check)
		events, at, err := r.History(ctx, HistoryQuery{Namespace: name, Limit: MaxPage})
		check("history of the namespace", at, err, events.Events, f.spaces[name])
		f.checkRegistry(t, r, name, check)
	}
	f.checkFeeds(t, r, check)

	var events int
	g, err := serving(ctx, r.pool, HistoryModel)
	if err == nil {
		err = r.pool.QueryRow(ctx, in(g.schema, "SELECT count(*) FROM {schema}.events")).Scan(&events)
	}
	if err != nil || events != f.events {
		t.Fatalf("%d events instead of %d (%v)", events, f.events, err)
	}
}

type checker func(what string, at At, err error, got, want any)

func (f *fold) checkLists(t testing.TB, r *Reader, name string, check checker) {
	t.Helper()
	for _, status := range append([]domain.Status{""}, domain.Statuses...) {
		for _, slug := range []string{"", "slug-1"} {
			want := []Claim{}
			for _, id := range slices.Backward(f.newest) {
				c := f.claims[id]
				if c.Namespace == name && (status == "" || c.Status == status) && (slug == "" || c.Service == slug) {
					want = append(want, *c)
				}
			}
			got, at, err := r.Claims(context.Background(), ClaimsQuery{Namespace: name, Status: status, Service: slug, Limit: MaxPage})
			check(fmt.Sprintf("claims of %s, %q, %q", name, status, slug), at, err, got, ClaimsPage{want, len(want)})
		}
	}
}

func (f *fold) checkRegistry(t testing.TB, r *Reader, name string, check checker) {
	t.Helper()
	ctx := context.Background()
	services := []Service{}
	for _, s := range f.services {
		if s.Namespace != name {
			continue
		}
		want := *s
		keys, webhooks := []ServiceKey{}, []Webhook{}
		for _, k := range f.keys {
			if k.ServiceID == s.ID {
				keys = append(keys, *k)
				if k.Active {
					want.ActiveKeyCount++
				}
			}
		}
		for _, w := range f.webhooks {
			if w.ServiceID == s.ID {
				webhooks = append(webhooks, *w)
			}
		}
		services = append(services, want)
		one, at, err := r.Service(ctx, name, s.ID)
		check("service", at, err, one, want)
		gotKeys, at, err := r.ServiceKeys(ctx, name, s.ID, MaxPage, 0)
		check("keys", at, err, gotKeys, ServiceKeysPage{keys, len(keys)})
		gotWebhooks, at, err := r.Webhooks(ctx, name, s.ID)
		check("webhooks", at, err, gotWebhooks, webhooks)
	}
	got, at, err := r.Services(ctx, name, MaxPage, 0)
	check("services", at, err, got, ServicesPage{services, len(services)})

	managers := []ManagementKey{}
	for _, k := range f.managers {
		if k.namespace == name {
			managers = append(managers, k.ManagementKey)
		}
	}
	gotManagers, at, err := r.ManagementKeys(ctx, name)
	check("management keys", at, err, gotManagers, managers)
}

func (f *fold) checkFeeds(t testing.TB, r *Reader, check checker) {
	t.Helper()
	ctx := context.Background()
	services := map[string]bool{}
	for _, c := range f.claims {
		services[c.ServiceID] = true
	}
	for service := range services {
		want := f.feed(service)
		page := FeedPage{Claims: want, Total: len(want), Revision: f.revisions[service]}
		got, at, err := r.Feed(ctx, FeedQuery{ServiceID: service, Limit: MaxPage})
		check("feed", at, err, got, page)
		revision, at, err := r.FeedRevision(ctx, service)
		check("revision", at, err, revision, page.Revision)
	}
}
