package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/claimledger/claimledger/cmd/claimledger/bench"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// Every workload runs for a moment, with right answers, and what machines read of it is
// whole. How fast anything was is not looked at.
func TestBench(t *testing.T) {
	t.Parallel()
	dir, profiles := pgtest.Dir(t), t.TempDir()
	out := must(t, "bench", "--json", "--data-dir", dir, "--rounds", "1", "--duration", "200ms",
		"--namespaces", "3", "--claims", "40", "--events", "300", "--most-connections", "8", "--profile", profiles)
	var report bench.Report
	decoder := json.NewDecoder(strings.NewReader(out))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&report); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	var names []string
	for _, r := range report.Results {
		names = append(names, r.Workload)
		for _, side := range []bench.Series{r.Ledger, r.Yardstick} {
			if len(side.Rounds) != 1 || side.Min <= 0 || side.Median < side.Min || side.Max < side.Median {
				t.Errorf("%s: the figures are %+v", r.Workload, side)
			}
		}
		if r.Ratio != r.Ledger.Median/r.Yardstick.Median {
			t.Errorf("%s: the ratio is %v", r.Workload, r.Ratio)
		}
		if writes := strings.HasPrefix(r.Workload, "submit") || strings.HasPrefix(r.Workload, "approve"); writes != (r.Checked > 0) || writes != (r.Bytes > 0) {
			t.Errorf("%s: %d commits of %d bytes were found in the log", r.Workload, r.Checked, r.Bytes)
		}
		for _, kind := range []string{"cpu", "allocs", "allocs-before"} {
			if info, err := os.Stat(filepath.Join(profiles, r.Workload+"."+kind+".pprof")); err != nil || info.Size() == 0 {
				t.Errorf("%s: no profile: %v", r.Workload, err)
			}
		}
	}
	if !slices.Equal(names, bench.Names()) {
		t.Errorf("measured were %v", names)
	}
	isEmpty(t, dir)
}

func TestBenchSoak(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	out := must(t, "bench", "soak", "--json", "--data-dir", dir, "--commits", "100", "--namespaces", "3", "--connections", "4",
		"--moving", "--claims-memory", "1")
	var soak bench.Soak
	if err := json.Unmarshal([]byte(out), &soak); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	if soak.Commits != 90 || len(soak.Tenths) != 10 || soak.LastToFirst <= 0 || soak.Growth <= 0 || soak.Tenths[9].Claims <= 0 {
		t.Errorf("the soak gave %+v", soak)
	}
	isEmpty(t, dir)
}

// An interrupted bench leaves nothing behind.
func TestBenchInterrupted(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	p := launch(t, beLedger, nil, "bench", "--data-dir", dir, "--duration", "2m", "--workload", "submit-latency", "--namespaces", "2")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := p.log.await(ctx, p.ended, "preparing"); err != nil {
		t.Fatalf("%v:\n%s", err, p.log.String())
	}
	p.signal(syscall.SIGINT)
	if code := p.exit(patience); code != exitFailure {
		t.Errorf("it ended with %d", code)
	}
	isEmpty(t, dir)
}

// A ledger that was started for a bench ends with it, however that ends.
func TestBenchLedgerEndsWithItsBench(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	// The test binary gives it no standard input, which is one that has ended.
	p := launch(t, beLedger, nil, "bench", "ledger", "--data-dir", dir, "--listen", "127.0.0.1:0")
	if code := p.exit(patience); code != 0 {
		t.Errorf("it ended with %d:\n%s", code, p.log.String())
	}
}

func TestBenchBadSettings(t *testing.T) {
	for _, args := range [][]string{
		{"--workload", "nonsense"}, {"--workload", "["}, {"--rounds", "0"}, {"--duration", "0s"}, {"--duration", "1h"}, {"--claims", "0"}, {"--events", "0"}, {"--most-connections", "-1"},
		{"--noise", "sleep"}, {"--namespaces", "0"}, {"--roles", "cook"}, {"--roles", "projector"}, {"soak", "--commits", "1"}, {"soak", "--connections", "0"}, {"soak", "--claims-memory", "-1"},
	} {
		if r := outcome(t, nil, append([]string{"bench"}, args...)...); r.code != exitUsage {
			t.Errorf("bench %v ended with %d: %s", args, r.code, r.err)
		}
	}
}

func isEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("%s is left behind", e.Name())
	}
}
