package pgdb_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/projections/pgdb"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func open(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgdb.Open(t.Context(), url, pgdb.Options{ApplicationName: "the test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func TestOpenPreparesSessions(t *testing.T) {
	t.Parallel()
	pool := open(t, pgtest.New(t))
	for setting, want := range map[string]string{
		"application_name": "the test", "statement_timeout": "30s", "idle_in_transaction_session_timeout": "30s",
	} {
		var got string
		if err := pool.QueryRow(t.Context(), "SELECT current_setting($1)", setting).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, not %q (%v)", setting, got, want, err)
		}
	}
}

// TestOpenNeverShowsThePassword tries URLs that are wrong in many ways.
func TestOpenNeverShowsThePassword(t *testing.T) {
	t.Parallel()
	const password = "s3cr3t"
	for _, url := range []string{
		"postgres://user:s3cr3t@127.0.0.1:1/db",
		"postgres://user:s3cr3t@127.0.0.1:1/db?sslmode=nonsense",
		"postgres://user:s3cr3t@127.0.0.1:port/db",
		"postgres://user:s3cr3t@[::1/db",
		"postgres://user:%s3cr3t@127.0.0.1/db",
		"postgres://user:x/s3cr3t@127.0.0.1:1/db",
		"postgres://user:x#s3cr3t@127.0.0.1:1/db",
		"host=127.0.0.1 port=1 user=u password=s3cr3t",
		"host=127.0.0.1 port=x user=u password='s3cr3t",
		"s3cr3t",
		"postgres://127.0.0.1:1/db?password=s3cr3t&pool_max_conns=s3cr3t",
	} {
		pool, err := pgdb.Open(t.Context(), url, pgdb.Options{})
		if err == nil {
			pool.Close()
			t.Errorf("%s was opened", url)
			continue
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			if strings.Contains(e.Error(), password) {
				t.Errorf("%s: %v", url, e)
			}
		}
	}
}

func TestOpenWithoutServer(t *testing.T) {
	t.Parallel()
	const url = "postgres://user@127.0.0.1:1/db"
	if _, err := pgdb.Open(t.Context(), url, pgdb.Options{}); !pgdb.Unavailable(err) {
		t.Errorf("%v", err)
	}
	pool, err := pgdb.Open(t.Context(), url, pgdb.Options{Lazy: true})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if err := pool.Ping(t.Context()); !pgdb.Unavailable(err) {
		t.Errorf("%v", err)
	}
	// What does not get better by waiting is an error at once.
	there := pgtest.New(t)
	if _, err := pgdb.Open(t.Context(), there[:strings.LastIndex(there, "/test_")]+"/nothere"+query(there), pgdb.Options{Lazy: true}); err == nil || pgdb.Unavailable(err) {
		t.Errorf("%v", err)
	}
}

func query(url string) string {
	if i := strings.Index(url, "?"); i >= 0 {
		return url[i:]
	}
	return ""
}

func TestUnavailable(t *testing.T) {
	code := func(c string) error { return fmt.Errorf("query: %w", &pgconn.PgError{Code: c, Message: "m"}) }
	for err, want := range map[error]bool{
		nil:                         false,
		errors.New("anything"):      false,
		pgx.ErrNoRows:               false,
		context.Canceled:            false,
		context.DeadlineExceeded:    true,
		io.ErrUnexpectedEOF:         true,
		&net.OpError{Op: "dial"}:    true,
		pgconn.ErrConnClosed:        true,
		code("57P01"):               true,
		code("57P03"):               true,
		code("53300"):               true,
		code("53100"):               true,
		code("08006"):               true,
		code("40P01"):               true,
		code("57014"):               true,
		code("25006"):               true,
		code("28P01"):               false, // a wrong password
		code("3D000"):               false, // no such database
		code("42P01"):               false,
		code("23505"):               false,
		&pgdb.VersionError{"13.22"}: false,
	} {
		if got := pgdb.Unavailable(err); got != want {
			t.Errorf("%v: %t", err, got)
		}
	}
	if !pgdb.Missing(code("42P01")) || !pgdb.Missing(code("3F000")) || pgdb.Missing(code("42703")) || pgdb.Missing(nil) {
		t.Error("Missing")
	}
	if !pgdb.Forbidden(code("42501")) || pgdb.Forbidden(code("42P01")) {
		t.Error("Forbidden")
	}
}

func files(texts ...string) fs.FS {
	m := fstest.MapFS{}
	for i, text := range texts {
		m[fmt.Sprintf("%04d_step.sql", i+1)] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	pool := open(t, url)
	first, second := "CREATE TABLE a (x integer); INSERT INTO a VALUES (1);", "ALTER TABLE a ADD y integer; UPDATE a SET x = x + 1"

	// Many at once: each step is done once.
	var all sync.WaitGroup
	for range 4 {
		other := open(t, url)
		all.Go(func() {
			if err := pgdb.Migrate(t.Context(), other, "some schema", files(first, second)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var x, steps int
	err := pool.QueryRow(t.Context(), `SELECT x, (SELECT count(*) FROM "some schema".migrations) FROM "some schema".a`).Scan(&x, &steps)
	if err != nil || x != 2 || steps != 2 {
		t.Fatalf("x = %d, %d steps, %v", x, steps, err)
	}

	// A step that fails leaves nothing, and is done when it is repaired.
	bad := files(first, second, "CREATE TABLE b (); SELECT 1/0")
	if err := pgdb.Migrate(t.Context(), pool, "some schema", bad); err == nil || !strings.Contains(err.Error(), "0003_step.sql") {
		t.Errorf("%v", err)
	}
	third := "CREATE TABLE b ()"
	if err := pgdb.Migrate(t.Context(), pool, "some schema", files(first, second, third)); err != nil {
		t.Error(err)
	}
	// An older program beside a newer one.
	if err := pgdb.Migrate(t.Context(), pool, "some schema", files(first)); err != nil {
		t.Error(err)
	}
	if err := pgdb.Migrate(t.Context(), pool, "some schema", files(first, "SELECT 1")); err == nil || !strings.Contains(err.Error(), "0002_step.sql was changed") {
		t.Errorf("%v", err)
	}
}

func TestMigrateNames(t *testing.T) {
	t.Parallel()
	pool := open(t, pgtest.New(t))
	for _, names := range [][]string{{}, {"0002_x.sql"}, {"1_x.sql"}, {"0001_x.sql", "0003_y.sql"}, {"0001_x.sql", "0001_y.sql"}, {"0001_X.sql"}} {
		m := fstest.MapFS{}
		for _, name := range names {
			m[name] = &fstest.MapFile{Data: []byte("SELECT 1")}
		}
		if err := pgdb.Migrate(t.Context(), pool, "s", m); err == nil {
			t.Errorf("%q was accepted", names)
		}
	}
}

// TestExclusivelyOutlastsTheTimeout: who waits for the lock is not ended by the
// session's limit on statements.
func TestExclusivelyOutlastsTheTimeout(t *testing.T) {
	t.Parallel()
	pool := open(t, pgtest.New(t))
	err := pgdb.Exclusively(t.Context(), pool, "x", func(tx pgx.Tx) error {
		var timeout string
		err := tx.QueryRow(t.Context(), "SELECT current_setting('statement_timeout')").Scan(&timeout)
		if timeout != "0" {
			t.Errorf("statement_timeout is %s", timeout)
		}
		// A second one waits.
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		second := pgdb.Exclusively(ctx, pool, "x", func(pgx.Tx) error { return nil })
		if !errors.Is(second, context.DeadlineExceeded) {
			t.Errorf("the second: %v", second)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// Others are the sessions of processes that serve, in the same database.
func TestOthers(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	looking := open(t, url)
	count := func() int {
		t.Helper()
		n, err := pgdb.Others(t.Context(), looking)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	elsewhere, err := pgdb.Open(t.Context(), pgtest.New(t), pgdb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	if n := count(); n != 0 {
		t.Errorf("%d others, where there is none", n)
	}
	serves, err := pgdb.Open(t.Context(), url, pgdb.Options{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer serves.Close()
	if n := count(); n != 1 {
		t.Errorf("%d others, where there is one", n)
	}
}
