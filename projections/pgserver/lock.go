package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrInUse is a directory whose server another process runs. Running tells how
// to reach it.
var ErrInUse = errors.New("another claimledger uses this directory")

// probePatience outlasts Running, which holds the lock shared for an instant
// to see whether it is free.
const probePatience = 300 * time.Millisecond

type inUseError struct {
	dir   string
	pid   string
	state string
}

func (e *inUseError) Error() string {
	who := "another claimledger"
	if e.pid != "" {
		who += " (pid " + e.pid + ")"
	}
	return who + " uses this directory" + e.state + ": " + e.dir
}

func (e *inUseError) Is(target error) bool { return target == ErrInUse }

// takeLock makes this process the one that may run a server on dir. The kernel
// lets go of the lock when the process ends, however it ends; the file stays.
func takeLock(ctx context.Context, dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, lockError(err)
	}
	if err := lockWithin(ctx, f, probePatience); err != nil {
		defer f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &inUseError{dir: dir, pid: holder(f)}
		}
		return nil, fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("the lock of the PostgreSQL directory: %w", err)
	}
	return f, nil
}

func lockError(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("the PostgreSQL directory belongs to another user, who must run this: %w", err)
	}
	return fmt.Errorf("the lock of the PostgreSQL directory: %w", err)
}

func lockWithin(ctx context.Context, f *os.File, patience time.Duration) error {
	giveUp := time.Now().Add(patience)
	for {
		err := flock(f, syscall.LOCK_EX)
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(giveUp) {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func holder(f *os.File) string {
	b := make([]byte, 20)
	n, _ := f.ReadAt(b, 0)
	return strings.TrimSpace(string(b[:n]))
}

// Running is the URL of the server that a living process runs on dir: for
// commands beside it. ok is false when no process does. While a server is on
// its way up or down the error wraps ErrInUse.
func Running(dir string) (url string, ok bool, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", false, err
	}
	f, err := os.Open(filepath.Join(dir, lockFile))
	if errors.Is(err, os.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, lockError(err)
	}
	defer f.Close()
	switch err := flock(f, syscall.LOCK_SH); {
	case err == nil:
		return "", false, nil
	case !errors.Is(err, syscall.EWOULDBLOCK):
		return "", false, fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	b, err := os.ReadFile(filepath.Join(dir, endpointFile))
	if errors.Is(err, os.ErrNotExist) {
		return "", false, &inUseError{dir: dir, pid: holder(f), state: ", and its PostgreSQL does not accept connections"}
	}
	if err != nil {
		return "", false, fmt.Errorf("the endpoint's file: %w", err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", false, err
	}
	return endpointURL(dir, strings.TrimSuffix(string(b), "\n")), true, nil
}
