package domain

import (
	"testing"
	"time"
	_ "time/tzdata" // the test needs a zone with summer time on every machine
)

// An hour is an hour, whatever the clocks of the server's zone do.
func TestPendingUntil(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	beforeSummer := time.Date(2026, 3, 28, 12, 0, 0, 0, berlin)
	for hours, want := range map[int]time.Duration{1: time.Hour, 23: 23 * time.Hour, 24: 24 * time.Hour, 49: 49 * time.Hour} {
		got := Limits{PendingExpiryHours: hours}.pendingUntil(beforeSummer)
		if got == nil || got.Sub(beforeSummer) != want {
			t.Errorf("%d hours: %v", hours, got)
		}
	}
	if got := (Limits{}).pendingUntil(start); got != nil {
		t.Errorf("0 is never, not %v", got)
	}
	longest := Limits{PendingExpiryHours: MaxPolicyValue}.pendingUntil(start)
	if hours := (longest.Unix() - start.Unix()) / 3600; hours != MaxPolicyValue {
		t.Errorf("%d hours: %v", hours, longest)
	}
	if _, err := longest.MarshalJSON(); err != nil {
		t.Error(err)
	}
}
