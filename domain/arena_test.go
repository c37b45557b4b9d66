package domain

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// What is in an arena is there until it is cut off or dropped, and for who shares it while it
// is not cut off.
func TestArena(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type text struct {
			at   place
			text string
		}
		type shared struct {
			arena
			texts []text
		}
		var a arena
		var texts []text
		var taken []shared
		certain := 0 // how many of them are not cut off any more
		check := func(a *arena, texts []text) {
			for _, want := range texts {
				if got := string(a.at(want.at)); got != want.text {
					t.Fatalf("at %d stands %.20q, not %.20q", want.at, got, want.text)
				}
			}
		}
		add := func(t *rapid.T) {
			n := rapid.SampledFrom([]int{0, 1, 10, 127, 128, 1000, arenaChunk - 3, arenaChunk, 3 * arenaChunk}).Draw(t, "length")
			of := strings.Repeat(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "of"), n)
			texts = append(texts, text{a.add([]byte(of)), of})
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": add, "add another": add, "and another": add,
			"cut": func(t *rapid.T) {
				if len(texts) > certain {
					n := rapid.IntRange(max(certain, len(texts)-3), len(texts)-1).Draw(t, "from")
					a.cut(texts[n].at)
					texts = texts[:n:n]
				}
			},
			"drop": func(t *rapid.T) {
				if len(texts) > 0 {
					n := rapid.IntRange(0, min(3, len(texts)-1)).Draw(t, "before")
					texts, certain = texts[n:], max(0, certain-n)
					a.drop(texts[0].at)
				}
			},
			"share": func(t *rapid.T) {
				if len(taken) < 5 {
					taken, certain = append(taken, shared{a.share(), texts[:len(texts):len(texts)]}), len(texts)
				}
			},
			"": func(t *rapid.T) {
				check(&a, texts)
				bytes := int64(0)
				for _, chunk := range a.chunks {
					bytes += int64(cap(chunk))
				}
				if a.bytes != bytes {
					t.Fatalf("it says that it takes %d bytes, and takes %d", a.bytes, bytes)
				}
			},
		})
		for _, s := range taken {
			check(&s.arena, s.texts)
		}
	})
}
