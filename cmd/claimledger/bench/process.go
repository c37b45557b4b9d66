package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// startPatience bounds the start of a process: a ledger makes its database.
	startPatience = 2 * time.Minute
	// stopPatience bounds its end; a ledger takes 10 seconds at most.
	stopPatience = 20 * time.Second
	// logTail is how much of a failed process's log is shown.
	logTail = 2000
)

// process is another command of this program. It ends when its standard input does, so
// that none is left behind when this process is killed; asked and answered on standard
// input and output, one JSON value a line.
type process struct {
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	log   string // the path of what it logs
	ended chan struct{}

	mu  sync.Mutex // one question at a time
	out *json.Decoder
}

// startProcess starts it with what it logs going to a file. No setting of a ledger that
// is not the bench's own reaches it.
func startProcess(name, logPath string, args []string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{name: name, log: logPath, ended: make(chan struct{}), cmd: exec.Command(self, args...)}
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "CLAIMLEDGER_") {
			p.cmd.Env = append(p.cmd.Env, pair)
		}
	}
	// A signal from the terminal is for the bench, which ends its processes in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log, err := os.Create(logPath)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Stderr = log
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		p.in, err = p.cmd.StdinPipe()
	}
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("start the %s: %w", name, err)
	}
	p.out = json.NewDecoder(bufio.NewReader(out))
	go func() {
		_ = p.cmd.Wait() // how it ended is told by its log
		close(p.ended)
	}()
	return p, nil
}

// ask sends a question and reads the answer.
func (p *process) ask(ctx context.Context, question, answer any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		err := json.NewEncoder(p.in).Encode(question)
		if err == nil {
			err = p.out.Decode(answer)
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			return p.failed(err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// failed says why a process does not do what it is there for.
func (p *process) failed(err error) error {
	text, _ := os.ReadFile(p.log)
	return fmt.Errorf("the %s failed: %w\n%s", p.name, err, text[max(0, len(text)-logTail):])
}

// blame adds to an error that the process is gone, where it is.
func (p *process) blame(err error) error {
	select {
	case <-p.ended:
		return p.failed(err)
	default:
		return err
	}
}

// stop ends the process, in the middle of an answer too, and waits for it.
func (p *process) stop() error {
	_, _ = p.in.Close(), p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopPatience):
		err := errors.Join(fmt.Errorf("the %s did not end in time", p.name), p.cmd.Process.Kill())
		<-p.ended
		return err
	}
}

// Serve answers questions from the standard input of a process until it ends. It is the
// other end of process.ask.
func Serve[Q, A any](in io.Reader, out io.Writer, answer func(Q) (A, error)) error {
	questions, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var q Q
		if err := questions.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		a, err := answer(q)
		if err != nil {
			return err
		}
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
}
