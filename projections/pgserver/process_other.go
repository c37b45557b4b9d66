//go:build !linux

package pgserver

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// setDeathSignal does nothing where the kernel offers no such signal: a server
// that outlives a killed parent is stopped at the next start.
func setDeathSignal(*syscall.SysProcAttr, syscall.Signal) {}

// isPostmaster tells whether the process is a PostgreSQL on data, by the
// command line that this package starts it with.
func isPostmaster(pid int, data string) bool {
	out, err := exec.Command("/bin/ps", "-ww", "-p", strconv.Itoa(pid), "-o", "command=").Output()
	return err == nil && strings.Contains(string(out), "postgres") && strings.Contains(string(out), "-D "+data)
}
