package pgserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// survivorPatience is how long the server of a killed parent may take for a
// fast shutdown, which writes a checkpoint.
const survivorPatience = 20 * time.Second

// pidFile is what PostgreSQL says of itself in postmaster.pid.
type pidFile struct {
	pid   int
	ready bool
}

// Lines of postmaster.pid, from 0. PostgreSQL ≥ 10 keeps the status there.
const (
	pidLine    = 0
	statusLine = 7
)

func pidPath(data string) string { return filepath.Join(data, "postmaster.pid") }

func readPidFile(data string) (pidFile, error) {
	b, err := os.ReadFile(pidPath(data))
	if err != nil {
		return pidFile{}, err
	}
	lines := strings.Split(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(lines[pidLine]))
	if err != nil || pid == 0 {
		return pidFile{}, fmt.Errorf("%s: no process id in its first line", pidPath(data))
	}
	// A single-user server writes its id negated.
	pf := pidFile{pid: max(pid, -pid)}
	if len(lines) > statusLine {
		pf.ready = strings.TrimSpace(lines[statusLine]) == "ready"
	}
	return pf, nil
}

// stopSurvivor ends a server that outlived the process that ran it. The caller
// holds the directory's lock, so no living process of ours runs one here. It
// removes a stale postmaster.pid: PostgreSQL takes any process that got the
// number since for a running server.
func stopSurvivor(ctx context.Context, data string, log *slog.Logger) error {
	pf, err := readPidFile(data)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case errors.Is(err, os.ErrPermission):
		return err
	case err == nil:
		if err := endSurvivor(ctx, pf.pid, data, log); err != nil {
			return err
		}
	}
	if err := os.Remove(pidPath(data)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func endSurvivor(ctx context.Context, pid int, data string, log *slog.Logger) error {
	// The handle pins the process where the system can, so what is looked at
	// below is what is signalled.
	p, err := os.FindProcess(pid)
	if err != nil {
		return nil
	}
	defer p.Release()
	if !isPostmaster(pid, data) {
		return nil
	}
	log.Warn("PostgreSQL outlived the process that ran it; stopping it", "pid", pid, "data", data)
	for _, try := range []struct {
		signal   syscall.Signal
		patience time.Duration
	}{{syscall.SIGINT, survivorPatience}, {syscall.SIGQUIT, quitPatience}, {syscall.SIGKILL, quitPatience}} {
		if err := p.Signal(try.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stopping the PostgreSQL that was left behind (pid %d): %w", pid, err)
		}
		for giveUp := time.Now().Add(try.patience); time.Now().Before(giveUp); {
			if !isPostmaster(pid, data) {
				return nil
			}
			if err := pause(ctx); err != nil {
				return fmt.Errorf("stopping the PostgreSQL that was left behind (pid %d): %w", pid, err)
			}
		}
	}
	return fmt.Errorf("the PostgreSQL that was left behind (pid %d) does not stop", pid)
}
