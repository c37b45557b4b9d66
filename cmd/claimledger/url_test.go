package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestPublicURL(t *testing.T) {
	for _, c := range []struct{ configured, listen, want string }{
		{"", "127.0.0.1:8787", "http://127.0.0.1:8787"},
		{"", "localhost:8787", "http://localhost:8787"},
		{"", "ledger.internal:80", "http://ledger.internal:80"},
		{"", ":8787", "http://localhost:8787"},
		{"", "0.0.0.0:8787", "http://localhost:8787"},
		{"", "[::]:8787", "http://localhost:8787"},
		{"", "[::1]:8787", "http://[::1]:8787"},
		{"https://ledger.example/", ":8787", "https://ledger.example"},
	} {
		if got := publicURL(c.configured, c.listen); got != c.want {
			t.Errorf("publicURL(%q, %q) = %q, not %q", c.configured, c.listen, got, c.want)
		}
	}
}

func TestOperatorsLearnTheURL(t *testing.T) {
	o := operatorSettings{Listen: "127.0.0.1:8787"}
	o.DataDir = t.TempDir()
	if got := o.base(); got != "http://127.0.0.1:8787" {
		t.Errorf("without a ledger: %s", got)
	}
	if err := os.WriteFile(filepath.Join(o.DataDir, urlFile), []byte("http://127.0.0.1:9961\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := o.base(); got != "http://127.0.0.1:9961" {
		t.Errorf("beside a ledger: %s", got)
	}
	o.PublicURL = "https://ledger.example"
	if got := o.base(); got != "https://ledger.example" {
		t.Errorf("told otherwise: %s", got)
	}
}
