package domain

import "hash/maphash"

// index finds the numbers of what stands in a column by what that is. It is a table with open
// addressing that holds nothing but the numbers, so that it takes some 8 bytes each where a
// map takes 30 and more; what they stand for is looked up where it stands.
type index struct {
	slots []uint32 // number+1; 0: free. A power of two of them
	used  int
}

const (
	minSlots = 8
	// Of eight slots at most six are used, and at least one: else the table is made anew.
	mostUsed, leastUsed = 6, 1
)

// indexSeed keeps who chooses names and nonces from choosing where they come in a table:
// one in which all come to one slot would be slow. Nothing else depends on it.
var indexSeed = maphash.MakeSeed()

// hashed tells the hash of what has a number.
type hashed func(number uint32) uint64

func hashText(text string) uint64  { return maphash.String(indexSeed, text) }
func hashBytes(text []byte) uint64 { return maphash.Bytes(indexSeed, text) }

// find gives the slot of what has the hash and is the one; ok is false where there is none,
// and the slot is the one for it.
func (x *index) find(hash uint64, is func(number uint32) bool) (slot int, ok bool) {
	if len(x.slots) == 0 {
		return 0, false
	}
	mask := len(x.slots) - 1
	for slot = int(hash) & mask; x.slots[slot] != 0; slot = (slot + 1) & mask {
		if is(x.slots[slot] - 1) {
			return slot, true
		}
	}
	return slot, false
}

// get gives the number of what has the hash and is the one.
func (x *index) get(hash uint64, is func(number uint32) bool) (number uint32, ok bool) {
	slot, ok := x.find(hash, is)
	if !ok {
		return 0, false
	}
	return x.slots[slot] - 1, true
}

// add puts in a number for what has none.
func (x *index) add(hash uint64, number uint32, hashOf hashed) {
	if 8*(x.used+1) > mostUsed*len(x.slots) {
		x.resize(max(minSlots, 2*len(x.slots)), hashOf)
	}
	x.put(hash, number)
	x.used++
}

func (x *index) put(hash uint64, number uint32) {
	mask := len(x.slots) - 1
	slot := int(hash) & mask
	for x.slots[slot] != 0 {
		slot = (slot + 1) & mask
	}
	x.slots[slot] = number + 1
}

// remove takes out the number in a slot. Those behind it that would not be found across the
// gap move up.
func (x *index) remove(slot int, hashOf hashed) {
	mask := len(x.slots) - 1
	gap := slot
	for next := (gap + 1) & mask; x.slots[next] != 0; next = (next + 1) & mask {
		home := int(hashOf(x.slots[next]-1)) & mask
		if (next-home)&mask >= (next-gap)&mask {
			x.slots[gap] = x.slots[next]
			gap = next
		}
	}
	x.slots[gap] = 0
	x.used--
	if len(x.slots) > minSlots && 8*x.used < leastUsed*len(x.slots) {
		x.resize(len(x.slots)/2, hashOf)
	}
}

func (x *index) resize(slots int, hashOf hashed) {
	old := x.slots
	x.slots = make([]uint32, slots)
	for _, entry := range old {
		if entry != 0 {
			x.put(hashOf(entry-1), entry-1)
		}
	}
}

// room makes the table large enough for so many numbers.
func (x *index) room(numbers int, hashOf hashed) {
	slots := max(minSlots, len(x.slots))
	for 8*numbers > mostUsed*slots {
		slots *= 2
	}
	if slots > len(x.slots) {
		x.resize(slots, hashOf)
	}
}

func (x *index) size() int64 { return int64(len(x.slots)) * 4 }
