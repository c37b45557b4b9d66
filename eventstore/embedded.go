package eventstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	processUser  = "claimledger"
	operatorUser = "operator"

	// readyTimeout bounds the last step of a start, when the store is loaded.
	readyTimeout = 10 * time.Second

	// freeReserve is what is left of the disk: the store refuses appends, with a
	// definite answer, before the disk refuses writes, which would leave their
	// outcome unknown and the store read-only until a restart.
	freeReserve = 64 << 20
)

// EmbeddedConfig says where an embedded server keeps its store.
type EmbeddedConfig struct {
	Dir    string // made with mode 0700 if missing; for one process at a time
	Logger *slog.Logger

	// Staging is a file system in memory, in which batches are staged as long as it has
	// room; empty: /dev/shm.
	Staging string
	// Brief says that the server is there for one short command: nobody else is told
	// how to reach it, who would lose it in the middle of a command of its own.
	Brief bool
}

// Embedded is a NATS server within this process, on a store of its own, which
// syncs every write to disk before it acknowledges it. Nobody but this machine's
// user can reach it: this process directly, and operator commands over a loopback
// port with the credentials in the directory.
type Embedded struct {
	dir      string
	logger   *slog.Logger
	brief    bool
	memory   string // where batches are staged
	server   *server.Server
	staging  *staging
	lock     *os.File
	password string

	mu    sync.Mutex
	conns []*nats.Conn
}

// StartEmbedded starts the server and returns when it is ready, after it has read
// its store. The error is a *LockedError when another process has the directory.
func StartEmbedded(cfg EmbeddedConfig) (*Embedded, error) {
	if err := prepareDir(cfg.Dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	e := &Embedded{dir: cfg.Dir, logger: cfg.Logger, brief: cfg.Brief, memory: cmp.Or(cfg.Staging, stagingRoot), lock: lock, password: newPassword()}
	err = finishRecut(cfg.Dir)
	if err == nil {
		err = e.start()
	}
	if err != nil {
		return nil, errors.Join(err, e.Stop())
	}
	return e, nil
}

func (e *Embedded) start() error {
	room, err := roomFor(e.dir)
	if err != nil {
		return err
	}
	operator := OperatorAccess{User: operatorUser, Password: newPassword(), PID: os.Getpid()}
	options, err := e.options(room, operator.Password)
	if err == nil {
		e.server, err = server.NewServer(options)
	}
	if err != nil {
		return fmt.Errorf("configure the embedded NATS server: %w", err)
	}
	staging := newStaging(e.dir, e.memory, e.logger)
	log := &serverLog{logger: e.logger}
	e.server.SetLoggerV2(log, false, false, false)
	e.server.Start()
	if err := log.failure(); err != nil {
		return fmt.Errorf("start the embedded NATS server in %s: %w", e.dir, err)
	}
	if !e.server.ReadyForConnections(readyTimeout) {
		return fmt.Errorf("the embedded NATS server in %s is not ready after %v", e.dir, readyTimeout)
	}
	e.staging = staging
	e.staging.begin()
	if e.brief {
		return nil
	}
	operator.URL = e.server.ClientURL()
	if err := writeOperatorFile(e.dir, operator); err != nil {
		return fmt.Errorf("write down the access for operators: %w", err)
	}
	return nil
}

func (e *Embedded) options(room int64, operatorPassword string) (*server.Options, error) {
	permissions := &server.Permissions{Publish: &server.SubjectPermission{Deny: destructive}}
	processHash, err := hashPassword(e.password)
	if err != nil {
		return nil, err
	}
	operatorHash, err := hashPassword(operatorPassword)
	if err != nil {
		return nil, err
	}
	return &server.Options{
		ServerName:             "claimledger",
		Host:                   "127.0.0.1",
		Port:                   server.RANDOM_PORT,
		NoSigs:                 true, // signals are the process's own to handle
		JetStream:              true,
		StoreDir:               e.dir,
		JetStreamMaxStore:      room,
		SyncAlways:             true,
		DisableJetStreamBanner: true,
		Users: []*server.User{
			{Username: processUser, Password: processHash, Permissions: permissions},
			{Username: operatorUser, Password: operatorHash, Permissions: permissions},
		},
	}, nil
}

// destructive is what no user may ask of the server, though the stream denies some
// of it too: an update of a stream can drop what it holds.
var destructive = []string{
	"$JS.API.STREAM.UPDATE." + StreamName,
	"$JS.API.STREAM.DELETE." + StreamName,
	"$JS.API.STREAM.PURGE." + StreamName,
	"$JS.API.STREAM.MSG.DELETE." + StreamName,
	"$JS.API.STREAM.UPDATE." + HeadsStreamName,
	"$JS.API.STREAM.DELETE." + HeadsStreamName,
	"$JS.API.STREAM.PURGE." + HeadsStreamName,
	"$JS.API.STREAM.MSG.DELETE." + HeadsStreamName,
}

// Dir is where the store is.
func (e *Embedded) Dir() string { return e.dir }

// Connect connects this process to its server without a network in between. Stop
// closes the connection.
func (e *Embedded) Connect() (*nats.Conn, error) {
	nc, err := nats.Connect("", append(connectionOptions(e.logger),
		nats.InProcessServer(e.server), nats.UserInfo(processUser, e.password))...)
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded NATS server: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.conns = append(e.conns, nc)
	return nc, nil
}

// Open makes what is missing of the log, and opens it as it suits this server. Stop closes
// it.
func (e *Embedded) Open(ctx context.Context) (*Stream, error) {
	nc, err := e.Connect()
	if err != nil {
		return nil, err
	}
	if err := Create(ctx, nc, 1); err != nil {
		return nil, err
	}
	s, err := Open(ctx, nc, 1, e.logger)
	if err != nil {
		return nil, err
	}
	e.staging.pace(s.group)
	return s, nil
}

// Stop closes the connections and the store, and returns when everything is on
// disk and the directory is free for another process. It may be called twice.
func (e *Embedded) Stop() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.shutDown()
	if e.lock == nil {
		return nil
	}
	err := os.Remove(filepath.Join(e.dir, operatorFile))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	err = errors.Join(err, e.lock.Close())
	e.lock = nil
	return err
}

// SetHeadsAside ends the server, and keeps the signed heads under another name in its
// directory, where no server finds them: the next one begins with none. Only Stop may
// follow, and until then no other process has the directory.
func (e *Embedded) SetHeadsAside(name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.shutDown()
	return os.Rename(streamDir(e.dir, HeadsStreamName), filepath.Join(e.dir, name))
}

// streamDir is where a server with its store in dir keeps a stream.
func streamDir(dir, stream string) string {
	return filepath.Join(dir, server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT, "streams", stream)
}

// HasLog reports whether an embedded server that keeps its store in dir has made a log
// there. It makes nothing itself.
func HasLog(dir string) (bool, error) {
	// A log that is being put anew has its place when the server starts next.
	for _, place := range []string{streamDir(dir, StreamName), filepath.Join(dir, recutDir, recutDone)} {
		if _, err := os.Stat(place); !errors.Is(err, fs.ErrNotExist) {
			return err == nil, err
		}
	}
	return false, nil
}

// shutDown closes the connections and the store. The caller holds mu.
func (e *Embedded) shutDown() {
	for _, nc := range e.conns {
		nc.Close()
	}
	e.conns = nil
	if e.server != nil {
		e.server.Shutdown()
		e.server.WaitForShutdown()
		e.server = nil
	}
	if e.staging != nil {
		e.staging.end()
		e.staging = nil
	}
}

// prepareDir makes the directory and proves that it can be written to, because the
// server itself would only say so in its log.
func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the ledger's directory: %w", err)
	}
	probe, err := os.CreateTemp(dir, "probe.*")
	if err != nil {
		return fmt.Errorf("the ledger's directory can't be written to: %w", err)
	}
	_, err = probe.WriteString("probe")
	err = errors.Join(err, probe.Sync(), probe.Close(), os.Remove(probe.Name()))
	if err != nil {
		return fmt.Errorf("the ledger's directory can't be written to: %w", err)
	}
	return nil
}

// DiskFullError means that a start would leave too little of the disk.
type DiskFullError struct {
	Dir        string
	Free, Need int64 // bytes
}

func (e *DiskFullError) Error() string {
	return fmt.Sprintf("the disk of %s is full: %d MiB are free, %d MiB are needed to start", e.Dir, e.Free>>20, e.Need>>20)
}

// roomFor is how large the store may become: what it has and what the disk has left.
// The server's own default counts only what is left, and would refuse appends once
// the store has outgrown that.
func roomFor(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("look for free space in %s: %w", dir, err)
	}
	free := int64(uint64(st.Bavail) * uint64(st.Bsize))
	if free < 2*freeReserve {
		return 0, &DiskFullError{Dir: dir, Free: free, Need: 2 * freeReserve}
	}
	used, err := sizeOf(filepath.Join(dir, server.JetStreamStoreDir))
	return used + free - freeReserve, err
}

func sizeOf(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return size, err
}
