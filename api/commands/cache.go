package commands

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

const (
	// DefaultClaimsMemory is how many bytes the claims in memory may take unless the
	// operator says otherwise, on a machine with one or two GB: those of some 800,000
	// claims that were all submitted within a day, and of a million that are older.
	DefaultClaimsMemory = 256 << 20
	// boundarySize is about what one takes beside what its state counts.
	boundarySize = 2 << 10
	// maxInUse bounds how many boundaries that are in use are looked at for others to let
	// go of. They stay, for as long as they are, whatever they take.
	maxInUse = 16
)

// claimsCache holds namespaces' claims in memory, and lets go of those that were used
// least recently when all of them take more than they may.
type claimsCache struct {
	most int64 // bytes

	mu    sync.Mutex
	held  *simplelru.LRU[string, *heldClaims]
	bytes int64
	pins  map[string]int // commands and queries at each namespace
}

// heldClaims is a namespace's claims in memory.
type heldClaims struct {
	*boundary[*domain.Claims]
	size   int64         // that it counts with; guarded by the cache's mu
	tried  atomic.Uint64 // version up to which a snapshot is kept, or was tried to be
	queued atomic.Bool   // to be saved
}

func newClaimsCache(most int64) *claimsCache {
	if most == 0 {
		most = DefaultClaimsMemory
	}
	held, err := simplelru.NewLRU[string, *heldClaims](math.MaxInt, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &claimsCache{most: most, held: held, pins: map[string]int{}}
}

// pin keeps a namespace's claims, once they are held, until release.
func (c *claimsCache) pin(namespace string) (release func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pins[namespace]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.pins[namespace]--; c.pins[namespace] == 0 {
			delete(c.pins, namespace)
		}
	}
}

// get finds a namespace's claims, or begins to hold them: then fresh is true, and it is
// the caller's to load them.
func (c *claimsCache) get(namespace string, log eventstore.Log) (h *heldClaims, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h, ok := c.held.Get(namespace); ok {
		return h, false
	}
	h = &heldClaims{boundary: newBoundary(domain.ClaimsOf(namespace), log, domain.NewClaims(namespace)), size: boundarySize}
	c.held.Add(namespace, h)
	c.bytes += h.size
	return h, true
}

// Peek finds claims that are held, and does not count as a use of them.
func (c *claimsCache) Peek(namespace string) (*heldClaims, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held.Peek(namespace)
}

// Len is how many namespaces' claims are held.
func (c *claimsCache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held.Len()
}

// Bytes is about what they take.
func (c *claimsCache) Bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

// remove lets go of claims, unless others are held in their place by now.
func (c *claimsCache) remove(h *heldClaims) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if held, ok := c.held.Peek(h.id.Namespace); ok && held == h {
		c.held.Remove(h.id.Namespace)
		c.bytes -= h.size
	}
}

// weigh takes note of what claims take now, and gives those that had to go for them.
func (c *claimsCache) weigh(h *heldClaims, size int64) (gone []*heldClaims) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if held, ok := c.held.Peek(h.id.Namespace); !ok || held != h {
		return nil
	}
	size += boundarySize
	c.bytes += size - h.size
	h.size = size
	for inUse := 0; c.bytes > c.most && inUse < maxInUse && c.held.Len() > 0; {
		namespace, oldest, _ := c.held.GetOldest()
		if c.pins[namespace] > 0 || oldest.busy() {
			c.held.Get(namespace) // it is in use, so it is not the oldest
			inUse++
			continue
		}
		c.held.Remove(namespace)
		c.bytes -= oldest.size
		gone = append(gone, oldest)
	}
	return gone
}

// busy reports whether something is under way at a boundary that nobody waits for.
func (b *boundary[S]) busy() bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.ahead) > 0
}
