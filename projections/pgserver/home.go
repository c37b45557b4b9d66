package pgserver

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// placesRoot is where clusters go whose own directory the server's account
// cannot enter. It belongs to root, is on the disk, and is backed up with the
// rest of /var/lib.
const placesRoot = "/var/lib/claimledger-postgres"

// originFile names, in a place of its own, the directory that it is for.
const originFile = "origin"

// home is where a server lives and who it runs as.
type home struct {
	dir     string   // Config.Dir: the lock, the password, the log
	base    string   // holds the cluster and the socket: dir, or a place of its own
	account *account // nil: ours
}

func (h home) data() string { return filepath.Join(h.base, dataName) }

// makeDir makes the directory, and returns its one true path. As root it lets
// others pass through, for the server's account, but not look inside.
func makeDir(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("no directory is given")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := makeOpen(dir); err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}

// makeOpen makes a directory and those above it. It changes the mode of none
// that exists: what someone closed stays closed.
func makeOpen(dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", dir)
		}
		return nil
	}
	if err := makeOpen(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		if errors.Is(err, os.ErrExist) {
			return nil
		}
		return err
	}
	if os.Geteuid() == 0 {
		return os.Chmod(dir, 0o711)
	}
	return nil
}

// settle decides where the cluster is and who runs it. An ordinary user's is in
// dir. PostgreSQL refuses to run as root, so root's belongs to another account,
// and moves to a place of its own when that account cannot enter dir.
func settle(dir string, log *slog.Logger) (home, error) {
	if os.Geteuid() != 0 {
		return home{dir: dir, base: dir}, nil
	}
	base, err := recordedBase(dir)
	if err != nil {
		return home{}, err
	}
	if base == "" {
		base = dir
	}
	acct, err := serverAccount(filepath.Join(base, dataName))
	if err != nil {
		return home{}, err
	}
	log.Info("PostgreSQL refuses to run as root", "runs_as", acct.name)
	h := home{dir: dir, base: base, account: acct}
	if base == dir {
		return h.moveIfClosed(log)
	}
	log.Info("PostgreSQL's cluster has a place of its own", "in", base, "recorded_in", filepath.Join(dir, locationFile))
	return h, h.openElsewhere()
}

// moveIfClosed leaves dir for a place of its own if the account cannot enter it.
func (h home) moveIfClosed(log *slog.Logger) (home, error) {
	open, err := h.account.canEnter(h.dir)
	if err != nil || open {
		return h, err
	}
	if _, err := os.Lstat(h.data()); err == nil {
		return h, fmt.Errorf("the cluster in %s belongs to %s, who can no longer enter %s: "+
			"open the directories above it to that account (chmod o+x)", h.data(), h.account.name, h.dir)
	}
	if h.base, err = vacantPlace(h.dir, log); err != nil {
		return h, err
	}
	log.Info("PostgreSQL's account cannot enter the directory; its cluster gets a place of its own",
		"account", h.account.name, "directory", h.dir, "in", h.base)
	if err := h.openElsewhere(); err != nil {
		return h, err
	}
	// The record is last: if we crash before, the same place is chosen again.
	if err := writeFile(filepath.Join(h.dir, locationFile), h.base+"\n"); err != nil {
		return h, fmt.Errorf("recording where PostgreSQL's cluster is: %w", err)
	}
	return h, nil
}

// vacantPlace is a place without a cluster. One that is there already is that of
// a directory which was at this path before and was moved, or deleted: it must
// not pass for this one's.
func vacantPlace(dir string, log *slog.Logger) (string, error) {
	first := filepath.Join(placesRoot, pathHash(dir))
	for n, base := 2, first; ; n++ {
		_, err := os.Lstat(filepath.Join(base, dataName))
		if errors.Is(err, os.ErrNotExist) {
			return base, nil
		}
		if err != nil {
			return "", err
		}
		log.Warn("a cluster of another directory that was at this path is still there", "in", base)
		base = fmt.Sprintf("%s-%d", first, n)
	}
}

// Remove removes the directory and the cluster that Start made for it, wherever that is.
// No server may be running there. It is for databases that were made to be thrown away.
func Remove(dir string) error {
	base, err := recordedBase(dir)
	if err != nil {
		return err
	}
	if base != "" {
		err = os.RemoveAll(base)
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// openElsewhere makes the place of its own and says whose it is.
func (h home) openElsewhere() error {
	if err := makeOpen(h.base); err != nil {
		return fmt.Errorf("the place of PostgreSQL's cluster: %w", err)
	}
	for _, dir := range []string{filepath.Dir(h.base), h.base} {
		if info, err := os.Lstat(dir); err != nil || !info.IsDir() || ownerOf(info) != 0 || info.Mode().Perm()&0o022 != 0 {
			return fmt.Errorf("%s must be a directory that root owns and nobody else may write to", dir)
		}
	}
	open, err := h.account.canEnter(h.base)
	if err != nil {
		return err
	}
	if !open {
		return fmt.Errorf("%s, who runs PostgreSQL, can enter neither %s nor %s: open one of them (chmod o+x), "+
			"run claimledger as an ordinary user, or use --database-url", h.account.name, h.dir, h.base)
	}
	if err := writeFile(filepath.Join(h.base, originFile), h.dir+"\n"); err != nil {
		return fmt.Errorf("the place of PostgreSQL's cluster: %w", err)
	}
	return nil
}

// recordedBase is the place that dir names; empty if there is none. A moved
// directory keeps its place. A copied one names the original's: it forgets that,
// and will get its own.
func recordedBase(dir string) (string, error) {
	base, err := readLine(filepath.Join(dir, locationFile))
	if err != nil || base == "" {
		return "", err
	}
	if filepath.Dir(base) != placesRoot {
		return "", fmt.Errorf("%s names %q, which is not in %s", filepath.Join(dir, locationFile), base, placesRoot)
	}
	origin, err := readLine(filepath.Join(base, originFile))
	if err != nil || origin == "" || origin == dir {
		return base, err
	}
	theirs, err := readLine(filepath.Join(origin, locationFile))
	if err != nil || theirs != base {
		return base, nil
	}
	if sameDir(origin, dir) {
		return base, nil
	}
	return "", os.Remove(filepath.Join(dir, locationFile))
}

func sameDir(a, b string) bool {
	ia, errA := os.Stat(a)
	ib, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(ia, ib)
}

// readLine reads a file of one line; a missing one is an empty line.
func readLine(path string) (string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return "", nil
	}
	return strings.TrimSuffix(string(b), "\n"), err
}

// pathHash is a short name for a path: 64 bits, of which two directories of one
// machine never share all.
func pathHash(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:8])
}
