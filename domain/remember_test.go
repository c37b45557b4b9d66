package domain

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestJoinKeyIsUnambiguous(t *testing.T) {
	seen := map[string]string{}
	for _, pair := range [][2]string{
		{"", ""}, {"", "a"}, {"a", ""}, {"ab", "c"}, {"a", "bc"}, {"", "abc"}, {"abc", ""}, {"1", "1"}, {"11", ""}, {"", "11"},
		{"\x01", "a"}, {"", "\x01a"}, {":", ":"}, {"::", ""},
		// Lengths that are no code points: surrogates, and what lies beyond the last.
		{strings.Repeat("x", 0xd800), "x"}, {strings.Repeat("x", 0xd801), ""},
		{strings.Repeat("x", 0x110000), "x"}, {strings.Repeat("x", 0x110001), ""},
	} {
		key, name := string(joinKey(nil, pair[0], pair[1])), fmt.Sprintf("%.9q, %.9q", pair[0], pair[1])
		if other, taken := seen[key]; taken {
			t.Errorf("(%s) and (%s) are one key", name, other)
		}
		seen[key] = name
	}
}

func TestWindow(t *testing.T) {
	w := newWindow(time.Hour)
	w.add(digestOf("a", ""), instantOf(start))
	for after, want := range map[time.Duration]bool{0: true, time.Hour - 1: true, time.Hour: false, 2 * time.Hour: false} {
		if got := w.has(digestOf("a", ""), start.Add(after)); got != want {
			t.Errorf("after %s: %t", after, got)
		}
	}
	if w.has(digestOf("", "a"), start) {
		t.Error("it was never added")
	}
}

// A key that comes back whenever it was forgotten must not keep others in memory.
func TestWindowForgets(t *testing.T) {
	w, a := newWindow(ReplayWindow), newAnswers()
	add := func(key string, at time.Time) {
		w.add(digestOf("", key), instantOf(at))
		a.record(&Commit{Time: at, Command: CommandRef{Key: key}})
	}
	at := start
	for day := range 1000 {
		add("daily", at)
		for i := range 3 {
			add(fmt.Sprint(day, "/", i), at.Add(time.Hour))
		}
		w.prune(at.Add(time.Hour))
		a.forget(at.Add(time.Hour))
		at = at.Add(ReplayWindow)
	}
	if w.len() > 8 || w.last.used > 8 || cap(w.order) > 200 {
		t.Errorf("the window holds %d keys and %d places", w.len(), cap(w.order))
	}
	if a.len() > 8 || len(a.told) > 8 || a.size() > 6_000 {
		t.Errorf("the answers hold %d commands and %d bytes", a.len(), a.size())
	}
	if !w.has(digestOf("", "999/0"), at) || w.has(digestOf("", "998/0"), at.Add(time.Hour)) {
		t.Error("the window forgets too much or too little")
	}
}

// naiveWindow remembers keys in the simplest way that works.
type naiveWindow []struct {
	key string
	at  time.Time
}

func (w naiveWindow) has(key string, now time.Time) bool {
	for i := len(w) - 1; i >= 0; i-- {
		if w[i].key == key {
			return now.Sub(w[i].at) < time.Hour
		}
	}
	return false
}

// Whatever is added, taken back and pruned, a window remembers what a list would.
func TestWindowIsAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, now := newWindow(time.Hour), start
		var want naiveWindow
		var ahead []seen // what is added and may be taken back
		const keys = 40
		add := func(t *rapid.T) {
			first := rapid.IntRange(0, keys-1).Draw(t, "first key")
			for i := range rapid.SampledFrom([]int{1, 1, 1, 150}).Draw(t, "so many") {
				k := fmt.Sprint((first + 7*i) % keys)
				ahead = append(ahead, w.add(digestOf("", k), instantOf(now)))
				want = append(want, struct {
					key string
					at  time.Time
				}{k, now})
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": add, "add another": add,
			"wait": func(t *rapid.T) {
				now = now.Add(rapid.SampledFrom([]time.Duration{1, 20 * time.Minute, time.Hour - 1, time.Hour}).Draw(t, "wait"))
			},
			"take back": func(t *rapid.T) {
				for range rapid.IntRange(0, len(ahead)).Draw(t, "so many") {
					last := len(ahead) - 1
					w.takeBack(ahead[last])
					ahead, want = ahead[:last], want[:len(want)-1]
				}
			},
			"settle": func(t *rapid.T) {
				// Those behind are ahead still, and not older than what is pruned by.
				n := rapid.IntRange(0, len(ahead)).Draw(t, "so many")
				ahead = ahead[n:]
				if settled := len(want) - len(ahead); settled > 0 {
					w.prune(want[settled-1].at)
				}
			},
			"": func(t *rapid.T) {
				for n := range keys {
					k := fmt.Sprint(n)
					if got, want := w.has(digestOf("", k), now), want.has(k, now); got != want {
						t.Fatalf("it remembers %s: %t, not %t", k, got, want)
					}
				}
				if w.last.used > w.len() {
					t.Fatalf("it finds %d keys, and has %d sightings", w.last.used, w.len())
				}
			},
		})
	})
}
