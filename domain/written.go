package domain

import (
	"encoding/binary"
	"errors"
)

// errTorn is for bytes that are not what was written.
var errTorn = errors.New("it is not whole")

// written reads what was written down one behind the other. What is not there makes it
// fail, and then everything reads as zero. It never takes more memory than what it reads.
type written struct {
	rest []byte
	err  error
}

func (w *written) fail() {
	w.rest, w.err = nil, errTorn
}

func (w *written) bytes(n int) []byte {
	if n > len(w.rest) {
		w.fail()
		return nil
	}
	head := w.rest[:n]
	w.rest = w.rest[n:]
	return head
}

func (w *written) number() uint64 {
	n, length := binary.Uvarint(w.rest)
	if length <= 0 {
		w.fail()
		return 0
	}
	w.rest = w.rest[length:]
	return n
}

// below reads a number that must be less than limit.
func (w *written) below(limit int) int {
	n := w.number()
	if n >= uint64(limit) {
		w.fail()
		return 0
	}
	return int(n)
}

// count reads how many things follow, each of at least so many bytes.
func (w *written) count(bytes int) int { return w.below(len(w.rest)/bytes + 1) }

func (w *written) text() []byte { return w.bytes(w.count(1)) }

// instant reads a time that is there.
func (w *written) instant() instant {
	var i instant
	copy(i[:], w.bytes(len(i)))
	if !i.valid() {
		w.fail()
		return instant{}
	}
	return i
}

func appendText[T string | []byte](to []byte, text T) []byte {
	return append(binary.AppendUvarint(to, uint64(len(text))), text...)
}
