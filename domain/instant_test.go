package domain

import (
	"testing"
	"time"
)

// An instant is a time to the nanosecond, in whatever year, and in the same order.
func TestInstant(t *testing.T) {
	times := []time.Time{
		{}, time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1677, 1, 1, 0, 0, 0, 1, time.UTC),
		time.Unix(-1, 0), time.Unix(-1, 999_999_999), time.Unix(0, 0), time.Unix(0, 1), time.Unix(1, 0),
		start, start.Add(1), start.In(time.FixedZone("", 3600)), time.Date(2262, 5, 1, 0, 0, 0, 0, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 999_999_998, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
	}
	for _, a := range times {
		i := instantOf(a)
		if got := i.time(); !got.Equal(a) || got.Location() != time.UTC || i.none() || !i.valid() {
			t.Errorf("%s became %s (none %t, valid %t)", a, got, i.none(), i.valid())
		}
		for _, b := range times {
			if got, want := i.compare(instantOf(b)), a.Compare(b); got != want {
				t.Errorf("%s and %s compare as %d", a, b, got)
			}
		}
	}
	if none := (instant{}); !none.none() || none.valid() || instantOfEnd(nil) != none {
		t.Error("none is some")
	}
	late := instantOf(start)
	late[8] = 0xff
	if late.valid() {
		t.Error("a second has more than a billion nanoseconds")
	}
}
