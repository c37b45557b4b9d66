package projections

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// feedCache is what a client keeps: it started with a full read, or with nothing before
// the first commit.
type feedCache struct {
	position uint64
	claims   map[string]FeedClaim
}

func (c *feedCache) apply(p FeedChangesPage) {
	for _, change := range p.Changes {
		if change.Added {
			c.claims[change.Claim.ClaimID] = change.Claim
		} else {
			delete(c.claims, change.Claim.ClaimID)
		}
	}
	c.position = p.Position
}

func (c *feedCache) follow(t *testing.T, r *Reader, service string) {
	t.Helper()
	for more := true; more; {
		p, _, err := r.FeedChanges(t.Context(), service, c.position)
		if err != nil {
			t.Fatal(err)
		}
		for i, change := range p.Changes {
			if change.Position <= c.position || change.Position > p.Position || i > 0 && change.Position < p.Changes[i-1].Position {
				t.Fatalf("since %d: change %d is at %d, the page's end at %d", c.position, i, change.Position, p.Position)
			}
		}
		before := c.position
		c.apply(p)
		c.position = before
		c.apply(p) // twice does no harm
		more = p.More
	}
}

func (c *feedCache) equals(t *testing.T, want []FeedClaim) {
	t.Helper()
	for _, claim := range want {
		if got := c.claims[claim.ClaimID]; show(got) != show(claim) {
			t.Fatalf("at %d the cache has\n%s, want\n%s", c.position, show(got), show(claim))
		}
	}
	if len(c.claims) != len(want) {
		t.Fatalf("at %d the cache has %d claims, want %d", c.position, len(c.claims), len(want))
	}
}

func feedServices(f *fold) map[string]bool {
	services := map[string]bool{}
	for _, c := range f.claims {
		services[c.ServiceID] = true
	}
	return services
}

// TestFeedChanges follows every service from the start and from full reads on the way.
func TestFeedChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 7)
	w.steps(500)
	pool := newPool(t)
	reader := newReader(t, pool)
	log := &cut{Log: w.log}
	caches := map[string][]*feedCache{}
	changes := 0
	for log.end < w.last() {
		before := log.end
		log.end = min(w.last(), log.end+1+w.rand.Uint64N(40))
		catchUp(t, log, pool)
		f := foldLog(t, w.log, log.end)
		for service := range feedServices(f) {
			full := &feedCache{log.end, map[string]FeedClaim{}}
			for _, claim := range f.feed(service) {
				full.claims[claim.ClaimID] = claim
			}
			caches[service] = append(caches[service], full)
			if len(caches[service]) == 1 {
				caches[service] = append(caches[service], &feedCache{0, map[string]FeedClaim{}})
			}
			for _, c := range caches[service] {
				c.follow(t, reader, service)
				c.equals(t, f.feed(service))
			}
			changed, at, err := reader.FeedsChanged(t.Context(), []string{service}, before)
			if err != nil || at.Position != log.end || (len(changed) == 1) != (f.revisions[service] > before) {
				t.Fatalf("changed since %d: %v at %d, %v; the set did at %d", before, changed, at.Position, err, f.revisions[service])
			}
			changes += len(changed)
		}
	}
	if changes < 20 {
		t.Errorf("there were %d changes only", changes)
	}
}

// TestForgottenChanges keeps little, and looks at every position before and after.
func TestForgottenChanges(t *testing.T) {
	t.Parallel()
	const kept = 150
	m := Model{Name: FeedModel, Version: 1, tables: statement("feed/schema.sql"), indexes: statement("feed/indexes.sql"), apply: applyFeed(kept)}
	w := newWorld(t, 11)
	for w.last() < 2*feedTrimEvery+kept+50 {
		w.step()
	}
	whole, pieces := newPool(t), newPool(t)
	build := func(pool *pgxpool.Pool, step uint64) {
		t.Helper()
		log := &cut{Log: w.log}
		p := NewProjector(log, pool, m, nil)
		t.Cleanup(p.Close)
		for at := uint64(0); at < w.last(); {
			log.end = min(w.last(), log.end+step)
			n, err := p.Step(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			at += uint64(n)
		}
	}
	build(whole, w.last())
	build(pieces, 77)
	if a, b := dump(t, whole), dump(t, pieces); a != b {
		t.Fatal(firstDifference(a, b))
	}
	reader := newReader(t, whole)
	f := foldLog(t, w.log, w.last())
	trimmed := trimmedTo(kept, w.last())
	for service := range feedServices(f) {
		last := lastChangeUpTo(t, w.log, service, trimmed)
		for _, since := range []uint64{0, last - min(last, 1), last, last + 1, trimmed, w.last()} {
			_, _, err := reader.FeedChanges(t.Context(), service, since)
			if code := domain.ErrorCode(err); since < last && code != domain.CodeResync || since >= last && err != nil {
				t.Errorf("since %d, with the last forgotten change at %d: %v", since, last, err)
			}
		}
	}
}

// lastChangeUpTo is the position of the last change of a service's set up to another.
func lastChangeUpTo(t *testing.T, log eventstore.Log, service string, position uint64) uint64 {
	t.Helper()
	return foldLog(t, log, position).revisions[service]
}

// TestLargeCommit cuts pages between commits, and sends to a full read who would have to
// take too much at once.
func TestLargeCommit(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	reader := newReader(t, pool)
	g, err := serving(t.Context(), pool, FeedModel)
	if err != nil {
		t.Fatal(err)
	}
	fill := func(position, changes int) {
		t.Helper()
		_, err := pool.Exec(context.Background(), in(g.schema, `INSERT INTO {schema}.changes
			SELECT 'svc', $1, 0, 'claim_' || n, true, 'acme', 'key', 'mail', '', '', '', now(), NULL, $1 FROM generate_series(1, $2) n`), position, changes)
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pool.Exec(t.Context(), in(g.schema, `INSERT INTO {schema}.services VALUES ('svc', 9, 1)`)); err != nil {
		t.Fatal(err)
	}
	fill(1, feedChangesPage-1)
	fill(2, 2)
	fill(3, feedChangesPage+1)
	fill(4, MaxPage)
	fill(5, MaxPage+1)
	for _, c := range []struct {
		since    uint64
		changes  int
		position uint64
	}{{0, feedChangesPage - 1, 1}, {1, 2, 2}, {2, feedChangesPage + 1, 3}, {3, MaxPage, 4}} {
		p, _, err := reader.FeedChanges(t.Context(), "svc", c.since)
		if err != nil || len(p.Changes) != c.changes || p.Position != c.position || !p.More {
			t.Errorf("since %d: %d changes up to %d, more %t, %v; want %d up to %d", c.since, len(p.Changes), p.Position, p.More, err, c.changes, c.position)
		}
	}
	if _, _, err := reader.FeedChanges(t.Context(), "svc", 4); domain.ErrorCode(err) != domain.CodeResync {
		t.Errorf("a commit of %d changes: %v", MaxPage+1, err)
	}
}
