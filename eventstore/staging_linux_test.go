package eventstore_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

// memoryOf mounts a file system in memory of so many bytes. It takes root.
func memoryOf(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("no small file system in memory can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func startIn(t *testing.T, dir, memory string) *eventstore.Embedded {
	t.Helper()
	e, err := eventstore.StartEmbedded(eventstore.EmbeddedConfig{Dir: dir, Staging: memory, Logger: logtest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Stop() })
	return e
}

// Others may fill the memory at any time. Commits go on, and batches go to disk from then on.
func TestStagingInMemoryThatIsFull(t *testing.T) {
	memory, dir := memoryOf(t, "40m"), t.TempDir()
	e := startIn(t, dir, memory)
	log, _ := openEmbedded(t, e)
	log.SetPace(2, 1, 1)
	to := staged(t, dir)
	if filepath.Dir(to) != memory {
		t.Fatalf("batches are staged in %s, want it in %s", to, memory)
	}
	together(t, log, 40)
	ballast, err := os.Create(filepath.Join(memory, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer ballast.Close()
	for err == nil {
		_, err = ballast.Write(make([]byte, 4<<10))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	together(t, log, 40) // before anybody has noticed
	e.LookAfterStaging()
	if _, err := os.Readlink(stagingLink(dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("batches are staged in memory that is full: %v", err)
	}
	if more := together(t, log, 40); more[39].Position != 120 {
		t.Errorf("the log ends at %d, want 120", more[39].Position)
	}
}

// Where there is too little of it to begin with, or none, as in many containers, batches go
// to disk.
func TestStagingWithoutMemory(t *testing.T) {
	for name, memory := range map[string]string{
		"little":       memoryOf(t, "8m"),
		"not anywhere": filepath.Join(t.TempDir(), "nothing"),
	} {
		dir := t.TempDir()
		log, _ := openEmbedded(t, startIn(t, dir, memory))
		log.SetPace(2, 1, 1)
		if all := together(t, log, 40); all[39].Position != 40 {
			t.Errorf("%s: the log ends at %d, want 40", name, all[39].Position)
		}
		if to, err := os.Readlink(stagingLink(dir)); err == nil {
			t.Errorf("%s: batches are staged in %s", name, to)
		}
	}
}
