package projections

import (
	"encoding/binary"
	"io"
	"strings"
	"time"
)

// copyFrom is the number of rows from which COPY is faster than INSERT: it takes a
// round trip more, and then a fifth of the time for a row.
const copyFrom = 16

// copyHeader begins what COPY takes in its binary form: a signature, and neither flags nor
// an extension.
const copyHeader = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// copyNull stands for the length of a value that is none, and copyEnd for the number of
// columns of a row behind the last one: -1 of 32 and of 16 bits.
const (
	copyNull = ^uint32(0)
	copyEnd  = ^uint16(0)
)

// year2000 is from when PostgreSQL counts microseconds.
var year2000 = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// rows are rows that are added to one table: begin, and then the value of each column in
// its place, by the method for the column's type. They are kept as COPY takes them, for to
// have a driver find out each value's type costs more than to fold what led to it; the
// first ones as an INSERT takes them too, as long as they may be all.
type rows struct {
	columns []string
	n       int
	few     [][]any
	copied  []byte
}

func rowsOf(columns []string) *rows { return &rows{columns: columns} }

// begin begins a row.
func (r *rows) begin() {
	if r.n++; r.n < copyFrom {
		r.few = append(r.few, make([]any, 0, len(r.columns)))
	}
	if r.n == 1 {
		r.copied = append(r.copied, copyHeader...)
	}
	r.copied = binary.BigEndian.AppendUint16(r.copied, uint16(len(r.columns)))
}

// also gives a value to the INSERT.
func (r *rows) also(value any) { r.few[r.n-1] = append(r.few[r.n-1], value) }

func (r *rows) length(n int) { r.copied = binary.BigEndian.AppendUint32(r.copied, uint32(n)) }

func (r *rows) null() {
	if r.n < copyFrom {
		r.also(nil)
	}
	r.copied = binary.BigEndian.AppendUint32(r.copied, copyNull)
}

// text is for text and json.
func (r *rows) text(s string) {
	if strings.IndexByte(s, 0) >= 0 {
		s = withoutZeros(s)
	}
	if r.n < copyFrom {
		r.also(s)
	}
	r.length(len(s))
	r.copied = append(r.copied, s...)
}

func (r *rows) bytes(b []byte) {
	if r.n < copyFrom {
		r.also(b)
	}
	r.length(len(b))
	r.copied = append(r.copied, b...)
}

// bigint is for what is a position, a version or a count.
func (r *rows) bigint(n uint64) {
	if r.n < copyFrom {
		r.also(n)
	}
	r.length(8)
	r.copied = binary.BigEndian.AppendUint64(r.copied, n)
}

func (r *rows) integer(n int) {
	if r.n < copyFrom {
		r.also(n)
	}
	r.length(4)
	r.copied = binary.BigEndian.AppendUint32(r.copied, uint32(n))
}

func (r *rows) boolean(b bool) {
	if r.n < copyFrom {
		r.also(b)
	}
	r.length(1)
	if b {
		r.copied = append(r.copied, 1)
	} else {
		r.copied = append(r.copied, 0)
	}
}

func (r *rows) time(t time.Time) {
	if r.n < copyFrom {
		r.also(t)
	}
	r.length(8)
	r.copied = binary.BigEndian.AppendUint64(r.copied, uint64(t.UnixMicro()-year2000))
}

// optionalTime is null for nil.
func (r *rows) optionalTime(t *time.Time) {
	if t == nil {
		r.null()
	} else {
		r.time(*t)
	}
}

// end ends what COPY takes.
func (r *rows) end() { r.copied = binary.BigEndian.AppendUint16(r.copied, copyEnd) }

// rowReader is rows as COPY reads them, which are made while it does: while the server
// stores some, the next are on their way, and only these few are in memory.
type rowReader struct {
	rows *rows
	// more adds rows, or says that there are no more.
	more func() (bool, error)

	read  int // of rows.copied
	ended bool
	err   error // of more
}

// readAhead is how many bytes of rows are made at once: about what is sent at once.
const readAhead = 64 << 10

func (r *rowReader) Read(p []byte) (int, error) {
	if r.read == len(r.rows.copied) {
		r.rows.copied, r.read = r.rows.copied[:0], 0
		for !r.ended && len(r.rows.copied) < readAhead {
			more, err := r.more()
			if err != nil {
				r.err = err
				return 0, err
			}
			if !more {
				r.rows.end()
				r.ended = true
			}
		}
		if len(r.rows.copied) == 0 {
			return 0, io.EOF
		}
	}
	n := copy(p, r.rows.copied[r.read:])
	r.read += n
	return n, nil
}
