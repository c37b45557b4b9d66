package client

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/claimledger/claimledger/domain"
)

const (
	// defaultStaleAfter is what the ledger's own nodes allow themselves.
	defaultStaleAfter = 30 * time.Second
	// defaultMargin is what clocks that are kept by NTP may differ by.
	defaultMargin    = time.Second
	defaultPageSize  = 1000
	maxPageSize      = 2000
	defaultReconnect = time.Second
)

// CacheConfig is how a Cache goes about it. The zero value is good.
type CacheConfig struct {
	// StaleAfter is for how long the cache answers from what it could not refresh; 0: 30 s.
	// After that nobody is approved until it could. What the ledger's node may be behind by
	// itself (its --stale-after) counts here while a stream is open, which tells it, and
	// comes on top while the cache polls; below 15 s, for which heartbeats are too rare, it
	// always does. What an answer to a poll takes on its way counts too. A
	// heartbeat counts from when it comes: a network that holds it back hides that, until
	// after 25 s of silence the stream is given up. PollOnly is for who cannot have that.
	StaleAfter time.Duration
	// Margin is how much sooner than it says a claim ends here, because clocks differ; 0:
	// 1 s. This clock being set back makes no ended claim good again.
	Margin time.Duration
	// PageSize of a full read; 0: 1,000.
	PageSize int
	// PollOnly never opens a stream: for networks that are known to let none pass. Where a
	// stream breaks or does not pass, the cache polls meanwhile anyway.
	PollOnly bool
	// Reconnect is about how long the cache waits after the first failure; 0: 1 s. The wait
	// doubles with each failure that follows, and is spread at random.
	Reconnect time.Duration

	// Observe is told what happens, one thing after another; nil: nobody. It must return
	// soon, and may call the cache's methods, but for Close.
	Observe func(CacheEvent)
	Logger  *slog.Logger     // nil: nothing is logged
	Now     func() time.Time // nil: the system's clock
}

// CacheEventKind says what happened.
type CacheEventKind string

// What happens to a cache.
const (
	CacheSynced    CacheEventKind = "synced"    // a full read is done, and what changed during it
	CacheAdvanced  CacheEventKind = "advanced"  // it equals a full read at a later Position
	CacheStreaming CacheEventKind = "streaming" // a stream is open
	CachePolling   CacheEventKind = "polling"   // it polls until a stream is opened again
	CacheResync    CacheEventKind = "resync"    // what it missed is not kept: it reads everything anew
	CacheTrouble   CacheEventKind = "trouble"   // Err; it goes on
)

// CacheEvent is what happened, for logs and metrics.
type CacheEvent struct {
	Kind           CacheEventKind
	Position       uint64
	Added, Removed int // claims, since the event before
	Err            error
}

// Cache knows in memory which agents are approved on one service: that of its client's
// service key. It begins with a full read and follows the changes. IsApproved is false for
// whom the cache does not know to be approved, be it that it has not begun, was closed, or
// could not refresh what it knows for StaleAfter; Status tells which. It is safe for
// concurrent use.
type Cache struct {
	client *Client
	config CacheConfig
	clock  clock

	set atomic.Pointer[claimSet] // nil: it has not begun
	// known is the moment at which the set was as it is here, in the clock's reading; 0:
	// it is not known to be true.
	known atomic.Int64

	ready  chan struct{}   // closed by the first full read
	ended  <-chan struct{} // closed by Close
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	status CacheStatus
}

// CacheStatus is how a cache stands.
type CacheStatus struct {
	// Fresh tells whether the cache answers. Where it does not, nobody is approved.
	Fresh bool
	// Age is how old what it knows is; negative: it knows nothing.
	Age       time.Duration
	Position  uint64 // that it equals a full read at
	Claims    int
	Following string // how: stream, poll or nothing
	Syncs     int    // full reads
	Err       error  // what is in the way; nil: nothing
}

// How a cache follows changes.
const (
	followsNothing = "nothing"
	followsStream  = "stream"
	followsPoll    = "poll"
)

// StartCache makes a cache for the service of the client's ServiceKey, which goes on in the
// background until it is closed. The ledger need not be there yet.
func StartCache(c *Client, config CacheConfig) (*Cache, error) {
	switch {
	case c.signers.own == nil || c.config.ServiceKey == "":
		return nil, errors.New("client: a cache needs a client with a Signer and a ServiceKey")
	case config.StaleAfter < 0 || config.Margin < 0 || config.Reconnect < 0:
		return nil, errors.New("client: StaleAfter, Margin and Reconnect must not be negative")
	case config.PageSize < 0 || config.PageSize > maxPageSize:
		return nil, errors.New("client: PageSize must be from 1 to 2000")
	}
	config.StaleAfter = cmp.Or(config.StaleAfter, defaultStaleAfter)
	config.Margin = cmp.Or(config.Margin, defaultMargin)
	config.PageSize = cmp.Or(config.PageSize, defaultPageSize)
	config.Reconnect = cmp.Or(config.Reconnect, defaultReconnect)
	if config.Observe == nil {
		config.Observe = func(CacheEvent) {}
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	once := *c
	once.config.Attempts = 1 // it has a patience of its own
	once.config.ReadYourWrites = false
	cache := &Cache{client: &once, config: config, clock: newClock(config.Now), ready: make(chan struct{})}
	cache.status.Following = followsNothing
	ctx, cancel := context.WithCancel(context.Background())
	cache.cancel, cache.ended = cancel, ctx.Done()
	f := &following{Cache: cache}
	cache.done.Go(func() { f.run(ctx) })
	return cache, nil
}

// Close ends the cache and what it does. From then on nobody is approved.
func (c *Cache) Close() {
	c.cancel()
	c.done.Wait()
	c.known.Store(0)
}

// Ready waits for the first full read.
func (c *Cache) Ready(ctx context.Context) error {
	select {
	case <-c.ready:
		return nil
	case <-c.ended:
		return errors.New("client: the cache was closed")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// IsApproved tells whether an agent is approved on the service in a namespace, from memory.
// The key is written as in claims, ed25519:<base64>.
func (c *Cache) IsApproved(namespace, publicKey string) bool {
	_, approved := c.lookup(namespace, publicKey)
	return approved
}

// Lookup is IsApproved with the claim that says so.
func (c *Cache) Lookup(namespace, publicKey string) (FeedClaim, bool) {
	e, approved := c.lookup(namespace, publicKey)
	if !approved {
		return FeedClaim{}, false
	}
	return e.FeedClaim, true
}

func (c *Cache) lookup(namespace, publicKey string) (*entry, bool) {
	now, fresh := c.fresh()
	if !fresh {
		return nil, false
	}
	e := c.set.Load().find(agent{domain.CanonicalNamespace(namespace), publicKey})
	return e, e != nil && now+int64(c.config.Margin) < e.ends
}

// fresh tells whether what is known may be answered from, and the time.
func (c *Cache) fresh() (now int64, fresh bool) {
	known := c.known.Load() // before the clock is read, or a refresh in between would look like the future
	now = c.clock.read()
	age := now - known
	return now, known != 0 && age >= 0 && age <= int64(c.config.StaleAfter)
}

// Status tells how the cache stands.
func (c *Cache) Status() CacheStatus {
	c.mu.Lock()
	s := c.status
	c.mu.Unlock()
	known := c.known.Load()
	var now int64
	now, s.Fresh = c.fresh()
	s.Age = time.Duration(now - known)
	if known == 0 {
		s.Age = -1
	}
	if set := c.set.Load(); set != nil {
		s.Claims = set.len()
	}
	return s
}

// Claims are all that the cache has, in the order of their ids, whether or not it is fresh
// and they have ended by the clock.
func (c *Cache) Claims() []FeedClaim {
	set := c.set.Load()
	if set == nil {
		return nil
	}
	claims := set.all()
	slices.SortFunc(claims, func(a, b FeedClaim) int { return strings.Compare(a.ClaimID, b.ClaimID) })
	return claims
}

// clock gives readings that never fall behind the time that has passed: neither a clock
// that is set back nor one that stands still while the machine sleeps makes old knowledge
// young or an ended claim good.
type clock struct {
	now  func() time.Time
	base time.Time
}

func newClock(now func() time.Time) clock {
	if now == nil {
		now = time.Now
	}
	return clock{now, now()}
}

// read is the later of what the clock shows and what it must show by the time passed, in
// nanoseconds of Unix time.
func (c clock) read() int64 {
	t := c.now()
	return max(t.UnixNano(), c.base.UnixNano()+int64(t.Sub(c.base)))
}
