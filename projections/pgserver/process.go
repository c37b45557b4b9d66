package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	// maxLog is how long the log may be when the server starts. A longer one is
	// set aside, in place of the one that was set aside before.
	maxLog = 1 << 20

	// tailBytes and tailLines are what an error quotes of a log: the reason is
	// in the last lines.
	tailBytes = 4 << 10
	tailLines = 8

	// pipeDelay is how long a killed tool's own children may hold its output.
	pipeDelay = 5 * time.Second
)

// errOrphans is a start refused because of processes that outlived their
// postmaster. It passes by itself.
var errOrphans = errors.New("processes of a PostgreSQL that was killed are still there")

// command runs one of PostgreSQL's programs as the server's account, away from
// the caller's environment, directory and terminal: a PGHOST, an unreadable
// working directory or a Ctrl-C meant for the caller must not reach it.
func (h home) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + filepath.Dir(program) + ":/usr/bin:/bin", "LANG=C", "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: h.account.credential()}
	cmd.WaitDelay = pipeDelay
	return cmd
}

// run runs a tool to its end. Its error quotes the last lines of the output.
func (h home) run(ctx context.Context, stdin io.Reader, program string, args ...string) error {
	var out bytes.Buffer
	cmd := h.command(ctx, program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &out
	// initdb has children of its own, which would go on writing.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	setDeathSignal(cmd.SysProcAttr, syscall.SIGKILL)
	// The death signal is sent when the thread that forked ends, so the thread
	// is kept for as long as the tool runs.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("%s%s: %w: %s", filepath.Base(program), h.account.suffix(), err, lastLines(out.String()))
	}
	return nil
}

// child is the postmaster's process.
type child struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // how it ended; written before done is closed
}

func startChild(cmd *exec.Cmd) (*child, error) {
	c := &child{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// As in run: the thread lives as long as the child. It is never
		// unlocked, so that nothing else can run on it and end it.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			c.err = cmd.Wait()
			close(c.done)
		}
	}()
	return c, <-started
}

// end shuts the postmaster down, harder when ctx ends, and waits for it.
func (c *child) end(ctx context.Context) error {
	select {
	case <-c.done:
		return nil
	default:
	}
	c.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
	}
	c.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-c.done:
	case <-time.After(quitPatience):
		c.cmd.Process.Kill()
		<-c.done
	}
	return fmt.Errorf("PostgreSQL was stopped without a checkpoint: %w", ctx.Err())
}

// serverArgs are the settings that this package answers for. They stand on the
// command line, where no file in the cluster can override them.
func serverArgs(data, socketDir string, syncOff bool) []string {
	sync, connections := "on", "100"
	if syncOff {
		sync, connections = "off", "400" // several tests share such a server
	}
	args := []string{"-D", data}
	for _, setting := range []string{
		"listen_addresses=",
		"port=" + port,
		"unix_socket_directories=" + socketDir,
		"unix_socket_permissions=0700",
		"max_connections=" + connections,
		"shared_buffers=128MB",
		"fsync=" + sync,
		"full_page_writes=" + sync,
		"synchronous_commit=on", // whatever is committed survives kill -9, even without fsync
		"timezone=UTC",
		"log_timezone=UTC",
		"logging_collector=off",
		"log_destination=stderr",
		"log_line_prefix=%m [%p] ",
		"log_checkpoints=off",
	} {
		args = append(args, "-c", setting)
	}
	return append(args, discreetArgs()...)
}

// discreetArgs keep statements, their parameters, and the rows that broke a
// constraint out of the log: any of them may hold a secret.
func discreetArgs() []string {
	return []string{
		"-c", "log_statement=none",
		"-c", "log_min_duration_statement=-1",
		"-c", "log_min_error_statement=panic",
		"-c", "log_parameter_max_length_on_error=0",
		"-c", "log_error_verbosity=terse",
	}
}

func startError(how error, tail string) error {
	if strings.Contains(tail, "pre-existing shared memory block") {
		return fmt.Errorf("PostgreSQL did not start: %w: %s", errOrphans, tail)
	}
	return fmt.Errorf("PostgreSQL did not start: %v: %s", how, tail)
}

// openLog opens the file that takes the server's messages. It is given to the
// server's account, so that a later start by that user can append to it.
func openLog(path string, owner *account) (*os.File, error) {
	if info, err := os.Lstat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := owner.ownFile(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// logTail quotes the end of what was written to the log since offset from.
func logTail(path string, from int64) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		from = max(from, info.Size()-tailBytes)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, from, tailBytes))
	if err != nil {
		return err.Error()
	}
	return lastLines(string(b))
}

func lastLines(s string) string {
	s = strings.TrimSpace(s)
	if s == "" {
		return "it said nothing"
	}
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], " / ")
}
