// Package pgserver runs the machine's own PostgreSQL server binaries as a
// private child process. It never listens on the network, never downloads
// anything, and never touches a database cluster that it did not make.
package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

// Names in Config.Dir, or in the place that locationFile names.
const (
	dataName     = "data"         // the cluster: PostgreSQL's own directory
	socketName   = "run"          // the socket's directory, unless its path is too long
	lockFile     = "lock"         // held by the process that runs the server
	passFile     = "pgpass"       // the password, in libpq's format
	serviceFile  = "service.conf" // an empty service, to answer PGSERVICE with
	locationFile = "location"     // where the cluster is, if it is not here
	endpointFile = "endpoint"     // the socket's directory, while the server runs
	logFile      = "postgres.log"
)

const (
	superuser    = "claimledger"
	databaseName = "claimledger"
)

const (
	// pollEvery is how often a file or another process is looked at again:
	// short against the 100 ms that a start takes.
	pollEvery = 20 * time.Millisecond

	// quitPatience is how long an immediate shutdown may take. PostgreSQL
	// kills its own processes after 5 s of it.
	quitPatience = 10 * time.Second

	// orphanPatience is how long the processes of a killed postmaster are
	// given to notice and go. They hold its shared memory until then, and
	// PostgreSQL rightly refuses to start beside them.
	orphanPatience = 15 * time.Second
)

// Config says where the server lives.
type Config struct {
	// Dir is the directory that the server may keep. It is made when it does
	// not exist.
	Dir string

	// BinDir holds initdb and postgres. Empty: Find looks for them.
	BinDir string

	// Logger may be nil.
	Logger *slog.Logger

	// SyncOff is for throw-away databases alone: it is faster, and a crash of
	// the machine may destroy them. A crash of the server does not. They take 400
	// connections rather than 100.
	SyncOff bool
}

// Server is a running PostgreSQL that belongs to this process.
type Server struct {
	dir       string
	version   string
	socketDir string
	child     *child
	logPath   string
	logStart  int64
	lock      *os.File
	log       *slog.Logger

	stopping atomic.Bool
	done     chan struct{}
	err      error // written before done is closed
}

// Start makes the cluster when there is none, starts PostgreSQL on it, and
// returns once it accepts connections to the database "claimledger". One that
// survived a killed parent is stopped first; one that a living process runs is
// an error that wraps ErrInUse.
//
// ctx bounds the start alone. The server runs until Stop, or until this process
// ends.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	dir, err := makeDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("the PostgreSQL directory: %w", err)
	}
	lock, err := takeLock(ctx, dir)
	if err != nil {
		return nil, err
	}
	s, err := startLocked(ctx, cfg, dir, log)
	if err != nil {
		lock.Close()
		return nil, err
	}
	s.lock = lock
	go s.watch()
	log.Info("PostgreSQL accepts connections", "version", s.version, "pid", s.PID(), "socket", s.socketDir)
	return s, nil
}

func startLocked(ctx context.Context, cfg Config, dir string, log *slog.Logger) (*Server, error) {
	endpoint := filepath.Join(dir, endpointFile)
	if err := os.Remove(endpoint); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("what a server before this one left: %w", err)
	}
	home, err := settle(dir, log)
	if err != nil {
		return nil, err
	}
	major, err := clusterMajor(home.data())
	if err != nil {
		return nil, err
	}
	bin, err := findFor(cfg.BinDir, home.data(), major)
	if err != nil {
		return nil, err
	}
	if err := stopSurvivor(ctx, home.data(), log); err != nil {
		return nil, err
	}
	if err := home.prepare(ctx, bin, major != 0, cfg.SyncOff, log); err != nil {
		return nil, err
	}
	socketDir, err := home.makeSocketDir()
	if err != nil {
		return nil, err
	}
	s := &Server{
		dir: dir, version: bin.version, socketDir: socketDir, log: log,
		logPath: filepath.Join(dir, logFile), done: make(chan struct{}),
	}
	if err := s.launch(ctx, home, bin, cfg.SyncOff); err != nil {
		os.RemoveAll(socketDir)
		return nil, err
	}
	if err := writeFile(endpoint, socketDir+"\n"); err != nil {
		s.child.end(context.WithoutCancel(ctx))
		os.RemoveAll(socketDir)
		return nil, fmt.Errorf("the endpoint's file: %w", err)
	}
	return s, nil
}

// URL is how pgx and libpq reach the server. It names the file with the
// password and does not hold it, so it may be printed.
func (s *Server) URL() string { return endpointURL(s.dir, s.socketDir) }

// Dir is the absolute path of the directory that the server keeps.
func (s *Server) Dir() string { return s.dir }

// PID is the process id of the postmaster.
func (s *Server) PID() int { return s.child.cmd.Process.Pid }

// Version is the version of the binaries, like "15.18".
func (s *Server) Version() string { return s.version }

// Done is closed when the server is gone, asked or not, and its directory is
// free for another Start.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err says why the server is gone, with the last lines of its log. It is nil
// while the server runs, and when Stop ended it.
func (s *Server) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Stop shuts the server down: fast, which ends sessions and writes a
// checkpoint, and at once when ctx ends first. The latter is an error that
// wraps ctx's, though nothing committed is lost: the next start recovers. It
// may be called again, and after the server died.
func (s *Server) Stop(ctx context.Context) error {
	s.stopping.Store(true)
	err := s.child.end(ctx)
	<-s.done
	return err
}

func (s *Server) watch() {
	<-s.child.done
	if !s.stopping.Load() {
		s.err = fmt.Errorf("PostgreSQL stopped: %v: %s", s.child.err, logTail(s.logPath, s.logStart))
	}
	os.Remove(filepath.Join(s.dir, endpointFile))
	os.RemoveAll(s.socketDir)
	s.lock.Close() // last: whoever takes the lock finds nothing of ours
	close(s.done)
}

// launch starts the postmaster and waits until it is ready. It tries again for
// a while when processes of a killed postmaster are still in the way.
func (s *Server) launch(ctx context.Context, home home, bin binaries, syncOff bool) error {
	giveUp := time.Now().Add(orphanPatience)
	for {
		err := s.launchOnce(ctx, home, bin, syncOff)
		if !errors.Is(err, errOrphans) || time.Now().After(giveUp) {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

func (s *Server) launchOnce(ctx context.Context, home home, bin binaries, syncOff bool) error {
	out, err := openLog(s.logPath, home.account)
	if err != nil {
		return fmt.Errorf("PostgreSQL's log: %w", err)
	}
	defer out.Close()
	if s.logStart, err = out.Seek(0, io.SeekEnd); err != nil {
		return fmt.Errorf("PostgreSQL's log: %w", err)
	}
	cmd := home.command(context.Background(), bin.postgres(), serverArgs(home.data(), s.socketDir, syncOff)...)
	cmd.Stdout, cmd.Stderr = out, out
	setDeathSignal(cmd.SysProcAttr, syscall.SIGINT)
	if s.child, err = startChild(cmd); err != nil {
		return fmt.Errorf("starting PostgreSQL%s: %w", home.account.suffix(), err)
	}
	return s.awaitReady(ctx, home.data())
}

func (s *Server) awaitReady(ctx context.Context, data string) error {
	for {
		if pf, err := readPidFile(data); err == nil && pf.pid == s.PID() && pf.ready {
			return nil
		}
		select {
		case <-s.child.done:
			return startError(s.child.err, logTail(s.logPath, s.logStart))
		case <-ctx.Done():
			s.child.end(ctx)
			return fmt.Errorf("PostgreSQL did not get ready: %w: %s", ctx.Err(), logTail(s.logPath, s.logStart))
		case <-time.After(pollEvery):
		}
	}
}

// pause waits for pollEvery, or less when ctx ends.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pollEvery):
		return nil
	}
}
