package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

const (
	cacheClients  = 8
	cacheCommands = 1500
	cacheOwners   = 4 // each gives commands of its own, all at once
)

// cache is a gateway's copy of a service's approved set.
type cache struct {
	s        *service
	a        *agent
	rand     *rand.Rand
	commands *atomic.Int64
	claims   map[string]bool
	position uint64 // up to where all changes were applied
	whole    uint64 // from where on the copy is one of a single moment
	claimed  map[uint64]string
	resyncs  int
	gone     int // times that it was told to
}

func setOf(claims map[string]bool) string {
	return strings.Join(slices.Sorted(maps.Keys(claims)), " ")
}

// claim notes what the cache takes for the set at its position.
func (c *cache) claim() {
	if c.position >= c.whole {
		c.claimed[c.position] = setOf(c.claims)
	}
}

func (c *cache) number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		c.a.t.Fatal(err)
	}
	return n
}

// resync reads the whole set, page by page while it changes.
func (c *cache) resync() {
	c.resyncs++
	c.claims, c.position, c.whole = map[string]bool{}, 0, 0
	limit := 1 + c.rand.IntN(8)
	query := fmt.Sprintf("?limit=%d", limit)
	for {
		r := c.s.feed(c.a, query)
		for _, id := range fed(r) {
			c.claims[id] = true
		}
		if c.position == 0 {
			c.position = r.position()
		}
		c.whole = r.position()
		next := r.text("pagination.next_cursor")
		if next == "" {
			c.claim()
			return
		}
		query = fmt.Sprintf("?limit=%d&cursor=%s", limit, next)
	}
}

func (c *cache) apply(p changed) {
	for _, change := range p.Changes {
		if change.Op == "add" {
			c.claims[change.Claim.ID] = true
		} else {
			delete(c.claims, change.Claim.ID)
		}
	}
}

// poll asks for changes, now and then for some that it has applied before.
func (c *cache) poll(wait int) {
	from := c.position
	if c.rand.IntN(4) == 0 {
		from -= min(from, c.rand.Uint64N(20))
	}
	r := c.s.changes(c.a, since(from)+fmt.Sprintf("&wait=%d", wait))
	if r.status == 410 {
		c.gone++
		c.resync()
		return
	}
	p := changesOf(r)
	c.apply(p)
	// A page that began earlier may end earlier too: then the copy is of two moments.
	c.whole = max(c.whole, c.position)
	c.position = c.number(p.Position)
	c.claim()
}

// listen streams for some events, and drops the connection wherever that is.
func (c *cache) listen() {
	r := c.s.node.prepare(c.a.t, "GET", changesPath+since(0), nil, []option{
		bearer(c.s.key), signedBy(c.a.Signer), set("Accept", "text/event-stream"), set("Last-Event-ID", fmt.Sprint(c.position)),
	})
	e, status := open(c.a.t, c.s.node, r)
	if status == 410 {
		c.gone++
		c.resync()
		return
	}
	defer e.body.Close()
	for range 1 + c.rand.IntN(12) {
		got, ok := e.next()
		if !ok {
			return
		}
		if got.kind == "heartbeat" {
			var at struct{ Position string }
			if err := json.Unmarshal([]byte(got.data), &at); err != nil {
				c.a.t.Fatal(err)
			}
			got.id = at.Position
		} else {
			var p changed
			if err := json.Unmarshal([]byte(`{"changes": [`+got.data+`]}`), &p); err != nil {
				c.a.t.Fatal(err)
			}
			c.apply(p)
		}
		if got.id != "" {
			c.position = c.number(got.id)
			c.claim()
		}
	}
}

// run does one thing after another until the commands are over, and then catches up.
func (c *cache) run(last func() uint64) {
	c.resync()
	for c.commands.Load() < cacheCommands {
		switch c.rand.IntN(12) {
		case 0:
			c.resync()
		case 1, 2, 3:
			c.poll(0)
		case 4, 5:
			c.poll(1)
		case 6: // it lags behind
			until := min(cacheCommands, c.commands.Load()+100)
			eventually(c.a.t, "other commands", func() bool { return c.commands.Load() >= until })
		default:
			c.listen()
		}
	}
	for end := last(); c.position < end || c.position < c.whole; {
		c.poll(0)
	}
}

// tenantOfCaches gives random commands about its own namespace's claims.
type tenantOfCaches struct {
	o      *owner
	rand   *rand.Rand
	to     []*service
	agents []*agent
	claims []string
	active bool
}

func (w *tenantOfCaches) command() {
	switch n := w.rand.IntN(100); {
	case n < 40 || len(w.claims) == 0:
		if !w.active {
			w.activity()
		}
		r := w.to[w.rand.IntN(len(w.to))].submit(w.agents[w.rand.IntN(len(w.agents))])
		if id := r.text("claim_id"); id != "" {
			w.claims = append(w.claims, id)
		}
	case n < 95:
		recent := w.claims[max(0, len(w.claims)-20):]
		verb := []string{"approve", "approve", "approve", "revoke", "expire"}[w.rand.IntN(5)]
		w.o.decide(recent[w.rand.IntN(len(recent))], verb, nil) // many are refused
	default:
		w.activity()
	}
}

func (w *tenantOfCaches) activity() {
	w.active = !w.active
	if w.active {
		w.o.operator(w.o.namespace, domain.ActivateNamespace{})
	} else {
		w.o.operator(w.o.namespace, domain.DeactivateNamespace{})
	}
}

// TestCaches lets caches connect, drop, resume, lag and resync while the ledger is written,
// and compares each with the log at every position that it claimed.
func TestCaches(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	provider := n.owner(t, "provider")
	services := []*service{provider.service("weather"), provider.service("news")}
	services[0].ready(l.agent(t, "provider"))
	var commands atomic.Int64
	var writing, reading sync.WaitGroup
	for i := range cacheOwners {
		w := &tenantOfCaches{o: n.owner(t, fmt.Sprint("tenant-", i)), rand: rand.New(rand.NewPCG(seed, uint64(i))), to: services, active: true}
		w.o.policy(map[string]any{"max_pending": 1000})
		for range 10 {
			w.agents = append(w.agents, l.agent(t, w.o.namespace))
		}
		writing.Go(func() {
			for range cacheCommands/cacheOwners - 1 {
				w.command()
				if done := commands.Add(1); done%100 == 0 {
					l.forget(l.last() - 40)
				}
			}
		})
	}
	caches := make([]*cache, cacheClients)
	for i := range caches {
		caches[i] = &cache{s: services[i%2], a: l.agent(t, "provider"), rand: rand.New(rand.NewPCG(seed, 100+uint64(i))), commands: &commands, claimed: map[uint64]string{}}
		reading.Go(func() { caches[i].run(l.last) })
	}
	writing.Wait()
	commands.Store(cacheCommands)
	reading.Wait()

	truth := l.approvedSets()
	for i, c := range caches {
		if end := setOf(c.claims); c.position != l.last() || end != truth.at(c.s.id, c.position) {
			t.Errorf("cache %d ends at %d with %s", i, c.position, end)
		}
		followed := setOf(c.claims)
		if c.resync(); setOf(c.claims) != followed {
			t.Errorf("cache %d has\n%s, a full read\n%s", i, followed, setOf(c.claims))
		}
		wrong := 0
		for position, got := range c.claimed {
			if want := truth.at(c.s.id, position); got != want {
				if wrong++; wrong == 1 {
					t.Errorf("cache %d at %d has\n%s, want\n%s", i, position, got, want)
				}
			}
		}
		t.Logf("cache %d claimed %d positions, %d of them wrong, and read all %d times, %d of them because it had to", i, len(c.claimed), wrong, c.resyncs, c.gone)
	}
}

// approvedSets are what the log says of each service's approved set at each position.
type approvedSets map[string][]string

func (a approvedSets) at(serviceID string, position uint64) string {
	sets := a[serviceID]
	if position >= uint64(len(sets)) {
		return ""
	}
	return sets[position]
}

// approvedSets folds the log in the simplest way there is.
func (l *ledger) approvedSets() approvedSets {
	l.t.Helper()
	namespace, service := map[string]string{}, map[string]string{} // of claims
	approved, inactive := map[string]bool{}, map[string]bool{}
	result := approvedSets{}
	err := l.log.ReadAll(l.t.Context(), "", 0, func(r eventstore.Record) error {
		for _, e := range r.Commit.Events {
			switch p := e.Payload.(type) {
			case domain.ClaimSubmitted:
				namespace[p.ClaimID], service[p.ClaimID] = r.Commit.Namespace, p.ServiceID
			case domain.ClaimApproved:
				approved[p.ClaimID] = true
			case domain.ClaimRejected, domain.ClaimRevoked, domain.ClaimExpired:
				delete(approved, domain.ClaimOf(p))
			case domain.NamespaceDeactivated:
				inactive[r.Commit.Namespace] = true
			case domain.NamespaceActivated:
				delete(inactive, r.Commit.Namespace)
			case domain.ServiceCreated:
				result[p.ServiceID] = nil
			}
		}
		for id, sets := range result {
			set := map[string]bool{}
			for claim := range approved {
				if service[claim] == id && !inactive[namespace[claim]] {
					set[claim] = true
				}
			}
			for uint64(len(sets)) < r.Position {
				sets = append(sets, "")
			}
			result[id] = append(sets, setOf(set))
		}
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return result
}
