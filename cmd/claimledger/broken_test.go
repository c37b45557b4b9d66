package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// A log that lost commits while the ledger was stopped is found at the start, whichever
// of those who remember them is asked: no command is taken, nobody is authorized, and
// what is wrong is said to everyone who asks; what is known stays readable.
func TestBrokenLog(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	flags := []string{"--data-dir", dir, "--listen", freeAddress(t)}
	p := serve(t, flags...)
	tn := newTenant(t, newClient(t, p.address), "acme", "--data-dir", dir)
	claim, _ := tn.mustSubmit()
	tn.expect(200, "POST", "/v1/claims/"+claim+"/approve", nil, tn.asOwner)
	var position uint64
	for range 20 {
		_, position = tn.mustSubmit()
	}
	tn.list(position) // the read model has them
	p.stop()
	if out := must(t, "log", "check", "--data-dir", dir); !strings.Contains(out, "whole") {
		t.Fatalf("log check of a whole log: %s", out)
	}
	loseTail(t, blockOf(t, filepath.Join(dir, "nats")))

	check := run(t, "log", "check", "--data-dir", dir, "--json")
	var report logReport
	if err := json.Unmarshal([]byte(check.out), &report); err != nil || check.code != exitFailure || report.Whole || report.Found == "" || report.Commits == 0 {
		t.Errorf("log check ended with %d: %s %s", check.code, check.out, check.err)
	}
	if r := run(t, "owner", "login-link", "acme", "--data-dir", dir); r.code != exitFailure || !strings.Contains(r.err, "broken") {
		t.Errorf("a command of the operator ended with %d: %s", r.code, r.err)
	}
	t.Run("the mark remembers", func(t *testing.T) { refusesToDecide(t, tn, claim, flags, "log.mark") })
	if err := os.Remove(filepath.Join(dir, "log.mark")); err != nil {
		t.Fatal(err)
	}
	t.Run("PostgreSQL remembers", func(t *testing.T) { refusesToDecide(t, tn, claim, flags, "the read model") })
}

// loseTail makes the store of a stopped ledger one that lost its last commits.
func loseTail(t testing.TB, block string) {
	t.Helper()
	raw, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)*9/10] ^= 1
	if err := os.WriteFile(block, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	index, err := filepath.Glob(filepath.Join(filepath.Dir(block), "index.db")) // as after a kill
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range index {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
}

func refusesToDecide(t testing.TB, tn *tenant, claim string, flags []string, witness string) {
	p := serve(t, flags...)
	ready := tn.awaitStatus("unready")
	if found := ready.Checks["log integrity"].Status; !strings.Contains(found, witness) || !strings.Contains(found, "broken") || !strings.Contains(found, "log accept-loss") {
		t.Errorf("the check says %q, which does not name %s", found, witness)
	}
	if r := run(t, "status", "--listen", p.address); r.code != exitFailure || !strings.Contains(r.out, witness) {
		t.Errorf("status ended with %d: %s", r.code, r.out)
	}
	if r, _, err := tn.submit(newAgent()); err != nil || r.status != 503 || r.code != "SERVICE_UNAVAILABLE" {
		t.Errorf("submit: %v, %v", r, err)
	}
	tn.expect(503, "POST", "/v1/claims/"+claim+"/revoke", nil, tn.asOwner)
	tn.expect(503, "GET", "/v1/namespaces/claims", nil, tn.asGateway)
	tn.expect(200, "GET", "/v1/claims/"+claim, nil, tn.asOwner)
	tn.expect(200, "GET", "/v1/namespaces/"+tn.namespace+"/events", nil, tn.asOwner)
	if metrics := tn.expect(200, "GET", "/metrics", nil); !strings.Contains(string(metrics.body), "claimledger_log_broken 1") {
		t.Error("the metric does not show it")
	}
	p.stop()
}
