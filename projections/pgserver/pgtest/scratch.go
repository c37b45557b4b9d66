package pgtest

import (
	"io"
	"os"
	"os/exec"
	"syscall"
)

// janitor waits for the end of its input, which comes when the test process
// closes the pipe or ends in any way, kill -9 included. Then it stops a server
// that is left, and removes the directory. The count bounds the wait for a
// server whose file stays, because it was killed.
const janitor = `
cat >/dev/null
f="$1/postgres/data/postmaster.pid"
pid=$(head -n 1 "$f" 2>/dev/null) && kill -QUIT "$pid" 2>/dev/null
n=0
while [ -e "$f" ] && kill -0 "$pid" 2>/dev/null && [ $n -lt 100 ]; do sleep 0.1; n=$((n+1)); done
rm -rf "$1"
`

// scratch is a directory that does not outlive the test process.
type scratch struct {
	dir     string
	janitor *exec.Cmd
	alive   io.Closer
}

func newScratch() (*scratch, error) {
	parent := os.TempDir()
	if os.Geteuid() == 0 {
		parent = "/tmp" // TMPDIR may be root's own, and closed to the server's account
	}
	dir, err := os.MkdirTemp(parent, "claimledger-test-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return nil, err
	}
	cmd := exec.Command("/bin/sh", "-c", janitor, "janitor", dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // out of a Ctrl-C's way
	alive, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &scratch{dir: dir, janitor: cmd, alive: alive}, nil
}

// remove has the janitor do its work now, and waits for it.
func (s *scratch) remove() {
	s.alive.Close()
	s.janitor.Wait()
}
