package api

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"
)

// usageInterval is how often the use of keys is written down and read back; what a
// list shows may lag by about as much.
const usageInterval = 20 * time.Second

// UsageStore keeps when keys were last used. It is not history, and may forget.
type UsageStore interface {
	// Touch records that keys were used at a time.
	Touch(ctx context.Context, used map[string]time.Time) error
	// All is when each key was last used, on any node.
	All(ctx context.Context) (map[string]time.Time, error)
}

// usage collects the use of keys in memory.
type usage struct {
	store UsageStore
	now   func() time.Time

	mu      sync.Mutex
	touched map[string]time.Time // not written down yet
	known   map[string]time.Time
}

func newUsage(store UsageStore, now func() time.Time) *usage {
	return &usage{store: store, now: now, touched: map[string]time.Time{}, known: map[string]time.Time{}}
}

func (u *usage) touch(keyID string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.now().UTC().Truncate(time.Second)
	if !u.known[keyID].Equal(now) {
		u.touched[keyID], u.known[keyID] = now, now
	}
}

// last is when a key was last used, nil for never.
func (u *usage) last(keyID string) *time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	if t, ok := u.known[keyID]; ok {
		return &t
	}
	return nil
}

// run exchanges with the store until ctx ends, and writes the rest down then.
func (u *usage) run(ctx context.Context, logger *slog.Logger) {
	tick := time.NewTicker(usageInterval)
	defer tick.Stop()
	for {
		if err := u.exchange(ctx); err != nil && ctx.Err() == nil {
			logger.Warn("the use of keys could not be exchanged", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			if err := u.exchange(last); err != nil {
				logger.Warn("the last use of keys could not be written down", "error", err)
			}
			return
		}
	}
}

func (u *usage) exchange(ctx context.Context) error {
	u.mu.Lock()
	batch := u.touched
	u.touched = map[string]time.Time{}
	u.mu.Unlock()
	if len(batch) > 0 {
		if err := u.store.Touch(ctx, batch); err != nil {
			u.mu.Lock()
			defer u.mu.Unlock()
			maps.Copy(batch, u.touched) // newer ones win
			u.touched = batch
			return err
		}
	}
	all, err := u.store.All(ctx)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for id, t := range all {
		if t.After(u.known[id]) {
			u.known[id] = t
		}
	}
	return nil
}
