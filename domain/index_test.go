package domain

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// An index is a map from what has a hash to a number, whatever hashes come together and
// wherever in the table they end.
func TestIndex(t *testing.T) {
	hashes := []uint32{0, 1, 2, 1 << 30, 1<<30 + 1, 1 << 31, 1<<32 - 2, 1<<32 - 1}
	rapid.Check(t, func(t *rapid.T) {
		var x index
		var column []uint32 // number → what it is; its hash is one of few
		hashOf := func(of uint32) uint32 { return hashes[of%uint32(len(hashes))] }
		known := map[uint32]uint32{}
		find := func(of uint32) (slot int, ok bool) {
			return x.find(hashOf(of), func(n uint32) bool { return column[n] == of })
		}
		add := func(t *rapid.T) {
			of, n := rapid.Uint32Range(0, 60).Draw(t, "what"), uint32(len(column))
			column = append(column, of)
			if slot, ok := find(of); ok {
				x.set(slot, n)
			} else {
				x.add(hashOf(of), n)
			}
			known[of] = n
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": add, "add another": add,
			"remove": func(t *rapid.T) {
				of := rapid.Uint32Range(0, 60).Draw(t, "what")
				if slot, ok := find(of); ok {
					x.remove(slot)
				}
				delete(known, of)
			},
			"lower": func(t *rapid.T) {
				first := uint32(len(column))
				for _, n := range known {
					first = min(first, n)
				}
				x.lower(first)
				column = slices.Clone(column[first:])
				for of := range known {
					known[of] -= first
				}
			},
			"": func(t *rapid.T) {
				for of := range uint32(61) {
					n, ok := x.get(hashOf(of), func(n uint32) bool { return column[n] == of })
					want, there := known[of]
					if ok != there || n != want {
						t.Fatalf("%d has number %d (%t), and should have %d (%t)", of, n, ok, want, there)
					}
				}
				if x.used != len(known) || len(x.slots) > max(minSlots, 8*len(known)) {
					t.Fatalf("%d of %d slots are used for %d", x.used, len(x.slots), len(known))
				}
			},
		})
	})
}
