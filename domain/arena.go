package domain

import (
	"encoding/binary"
	"slices"
)

// arenaChunk is how much text one piece of an arena holds. The first one grows as it is
// filled, so that little text takes little memory.
const (
	arenaChunk     = 1 << arenaChunkBits
	arenaChunkBits = 14
)

// arena holds texts one behind the other. What is in it stays as it is, but for what is cut
// off its end and dropped from its start.
type arena struct {
	chunks  [][]byte
	dropped uint64 // chunks
	bytes   int64  // that the chunks take
}

// place is where a text begins in an arena: the number of its chunk, and how far into it.
type place uint64

// add puts a text at the end. One that is longer than a chunk has one of its own.
func (a *arena) add(text []byte) place {
	var prefix [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(prefix[:], uint64(len(text)))
	need := n + len(text)
	last := len(a.chunks) - 1
	switch {
	case last < 0:
		a.chunks = append(a.chunks, make([]byte, 0, need))
		a.bytes += int64(need)
		last++
	case len(a.chunks[last])+need > arenaChunk && len(a.chunks[last]) > 0:
		size := max(arenaChunk, need)
		a.chunks = append(a.chunks, make([]byte, 0, size))
		a.bytes += int64(size)
		last++
	}
	chunk := a.chunks[last]
	at := place((a.dropped+uint64(last))<<arenaChunkBits | uint64(len(chunk)))
	held := cap(chunk)
	chunk = append(append(chunk, prefix[:n]...), text...)
	a.chunks[last] = chunk
	a.bytes += int64(cap(chunk) - held)
	return at
}

// at gives the text at a place. It is the arena's: who keeps it makes a copy.
func (a *arena) at(p place) []byte {
	text := a.chunks[uint64(p)>>arenaChunkBits-a.dropped][p%arenaChunk:]
	length, n := binary.Uvarint(text)
	return text[n:][:length]
}

// share gives what is in it now, for somebody who only reads while more is added, cut off and
// dropped here.
func (a *arena) share() arena { return arena{chunks: slices.Clone(a.chunks), dropped: a.dropped} }

// cut takes off the text at a place, and all behind it.
func (a *arena) cut(p place) {
	last := uint64(p)>>arenaChunkBits - a.dropped
	for _, gone := range a.chunks[last+1:] {
		a.bytes -= int64(cap(gone))
	}
	clear(a.chunks[last+1:])
	a.chunks = a.chunks[:last+1]
	a.chunks[last] = a.chunks[last][:p%arenaChunk]
}

// drop lets go of what lies before a place.
func (a *arena) drop(p place) {
	n := uint64(p)>>arenaChunkBits - a.dropped
	for _, gone := range a.chunks[:n] {
		a.bytes -= int64(cap(gone))
	}
	clear(a.chunks[:n])
	a.chunks, a.dropped = a.chunks[n:], a.dropped+n
}
