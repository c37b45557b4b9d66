package webhookrelay

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/claimledger/claimledger/projections/pgdb"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
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

// A relay that the others cannot see for long enough does not mark its leases as one of
// which they know when it is gone.
func TestUnseenByTheOthers(t *testing.T) {
	pool, err := pgdb.Open(t.Context(), pgtest.New(t), pgdb.Options{MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if err := Setup(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	pooled, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	conn := pooled.Hijack()
	defer conn.Close(context.WithoutCancel(t.Context()))
	u := &upkeep{pool: pool, presence: &presence{owner: "me"}, absent: absences{}, logger: slog.New(slog.DiscardHandler), requeued: func() {}}
	look := func(want string) {
		t.Helper()
		u.absent["me"] = time.Now().Add(-absentFor)
		if err := u.freeAbsent(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := u.presence.holder(); got != want {
			t.Errorf("the holder is %q, want %q", got, want)
		}
	}
	look("me")
	if err := u.presence.arrive(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	look("@me")
	if _, err := conn.Exec(t.Context(), `SELECT pg_advisory_unlock_all()`); err != nil { // as a session that is gone
		t.Fatal(err)
	}
	look("me")
}
