package domain

import (
	"bytes"
	"encoding/binary"
	"time"
)

// instant is a time to the nanosecond, as far as a time.Time reaches, in which the garbage
// collector has nothing to look for. The zero value is none. Bytes are in the order of time.
type instant [12]byte

// secondsBias makes seconds before 1970 come before those after.
const secondsBias = 1 << 63

func instantOf(t time.Time) (i instant) {
	binary.BigEndian.PutUint64(i[:8], uint64(t.Unix())^secondsBias)
	binary.BigEndian.PutUint32(i[8:], uint32(t.Nanosecond()))
	return i
}

// instantOfEnd is the instant of a time that may be none.
func instantOfEnd(t *time.Time) instant {
	if t == nil {
		return instant{}
	}
	return instantOf(*t)
}

// time is in UTC, as all that is stored.
func (i instant) time() time.Time {
	return time.Unix(int64(binary.BigEndian.Uint64(i[:8])^secondsBias), int64(i.nanos())).UTC()
}

func (i instant) nanos() uint32 { return binary.BigEndian.Uint32(i[8:]) }

func (i instant) none() bool { return i == instant{} }

func (i instant) compare(j instant) int { return bytes.Compare(i[:], j[:]) }

// valid reports whether a time can have given these bytes.
func (i instant) valid() bool { return !i.none() && i.nanos() < uint32(time.Second) }
