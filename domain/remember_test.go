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
	if w.len() > 8 || w.last.used > 8 || len(w.order) > 100 {
		t.Errorf("the window holds %d keys and %d places", w.len(), len(w.order))
	}
	if a.len() > 8 || len(a.told) > 8 || a.size() > 20_000 {
		t.Errorf("the answers hold %d commands and %d bytes", a.len(), a.size())
	}
	if !w.has(digestOf("", "999/0"), at) || w.has(digestOf("", "998/0"), at.Add(time.Hour)) {
		t.Error("the window forgets too much or too little")
	}
}
