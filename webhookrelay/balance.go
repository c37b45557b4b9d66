package webhookrelay

import (
	"context"
	"slices"
	"time"
)

const (
	// leftFor is for how long a webhook is not taken whose secrets could not be opened, or
	// that was left to another relay.
	leftFor = time.Second
	// stingyFor is for how long nothing is left to others after they did not take it.
	stingyFor = time.Minute
	// mostAtOnce bounds how many webhooks are given back in favour of others at a time.
	mostAtOnce = 64
)

// leave is a webhook that is not taken for now.
type leave struct {
	until    time.Time
	toOthers bool
}

// share gives webhooks back where this process has more than its share of those that are
// taken, and other relays are there.
func (x *exchange) share(ctx context.Context) error {
	if !x.look || !x.presence.present.Load() || x.now.Before(x.stingyUntil) {
		return nil
	}
	var relays, owned int
	if err := x.tx.QueryRow(ctx, balanceSQL, presenceClass, x.now).Scan(&relays, &owned); err != nil || relays < 2 {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, h := range x.longest((len(x.hooks) - (owned+relays-1)/relays + shards - 1) / shards) {
		h.closing, h.yielded = true, true
		x.left[h.webhookID] = leave{x.now.Add(leftFor), true}
	}
	return nil
}

// longest are up to n webhooks of the shard, those that this process has had for longest, and
// for a while at least: one that was just taken is not given back before it had its turn. mu is
// held.
func (l *shard) longest(n int) []*hook {
	if n <= 0 {
		return nil
	}
	var all []*hook
	for h := range l.mine() {
		if !h.closing && l.looked.Sub(h.taken) >= linger {
			all = append(all, h)
		}
	}
	slices.SortFunc(all, func(a, b *hook) int { return a.taken.Compare(b.taken) })
	return all[:min(n, len(all), mostAtOnce)]
}

// leaves tells that a webhook is to be left alone. Where it was left to others and nobody
// took it, nothing more is for a while: they cannot, and it had to wait.
func (x *exchange) leaves(webhookID string) bool {
	l, ok := x.left[webhookID]
	if ok && !x.now.Before(l.until) {
		delete(x.left, webhookID)
		if l.toOthers {
			x.stingyUntil = x.now.Add(stingyFor)
		}
		return false
	}
	return ok
}

// tidy forgets what was left long ago, and somebody took; and what could not be opened,
// where webhooks were changed.
func (x *exchange) tidy(changed bool) {
	for id, l := range x.left {
		if x.now.Sub(l.until) >= leftFor || changed && !l.toOthers {
			delete(x.left, id)
		}
	}
}
