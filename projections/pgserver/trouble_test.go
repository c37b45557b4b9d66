package pgserver_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/claimledger/claimledger/projections/pgserver"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

func clusterOf(dir string) string {
	if base := location(dir); base != "" {
		dir = base
	}
	return filepath.Join(dir, "data")
}

func TestOtherVersionIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	s := start(t, dir)
	keep(t, s)
	stop(t, s)
	version := filepath.Join(clusterOf(dir), "PG_VERSION")
	mine, err := os.ReadFile(version)
	if err != nil {
		t.Fatal(err)
	}
	for content, message := range map[string]string{
		"99\n":  "is of PostgreSQL 99",
		"13\n":  "is of PostgreSQL 13, and claimledger needs 14",
		"9.6\n": "is of PostgreSQL 9, and claimledger needs 14",
		"x\n":   "no version of PostgreSQL",
		"":      "no version of PostgreSQL",
	} {
		if err := os.WriteFile(version, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		before := fingerprint(t, clusterOf(dir))
		contains(t, mustFail(t, pgserver.Config{Dir: dir}).Error(), message, clusterOf(dir))
		if fingerprint(t, clusterOf(dir)) != before {
			t.Errorf("PG_VERSION %q: the cluster was changed", content)
		}
	}
	if err := os.WriteFile(version, mine, 0o600); err != nil {
		t.Fatal(err)
	}
	kept(t, start(t, dir))
}

func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(h, path, info.Size(), info.Mode(), info.ModTime())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(h.Sum(nil))
}

func TestForeignDataIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	precious := filepath.Join(dir, "data", "precious")
	for _, d := range []string{dir, filepath.Dir(precious)} {
		if err := os.Mkdir(d, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(filepath.Dir(precious), 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	contains(t, mustFail(t, pgserver.Config{Dir: dir}).Error(), "not a PostgreSQL cluster")
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}

func TestNoBinariesThere(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	contains(t, mustFail(t, pgserver.Config{Dir: newDir(t), BinDir: empty}).Error(), "--postgres-bin", empty)
}

// realBin is where this machine has PostgreSQL.
func realBin(t *testing.T) string {
	t.Helper()
	dir, _, err := pgserver.Find("")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// brokenBin is a directory of binaries whose initdb is this script; the last
// argument's place is in $2, as Start passes it.
func brokenBin(t *testing.T, initdb string) string {
	t.Helper()
	bin := pgtest.Dir(t)
	for name, script := range map[string]string{
		"postgres": `exec "` + realBin(t) + `/postgres" "$@"`,
		"initdb":   initdb,
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(bin, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return bin
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	bin := brokenBin(t, `mkdir "$2"; echo 15 > "$2/PG_VERSION"; echo "initdb: error: No space left on device" >&2; exit 1`)
	contains(t, mustFail(t, pgserver.Config{Dir: dir, BinDir: bin}).Error(), "making the PostgreSQL cluster", "No space left on device")
	noStaging(t, dir)
	if _, err := os.Stat(clusterOf(dir)); !os.IsNotExist(err) {
		t.Errorf("half a cluster is there: %v", err)
	}
	start(t, dir)
}

func staging(dir string) []string {
	found, _ := filepath.Glob(filepath.Join(filepath.Dir(clusterOf(dir)), "initdb-*"))
	return found
}

func noStaging(t *testing.T, dir string) {
	t.Helper()
	if left := staging(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestKilledWhileMakingTheCluster(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	bin := brokenBin(t, `mkdir "$2"; echo 15 > "$2/PG_VERSION"; exec tail -f /dev/null`)
	cmd, _ := serverCommand(t, dir, binVariable+"="+bin)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "half a cluster", func() bool {
		half, _ := filepath.Glob(filepath.Join(dir, "initdb-*", "data", "PG_VERSION"))
		return len(half) > 0
	})
	cmd.Process.Kill()
	cmd.Wait()
	start(t, dir)
	noStaging(t, dir)
}

// TestStalePostmasterPID has the number of a dead server's postmaster in use
// by another process. It is not this one: PostgreSQL makes an exception for its
// own parent.
func TestStalePostmasterPID(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	s := start(t, dir)
	keep(t, s)
	stop(t, s)
	other := strconv.Itoa(os.Getppid())
	stale := strings.Join([]string{other, clusterOf(dir), "1", "5432", dir, "", "1 1", "ready   ", ""}, "\n")
	for _, content := range []string{stale, "garbage", ""} {
		if err := os.WriteFile(filepath.Join(clusterOf(dir), "postmaster.pid"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		again := start(t, dir)
		kept(t, again)
		stop(t, again)
	}
}

// TestSurvivor has a server that nobody stopped, as after kill -9 where the
// kernel does not signal the children of the dead.
func TestSurvivor(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	s := start(t, dir)
	keep(t, s)
	stop(t, s)

	data := clusterOf(dir)
	info, err := os.Stat(data)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	left := exec.Command(filepath.Join(realBin(t), "postgres"), "-D", data, "-c", "listen_addresses=", "-c", "unix_socket_directories="+data)
	left.Dir = "/"
	left.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if os.Geteuid() == 0 {
		left.SysProcAttr.Credential = &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}
	}
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- left.Wait() }()
	eventually(t, "the server that is left behind", func() bool {
		b, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
		return err == nil && strings.Contains(string(b), "ready")
	})

	again, log := startLogged(t, pgserver.Config{Dir: dir, SyncOff: true})
	if err := <-ended; err != nil {
		t.Errorf("it was not shut down in order: %v", err)
	}
	contains(t, log.String(), "outlived", strconv.Itoa(left.Process.Pid))
	kept(t, again)
}

// TestParentKilled starts again at once after kill -9, whatever became of the
// server by then.
func TestParentKilled(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	p := startProcess(t, dir)
	url, ok, err := pgserver.Running(dir)
	if !ok || err != nil {
		t.Fatalf("%v, %v", ok, err)
	}
	if _, err := connect(t, url).Exec(t.Context(), "CREATE TABLE kept AS SELECT 'here' AS it"); err != nil {
		t.Fatal(err)
	}
	p.kill(t)
	kept(t, start(t, dir))
	if !gone(p.postmaster) {
		t.Error("the old server is still there")
	}
}
