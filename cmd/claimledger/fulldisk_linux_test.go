package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// A disk that is full takes nothing more, and nothing is said to be recorded that is not.
// It takes root to make a small disk.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	t.Parallel()
	const size = 384 * mib
	dir := pgtest.Dir(t)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=711", int64(size))); err != nil {
		t.Skipf("no small disk can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	c := newCrashTest(t, dir)
	ballast := filepath.Join(dir, "ballast")
	c.rounds("the disk is full", func() {
		fill(t, ballast)
		eventually(t, patience, func() error {
			ready, _, err := c.readiness()
			if err == nil && !strings.Contains(ready.Checks["commands"].Status, "full disk") {
				err = fmt.Errorf("it does not speak of the disk: %v", ready)
			}
			return err
		})
		c.awaitStatus("unready")
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		c.ledger.kill() // the store stays read-only until it is opened anew
		c.restart()
	})
	c.end()
}

// fill writes to a file until the disk is full.
func fill(t testing.TB, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, chunk := range [][]byte{make([]byte, mib), make([]byte, 4<<10), make([]byte, 1)} {
		for err = nil; err == nil; {
			_, err = f.Write(chunk)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}
