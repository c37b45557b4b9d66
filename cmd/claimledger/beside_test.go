package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// beside is a ledger that runs while its operator works beside it.
type beside struct {
	*client
	dir     string
	address string
}

func TestCommandsBesideALedger(t *testing.T) {
	t.Parallel()
	b := &beside{dir: pgtest.Dir(t), address: freeAddress(t)}
	p := launch(t, beLedger, nil, "serve", "--data-dir", b.dir, "--listen", b.address, "--webhook-allow-private")
	t.Run("while it starts", b.whileStarting)
	p.awaitServing()
	b.client = newClient(t, b.address)
	b.awaitStatus("ready")
	t.Run("status", b.status)
	t.Run("owners", b.owners)
	t.Run("several owners", b.severalOwners)
	t.Run("namespaces", b.namespaces)
	t.Run("demo", func(t *testing.T) {
		demoPasses(t, must(t, "demo", "--listen", b.address, "--data-dir", b.dir))
		if out := must(t, "owner", "login-link", "early-1", "--data-dir", b.dir); !strings.Contains(out, "http://"+b.address+"/v1/auth/login#") {
			t.Errorf("the link does not lead to the ledger that runs: %s", out)
		}
		other := filepath.Join(t.TempDir(), "data")
		if r := run(t, "demo", "--listen", b.address, "--data-dir", other); r.code != exitFailure || !strings.Contains(r.err, other) {
			t.Errorf("a demo in another directory than the ledger's ended with %d: %s", r.code, r.err)
		}
		if _, err := os.Stat(other); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("it made a ledger there: %v", err)
		}
	})
	t.Run("PostgreSQL is killed", b.killPostgres)
	p.stop()
	t.Run("alone", b.alone)
}

// whileStarting: commands that come too early wait, and status tells the truth.
func (b *beside) whileStarting(t *testing.T) {
	var wg sync.WaitGroup
	for _, name := range []string{"early-1", "early-2"} {
		wg.Go(func() {
			r := run(t, "owner", "create", name, "--email", "o@example.com", "--data-dir", b.dir)
			if r.code != 0 {
				t.Errorf("owner create while the ledger starts ended with %d: %s", r.code, r.err)
			}
		})
	}
	if r := run(t, "status", "--listen", b.address, "--wait", "30s"); r.code != 0 || !strings.HasPrefix(r.out, "ready\n") && !strings.HasPrefix(r.out, "degraded\n") {
		t.Errorf("status --wait ended with %d: %s%s", r.code, r.out, r.err)
	}
	wg.Wait()
}

func (b *beside) status(t *testing.T) {
	var ready readiness
	if err := json.Unmarshal([]byte(must(t, "status", "--listen", b.address, "--json")), &ready); err != nil || ready.Status != "ready" {
		t.Errorf("status says %+v, %v", ready, err)
	}
	if out := must(t, "status", "--public-url", "http://"+b.address+"/"); !strings.HasPrefix(out, "ready\n") || !strings.Contains(out, "database") {
		t.Errorf("status says %s", out)
	}
	r := run(t, "status", "--listen", freeAddress(t))
	if r.code != exitFailure || !strings.Contains(r.err, "no ledger answers") {
		t.Errorf("status of nothing ended with %d: %s", r.code, r.err)
	}
}

func (b *beside) owners(t *testing.T) {
	place := []string{"--data-dir", b.dir}
	create := func(name string) []string {
		return append([]string{"owner", "create", name, "--email", "o@example.com", "--public-url", "http://" + b.address}, place...)
	}
	tn := newTenant(t, b.client, "beside", place...)
	if tn.login.Namespace != "beside" || !strings.HasPrefix(tn.login.OwnerID, "owner_") || !strings.HasSuffix(tn.login.LoginURL, "/v1/auth/login#"+tn.login.LoginToken) {
		t.Errorf("owner create printed %+v", tn.login)
	}
	r := b.expect(401, "POST", "/v1/auth/login", map[string]any{"token": tn.login.LoginToken})
	if r.code != "UNAUTHORIZED" {
		t.Errorf("a login link, used again, answers %s", r)
	}
	if r := run(t, create("beside")...); r.code != exitFailure || !strings.Contains(r.err, "beside") || r.out != "" {
		t.Errorf("a second owner create ended with %d: %s%s", r.code, r.out, r.err)
	}
	for _, name := range []string{"ab", "-abc", "Upper", "a b c", "x_y", strings.Repeat("x", 65), "ledger.>", "a.b"} {
		if r := run(t, append(create("x")[:2], append([]string{"--", name}, create("x")[3:]...)...)...); r.code == 0 {
			t.Errorf("owner create %q ended with %d: %s", name, r.code, r.out)
		}
	}
	before := tn.session
	tn.session = tn.loginAt(b.client, place...)
	if tn.session == before {
		t.Error("another link opened the same session")
	}
	b.expect(200, "GET", "/v1/auth/me", nil, tn.asOwner)
	if r := run(t, append([]string{"owner", "login-link", "nobody"}, place...)...); r.code != exitFailure || !strings.Contains(r.err, "no such namespace") {
		t.Errorf("a link for a namespace that does not exist ended with %d: %s", r.code, r.err)
	}
}

func (b *beside) namespaces(t *testing.T) {
	place := []string{"--data-dir", b.dir}
	tn := newTenant(t, b.client, "switched", place...)
	agent := newAgent()
	r, claim, err := tn.submit(agent)
	if err != nil || r.status != 201 {
		t.Fatalf("submit: %v, %v", r, err)
	}
	tn.expect(200, "POST", "/v1/claims/"+claim.ClaimID+"/approve", nil, tn.asOwner)
	verify := func() (v struct {
		Authorized bool
		Reason     string
	}) {
		q := url.Values{"namespace": {"switched"}, "public_key": {agent}, "service": {serviceSlug}}
		tn.expect(200, "GET", "/v1/verify?"+q.Encode(), nil, tn.asGateway).decode(t, &v)
		return v
	}
	if v := verify(); !v.Authorized {
		t.Errorf("verify says %+v of an approved claim", v)
	}
	if out := must(t, append([]string{"namespace", "deactivate", "switched", "--reason", "a test"}, place...)...); out != "switched is deactivated\n" {
		t.Errorf("it says %q", out)
	}
	eventually(t, 2*time.Second, func() error { // contract: within a second on other nodes
		if v := verify(); v.Authorized || v.Reason != "namespace_inactive" {
			return fmt.Errorf("verify says %+v", v)
		}
		return nil
	})
	if r, _, err := tn.submit(newAgent()); err != nil || r.status != 403 {
		t.Errorf("a submit to a namespace that is deactivated: %v, %v", r, err)
	}
	if out := must(t, append([]string{"namespace", "deactivate", "switched"}, place...)...); out != "switched is deactivated already\n" {
		t.Errorf("it says %q", out)
	}
	must(t, append([]string{"namespace", "activate", "switched"}, place...)...)
	eventually(t, 2*time.Second, func() error {
		if v := verify(); !v.Authorized {
			return fmt.Errorf("verify says %+v", v)
		}
		return nil
	})
	tn.mustSubmit()
	if r := run(t, append([]string{"namespace", "activate", "nobody"}, place...)...); r.code != exitFailure || !strings.Contains(r.err, "no such namespace") {
		t.Errorf("activating what does not exist ended with %d: %s", r.code, r.err)
	}
}

// killPostgres: commands go on, it is started again, and reads come back.
func (b *beside) killPostgres(t *testing.T) {
	tn := newTenant(t, b.client, "survivor", "--data-dir", b.dir)
	pid := postmaster(b.dir)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_, position := tn.mustSubmit()
	b.awaitStatus("ready")
	eventually(t, patience, func() error {
		r, err := b.send("GET", "/v1/namespaces/survivor/claims", nil, tn.asOwner, after(position))
		if err == nil && r.status != 200 {
			err = fmt.Errorf("the list answers %s", r)
		}
		return err
	})
	if n := len(tn.list(position)); n != 1 {
		t.Errorf("the list has %d claims", n)
	}
	if now := postmaster(b.dir); now == pid || !running(now) {
		t.Errorf("PostgreSQL was process %d, and is %d", pid, now)
	}
}

// alone: without a ledger that runs, commands start what they need, one after another.
func (b *beside) alone(t *testing.T) {
	tn := must(t, "owner", "create", "alone", "--email", "o@example.com", "--json", "--data-dir", b.dir)
	var link loginLink
	if err := json.Unmarshal([]byte(tn), &link); err != nil || link.LoginToken == "" {
		t.Errorf("%s, %v", tn, err)
	}
	must(t, "namespace", "deactivate", "alone", "--data-dir", b.dir)
	if r := run(t, "owner", "create", "alone", "--email", "o@example.com", "--data-dir", b.dir); r.code != exitFailure {
		t.Errorf("a second owner create ended with %d: %s", r.code, r.out)
	}
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			r := run(t, "owner", "create", fmt.Sprintf("alone-%d", n), "--email", "o@example.com", "--data-dir", b.dir)
			if r.code != 0 {
				t.Errorf("owner create beside another ended with %d: %s", r.code, r.err)
			}
		})
	}
	wg.Wait()
	if postmaster(b.dir) != 0 {
		t.Error("owner create started PostgreSQL, and left it")
	}
}
