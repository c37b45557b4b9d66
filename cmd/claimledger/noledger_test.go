package main

import (
	"os"
	"path/filepath"
	"testing"
)

// What only reads makes no ledger where there is none, and says nothing of one.
func TestReadingMakesNoLedger(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "nowhere")
	out := filepath.Join(t.TempDir(), "ledger.ndjson")
	if err := os.WriteFile(out, []byte("what was exported before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"export", "-o", out}, {"verify", "live"}, {"log", "show"}, {"log", "check"},
		{"owner", "list", "acme"}, {"owner", "login-link", "acme"}, {"namespace", "deactivate", "acme"}} {
		if r := run(t, append(args, "--data-dir", dir)...); r.code == 0 {
			t.Errorf("%q on a directory that is not there ended with 0: %s%s", args, r.out, r.err)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%q made a ledger where there was none", args)
		}
		os.RemoveAll(dir)
	}
	if text, _ := os.ReadFile(out); string(text) != "what was exported before\n" {
		t.Errorf("the export from before was replaced by one of nothing, %d bytes", len(text))
	}
}
