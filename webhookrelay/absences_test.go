package webhookrelay

import (
	"slices"
	"testing"
	"time"
)

// Only who was away each time, and for long enough, is gone.
func TestGoneIsWhoStaysAway(t *testing.T) {
	a := absences{}
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, step := range []struct {
		at           time.Duration
		absent, gone []string
	}{
		{0, []string{"a", "b"}, nil},
		{time.Second, []string{"a"}, nil},
		{2 * time.Second, []string{"a", "b"}, nil},
		{absentFor, []string{"a", "b"}, []string{"a"}},
		{absentFor + time.Second, []string{"b"}, nil},
		{absentFor + 2*time.Second, []string{"a", "b"}, []string{"b"}},
	} {
		if gone := a.note(step.absent, begin.Add(step.at)); !slices.Equal(gone, step.gone) {
			t.Errorf("after %s with %v away, %v are gone, want %v", step.at, step.absent, gone, step.gone)
		}
	}
}
