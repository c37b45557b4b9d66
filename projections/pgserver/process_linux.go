package pgserver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// setDeathSignal has the kernel signal the child when this process ends, even
// by kill -9. The caller keeps the forking thread alive.
func setDeathSignal(attr *syscall.SysProcAttr, sig syscall.Signal) { attr.Pdeathsig = sig }

// isPostmaster tells whether the process is a PostgreSQL at work in data: that
// is where a postmaster has its working directory. A zombie is not.
func isPostmaster(pid int, data string) bool {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return false
	}
	// An upgrade of the package replaces the file under a running server.
	exe = strings.TrimSuffix(exe, " (deleted)")
	if filepath.Base(exe) != "postgres" {
		return false
	}
	cwd, err := os.Stat(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return false
	}
	want, err := os.Stat(data)
	return err == nil && os.SameFile(cwd, want)
}
