package api

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/claimledger/claimledger/domain"
)

const (
	// nonceTurn is a little more than a signature can live: 300 s and 5 s ahead. What
	// was used is remembered for one to two turns.
	nonceTurn = 310 * time.Second
	// maxNonces bounds the memory of one turn, to about 300 MB for both. More signed
	// requests than 16,000 a second are turned away rather than replayable.
	maxNonces = 5_000_000
)

// nonces remembers, in this process, which signatures were used. What appends is
// recorded with its commit as well; this covers the rest.
type nonces struct {
	mu       sync.Mutex
	now      func() time.Time
	turned   time.Time
	current  map[[16]byte]struct{}
	previous map[[16]byte]struct{}
}

func newNonces(now func() time.Time) *nonces {
	return &nonces{now: now, turned: now(), current: map[[16]byte]struct{}{}}
}

func nonceKey(namespace, nonce string) [16]byte {
	sum := sha256.Sum256([]byte(namespace + "\n" + nonce))
	return [16]byte(sum[:16])
}

// use accepts a nonce once.
func (n *nonces) use(namespace, nonce string) error {
	key := nonceKey(namespace, nonce)
	n.mu.Lock()
	defer n.mu.Unlock()
	if now := n.now(); now.Sub(n.turned) > nonceTurn {
		n.previous, n.current, n.turned = n.current, map[[16]byte]struct{}{}, now
	}
	_, a := n.current[key]
	_, b := n.previous[key]
	switch {
	case a || b:
		return domain.Errorf(domain.CodeSignatureNonceReplay, "This signature's nonce was used before.")
	case len(n.current) >= maxNonces:
		return domain.Errorf(domain.CodeServiceUnavailable, "This node is receiving too many signed requests.")
	}
	n.current[key] = struct{}{}
	return nil
}

// release forgets a nonce whose request was turned away by trouble on our side, so
// that the same request may be sent again.
func (n *nonces) release(namespace, nonce string) {
	key := nonceKey(namespace, nonce)
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.current, key)
	delete(n.previous, key)
}
