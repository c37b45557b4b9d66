package webhookrelay

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

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

func newPool(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool, err := pgdb.Open(t.Context(), pgtest.New(t), pgdb.Options{MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if err := Setup(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	return pool
}

func hijacked(t *testing.T, pool *pgxpool.Pool) *pgx.Conn {
	t.Helper()
	pooled, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	conn := pooled.Hijack()
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// A relay that the others cannot see for long enough does not mark what it takes as one of
// which they know when it is gone.
func TestUnseenByTheOthers(t *testing.T) {
	pool := newPool(t)
	conn := hijacked(t, pool)
	u := &upkeep{pool: pool, presence: newPresence("me"), absent: absences{}, logger: slog.New(slog.DiscardHandler), requeued: func() {}}
	look := func(want string) {
		t.Helper()
		u.absent["me"] = time.Now().Add(-absentFor)
		if err := u.freeAbsent(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := u.presence.mark(); got != want {
			t.Errorf("the mark is %q, want %q", got, want)
		}
	}
	look("")
	if err := u.presence.arrive(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	look("@")
	if _, err := conn.Exec(t.Context(), `SELECT pg_advisory_unlock_all()`); err != nil { // as a session that is gone
		t.Fatal(err)
	}
	look("")
}

// A relay that is back before its webhooks were freed keeps them, however long the other one
// took since it looked.
func TestBackInTime(t *testing.T) {
	pool := newPool(t)
	if _, err := pool.Exec(t.Context(), `INSERT INTO webhookrelay.webhooks (webhook_id, namespace, service_id, url, events, active, secret_key_id, secret, auth_header, created_position)
		VALUES ('hook', 'acme', 'svc', '', '{}', true, '', '', '', 1)`); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), `INSERT INTO webhookrelay.endpoints (webhook_id, owner, owned_until) VALUES ('hook', '@other/1', now() + interval '1 hour')`); err != nil {
		t.Fatal(err)
	}
	u := &upkeep{
		pool: pool, presence: newPresence("me"), logger: slog.New(slog.DiscardHandler), requeued: func() {},
		absent: absences{"other": time.Now().Add(-absentFor)},
	}
	blocking, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer blocking.Rollback(context.WithoutCancel(t.Context()))
	if _, err := blocking.Exec(t.Context(), `LOCK TABLE webhookrelay.endpoints IN SHARE MODE`); err != nil { // it may be read
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- u.freeAbsent(t.Context()) }()
	for waiting := false; !waiting; {
		err := blocking.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'webhookrelay.endpoints'::regclass AND NOT granted)`).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := newPresence("other").arrive(t.Context(), hijacked(t, pool)); err != nil {
		t.Fatal(err)
	}
	if err := blocking.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	var left int
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM webhookrelay.endpoints WHERE owner = '@other/1'`).Scan(&left); err != nil || left != 1 {
		t.Errorf("it has %d webhooks, %v", left, err)
	}
}
