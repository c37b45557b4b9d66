package domain

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strconv"
	"time"
)

// joinKey makes one key of two texts, unambiguous whatever they contain.
func joinKey(to []byte, a, b string) []byte {
	to = append(strconv.AppendInt(to, int64(len(a)), 10), ':')
	return append(append(to, a...), b...)
}

// digest stands for a key of whatever length: the first half of its SHA-256. To find two keys
// of one digest, somebody would have to try 2^64 of them.
type digest [16]byte

func digestOf(a, b string) digest {
	var room [256]byte // most keys are shorter
	sum := sha256.Sum256(joinKey(room[:0], a, b))
	return digest(sum[:16])
}

// window remembers keys for a time.
type window struct {
	length  time.Duration
	order   []sighting // oldest first; from head on
	head    int        // those before it are past their time
	dropped uint64     // sightings that are not in order any more
	last    index      // key → its last sighting
}

// sighting is one time that a key was seen. A key that came back after its time has
// two of them until the older one is pruned.
type sighting struct {
	key digest
	at  instant
}

const sightingSize = 28 // bytes

// seen numbers the sightings that a window ever had from 1; 0 is none.
type seen uint64

func newWindow(length time.Duration) window { return window{length: length} }

func (w *window) find(key digest) (slot int, ok bool) {
	return w.last.find(hashBytes(key[:]), func(n uint32) bool { return w.order[n].key == key })
}

// sighted gives the number in order of the last sighting of a key.
func (w *window) sighted(key digest) (n int, ok bool) {
	slot, ok := w.find(key)
	if !ok {
		return 0, false
	}
	return int(w.last.number(slot)), true
}

// add gives when the key was seen before; none where that is not known.
func (w *window) add(key digest, at instant) (before seen) {
	if len(w.order) == cap(w.order) {
		w.letGo() // what is left has to move anyway
	}
	n := uint32(len(w.order))
	slot, ok := w.find(key)
	w.order = append(w.order, sighting{key, at})
	if !ok {
		w.last.add(hashBytes(key[:]), n)
		return 0
	}
	before = seen(w.dropped + uint64(w.last.number(slot)) + 1)
	w.last.set(slot, n)
	return before
}

// takeBack undoes the last add.
func (w *window) takeBack(before seen) {
	last := len(w.order) - 1
	slot, _ := w.find(w.order[last].key)
	// What was pruned meanwhile does not come back.
	if uint64(before) > w.dropped+uint64(w.head) {
		w.last.set(slot, uint32(uint64(before)-w.dropped)-1)
	} else {
		w.last.remove(slot)
	}
	w.order = w.order[:last]
}

func (w *window) has(key digest, now time.Time) bool {
	n, ok := w.sighted(key)
	return ok && w.within(n, now)
}

func (w *window) within(n int, now time.Time) bool { return now.Sub(w.order[n].at.time()) < w.length }

// prune drops what is past its time and tells how much that is.
func (w *window) prune(now time.Time) (forgotten int) {
	for w.head < len(w.order) && !w.within(w.head, now) {
		if slot, ok := w.find(w.order[w.head].key); ok && w.last.number(slot) == uint32(w.head) {
			w.last.remove(slot)
		}
		w.head++
		forgotten++
	}
	const slack = 64 // below this many, carrying the forgotten costs nothing
	if w.head > w.len()+slack {
		w.letGo()
	}
	return forgotten
}

// letGo gives back the memory of what is forgotten.
func (w *window) letGo() {
	if w.head == 0 {
		return
	}
	w.dropped += uint64(w.head)
	w.last.lower(uint32(w.head))
	left := w.order[w.head:]
	w.order, w.head = append(make([]sighting, 0, len(left)+len(left)/4), left...), 0
}

// room makes an empty window large enough for so many sightings.
func (w *window) room(sightings int) {
	w.order = make([]sighting, 0, sightings)
	w.last.room(sightings)
}

// len is how many sightings are remembered.
func (w *window) len() int { return len(w.order) - w.head }

// remembered lists them, but for so many of the last.
func (w *window) remembered(but int) []sighting { return w.order[w.head : len(w.order)-but] }

// size is how many bytes it takes.
func (w *window) size() int64 { return int64(cap(w.order))*sightingSize + w.last.size() }

// answers remembers what callers with an idempotency key were told.
type answers struct {
	window
	told  []place // for each of the window's sightings that is remembered
	texts arena
}

func newAnswers() answers { return answers{window: newWindow(ReplayWindow)} }

// toldSize is what it takes to find an answer, in bytes.
const toldSize = 8

// answer is what is remembered of a command under its key.
type answer struct {
	name    string
	request Hash
	answer  string // JSON; empty: none
}

// record tells whether there was something to remember, and gives what takeBack needs.
func (a *answers) record(c *Commit) (before seen, recorded bool) {
	ref := &c.Command
	if ref.Key == "" {
		return 0, false
	}
	told := answer{ref.Name, ref.Request, string(ref.Answer)}
	return a.tell(digestOf(ref.Caller, ref.Key), told, instantOf(c.Time)), true
}

func (a *answers) tell(key digest, told answer, at instant) (before seen) {
	a.told = append(a.told, a.texts.add(told.written()))
	return a.add(key, at)
}

// takeBack undoes the last tell.
func (a *answers) takeBack(before seen) {
	last := len(a.told) - 1
	a.texts.cut(a.told[last])
	a.told = a.told[:last]
	a.window.takeBack(before)
}

// forget drops what is past its time.
func (a *answers) forget(now time.Time) {
	dropped := a.dropped
	a.told = a.told[a.prune(now):]
	if a.dropped != dropped {
		a.told = slices.Clone(a.told)
	}
	if len(a.told) == 0 {
		a.told, a.texts = nil, arena{}
		return
	}
	a.texts.drop(a.told[0])
	const slack = 1 << 10 // carrying so much costs nothing
	if forgotten := int64(a.told[0] % arenaChunk); forgotten > slack && 2*forgotten > a.texts.bytes {
		a.repack()
	}
}

// repack moves what is told to where nothing forgotten stands before it.
func (a *answers) repack() {
	var texts arena
	told := make([]place, len(a.told))
	for i, p := range a.told {
		told[i] = texts.add(a.texts.at(p))
	}
	a.told, a.texts = told, texts
}

// of gives the answer that goes with the n-th of the window's sightings in order.
func (a *answers) of(n int) answer {
	told, _ := readAnswer(a.texts.at(a.told[n-a.head]))
	return told
}

// written and readAnswer are each other's inverse.
func (a answer) written() []byte {
	head := binary.AppendUvarint(a.request[:], uint64(len(a.name)))
	return append(append(head, a.name...), a.answer...)
}

func readAnswer(text []byte) (told answer, ok bool) {
	w := written{rest: text}
	copy(told.request[:], w.bytes(len(told.request)))
	told.name = string(w.text())
	told.answer = string(w.rest)
	return told, w.err == nil
}

// recall gives the answer that the same command of the same caller had before, nil
// when there was none. Another request under the same key is refused.
func (a *answers) recall(cmd CommandRef, now time.Time) (json.RawMessage, error) {
	if cmd.Key == "" {
		return nil, nil
	}
	n, ok := a.sighted(digestOf(cmd.Caller, cmd.Key))
	if !ok || !a.within(n, now) {
		return nil, nil
	}
	before := a.of(n)
	if before.name != cmd.Name || before.request != cmd.Request {
		return nil, ErrIdempotencyMismatch
	}
	if before.answer == "" {
		return nil, nil
	}
	return json.RawMessage(before.answer), nil
}

// ErrIdempotencyMismatch refuses another request under a key that was used.
var ErrIdempotencyMismatch = Errorf(CodeIdempotencyMismatch, "This Idempotency-Key was used for another request within the last 24 hours.")

// remembers reports whether the caller used the key.
func (a *answers) remembers(ref CommandRef, now time.Time) bool {
	return a.has(digestOf(ref.Caller, ref.Key), now)
}

// size is how many bytes it takes.
func (a *answers) size() int64 {
	return a.window.size() + int64(cap(a.order))*toldSize + a.texts.bytes
}
