package pgserver_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/projections/pgserver"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

func TestStartStopStartKeepsData(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	first, _ := startLogged(t, pgserver.Config{Dir: dir})
	keep(t, first)
	stop(t, first)
	stop(t, first) // again: nothing happens
	if err := first.Err(); err != nil {
		t.Errorf("after Stop: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "run")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	kept(t, start(t, dir))
}

func TestSettings(t *testing.T) {
	t.Parallel()
	s, _ := startLogged(t, pgserver.Config{Dir: newDir(t)})
	for name, want := range map[string]string{
		"listen_addresses":                  "",
		"fsync":                             "on",
		"full_page_writes":                  "on",
		"synchronous_commit":                "on",
		"shared_buffers":                    "128MB",
		"max_connections":                   "100",
		"timezone":                          "UTC",
		"server_encoding":                   "UTF8",
		"data_checksums":                    "on",
		"log_statement":                     "none",
		"log_min_error_statement":           "panic",
		"log_parameter_max_length_on_error": "0",
		"password_encryption":               "scram-sha-256",
	} {
		if got := value(t, s, "SHOW "+name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	open := value(t, s, "SELECT count(*)::text FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'")
	if open != "0" {
		t.Errorf("%s lines let someone in without the password", open)
	}
	if got := value(t, s, "SELECT current_database()"); got != "claimledger" {
		t.Errorf("the database is %q", got)
	}
}

// TestSecrets looks for the password and for what statements carry wherever
// they must not be.
func TestSecrets(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	s, log := startLogged(t, pgserver.Config{Dir: dir, SyncOff: true})
	b, err := os.ReadFile(filepath.Join(dir, "pgpass"))
	if err != nil {
		t.Fatal(err)
	}
	password := strings.TrimSpace(string(b[strings.LastIndex(string(b), ":")+1:]))

	conn := connect(t, s.URL())
	execute(t, s, "CREATE TABLE u (a text UNIQUE, b int CHECK (b > 0))")
	for range 2 {
		conn.Exec(t.Context(), "INSERT INTO u VALUES ('hunter2', 1)")
	}
	conn.Exec(t.Context(), "INSERT INTO u VALUES ('hunter2', -1)")
	conn.Exec(t.Context(), "INSERT INTO u (a, b) VALUES ($1, $2::text::int)", "hunter2", "hunter2")
	conn.Exec(t.Context(), "hunter2")
	stop(t, s)

	server, err := os.ReadFile(filepath.Join(dir, "postgres.log"))
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(server), "ERROR")
	for where, text := range map[string]string{"server's log": string(server), "log": log.String(), "URL": s.URL()} {
		if strings.Contains(text, password) {
			t.Errorf("the password is in the %s", where)
		}
	}
	// A value that cannot be converted is quoted by the message itself.
	if n := strings.Count(string(server), "hunter2"); n > 2 {
		t.Errorf("the log quotes statements:\n%s", server)
	}
	if info, err := os.Stat(filepath.Join(dir, "pgpass")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the password's file: %v, %v", info, err)
	}
}

func TestWithoutPasswordNobodyGetsIn(t *testing.T) {
	t.Parallel()
	s := start(t, newDir(t))
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	socket := q.Get("host")
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's directory: %v, %v", info, err)
	}
	q.Set("passfile", "/nonexistent")
	u.RawQuery = q.Encode()
	if conn, err := pgx.Connect(t.Context(), u.String()); err == nil {
		conn.Close(t.Context())
		t.Error("connected without the password")
	}
}

func TestTwoStarts(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	if _, ok, err := pgserver.Running(dir); ok || err != nil {
		t.Errorf("before: %v, %v", ok, err)
	}
	other := startProcess(t, dir)
	err := mustFail(t, pgserver.Config{Dir: dir})
	if !errors.Is(err, pgserver.ErrInUse) {
		t.Errorf("%v is not ErrInUse", err)
	}
	contains(t, err.Error(), "another claimledger (pid "+strconv.Itoa(other.cmd.Process.Pid)+") uses this directory", dir)

	url, ok, err := pgserver.Running(dir)
	if !ok || err != nil {
		t.Fatalf("beside it: %v, %v", ok, err)
	}
	if err := connect(t, url).Ping(t.Context()); err != nil {
		t.Error(err)
	}
	other.stdin.Close()
	if err := other.cmd.Wait(); err != nil {
		t.Error(err)
	}
	if _, ok, err := pgserver.Running(dir); ok || err != nil {
		t.Errorf("after: %v, %v", ok, err)
	}
}

func TestLongPath(t *testing.T) {
	t.Parallel()
	parent := filepath.Join(pgtest.Dir(t), strings.Repeat("long", 30), `a, b "c" [d] é %`)
	dir := filepath.Join(parent, "postgres")
	cleanElsewhere(t, dir)
	s := start(t, dir)
	keep(t, s)
	stop(t, s)
	kept(t, start(t, dir))
}

// TestForeignSocketDirectory has somebody else at the short path first.
func TestForeignSocketDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(pgtest.Dir(t), strings.Repeat("long", 30))
	cleanElsewhere(t, dir)
	s := start(t, dir)
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	stop(t, s)
	socket := u.Query().Get("host")
	target := t.TempDir()
	if err := os.Symlink(target, socket); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(socket)
	contains(t, mustFail(t, pgserver.Config{Dir: dir}).Error(), socket, "not ours")
	if _, err := os.Stat(target); err != nil {
		t.Error(err)
	}
}

func TestLostPassword(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	s := start(t, dir)
	keep(t, s)
	stop(t, s)
	if err := os.Remove(filepath.Join(dir, "pgpass")); err != nil {
		t.Fatal(err)
	}
	kept(t, start(t, dir))
}

// TestPostmasterKilled starts again at once, while processes of the killed
// postmaster may still be there.
func TestPostmasterKilled(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	s := start(t, dir)
	keep(t, s)
	connect(t, s.URL()) // a process that has to notice
	if err := syscall.Kill(s.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	if s.Err() == nil {
		t.Fatal("no reason given")
	}
	contains(t, s.Err().Error(), "killed")
	kept(t, start(t, dir))
}

// TestStopAtOnce has no time for a checkpoint.
func TestStopAtOnce(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	s, _ := startLogged(t, pgserver.Config{Dir: dir})
	keep(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if !gone(s.PID()) {
		t.Error("the server is still there")
	}
	kept(t, start(t, dir))
}

func TestStartGivenUp(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := pgserver.Start(ctx, pgserver.Config{Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	start(t, dir)
}

func TestLogIsBounded(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	stop(t, start(t, dir))
	log := filepath.Join(dir, "postgres.log")
	if err := os.Truncate(log, 2<<20); err != nil {
		t.Fatal(err)
	}
	start(t, dir)
	if info, err := os.Stat(log); err != nil || info.Size() > 1<<20 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestHostileEnvironment is not parallel: the environment is everybody's.
func TestHostileEnvironment(t *testing.T) {
	for name, v := range map[string]string{
		"PGHOST": "192.0.2.1", "PGHOSTADDR": "192.0.2.1", "PGPORT": "1", "PGUSER": "mallory", "PGDATABASE": "none",
		"PGPASSWORD": "wrong", "PGPASSFILE": "/nonexistent", "PGSERVICE": "none", "PGSERVICEFILE": "/nonexistent",
		"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/nonexistent", "PGSSLCERTMODE": "require", "PGSSLNEGOTIATION": "direct",
		"PGOPTIONS": "-c search_path=nowhere", "PGTZ": "Mars/Olympus", "PGTARGETSESSIONATTRS": "standby", "PGCONNECT_TIMEOUT": "x",
		"PGCHANNELBINDING": "require", "PGREQUIREAUTH": "none", "PGMINPROTOCOLVERSION": "latest", "PGMAXPROTOCOLVERSION": "3.0",
		"PGAPPNAME": "x", "PGDATA": "/nonexistent", "PGCLIENTENCODING": "LATIN1", "LC_ALL": "xx_YY.UTF-8", "TZ": "Mars/Olympus",
	} {
		t.Setenv(name, v)
	}
	s := start(t, newDir(t))
	for query, want := range map[string]string{
		"SELECT current_user":       "claimledger",
		"SELECT current_database()": "claimledger",
		"SHOW timezone":             "UTC",
		"SHOW client_encoding":      "UTF8",
		"SHOW search_path":          `"$user", public`,
	} {
		if got := value(t, s, query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}
