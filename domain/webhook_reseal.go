package domain

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"time"
)

// Resealed is a secret sealed with one key, and the same sealed with another.
type Resealed struct{ From, To Sealed }

// reseal replaces what the webhook still has of what was sealed again. What an owner has
// replaced in the meantime is left as he wants it.
func (cmd ResealWebhook) reseal(w Webhook, now time.Time) (RegistryDecision, error) {
	changed := false
	again := func(s Sealed) Sealed {
		for _, r := range cmd.Resealed {
			if s.KeyID == r.From.KeyID && bytes.Equal(s.Data, r.From.Data) {
				changed = true
				return r.To
			}
		}
		return s
	}
	p := WebhookResealed{WebhookID: w.ID, ServiceID: w.ServiceID, Secret: again(w.Secret)}
	if w.AuthValue != nil {
		value := again(*w.AuthValue)
		p.AuthValue = &value
	}
	for _, f := range stillSigning(w.Former, now) {
		p.Former = append(p.Former, FormerSecret{again(f.Secret), f.Until})
	}
	if !changed {
		return RegistryDecision{Answer: RegistryAnswer{ID: w.ID}}, nil
	}
	return record(w.ID, p)
}

// stillSigning are the former secrets whose end is yet to come, in a list of its own.
func stillSigning(former []FormerSecret, now time.Time) (left []FormerSecret) {
	for _, f := range former {
		if now.Before(f.Until) {
			left = append(left, f)
		}
	}
	return left
}

// withFormer adds a secret. Of two that end at the same moment the first counts: the other
// was replaced within the millisecond in which it was made.
func withFormer(former []FormerSecret, f FormerSecret) []FormerSecret {
	if n := len(former); n > 0 && former[n-1].Until.Equal(f.Until) {
		return former
	}
	return append(former, f)
}

// sealed are the webhook's secrets in force: what deliveries need, if not now then when
// the webhook is active again.
func (w Webhook) sealed(now time.Time) []Sealed {
	all := []Sealed{w.Secret}
	if w.AuthValue != nil {
		all = append(all, *w.AuthValue)
	}
	for _, f := range stillSigning(w.Former, now) {
		all = append(all, f.Secret)
	}
	return all
}

// SealedOtherwise are the webhook's secrets in force that are sealed with another key than
// the one with the id.
func (w Webhook) SealedOtherwise(keyID string, now time.Time) []Sealed {
	return slices.DeleteFunc(w.sealed(now), func(s Sealed) bool { return s.KeyID == keyID })
}

// SealedWith counts the webhooks' secrets in force by the ids of the keys that they are
// sealed with.
func (r *Registry) SealedWith(now time.Time) map[string]int {
	n := map[string]int{}
	for _, w := range r.webhooks {
		for _, s := range w.sealed(now) {
			n[s.KeyID]++
		}
	}
	return n
}

// Webhooks are all webhooks, by id.
func (r *Registry) Webhooks() []Webhook {
	return slices.SortedFunc(maps.Values(r.webhooks), func(a, b Webhook) int { return cmp.Compare(a.ID, b.ID) })
}
