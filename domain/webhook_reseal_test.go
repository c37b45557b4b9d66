package domain

import (
	"slices"
	"testing"
	"time"
)

func sealedWith(key string, n byte) Sealed { return Sealed{key, []byte{n}} }

// The same secrets come back under another key: the present one, the owner's header and
// the former ones that still sign.
func TestResealWebhook(t *testing.T) {
	h := filled(t)
	h.accepted(CreateWebhook{WebhookCreated{WebhookID: "w-2", ServiceID: "svc", Secret: sealedWith("old", 1), Events: []EventType{ClaimExpiredType}}})
	value := sealedWith("old", 9)
	h.accepted(UpdateWebhook{WebhookID: "w-2", ServiceID: "svc", Auth: &WebhookAuth{"X-Auth", &value}})
	h.accepted(RotateWebhookSecret{"w-2", "svc", sealedWith("old", 2)})
	ended := h.now.Add(SecretOverlap)
	h.after(time.Hour)
	h.accepted(RotateWebhookSecret{"w-2", "svc", sealedWith("old", 3)})
	until := h.now.Add(SecretOverlap)
	if n := h.live.SealedWith(h.now)["old"]; n != 4 {
		t.Errorf("%d secrets are sealed with the old key", n)
	}
	h.after(ended.Sub(h.now)) // the first secret signs no more

	var all []Resealed
	for _, n := range []byte{1, 2, 3, 9} {
		all = append(all, Resealed{sealedWith("old", n), sealedWith("new", n)})
	}
	// What was replaced in the meantime stays as it is.
	h.then(ResealWebhook{"w-2", "svc", []Resealed{{sealedWith("old", 7), sealedWith("new", 7)}, {sealedWith("other", 3), sealedWith("new", 3)}}})
	h.then(ResealWebhook{"w-2", "svc", nil})
	w, _ := h.live.Webhook("w-2")
	if left := w.SealedOtherwise("new", h.now); len(left) != 3 {
		t.Errorf("%v are to be sealed again", left)
	}
	newValue := sealedWith("new", 9)
	h.then(ResealWebhook{"w-2", "svc", all},
		WebhookResealed{"w-2", "svc", sealedWith("new", 3), &newValue, []FormerSecret{{sealedWith("new", 2), until}}})
	h.then(ResealWebhook{"w-2", "svc", all}) // a repeat finds nothing to do
	if n := h.live.SealedWith(h.now); n["old"] != 0 || n["new"] != 3 {
		t.Errorf("sealed with %v", n)
	}
	w, _ = h.live.Webhook("w-2")
	if left := w.SealedOtherwise("new", h.now); len(left) != 0 || !w.Active || w.AuthHeader != "X-Auth" {
		t.Errorf("%v left, %+v", left, w)
	}
	h.after(until.Sub(h.now))
	if n := h.live.SealedWith(h.now)["new"]; n != 2 {
		t.Errorf("%d secrets in force after the former one's end", n)
	}
	h.refused(ResealWebhook{"w-2", "svc-9", all}, CodeNotFound)
	h.refused(ResealWebhook{"w-9", "svc", all}, CodeNotFound)
	if all := h.live.Webhooks(); len(all) != 2 || all[0].ID != "w-1" || all[1].ID != "w-2" {
		t.Errorf("the webhooks are %+v", all)
	}
}

// Of two former secrets that end together the first counts, as for the relay.
func TestRotatedWithinAMillisecond(t *testing.T) {
	h := filled(t)
	h.accepted(RotateWebhookSecret{"w-1", "svc", sealedWith("key", 2)})
	h.accepted(RotateWebhookSecret{"w-1", "svc", sealedWith("key", 3)})
	w, _ := h.live.Webhook("w-1")
	if len(w.Former) != 1 || w.Former[0].Secret.KeyID != "" || w.Secret.Data[0] != 3 {
		t.Errorf("%+v", w)
	}
}

func TestSealRing(t *testing.T) {
	a, b := sealKey(t, 1), sealKey(t, 2)
	r, err := NewSealRing(a, b)
	if err != nil {
		t.Fatal(err)
	}
	if r.First() != a || !slices.Equal(r.IDs(), []string{a.ID(), b.ID()}) || !r.Has(b.ID()) || r.Has("") {
		t.Errorf("%v", r.IDs())
	}
	for _, k := range []*SealKey{a, b} {
		if got, err := r.Open(k.Seal([SealNonceSize]byte{1}, "secret", "w"), "w"); err != nil || got != "secret" {
			t.Errorf("%q, %v", got, err)
		}
	}
	other := sealKey(t, 3)
	_, err = r.Open(other.Seal([SealNonceSize]byte{1}, "secret", "w"), "w")
	if lacking, ok := err.(*LackingKeyError); !ok || lacking.KeyID != other.ID() {
		t.Errorf("%v", err)
	}
	if only := r.Only([]string{b.ID(), other.ID()}); !slices.Equal(only, []*SealKey{b}) {
		t.Errorf("%v", only)
	}
	for name, keys := range map[string][]*SealKey{"none": nil, "one twice": {a, b, a}} {
		if _, err := NewSealRing(keys...); err == nil {
			t.Errorf("a ring of %s", name)
		}
	}
}
