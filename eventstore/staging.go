package eventstore

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// stagingRoot is where Linux has a file system in memory that everybody may use.
	stagingRoot = "/dev/shm"
	// tmpfsMagic is what statfs(2) calls such a file system.
	tmpfsMagic = 0x01021994
	// stagingRoom is what has to be free there at first, and stagingLeast from then on: several
	// times, and somewhat more than, what batches take.
	stagingRoom  = 8 * maxBatchBytes
	stagingLeast = 2 * maxBatchBytes
	// stagingCheck is how often it is looked whether that is so, and the directory still
	// there: some systems clear it when a user logs out.
	stagingCheck = 5 * time.Second
)

// staging lets the embedded server stage its batches in memory.
//
// The server makes a store for each batch, with directories and files of its own, writes
// the batch there, and from there to the stream, which it then syncs. On a disk the first
// part costs several times as much as the second, and nothing that is promised rests on
// it: it lets a server that was killed in the middle complete the batch. It still does,
// for what is in memory outlives the process. When the machine itself goes down in the
// middle, the first few commits of a batch may be in the log without the rest: each is a
// decision of its own, in its order, and none has been acknowledged.
type staging struct {
	root   string // a file system in memory
	link   string // in the server's store, in the place of its own directory
	prefix string // of the directory it leads to, which is this store's alone
	logger *slog.Logger

	before string // where the link of an earlier process leads to
	made   string // the directory; empty: none
	stop   chan struct{}
	checks sync.WaitGroup

	mu   sync.Mutex
	used bool     // batches are staged there, and not on disk
	logs []*group // to be told when that changes
}

// newStaging looks, before the server starts, for what an earlier process left behind.
func newStaging(dir, root string, logger *slog.Logger) *staging {
	if absolute, err := filepath.Abs(dir); err == nil {
		dir = absolute
	}
	// A copy of the store has another name, whatever its path is where it runs.
	var st syscall.Stat_t
	_ = syscall.Stat(dir, &st)
	name := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", dir, st.Dev, st.Ino))
	s := &staging{
		link:   filepath.Join(streamDir(dir, StreamName), "batches"),
		root:   root,
		prefix: filepath.Join(root, "claimledger-"+hex.EncodeToString(name[:6])+"-"),
		logger: logger, stop: make(chan struct{}),
	}
	switch to, err := os.Readlink(s.link); {
	case err != nil:
	case strings.HasPrefix(to, s.prefix) && ownDirectory(to) == nil:
		s.before = to
	default:
		// It came with a copy of another store, which may be running. Or what it led to is
		// gone, and may be somebody else's by now: the server would go on with what he left.
		_ = os.Remove(s.link)
	}
	return s
}

// begin makes the directory once the server has taken what it needs from the one before.
// Without one the batches go to disk, as they do on other systems.
func (s *staging) begin() {
	if s.before != "" {
		_ = os.Remove(s.link) // where the server had no log to look after
		_ = os.RemoveAll(s.before)
	}
	made, err := s.make()
	if err != nil {
		s.logger.Debug("batches are staged on disk", "error", err)
		return
	}
	s.made, s.used = made, true
	s.checks.Go(func() {
		tick := time.NewTicker(stagingCheck)
		defer tick.Stop()
		for {
			select {
			case <-s.stop:
				return
			case <-tick.C:
			}
			if !s.intact() {
				return
			}
		}
	})
}

func (s *staging) make() (dir string, err error) {
	if err := roomInMemory(s.root, stagingRoom); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(s.link), 0o700); err != nil {
		return "", err
	}
	if dir, err = os.MkdirTemp(s.root, filepath.Base(s.prefix)); err != nil {
		return "", err
	}
	if err = os.Symlink(dir, s.link); err != nil {
		return "", errors.Join(err, os.Remove(dir))
	}
	return dir, nil
}

// ownDirectory refuses what is no directory of this process's user, or one that others may
// change: where everybody may make directories, a name alone says nothing.
func ownDirectory(path string) error {
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFDIR || st.Uid != uint32(os.Geteuid()) || st.Mode&0o077 != 0 {
		return fmt.Errorf("%s is not a directory of ours alone", path)
	}
	return nil
}

// roomInMemory reports what is wrong with the file system in memory.
func roomInMemory(root string, least uint64) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(root, &st); err != nil {
		return err
	}
	if free := uint64(st.Bavail) * uint64(st.Bsize); int64(st.Type) != tmpfsMagic || free < least {
		return fmt.Errorf("%s is not in memory, or has less than %d MiB free", root, least>>20)
	}
	return nil
}

// intact gives the server its own directory back when the other is of no use any more.
func (s *staging) intact() bool {
	err := ownDirectory(s.made)
	if err == nil {
		err = roomInMemory(s.root, stagingLeast)
	}
	if err == nil {
		return true
	}
	s.logger.Warn("batches are staged on disk from now on, which is slower", "error", err)
	_ = os.Remove(s.link)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used = false
	for _, g := range s.logs {
		g.setPace(paceOf(1))
	}
	return false
}

// pace has a log's batches made as it suits where they are staged.
func (s *staging) pace(g *group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used {
		s.logs = append(s.logs, g)
		g.setPace(paceInMemory)
	}
}

// end removes what was made, after the server has stopped.
func (s *staging) end() {
	close(s.stop)
	s.checks.Wait()
	if s.made == "" {
		return
	}
	if to, err := os.Readlink(s.link); err == nil && to == s.made {
		_ = os.Remove(s.link)
	}
	if ownDirectory(s.made) == nil {
		_ = os.RemoveAll(s.made)
	}
}
