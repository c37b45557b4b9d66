package pgserver_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/projections/pgserver"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// serveVariable makes the test binary a process that runs a server on the
// directory it names, until its input ends.
const (
	serveVariable = "PGSERVER_TEST_SERVE"
	binVariable   = "PGSERVER_TEST_BIN"
)

// patience is for what takes a second on an idle machine.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if dir := os.Getenv(serveVariable); dir != "" {
		if err := serve(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	pgtest.Main(m)
}

func serve(dir string) error {
	ctx := context.Background()
	s, err := pgserver.Start(ctx, pgserver.Config{Dir: dir, BinDir: os.Getenv(binVariable)})
	if err != nil {
		return err
	}
	fmt.Println(s.PID())
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return s.Stop(ctx)
}

// server is another process of ours that runs a server.
type server struct {
	cmd        *exec.Cmd
	stdin      io.Closer
	postmaster int
}

func serverCommand(t *testing.T, dir string, env ...string) (*exec.Cmd, io.WriteCloser) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(append(os.Environ(), serveVariable+"="+dir), env...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	return cmd, stdin
}

func startProcess(t *testing.T, dir string) *server {
	t.Helper()
	cmd, stdin := serverCommand(t, dir)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return &server{cmd: cmd, stdin: stdin, postmaster: pid}
}

// kill is the end that no process can prepare for.
func (s *server) kill(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	s.cmd.Wait()
}

// newDir is a directory for a server, and the place of its own that it may get
// goes with it.
func newDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(pgtest.Dir(t), "postgres")
	cleanElsewhere(t, dir)
	return dir
}

func cleanElsewhere(t *testing.T, dir string) {
	t.Helper()
	t.Cleanup(func() {
		if base := location(dir); base != "" {
			os.RemoveAll(base)
			os.Remove(filepath.Dir(base)) // unless another is there
		}
	})
}

func location(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, "location"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func start(t *testing.T, dir string) *pgserver.Server {
	t.Helper()
	s, _ := startLogged(t, pgserver.Config{Dir: dir, SyncOff: true})
	return s
}

func startLogged(t *testing.T, cfg pgserver.Config) (*pgserver.Server, *logBuffer) {
	t.Helper()
	log := new(logBuffer)
	cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := pgserver.Start(ctx, cfg)
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	t.Cleanup(func() { stop(t, s) })
	return s, log
}

// mustFail is the error of a start that cannot succeed.
func mustFail(t *testing.T, cfg pgserver.Config) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := pgserver.Start(ctx, cfg)
	if err == nil {
		stop(t, s)
		t.Fatal("the server started")
	}
	return err
}

func stop(t *testing.T, s *pgserver.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func execute(t *testing.T, s *pgserver.Server, statement string) {
	t.Helper()
	if _, err := connect(t, s.URL()).Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// value is the answer to a query of one text.
func value(t *testing.T, s *pgserver.Server, query string) string {
	t.Helper()
	var v string
	if err := connect(t, s.URL()).QueryRow(t.Context(), query).Scan(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// keep and kept write something and ask for it.
func keep(t *testing.T, s *pgserver.Server) {
	t.Helper()
	execute(t, s, "CREATE TABLE kept AS SELECT 'here' AS it")
}

func kept(t *testing.T, s *pgserver.Server) {
	t.Helper()
	if got := value(t, s, "SELECT it FROM kept"); got != "here" {
		t.Errorf("kept %q", got)
	}
}

// eventually waits for a condition that the test does not bring about itself.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// gone tells whether no such process runs. One that nobody has collected yet is
// gone too.
func gone(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err != nil || bytes.HasPrefix(out, []byte("Z"))
}

// logBuffer collects what is logged from several goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not mention %q", text, part)
		}
	}
}
