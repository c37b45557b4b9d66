package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// patience is for what takes a few seconds at most on an idle machine.
	patience = 60 * time.Second
	// pollEvery is how often a test looks at what it cannot be told.
	pollEvery = 50 * time.Millisecond
)

// process is a program that this test started. It ends with the test.
type process struct {
	t       testing.TB
	name    string
	cmd     *exec.Cmd
	out     transcript
	log     transcript
	ended   chan struct{} // closed when it is gone
	address string        // where a ledger serves
}

// launch starts this test binary as another program.
func launch(t testing.TB, be string, env []string, args ...string) *process {
	t.Helper()
	return launchUnder(t, nil, be, env, args...)
}

// launchUnder has a tracer start it.
func launchUnder(t testing.TB, tracer []string, be string, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: strings.Join(append([]string{be}, args...), " "), ended: make(chan struct{})}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	line := slices.Concat(tracer, []string{self}, args)
	p.cmd = exec.Command(line[0], line[1:]...)
	p.cmd.Env = append([]string{
		beVariable + "=" + be,
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir(),
		// Without the second that the race detector waits before a process ends.
		"GORACE=halt_on_error=1 atexit_sleep_ms=0",
	}, env...)
	p.cmd.Dir = t.TempDir() // whatever is written without being told where shows up there
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.log
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // read from ProcessState
		close(p.ended)
	}()
	t.Cleanup(p.cleanup)
	return p
}

func (p *process) cleanup() {
	p.signal(syscall.SIGKILL)
	<-p.ended
	if strings.Contains(p.log.String(), "DATA RACE") {
		p.t.Errorf("%s has a data race:\n%s", p.name, p.log.String())
	} else if p.t.Failed() {
		p.t.Logf("%s:\n%s", p.name, p.log.tail(4000))
	}
}

// signal sends a signal to a process that has not ended.
func (p *process) signal(s syscall.Signal) {
	select {
	case <-p.ended:
	default:
		_ = p.cmd.Process.Signal(s)
	}
}

// kill ends the process as a power cut would, as far as it can tell.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// exit waits until the process has ended, and gives its exit code.
func (p *process) exit(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(within):
		p.signal(syscall.SIGQUIT) // shows where it hangs
		p.t.Fatalf("%s has not ended within %s", p.name, within)
	}
	return p.cmd.ProcessState.ExitCode()
}

// stop ends the process in order.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if code := p.exit(10 * time.Second); code != 0 {
		p.t.Fatalf("%s ended with %d after SIGTERM:\n%s", p.name, code, p.log.tail(4000))
	}
}

func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// serve starts a ledger and waits until it serves.
func serve(t testing.TB, args ...string) *process {
	t.Helper()
	return serveWith(t, nil, args...)
}

func serveWith(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	p := launch(t, beLedger, env, append([]string{"serve"}, args...)...)
	p.awaitServing()
	return p
}

// awaitServing waits until a ledger says where it serves.
func (p *process) awaitServing() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	line, err := p.log.await(ctx, p.ended, `"msg":"serving"`)
	if err != nil {
		p.t.Fatalf("%s does not serve: %v\n%s", p.name, err, p.log.tail(4000))
	}
	var serving struct{ Listen string }
	if err := json.Unmarshal([]byte(line), &serving); err != nil {
		p.t.Fatal(err)
	}
	p.address = serving.Listen
}

// result is how a command ended.
type result struct {
	code     int
	out, err string
}

// run runs a command of the ledger to its end.
func run(t testing.TB, args ...string) result {
	t.Helper()
	return runWith(t, nil, args...)
}

func runWith(t testing.TB, env []string, args ...string) result {
	t.Helper()
	p := launch(t, beLedger, env, args...)
	code := p.exit(2 * patience)
	return result{code, p.out.String(), p.log.String()}
}

// must runs a command that has to succeed, and gives what it prints.
func must(t testing.TB, args ...string) string {
	t.Helper()
	r := run(t, args...)
	if r.code != 0 {
		t.Fatalf("claimledger %s ended with %d:\n%s", strings.Join(args, " "), r.code, r.err)
	}
	return r.out
}

// given are the addresses that freeAddress gave: another test may not listen yet, or not
// at the moment.
var given sync.Map

// freeAddress finds a port that nothing listens on, outside the range from which
// clients are given theirs: a ledger that is restarted wants it again.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 20_000+rand.N(12_000))
		if _, taken := given.LoadOrStore(address, true); taken {
			continue
		}
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
		if err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}

// eventually tries until there is no error.
func eventually(t testing.TB, within time.Duration, try func() error) {
	t.Helper()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	end := time.After(within)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("still after %s: %v", within, err)
		}
	}
}

// transcript is what a process writes.
type transcript struct {
	mu    sync.Mutex
	text  bytes.Buffer
	grown chan struct{}
}

var _ io.Writer = (*transcript)(nil)

func (s *transcript) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.grown != nil {
		close(s.grown)
		s.grown = nil
	}
	return s.text.Write(b)
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *transcript) tail(most int) string {
	text := s.String()
	return text[max(0, len(text)-most):]
}

// wait gives a channel that is closed when more was written.
func (s *transcript) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.grown == nil {
		s.grown = make(chan struct{})
	}
	return s.grown
}

var errEnded = errors.New("the process has ended")

// await waits for a whole line that contains something.
func (s *transcript) await(ctx context.Context, ended <-chan struct{}, part string) (string, error) {
	for {
		grown := s.wait()
		for line := range strings.Lines(s.String()) {
			if strings.Contains(line, part) && strings.HasSuffix(line, "\n") {
				return line, nil
			}
		}
		select {
		case <-grown:
		case <-ended:
			return "", errEnded
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}
