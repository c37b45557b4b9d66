package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// auditor checks heads with nothing but what the API's description says: texts, positions
// and stored bytes, and none of the ledger's own code for it.
type auditor struct {
	t      testing.TB
	export [][]byte // by position, from 1
	hashes []string // after each commit
	pinned string   // the key's id
	seen   uint64   // the position of the head that was seen last
}

// shownHead are the members of the answer, as texts.
type shownHead struct {
	Position  string      `json:"position"`
	Count     json.Number `json:"count"`
	Hash      string      `json:"hash"`
	Time      string      `json:"time"`
	KeyID     string      `json:"key_id"`
	PublicKey string      `json:"public_key"`
	Signature string      `json:"signature"`
}

// exportFrom has the log exported from where the flags say it is, beside the ledger that
// runs, and goes through the file as its description says.
func (a *auditor) exportFrom(place ...string) (file string) {
	a.t.Helper()
	file = must(a.t, append([]string{"export"}, place...)...)
	a.export, a.hashes = nil, nil
	hash := make([]byte, sha256.Size)
	for text := range strings.Lines(file) {
		var line struct{ Position, Other, Hash, Commit, Stored string }
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			a.t.Fatal(err)
		}
		if line.Position+line.Other == "" {
			continue // the first, or the last
		}
		position, err := strconv.ParseUint(line.Position+line.Other, 10, 64)
		if err != nil || position != uint64(len(a.hashes)+1) {
			a.t.Fatalf("after %d lines: %s, %v", len(a.hashes), text, err)
		}
		commit := sha256.Sum256([]byte(line.Stored))
		if line.Other != "" {
			if _, err := hex.Decode(commit[:], []byte(line.Commit)); err != nil {
				a.t.Fatal(err)
			}
		}
		link := append([]byte("claimledger-log-v1\n"), hash...)
		link = binary.BigEndian.AppendUint64(link, position)
		sum := sha256.Sum256(append(link, commit[:]...))
		hash = sum[:]
		if a.hashes = append(a.hashes, hex.EncodeToString(hash)); line.Other == "" && line.Hash != a.hashes[position-1] {
			a.t.Fatalf("%s: not the hash up to there", text)
		}
		a.export = append(a.export, []byte(line.Stored))
	}
	return file
}

// check verifies a head against the export, and gives its position.
func (a *auditor) check(r *response) uint64 {
	a.t.Helper()
	var h shownHead
	r.decode(a.t, &h)
	position, err := strconv.ParseUint(h.Position, 10, 64)
	if err != nil || r.position != position || position < a.seen || h.Count.String() != h.Position {
		a.t.Fatalf("the head at %d, after one at %d: %s", r.position, a.seen, r)
	}
	if position > uint64(len(a.hashes)) || h.Hash != a.hashes[position-1] {
		a.t.Fatalf("%s: not the hash of the %d commits that were exported", r, len(a.hashes))
	}
	public, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(h.PublicKey, "ed25519:"))
	if err != nil || h.KeyID != a.pinned || fmt.Sprintf("ed25519-%x", sha256.Sum256(public)) != h.KeyID {
		a.t.Fatalf("%s: the key is not %s, %v", r, a.pinned, err)
	}
	signature, err := base64.StdEncoding.DecodeString(h.Signature)
	text := "claimledger-log-head-v1\nposition:" + h.Position + "\ncount:" + h.Count.String() + "\nhash:" + h.Hash + "\ntime:" + h.Time + "\nkey_id:" + h.KeyID
	if err != nil || !ed25519.Verify(public, []byte(text), signature) {
		a.t.Fatalf("%s: the signature does not hold, %v", r, err)
	}
	a.seen = position
	return position
}

// headKeyID is the id of the key in a file, which an operator tells auditors.
func headKeyID(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("ed25519-%x", sha256.Sum256(ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)))
}

// headOf waits for a head that covers a position.
func (c *client) headOf(position uint64) (r *response) {
	c.t.Helper()
	eventually(c.t, patience, func() (err error) {
		if r, err = c.send("GET", "/v1/log/head", nil, after(position)); err == nil && r.status != 200 {
			err = fmt.Errorf("the head is answered with %s", r)
		}
		return err
	})
	return r
}

// The head of a ledger that runs is the log's, as anyone computes it, through kills and
// stops.
func TestLogHeadOfARunningLedger(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	flags := func(interval string) []string {
		return []string{"--data-dir", dir, "--listen", freeAddress(t), "--head-interval", interval}
	}
	p := serve(t, flags("100ms")...)
	c := newClient(t, p.address)
	if r := c.expect(404, "GET", "/v1/log/head", nil); r.code != "NOT_FOUND" {
		t.Errorf("the head of an empty ledger: %s", r)
	}
	key := filepath.Join(dir, "head.key")
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	a := &auditor{t: t, pinned: headKeyID(t, key)}
	tn := newTenant(t, c, "acme", "--data-dir", dir)
	for range 3 {
		_, position := tn.mustSubmit()
		head := c.headOf(position)
		a.exportFrom("--data-dir", dir)
		if got := a.check(head); got < position {
			t.Errorf("the head is of %d and not of %d", got, position)
		}
	}

	_, position := tn.mustSubmit()
	p.kill()
	p = serve(t, flags("100ms")...)
	head := newClient(t, p.address).headOf(position)
	a.exportFrom("--data-dir", dir)
	a.check(head)

	// A ledger that signs rarely signs at its end.
	p.stop()
	p = serve(t, flags("1h")...)
	tn = tn.at(newClient(t, p.address))
	before := position
	for range 5 {
		_, position = tn.mustSubmit()
	}
	eventually(t, patience, func() error {
		applied := fmt.Sprintf("claimledger_projector_applied_commits_total{model=%q} %d\n", "chain", position-before)
		r, err := tn.send("GET", "/metrics", nil)
		if err == nil && !strings.Contains(string(r.body), applied) {
			err = errors.New("they are not applied yet")
		}
		return err
	})
	p.stop()
	p = serve(t, flags("1h")...)
	c = newClient(t, p.address)
	r := c.expect(200, "GET", "/v1/log/head", nil)
	a.exportFrom("--data-dir", dir)
	if got := a.check(r); got < position {
		t.Errorf("after the stop the head is of %d, and the last commit was at %d", got, position)
	}
	p.stop()
}

// On a cluster every api shows the head that a projector elsewhere has signed. Where the
// log and what was signed do not go together, nothing more is signed, and everybody who
// looks hears of it.
func TestLogHeadOfRolesApart(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	e.setup()
	projector := e.role(roleProjector, freeAddress(t))
	standby := e.role(roleProjector, freeAddress(t))
	api := e.role(roleAPI, freeAddress(t))
	c := newClient(t, api.address)
	tn := newTenant(t, c, "acme", e.place()...)
	_, position := tn.mustSubmit()
	a := &auditor{t: t, pinned: headKeyID(t, filepath.Join(e.dir, "head.key"))}
	head := c.headOf(position)
	a.exportFrom(e.place()...)
	a.check(head)

	projector.kill()
	_, position = tn.mustSubmit()
	head = c.headOf(position)
	a.exportFrom(e.place()...)
	a.check(head)

	conn, err := pgx.Connect(t.Context(), e.database.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	swap := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), "UPDATE model_chain_v1_g1.chain SET commits = commits "+sql); err != nil {
			t.Fatal(err)
		}
	}
	swap("+ 1")
	signs := newClient(t, standby.address)
	ready := signs.awaitStatus("degraded")
	if check := ready.Checks["log head"]; check.Vital || !strings.Contains(check.Status, "contradicts") {
		t.Errorf("the projector's readiness is %+v", ready)
	}
	if metrics := signs.expect(200, "GET", "/metrics", nil); !strings.Contains(string(metrics.body), "claimledger_log_head_contradicted 1\n") {
		t.Error("no metric says so")
	}
	if out := must(t, "status", "--listen", standby.address); !strings.Contains(out, "contradicts") {
		t.Errorf("status says %s", out)
	}
	if !strings.Contains(standby.log.String(), `"level":"ERROR"`) {
		t.Error("no error is logged")
	}
	_, position = tn.mustSubmit()
	if r := c.expect(503, "GET", "/v1/log/head", nil, after(position)); r.code != "STALE_READ" {
		t.Errorf("a head that is not signed: %s", r)
	}
	a.check(c.expect(200, "GET", "/v1/log/head", nil)) // the last one stays
	swap("- 1")
	signs.awaitStatus("ready")
	head = c.headOf(position)
	a.exportFrom(e.place()...)
	a.check(head)

	// An auditor of the log itself sees what is served from it, too.
	live := append(e.place(), "live", "--database-url", e.database.URL(), "--head-key", a.pinned, "--signed")
	tn.list(position)
	if v := verifies(t, 0, live...); v.SureTo != position || v.Tally.Claims[domain.StatusPending] != 3 {
		t.Errorf("%+v", v)
	}
	if _, err := conn.Exec(t.Context(), "DELETE FROM model_claims_v1_g1.claims WHERE claim_id = (SELECT min(claim_id) FROM model_claims_v1_g1.claims)"); err != nil {
		t.Fatal(err)
	}
	if v := verifies(t, 1, live...); !strings.Contains(v.Finding.What, "the read model serves 2 claims of acme as pending, and the log makes 3") {
		t.Errorf("%+v", v.Finding)
	}
}
