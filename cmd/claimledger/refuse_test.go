package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// refusesToServe checks how a serve ends that cannot start.
func refusesToServe(t *testing.T, says []string, args ...string) {
	t.Helper()
	p := launch(t, beLedger, nil, append([]string{"serve"}, args...)...)
	code := p.exit(patience)
	for _, part := range says {
		if code != exitFailure || !strings.Contains(p.log.String(), part) {
			t.Errorf("it ended with %d, and does not say %q:\n%s", code, part, p.log.String())
		}
	}
}

func TestPortInUse(t *testing.T) {
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := filepath.Join(t.TempDir(), "data")
	refusesToServe(t, []string{"cannot listen on " + taken.Addr().String(), "in use"}, "--listen", taken.Addr().String(), "--data-dir", dir)
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a serve that cannot listen has touched its data: %v", err)
	}
}

// A data directory is one process's, and stays what it is when another tries.
func TestDataDirectoryTrouble(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	p := serve(t, "--data-dir", dir, "--listen", "127.0.0.1:0", "--webhook-allow-private")
	c := newClient(t, p.address)
	newTenant(t, c, "acme", "--data-dir", dir).webhook(newHooks(t), nil)
	pid := fmt.Sprintf("pid %d", p.cmd.Process.Pid)
	refusesToServe(t, []string{pid, dir}, "--data-dir", dir, "--listen", "127.0.0.1:0")
	c.awaitStatus("ready")
	p.stop()

	version := filepath.Join(dir, "postgres", "data", "PG_VERSION")
	original, err := os.ReadFile(version)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(version, []byte("12\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refusesToServe(t, []string{"PostgreSQL 12"}, "--data-dir", dir, "--listen", "127.0.0.1:0")
	if err := os.WriteFile(version, original, 0o600); err != nil {
		t.Fatal(err)
	}
	session := filepath.Join(dir, "session.key")
	if err := os.Chmod(session, 0o644); err != nil {
		t.Fatal(err)
	}
	refusesToServe(t, []string{"session.key", "chmod 600"}, "--data-dir", dir, "--listen", "127.0.0.1:0")
	if err := os.Chmod(session, 0o600); err != nil {
		t.Fatal(err)
	}
	// The webhooks' secrets are sealed with a key that is lost: another cannot stand in.
	secret, kept := filepath.Join(dir, "secret.key"), filepath.Join(dir, "kept.key")
	if err := os.Rename(secret, kept); err != nil {
		t.Fatal(err)
	}
	refusesToServe(t, []string{"secret key", "sealed", "put the original back"}, "--data-dir", dir, "--listen", "127.0.0.1:0")
	if err := os.Rename(kept, secret); err != nil {
		t.Fatal(err)
	}
	serve(t, "--data-dir", dir, "--listen", "127.0.0.1:0").stop()
}

// What a process needs elsewhere and that somebody has to set right ends it; it does not
// try for ever.
func TestExternalTrouble(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	refusesToServe(t, []string{"claimledger setup"}, e.flags(roleAPI, "127.0.0.1:0")...)
	e.setup()
	refusesToServe(t, []string{"replicas"}, append(e.flags(roleAPI, "127.0.0.1:0"), "--replicas", "3")...)
	e.secrets["api"] = "wrong-password"
	p := launch(t, beLedger, nil, append([]string{"serve"}, e.flags(roleAPI, "127.0.0.1:0")...)...)
	if code := p.exit(patience); code != exitFailure || !strings.Contains(p.log.String(), "claimledger_api") || strings.Contains(p.log.String(), "wrong-password") {
		t.Errorf("with a wrong password for the database it ended with %d:\n%s", code, p.log.String())
	}
	r := run(t, "setup", "--nats-url", strings.Replace(e.natsURL("admin"), e.secrets["ADMIN"], "swrong-password", 1))
	if r.code != exitFailure || !strings.Contains(r.err, e.nodes[0].address) || strings.Contains(r.err, "swrong-password") {
		t.Errorf("setup with a wrong password ended with %d: %s", r.code, r.err)
	}
}
