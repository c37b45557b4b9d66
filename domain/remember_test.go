package domain

import (
	"fmt"
	"strings"
	"testing"
	"time"
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
		key, name := joinKey(pair[0], pair[1]), fmt.Sprintf("%.9q, %.9q", pair[0], pair[1])
		if other, taken := seen[key]; taken {
			t.Errorf("(%s) and (%s) are one key", name, other)
		}
		seen[key] = name
	}
}

func TestWindow(t *testing.T) {
	w := newWindow(time.Hour)
	w.add("a", start)
	for after, want := range map[time.Duration]bool{0: true, time.Hour - 1: true, time.Hour: false, 2 * time.Hour: false} {
		if got := w.has("a", start.Add(after)); got != want {
			t.Errorf("after %s: %t", after, got)
		}
	}
	if w.has("b", start) {
		t.Error("b was never added")
	}
}

// A key that comes back whenever it was forgotten must not keep others in memory.
func TestWindowForgets(t *testing.T) {
	w, a := newWindow(ReplayWindow), newAnswers()
	at := start
	for day := range 100 {
		w.add("daily", at)
		a.record(&Commit{Time: at, Command: CommandRef{Key: "daily"}})
		for i := range 3 {
			key := fmt.Sprint(day, "/", i)
			w.add(key, at.Add(time.Hour))
			a.record(&Commit{Time: at.Add(time.Hour), Command: CommandRef{Key: key}})
		}
		w.prune(at.Add(time.Hour))
		a.forget(at.Add(time.Hour))
		at = at.Add(ReplayWindow)
	}
	if len(w.seen) > 8 || len(w.order) > 8 {
		t.Errorf("the window holds %d keys and %d places", len(w.seen), len(w.order))
	}
	if len(a.refs) > 8 || len(a.seen) > 8 || len(a.order) > 8 {
		t.Errorf("the answers hold %d commands, %d keys and %d places", len(a.refs), len(a.seen), len(a.order))
	}
	if !w.has("99/0", at) || w.has("98/0", at.Add(time.Hour)) {
		t.Error("the window forgets too much or too little")
	}
}
