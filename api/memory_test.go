package api

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// A nonce is remembered for at least as long as its signature can be fresh, and not
// forever.
func TestNonces(t *testing.T) {
	const life = 306 * time.Second // 300 s, and 5 s ahead, counted in whole seconds
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, used := range []time.Duration{0, time.Second, nonceTurn - 1, nonceTurn, nonceTurn + 1} {
		now := start
		n := newNonces(func() time.Time { return now })
		now = start.Add(used)
		if err := n.use("acme", "n"); err != nil {
			t.Fatal(err)
		}
		for after := time.Duration(0); after <= life; after += time.Second {
			now = start.Add(used + after)
			if err := n.use("acme", "n"); domain.ErrorCode(err) != domain.CodeSignatureNonceReplay {
				t.Fatalf("used after %v, and again %v later: %v", used, after, err)
			}
			if err := n.use("acme", now.String()); err != nil {
				t.Fatal(err)
			}
		}
		now = now.Add(3 * nonceTurn)
		_ = n.use("acme", "another")
		now = now.Add(3 * nonceTurn)
		_ = n.use("acme", "yet another")
		if len(n.current)+len(n.previous) != 2 {
			t.Errorf("%d nonces are kept", len(n.current)+len(n.previous))
		}
	}
}

func TestNoncesOfNamespaces(t *testing.T) {
	n := newNonces(time.Now)
	for _, pair := range [][2]string{{"acme", "n"}, {"globex", "n"}, {"acme", "m"}, {"acm", "en"}} {
		if err := n.use(pair[0], pair[1]); err != nil {
			t.Errorf("%v: %v", pair, err)
		}
	}
	n.release("acme", "n")
	if err := n.use("acme", "n"); err != nil {
		t.Errorf("after it was released: %v", err)
	}
}

// usageStore is a store that can fail.
type usageStore struct {
	kept map[string]time.Time
	err  error
}

func (s *usageStore) Touch(_ context.Context, used map[string]time.Time) error {
	if s.err == nil {
		maps.Copy(s.kept, used)
	}
	return s.err
}

func (s *usageStore) All(context.Context) (map[string]time.Time, error) { return s.kept, s.err }

// When keys were used is written down sooner or later, and what other nodes saw is read.
func TestUsage(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 500, time.UTC)
	store := &usageStore{kept: map[string]time.Time{"elsewhere": now.Add(-time.Hour)}, err: errors.New("away")}
	u := newUsage(store, func() time.Time { return now })
	u.touch("key")
	if at := u.last("key"); at == nil || !at.Equal(now.Truncate(time.Second)) || u.last("other") != nil {
		t.Errorf("last used at %v", at)
	}
	if err := u.exchange(t.Context()); err == nil {
		t.Error("a store that is away is no error")
	}
	store.err = nil
	if err := u.exchange(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !store.kept["key"].Equal(now.Truncate(time.Second)) {
		t.Errorf("written down was %v", store.kept)
	}
	if at := u.last("elsewhere"); at == nil || !at.Equal(now.Add(-time.Hour)) {
		t.Errorf("elsewhere it was used at %v", at)
	}
	store.kept["key"] = now.Add(-time.Minute) // another node is behind
	if err := u.exchange(t.Context()); err != nil || !u.last("key").Equal(now.Truncate(time.Second)) {
		t.Errorf("the time went back to %v: %v", u.last("key"), err)
	}
}
