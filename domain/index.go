package domain

import "hash/maphash"

// index finds the numbers of what stands in a column by what that is. It is a table with open
// addressing that holds the numbers and half of the hashes, so that it takes some 13 bytes each
// where a map takes 30 and more; what they stand for is looked at where it stands.
type index struct {
	slots []uint64 // hash in the upper half, number+1 in the lower; 0: free
	used  int
}

const (
	minSlots = 16
	// doubled tables are small: they grow by half from there on, to leave less unused.
	doubled = 1 << 10
	// Of eight slots at most six are used, and at least one: else the table is made anew.
	mostUsed, leastUsed = 6, 1
)

// indexSeed keeps who chooses names and nonces from choosing where they come in a table:
// one in which all come to one slot would be slow. Nothing else depends on it.
var indexSeed = maphash.MakeSeed()

func hashText(text string) uint32  { return uint32(maphash.String(indexSeed, text)) }
func hashBytes(text []byte) uint32 { return uint32(maphash.Bytes(indexSeed, text)) }

// home is the slot at which the search for a hash begins. Tables of all lengths have hashes
// in one order.
func (x *index) home(hash uint32) int { return int(uint64(hash) * uint64(len(x.slots)) >> 32) }

func (x *index) after(slot int) int {
	if slot++; slot < len(x.slots) {
		return slot
	}
	return 0
}

// find gives the slot of what has the hash and is the one.
func (x *index) find(hash uint32, is func(number uint32) bool) (slot int, ok bool) {
	if len(x.slots) == 0 {
		return 0, false
	}
	for slot = x.home(hash); x.slots[slot] != 0; slot = x.after(slot) {
		if uint32(x.slots[slot]>>32) == hash && is(x.number(slot)) {
			return slot, true
		}
	}
	return 0, false
}

// number is what stands in a slot.
func (x *index) number(slot int) uint32 { return uint32(x.slots[slot]) - 1 }

// get gives the number of what has the hash and is the one.
func (x *index) get(hash uint32, is func(number uint32) bool) (number uint32, ok bool) {
	slot, ok := x.find(hash, is)
	if !ok {
		return 0, false
	}
	return x.number(slot), true
}

// add puts in a number for what has none.
func (x *index) add(hash, number uint32) {
	x.room(x.used + 1)
	x.put(uint64(hash)<<32 | uint64(number+1))
	x.used++
}

func (x *index) put(entry uint64) {
	slot := x.home(uint32(entry >> 32))
	for x.slots[slot] != 0 {
		slot = x.after(slot)
	}
	x.slots[slot] = entry
}

// set puts another number in the place of one that stands for the same.
func (x *index) set(slot int, number uint32) {
	x.slots[slot] = x.slots[slot]>>32<<32 | uint64(number+1)
}

// remove takes out what is in a slot. What would not be found across the gap moves up.
func (x *index) remove(slot int) {
	gap := slot
	for next := x.after(gap); x.slots[next] != 0; next = x.after(next) {
		home := x.home(uint32(x.slots[next] >> 32))
		if x.distance(home, next) >= x.distance(gap, next) {
			x.slots[gap] = x.slots[next]
			gap = next
		}
	}
	x.slots[gap] = 0
	x.used--
	if len(x.slots) > minSlots && 8*x.used < leastUsed*len(x.slots) {
		x.resize(max(minSlots, 2*x.used))
	}
}

// distance is how far it is on to a slot.
func (x *index) distance(from, to int) int {
	if to >= from {
		return to - from
	}
	return to - from + len(x.slots)
}

// lower lowers all numbers by what was taken off in front of them.
func (x *index) lower(by uint32) {
	for slot, entry := range x.slots {
		if entry != 0 {
			x.slots[slot] = entry - uint64(by)
		}
	}
}

// room makes the table large enough for so many numbers.
func (x *index) room(numbers int) {
	if 8*numbers > mostUsed*len(x.slots) {
		next := len(x.slots) * 2
		if len(x.slots) > doubled {
			next = len(x.slots) * 3 / 2
		}
		x.resize(max(minSlots, next, numbers*8/mostUsed+1))
	}
}

func (x *index) resize(slots int) {
	old := x.slots
	x.slots = make([]uint64, slots)
	for _, entry := range old {
		if entry != 0 {
			x.put(entry)
		}
	}
}

func (x *index) size() int64 { return int64(cap(x.slots)) * 8 }
