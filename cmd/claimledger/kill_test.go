package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// postmaster is the pid of the private PostgreSQL; 0 where there is none.
func postmaster(dir string) int {
	text, err := os.ReadFile(filepath.Join(dir, "postgres", "data", "postmaster.pid"))
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	pid, _ := strconv.Atoi(string(line))
	return pid
}

// running reports whether a process is there and has not ended: one that nobody has
// waited for yet only looks as if it was.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err == nil {
		_, state, _ := bytes.Cut(stat, []byte(") "))
		return !bytes.HasPrefix(state, []byte("Z"))
	}
	if _, err := os.Stat("/proc/self"); err == nil {
		return false
	}
	return syscall.Kill(pid, 0) == nil // a system without /proc
}

// A ledger that is killed again and again loses nothing that it answered for, and does
// nothing twice.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	const rounds, workers = 10, 8
	dir := pgtest.Dir(t)
	flags := []string{"--data-dir", dir, "--listen", freeAddress(t), "--webhook-allow-private", "--webhook-retries", "1s,1s,1s"}
	p := serve(t, flags...)
	receiver := newHooks(t)
	tn := newTenant(t, newClient(t, p.address), "acme", "--data-dir", dir)
	tn.policy(map[string]any{"max_pending": 1_000_000})
	tn.webhook(receiver, nil)
	l := newLoad(tn)
	for range rounds {
		l.begin(workers)
		l.await(20 + rand.N(60))
		pid := postmaster(dir)
		p.kill()
		l.halt()
		p = serve(t, flags...)
		if now := postmaster(dir); now == pid || now == 0 {
			t.Errorf("PostgreSQL was process %d and is %d after the ledger was killed", pid, now)
		}
		if running(pid) {
			t.Errorf("PostgreSQL, process %d, survived the ledger that was killed and its successor's start", pid)
		}
		tn.awaitStatus("ready")
		l.checkReadModel()
	}
	l.settle()
	l.checkReadModel()
	receiver.await(patience, "request.submitted", l.claims())
	events, arrivals := receiver.check()
	p.stop()
	l.checkLog(dir)
	t.Logf("%d claims were acknowledged, %d of them when asked again after a lost answer; %d webhooks came, %d of them again",
		len(l.acked), l.existed, arrivals, arrivals-events)
	if events != len(l.acked) {
		t.Errorf("%d events were delivered for %d claims", events, len(l.acked))
	}
}
