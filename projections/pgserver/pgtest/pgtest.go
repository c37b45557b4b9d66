// Package pgtest gives tests a real PostgreSQL, started once for each test
// binary. It never outlives the test process, and never keeps anything.
package pgtest

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/projections/pgserver"
)

// Patience for what takes a second at most on an idle machine.
const (
	startPatience = time.Minute
	stopPatience  = 20 * time.Second
)

// shared is the one server of this test binary, started by the first New.
var shared struct {
	once      sync.Once
	server    *pgserver.Server
	err       error
	scratch   *scratch
	databases atomic.Int64
}

// New is the URL of a fresh, empty database, which is dropped when the test
// ends. Tests that run in parallel do not see each other, except that the
// server takes 400 connections.
func New(t testing.TB) string {
	t.Helper()
	shared.once.Do(startShared)
	if shared.err != nil {
		t.Fatalf("the tests' PostgreSQL: %v", shared.err)
	}
	name := fmt.Sprintf("test_%d", shared.databases.Add(1))
	// template0, because someone connected to template1 would be in the way.
	execute(t, "CREATE DATABASE "+name+" TEMPLATE template0")
	t.Cleanup(func() { execute(t, "DROP DATABASE "+name+" WITH (FORCE)") })

	u, err := url.Parse(shared.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// Main runs the tests and stops the shared server, for TestMain. Without it the
// server stops when the process ends.
func Main(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		stop(shared.server)
	}
	if shared.scratch != nil {
		shared.scratch.remove()
	}
	os.Exit(code)
}

// AtOnce has so many of a package's tests that are parallel run at a time, for TestMain. Who
// says so himself, with -parallel, has it his way.
func AtOnce(n int) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return
	}
	if err := flag.Set("test.parallel", strconv.Itoa(n)); err != nil {
		panic(err) // a flag of package testing that is gone
	}
}

// Server is a server of the test's own, for tests that kill or restart it. It
// is stopped when the test ends.
func Server(t testing.TB) *pgserver.Server {
	t.Helper()
	return start(t, filepath.Join(Dir(t), "postgres"))
}

// Restart starts a server anew where s was, at the same URL. It stops s, if
// that still runs.
func Restart(t testing.TB, s *pgserver.Server) *pgserver.Server {
	t.Helper()
	if err := stop(s); err != nil {
		t.Fatal(err)
	}
	return start(t, s.Dir())
}

// Dir is a temporary directory like t.TempDir, but one that the account which
// runs PostgreSQL for root can enter. A server that is left in "postgres" below
// it is stopped when the directory goes.
func Dir(t testing.TB) string {
	t.Helper()
	s, err := newScratch()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.remove)
	return s.dir
}

func start(t testing.TB, dir string) *pgserver.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	s, err := pgserver.Start(ctx, pgserver.Config{Dir: dir, SyncOff: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(s); err != nil {
			t.Error(err)
		}
	})
	return s
}

func startShared() {
	if shared.scratch, shared.err = newScratch(); shared.err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	shared.server, shared.err = pgserver.Start(ctx, pgserver.Config{
		Dir: filepath.Join(shared.scratch.dir, "postgres"), SyncOff: true,
	})
}

func stop(s *pgserver.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	return s.Stop(ctx)
}

// execute runs a statement on the shared server. Its context is not the test's,
// which is done before the test's cleanup.
func execute(t testing.TB, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	conn, err := pgx.Connect(ctx, shared.server.URL())
	if err != nil {
		t.Fatalf("the tests' PostgreSQL: %v (%v)", err, shared.server.Err())
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}
