package commands

import (
	"context"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

const (
	// maxUsedKeys bounds how many keys of submits are remembered: some 20 MB.
	maxUsedKeys = 100_000
	// recentCommits is how far back in the ledger the keys of submits are looked for when
	// the first of them comes after a start: a fraction of a second of reading.
	recentCommits = 20_000
	// recentTimeout bounds that.
	recentTimeout = 5 * time.Second
)

// usedKeys knows in which boundary a caller used an idempotency key, so that it is not
// used in another one for something else. A boundary remembers by itself what was asked
// of it under a key (package domain), and no decision can see two boundaries at one
// moment. So this is what can be known at no cost to others:
//
// An owner's keys are looked up in both boundaries of his namespace, as far as this
// process has followed them. A service key's submits may go to any namespace; for them
// the last that were recorded here or followed are remembered, and after a start those
// among the ledger's last commits. Two that use one key in two boundaries at the same
// moment exclude each other within a process, and not across processes.
type usedKeys struct {
	submits *lru.Cache[domain.Hash, usedKey]
	recent  sync.Once
	read    chan struct{} // closed when the recent ones were read

	mu   sync.Mutex
	busy map[domain.Hash]chan struct{} // closed when the command is through
}

type usedKey struct {
	namespace string
	at        time.Time
}

func newUsedKeys() *usedKeys {
	submits, err := lru.New[domain.Hash, usedKey](maxUsedKeys)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &usedKeys{submits: submits, read: make(chan struct{}), busy: map[domain.Hash]chan struct{}{}}
}

func keyOf(ref domain.CommandRef) domain.Hash {
	return domain.HashOf([]byte(ref.Caller + "\n" + ref.Key))
}

// note takes a commit that was recorded.
func (k *usedKeys) note(c *domain.Commit) {
	if c.Command.Key != "" && c.Actor.Kind == domain.ActorServiceKey {
		k.submits.Add(keyOf(c.Command), usedKey{c.Namespace, c.Time})
	}
}

// hold waits until no other command of this process has the same key.
func (k *usedKeys) hold(ctx context.Context, key domain.Hash) (release func(), err error) {
	for {
		k.mu.Lock()
		busy := k.busy[key]
		if busy == nil {
			mine := make(chan struct{})
			k.busy[key] = mine
			k.mu.Unlock()
			return func() {
				k.mu.Lock()
				defer k.mu.Unlock()
				delete(k.busy, key)
				close(mine)
			}, nil
		}
		k.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, unavailable("Another command with this Idempotency-Key is not finished; nothing was recorded.", ctx.Err())
		}
	}
}

// begin refuses a command where the log is not what it was, and a key that its caller used
// in another boundary; release ends the command's hold on the key.
func (x *Executor) begin(ctx context.Context, b domain.Boundary, meta Meta) (release func(), err error) {
	if err := x.Intact(); err != nil {
		return nil, err
	}
	if meta.Ref.Key == "" {
		return func() {}, nil
	}
	release, err = x.keys.hold(ctx, keyOf(meta.Ref))
	if err != nil {
		return nil, err
	}
	here, err := x.remembers(ctx, b, meta.Ref)
	elsewhere := false
	if err == nil && !here {
		elsewhere, err = x.usedElsewhere(ctx, b, meta)
	}
	if elsewhere {
		err = domain.ErrIdempotencyMismatch
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

func (x *Executor) usedElsewhere(ctx context.Context, b domain.Boundary, meta Meta) (bool, error) {
	switch {
	case meta.Actor.Kind == domain.ActorServiceKey:
		if err := x.readRecent(ctx); err != nil {
			return false, err
		}
		used, ok := x.keys.submits.Get(keyOf(meta.Ref))
		return ok && used.namespace != b.Namespace && x.Now().Sub(used.at) < domain.ReplayWindow, nil
	case b.Kind == domain.KindClaims:
		return x.remembers(ctx, domain.RegistryOf(b.Namespace), meta.Ref)
	default:
		return x.remembers(ctx, domain.ClaimsOf(b.Namespace), meta.Ref)
	}
}

// remembers tells whether something was recorded in a boundary under the key.
func (x *Executor) remembers(ctx context.Context, b domain.Boundary, ref domain.CommandRef) (found bool, err error) {
	if b.Kind == domain.KindRegistry {
		x.directory.View(b.Namespace, func(r *domain.Registry) { found = r.Remembers(ref, x.now(r.Time())) })
		return found, nil
	}
	if _, registered := x.directory.find(b.Namespace); !registered {
		return false, nil // the command itself is told so
	}
	err = x.ViewClaims(ctx, b.Namespace, func(s *domain.Claims) (version uint64) {
		if found = s.Remembers(ref, x.now(s.Time())); found {
			return s.Version()
		}
		return 0
	})
	return found, err
}

// readRecent looks for the keys of submits from before this process began to follow.
// Without them it goes on: they are needed where a caller made a mistake.
func (x *Executor) readRecent(ctx context.Context) error {
	x.keys.recent.Do(func() {
		go func() {
			defer close(x.keys.read)
			ctx, cancel := context.WithTimeout(context.Background(), recentTimeout) // others wait for it too
			defer cancel()
			last, err := x.Log.Last(ctx)
			if err == nil {
				err = x.Log.ReadAll(ctx, domain.KindClaims, last-min(last, recentCommits), func(r eventstore.Record) error {
					x.keys.note(r.Commit)
					return nil
				})
			}
			if err != nil {
				x.Logger.Warn("idempotency keys from before the start are not known in other namespaces", "error", err)
			}
		}()
	})
	select {
	case <-x.keys.read:
		return nil
	case <-ctx.Done():
		return unavailable("The ledger took too long to look for this Idempotency-Key; nothing was recorded.", ctx.Err())
	}
}
