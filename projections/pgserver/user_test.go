package pgserver_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/claimledger/claimledger/projections/pgserver"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

const nobody = 65534

// closedDir is below a directory that only its owner can enter.
func closedDir(t *testing.T) string {
	t.Helper()
	closed := filepath.Join(pgtest.Dir(t), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(closed, "postgres")
}

// TestClosedParent: an ordinary user's server can enter what is the user's own.
// Root's cannot, and nothing is opened for it.
func TestClosedParent(t *testing.T) {
	t.Parallel()
	dir := closedDir(t)
	cleanElsewhere(t, dir)
	s, log := startLogged(t, pgserver.Config{Dir: dir, SyncOff: true})
	keep(t, s)
	stop(t, s)
	if info, err := os.Stat(filepath.Dir(dir)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the closed directory was changed: %v, %v", info, err)
	}
	moved := location(dir) != ""
	if moved != (os.Geteuid() == 0) {
		t.Errorf("as uid %d the cluster is in %s", os.Geteuid(), clusterOf(dir))
	}
	if moved {
		contains(t, log.String(), "cannot enter", location(dir))
	}
	kept(t, start(t, dir))
}

// TestRemove: nothing is left of a directory that was to be thrown away, wherever its
// cluster went.
func TestRemove(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{newDir(t), closedDir(t)} {
		cleanElsewhere(t, dir)
		stop(t, start(t, dir))
		all := []string{dir, clusterOf(dir)}
		if err := pgserver.Remove(dir); err != nil {
			t.Fatal(err)
		}
		for _, path := range all {
			if _, err := os.Lstat(path); !os.IsNotExist(err) {
				t.Errorf("%s is still there: %v", path, err)
			}
		}
		if err := pgserver.Remove(dir); err != nil {
			t.Errorf("removing what is not there: %v", err)
		}
	}
}

// TestMovedAndCopied: a directory that is moved takes its cluster along, a copy
// of it does not share it, and a new one in its place does not find it.
func TestMovedAndCopied(t *testing.T) {
	t.Parallel()
	dir := closedDir(t)
	s := start(t, dir)
	keep(t, s)
	stop(t, s)

	moved, copied := dir+"-moved", dir+"-copied"
	for _, d := range []string{dir, moved, copied} {
		cleanElsewhere(t, d)
	}
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	kept(t, start(t, moved))

	if os.Geteuid() == 0 {
		if out, err := exec.Command("cp", "-a", moved, copied).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		execute(t, start(t, copied), "CREATE TABLE kept (fresh int)")
	}
	execute(t, start(t, dir), "CREATE TABLE kept (fresh int)")
}

// TestClosedToOurselves: what we may not write to is an error for an ordinary
// user. Root may write to it, and its server goes elsewhere.
func TestClosedToOurselves(t *testing.T) {
	t.Parallel()
	closed := filepath.Join(pgtest.Dir(t), "closed")
	if err := os.Mkdir(closed, 0o500); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(closed, "postgres")
	if os.Geteuid() != 0 {
		contains(t, mustFail(t, pgserver.Config{Dir: dir}).Error(), "permission denied", closed)
		return
	}
	cleanElsewhere(t, dir)
	start(t, dir)
}

// TestOrdinaryUser runs this package's tests again without root's powers.
func TestOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		return // they run so already
	}
	t.Parallel()
	home := pgtest.Dir(t)
	binary := filepath.Join(home, "tests")
	if err := copyFile(binary, os.Args[0]); err != nil {
		t.Fatal(err)
	}
	tmp := filepath.Join(home, "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(tmp, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "-test.v", "-test.run",
		"^Test(StartStopStart|TwoStarts|LongPath|Survivor|ParentKilled|ServerDies|ClosedParent|ClosedToOurselves)")
	cmd.Dir = tmp
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + tmp, "TMPDIR=" + tmp}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), "--- PASS") < 8 {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

func copyFile(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	return dst.Close()
}
