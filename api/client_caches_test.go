package api_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/maphash"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claimledger/claimledger/api/client"
	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/domain"
)

// How much TestGoCaches does. `make caches` runs it in full; a seed that a run has printed
// makes the same choices again.
var (
	goCacheCommands = flag.Int("cache-commands", 600, "commands of TestGoCaches")
	goCacheClients  = flag.Int("cache-clients", 20, "caches of TestGoCaches")
	goCacheSeed     = flag.Uint64("cache-seed", 0, "of TestGoCaches; 0: a new one")
)

// progress counts commands, for those who wait until some more were given.
type progress struct {
	mu    sync.Mutex
	moved sync.Cond
	done  int
	over  bool
}

func newProgress() *progress {
	p := &progress{}
	p.moved.L = &p.mu
	return p
}

func (p *progress) step() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	p.moved.Broadcast()
	return p.done
}

func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	p.moved.Broadcast()
}

func (p *progress) ended() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.over
}

// wait waits for so many more commands, or for the end of all.
func (p *progress) wait(more int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for until := p.done + more; p.done < until && !p.over; {
		p.moved.Wait()
	}
}

// badNetwork is between a cache and the nodes: it leads to any of them, breaks, delays,
// refuses, cuts streams off, and tells again what was told before, until the commands end.
type badNetwork struct {
	nodes    []*node
	progress *progress

	mu   sync.Mutex
	rand *rand.Rand
}

func (b *badNetwork) n(n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rand.IntN(n)
}

var errBroken = errors.New("the test broke the connection")

func (b *badNetwork) RoundTrip(r *http.Request) (*http.Response, error) {
	b.mu.Lock()
	to := b.nodes[b.rand.IntN(len(b.nodes))]
	b.mu.Unlock()
	r = r.Clone(r.Context())
	r.URL.Host = to.addr
	send := to.client.Transport.RoundTrip
	if b.progress.ended() {
		return send(r)
	}
	stream := r.Header.Get("Accept") == "text/event-stream"
	switch b.n(12) {
	case 0:
		return nil, errBroken
	case 1: // the answer is lost
		if w, err := send(r); err == nil {
			w.Body.Close()
		}
		return nil, errBroken
	case 2: // it lags
		b.progress.wait(50 + b.n(300))
	case 3:
		if stream {
			return &http.Response{StatusCode: http.StatusBadGateway, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("no")), Request: r}, nil
		}
	case 4, 5:
		if at := r.Header.Get("Last-Event-ID"); at != "" { // once more from before
			var from uint64
			fmt.Sscan(at, &from)
			r.Header.Set("Last-Event-ID", fmt.Sprint(from-min(from, uint64(b.n(20)))))
		}
	}
	w, err := send(r)
	if err == nil && stream && b.n(3) > 0 {
		w.Body = &cutOff{ReadCloser: w.Body, left: 1 + b.n(6000)}
	}
	return w, err
}

// cutOff ends a body after some bytes, wherever that is.
type cutOff struct {
	io.ReadCloser
	left int
}

func (c *cutOff) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errBroken
	}
	n, err := c.ReadCloser.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// A cache outlives the ledger's restart: it polls and streams from the process that comes
// next, without reading everything again.
func TestGoCacheOutlivesANode(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	s := o.service("weather")
	a := l.agent(t, "acme")
	s.ready(a)
	one := s.approved(o, a)
	network := &badNetwork{nodes: []*node{n}, progress: newProgress(), rand: rand.New(rand.NewPCG(1, 1))}
	network.progress.end() // it is a good one
	c, err := client.New(client.Config{URL: n.public, Signer: a.Signer, ServiceKey: s.key, HTTP: &http.Client{Transport: network}})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := client.StartCache(c, client.CacheConfig{Reconnect: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	eventually(t, "the cache to know", func() bool { return cache.IsApproved("acme", a.public) })
	n.stop()
	next := l.start()
	network.mu.Lock()
	network.nodes = []*node{next}
	network.mu.Unlock()
	b := l.agent(t, "acme")
	o.on(next).decide(one, "revoke", nil).want(200)
	two := (&service{owner: o.on(next), id: s.id, slug: s.slug, key: s.key}).approved(o.on(next), b)
	eventually(t, "the cache to follow", func() bool { return cache.IsApproved("acme", b.public) && !cache.IsApproved("acme", a.public) })
	if claim, ok := cache.Lookup("acme", b.public); !ok || claim.ClaimID != two || cache.Status().Syncs != 1 {
		t.Errorf("it has %+v: %+v", claim, cache.Status())
	}
	eventually(t, "a stream", func() bool { return cache.Status().Following == "stream" })
}

// watched is a cache with what it took for the set at each position that it claimed.
type watched struct {
	*client.Cache
	s       *service
	mu      sync.Mutex
	claimed map[uint64]uint64 // hashes of sets, by position
	torn    []uint64          // positions with two sets
	events  map[client.CacheEventKind]int
	started int
}

var setSeed = maphash.MakeSeed()

func hashOf(set string) uint64 { return maphash.String(setSeed, set) }

func setIn(c *client.Cache) string {
	var ids []string
	for _, claim := range c.Claims() {
		ids = append(ids, claim.ClaimID)
	}
	return strings.Join(ids, " ")
}

// observe runs between two things that the cache does.
func (w *watched) observe(cache func() *client.Cache) func(client.CacheEvent) {
	return func(e client.CacheEvent) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events[e.Kind]++
		if e.Kind != client.CacheSynced && e.Kind != client.CacheAdvanced {
			return
		}
		got := hashOf(setIn(cache()))
		if before, ok := w.claimed[e.Position]; ok && before != got {
			w.torn = append(w.torn, e.Position)
		}
		w.claimed[e.Position] = got
	}
}

// start starts the cache, for the first time or after it was closed.
func (w *watched) start(t *testing.T, network *badNetwork) {
	t.Helper()
	c, err := client.New(client.Config{
		URL: w.s.node.public, Signer: w.s.ledger.agent(t, "provider").Signer, ServiceKey: w.s.key, HTTP: &http.Client{Transport: network},
	})
	if err != nil {
		t.Fatal(err)
	}
	self := make(chan *client.Cache, 1)
	cache := sync.OnceValue(func() *client.Cache { return <-self })
	made, err := client.StartCache(c, client.CacheConfig{
		PageSize: 1 + network.n(8), PollOnly: network.n(5) == 0, Reconnect: time.Millisecond, Observe: w.observe(cache),
	})
	if err != nil {
		t.Fatal(err)
	}
	self <- made
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Cache = made
	w.started++
}

// live restarts the cache now and then, until the commands end.
func (w *watched) live(t *testing.T, network *badNetwork) {
	w.start(t, network)
	for {
		network.progress.wait(100 + network.n(min(1500, *goCacheCommands)))
		if network.progress.ended() {
			return
		}
		w.Close()
		w.start(t, network)
	}
}

// catchUp waits until the cache has come to a position. The bad network may have left it in
// the longest of its pauses, and others have to catch up at the same time.
func (w *watched) catchUp(t *testing.T, i int, last uint64) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(5 * patience); w.Status().Position < last; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("cache %d does not catch up with %d: %+v", i, last, w.Status())
		}
	}
}

// commander gives random commands about its own namespace's claims, past HTTP.
type commander struct {
	*node
	namespace string
	rand      *rand.Rand
	to        []*service
	agents    []string
	claims    []string
	active    bool
}

func (w *commander) command(ctx context.Context) error {
	n := w.rand.IntN(100)
	if n >= 95 || !w.active && n < 40 {
		w.active = !w.active
		if w.active {
			w.operator(w.namespace, domain.ActivateNamespace{})
		} else {
			w.operator(w.namespace, domain.DeactivateNamespace{})
		}
		return nil
	}
	var cmd domain.ClaimCommand
	if n < 40 || len(w.claims) == 0 {
		to := w.to[w.rand.IntN(len(w.to))]
		id := "claim_" + strings.ToLower(newID())
		cmd = domain.Submit{
			ClaimID: id, ServiceID: to.id, Service: to.slug, ServiceNamespace: "provider", PublicKey: w.agents[w.rand.IntN(len(w.agents))],
			AgentIP: "203.0.113.45", Nonce: newID(), Signer: w.namespace, SignatureNonce: newID(),
		}
		w.claims = append(w.claims, id)
	} else {
		recent := w.claims[max(0, len(w.claims)-20):]
		id := recent[w.rand.IntN(len(recent))]
		cmd = []domain.ClaimCommand{
			domain.Approve{ClaimID: id}, domain.Approve{ClaimID: id}, domain.Approve{ClaimID: id}, domain.Revoke{ClaimID: id}, domain.Expire{ClaimID: id},
		}[w.rand.IntN(5)]
	}
	meta := commands.Meta{Actor: domain.Actor{Kind: domain.ActorOperator}, Ref: domain.CommandRef{Name: "test"}}
	_, _, err := w.x.Claims(ctx, w.namespace, cmd, meta)
	for domain.ErrorCode(err) == domain.CodeServiceUnavailable { // a machine that is too busy for a moment
		_, _, err = w.x.Claims(ctx, w.namespace, cmd, meta)
	}
	switch domain.ErrorCode(err) {
	case "", domain.CodeConflict, domain.CodeNotFound, domain.CodeForbidden: // many are refused
		return nil
	}
	return err
}

// TestGoCaches lets client.Caches connect, break off, resume, lag, begin anew and resync
// over a bad network to two nodes while the ledger is written, and compares each with the
// log at every position that it claimed, and with a full read at the end.
func TestGoCaches(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	nodes := []*node{n, l.start()}
	seed := *goCacheSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-cache-seed %d -cache-commands %d -cache-clients %d", seed, *goCacheCommands, *goCacheClients)
	provider := n.owner(t, "provider")
	services := []*service{provider.service("weather"), provider.service("news")}
	services[0].ready(l.agent(t, "provider"))
	p := newProgress()
	var writing, reading sync.WaitGroup
	for i := range cacheOwners {
		o := n.owner(t, fmt.Sprint("tenant-", i))
		o.policy(map[string]any{"max_pending": 1000})
		w := &commander{node: n, namespace: o.namespace, rand: rand.New(rand.NewPCG(seed, uint64(i))), to: services, active: true}
		for range 10 {
			w.agents = append(w.agents, l.agent(t, o.namespace).public)
		}
		writing.Go(func() {
			for range *goCacheCommands / cacheOwners {
				if err := w.command(t.Context()); err != nil {
					t.Error(err)
				}
				if p.step()%50 == 0 {
					l.forget(l.last() - 40)
				}
			}
		})
	}
	caches, networks := make([]*watched, *goCacheClients), make([]*badNetwork, *goCacheClients)
	for i := range caches {
		caches[i] = &watched{s: services[i%2], claimed: map[uint64]uint64{}, events: map[client.CacheEventKind]int{}}
		networks[i] = &badNetwork{nodes: nodes, progress: p, rand: rand.New(rand.NewPCG(seed, 100+uint64(i)))}
		reading.Go(func() { caches[i].live(t, networks[i]) })
	}
	writing.Wait()
	p.end()
	reading.Wait()

	truth, last := l.approvedSets(), l.last()
	for i, c := range caches {
		c.catchUp(t, i, last)
		status := c.Status()
		c.Close()
		whole, err := client.New(client.Config{
			URL: n.public, Signer: l.agent(t, "provider").Signer, ServiceKey: c.s.key, HTTP: &http.Client{Transport: networks[i]},
		})
		if err != nil {
			t.Fatal(err)
		}
		full := map[string]bool{}
		for _, claim := range collect(t, whole.AllFeed(t.Context(), client.FeedQuery{}, client.AtLeast(last))) {
			full[claim.ClaimID] = true
		}
		if got := setIn(c.Cache); got != truth.at(c.s.id, status.Position) || got != setOf(full) {
			t.Errorf("cache %d ends at %d with\n%s, a full read with\n%s, the log with\n%s", i, status.Position, got, setOf(full), truth.at(c.s.id, status.Position))
		}
		wrong := 0
		for position, got := range c.claimed {
			if got != hashOf(truth.at(c.s.id, position)) {
				wrong++
			}
		}
		if wrong > 0 || len(c.torn) > 0 {
			t.Errorf("cache %d was wrong at %d of %d positions that it claimed, and had two sets at %d", i, wrong, len(c.claimed), len(c.torn))
		}
		t.Logf("cache %d was started %d times and claimed %d positions: %v", i, c.started, len(c.claimed), c.events)
	}
}
