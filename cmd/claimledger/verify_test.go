package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/domain/audit"
	"github.com/claimledger/claimledger/domain/audit/audittest"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// verifies runs verify and gives what it says for machines.
func verifies(t testing.TB, code int, args ...string) (v verified) {
	t.Helper()
	r := run(t, append([]string{"verify", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(r.out), &v); err != nil || r.code != code {
		t.Fatalf("verify %q ended with %d, want %d: %s %s", args, r.code, code, r.out, r.err)
	}
	return v
}

// What an operator exports beside a running ledger an auditor verifies without it, against
// the key and the heads that he has; and what was tampered with is found.
func TestExportAndVerify(t *testing.T) {
	t.Parallel()
	dir, desk := pgtest.Dir(t), t.TempDir()
	p := serve(t, "--data-dir", dir, "--listen", freeAddress(t), "--head-interval", "100ms")
	c := newClient(t, p.address)
	acme, shop := newTenant(t, c, "acme", "--data-dir", dir), newTenant(t, c, "shop", "--data-dir", dir)
	claim, _ := acme.mustSubmit()
	acme.expect(200, "POST", "/v1/claims/"+claim+"/approve", map[string]string{"reason": "known"}, acme.asOwner)
	shop.mustSubmit()
	position := acme.expect(200, "POST", "/v1/claims/"+claim+"/revoke", map[string]string{"reason": "lost"}, acme.asOwner).position
	kept := filepath.Join(desk, "kept.json")
	if err := os.WriteFile(kept, c.headOf(position).body, 0o600); err != nil {
		t.Fatal(err)
	}
	key := headKeyID(t, filepath.Join(dir, "head.key"))
	file := func(name string) string { return filepath.Join(desk, name) }

	var all exported
	if err := json.Unmarshal([]byte(must(t, "export", "--data-dir", dir, "-o", file("all"), "--json")), &all); err != nil || all.SignedTo != position || all.KeyID != key || all.End != position {
		t.Fatalf("%+v, %v", all, err)
	}
	if info, err := os.Stat(file("all")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	must(t, "export", "--data-dir", dir, "-o", file("acme"), "--namespace", "acme")
	for _, name := range []string{"all", "acme"} {
		if v := verifies(t, 0, file(name), "--head-key", key, "--head", kept, "--signed"); v.Result != "ok" || v.SureTo != position || v.Hash != all.Hash || v.Tally.Claims[domain.StatusRevoked] != 1 {
			t.Errorf("%s: %+v", name, v)
		}
	}
	if v := verifies(t, 0, "live", "--data-dir", dir, "--head-key", key, "--head", kept); v.SureTo != position || v.Tally.Commits != position {
		t.Errorf("live: %+v", v)
	}

	altered := strings.Replace(string(readFile(t, file("all"))), "known", "knowm", 1)
	if err := os.WriteFile(file("altered"), []byte(altered), 0o600); err != nil {
		t.Fatal(err)
	}
	v := verifies(t, 1, file("altered"))
	if v.Result != "tampered" || v.Finding.Boundary != "acme/claims" || v.Finding.CommitID == "" || v.Finding.Position == 0 {
		t.Errorf("%+v", v)
	}
	if r := run(t, "verify", file("altered")); r.code != 1 || !strings.Contains(r.out, "it was altered") || !strings.Contains(r.out, v.Finding.CommitID) {
		t.Errorf("%+v", r)
	}
	if v := verifies(t, 2, file("none")); v.Result != "unusable" {
		t.Errorf("%+v", v)
	}
	if v := verifies(t, exitLacking, file("all"), "--signed"); v.Result != "incomplete" || !strings.Contains(v.Finding.What, "no head that you trust") {
		t.Errorf("%+v", v)
	}
	if r := run(t, "verify", file("all"), "--head-key", "sk_live_x"); r.code != exitUsage {
		t.Errorf("%+v", r)
	}

	words := must(t, "log", "show", "--data-dir", dir, "--claim", claim)
	if lines := strings.Split(strings.TrimSpace(words), "\n"); len(lines) != 3 || !strings.Contains(lines[0], "submitted claim") ||
		!strings.Contains(lines[1], "approved claim "+claim+`, because "known".`) || !strings.HasPrefix(lines[2], strconv.FormatUint(position, 10)+"  ") {
		t.Errorf("%s", words)
	}
	// The same from a file, and the same as the API has it.
	if offline := must(t, "log", "show", "--file", file("acme"), "--claim", claim); offline != words {
		t.Errorf("%s", offline)
	}
	said := must(t, "log", "show", "--file", file("acme"), "--namespace", "acme", "--json")
	api := c.expect(200, "GET", "/v1/namespaces/acme/events", nil, acme.asOwner, after(position), asLines)
	if said != string(api.body) {
		t.Errorf("the command line says\n%s\nand the API\n%s", said, api.body)
	}
	for _, filter := range [][]string{{"--namespace", "nope"}, {"--claim", "nope"}, {"--namespace", "nope", "--file", file("acme")}} {
		if r := run(t, append([]string{"log", "show", "--data-dir", dir}, filter...)...); r.code != exitFailure || !strings.Contains(r.err, " nope is in what was read") {
			t.Errorf("log show %q ended with %d: %s%s", filter, r.code, r.out, r.err)
		}
	}

	// An export that is older than a head that was kept is not accused, and does not pass; a
	// part that begins later does.
	must(t, "export", "--data-dir", dir, "-o", file("part"), "--from", "3", "--to", strconv.FormatUint(position, 10))
	_, newer := acme.mustSubmit()
	heads := append(c.headOf(newer).body, c.expect(200, "GET", "/v1/log/head", nil).body...)
	heads = append(slices.Clone(readFile(t, kept)), heads...)
	if err := os.WriteFile(file("heads"), heads, 0o600); err != nil {
		t.Fatal(err)
	}
	if v := verifies(t, exitLacking, file("all"), "--head", file("heads")); v.Result != "incomplete" || v.SureTo != position || v.Hash != all.Hash || !strings.Contains(v.Finding.What, "export again") {
		t.Errorf("%+v", v)
	}
	if v := verifies(t, 0, file("part"), "--head", file("heads"), "--head-key", key, "--signed"); v.SureTo != position {
		t.Errorf("%+v", v)
	}
	if err := os.WriteFile(file("heads"), append(heads, "\n<html>"...), 0o600); err != nil {
		t.Fatal(err)
	}
	line := "what begins on line " + strconv.Itoa(2+strings.Count(string(heads), "\n")) + " is no head"
	if v := verifies(t, exitUsage, file("all"), "--head", file("heads")); v.Result != "unusable" || !strings.Contains(v.Finding.What, line) {
		t.Errorf("%+v, want %q", v.Finding, line)
	}
	p.stop()

	// Without the ledger, and with a store that lost what was signed for.
	verifies(t, 0, "live", "--data-dir", dir, "--head", kept, "--head-key", key)
	loseTail(t, blockOf(t, filepath.Join(dir, "nats")))
	if v := verifies(t, 1, "live", "--data-dir", dir, "--head-key", key); v.Result != "tampered" {
		t.Errorf("%+v", v)
	}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// asLines asks for a history in lines.
func asLines(r *http.Request, _ []byte) error {
	r.Header.Set("Accept", "application/x-ndjson")
	return nil
}

// liveOf is the example as a log that can be verified live, with heads of it.
func liveOf(t testing.TB, made *audittest.Log, key *domain.HeadKey, heads ...uint64) *liveAudit {
	t.Helper()
	log, signed := eventstore.NewMemory(), &eventstore.MemoryHeads{}
	for _, stored := range made.Stored {
		c, err := domain.DecodeCommit(stored)
		if err != nil {
			t.Fatal(err)
		}
		log.Inject(c.Boundary(), stored)
	}
	v := &liveAudit{trust: audit.Trust{Keys: []string{key.ID()}}, log: log, heads: signed, shown: newProgress(io.Discard, "verified")}
	for _, position := range heads {
		appendHead(t, v, made.Head(key, position))
	}
	return v
}

func appendHead(t testing.TB, v *liveAudit, h domain.LogHead) {
	t.Helper()
	last, err := v.heads.Last(t.Context())
	if err == nil {
		_, err = v.heads.Append(t.Context(), last, h)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The log itself is held to every head that was ever published, and to what was built on it.
func TestVerifyLiveFinds(t *testing.T) {
	made, key := audittest.Example(t), audittest.Key(t, 1)
	end := made.Last()
	markAt := func(position uint64, hash domain.Hash) func(*liveAudit) {
		return func(v *liveAudit) {
			v.marks = []eventstore.Mark{{Position: 2, Hash: domain.HashOf(made.Stored[1]), Holder: "the first"}, {Position: position, Hash: hash, Holder: "the read model x"}}
		}
	}
	for name, test := range map[string]struct {
		heads  []uint64
		change func(*liveAudit)
		want   string
	}{
		"a good log":                {[]uint64{1, 3, 3, 9, end}, markAt(end, domain.HashOf(made.Stored[end-1])), ""},
		"built on another":          {[]uint64{end}, markAt(5, domain.Hash{1}), "the read model x was built on another commit there"},
		"built on more":             {[]uint64{end}, markAt(end+1, domain.Hash{1}), "the read model x was built up to position"},
		"a head that nobody signed": {[]uint64{3}, func(v *liveAudit) { h := made.Head(key, 9); h.Time = h.Time.Add(1); appendHead(t, v, h) }, "no head that anybody signed"},
		"a head of another log": {[]uint64{3}, func(v *liveAudit) {
			c := made.Chain(9)
			c.Hash[0]++
			appendHead(t, v, key.Sign(c, made.Now))
			appendHead(t, v, made.Head(key, end))
		}, "something after position 3 was altered"},
		"a head of more": {[]uint64{3}, func(v *liveAudit) {
			appendHead(t, v, key.Sign(made.Chain(end).Then(end+1, domain.Hash{1}), made.Now))
		}, "what came after was cut off"},
	} {
		v := liveOf(t, made, key, test.heads...)
		test.change(v)
		r, err := v.run(t.Context())
		var found *audit.Finding
		if test.want == "" && (err != nil || r.Sure() != end) || test.want != "" && (!errors.As(err, &found) || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, sure up to %d; want %q", name, err, r.Sure(), test.want)
		}
	}
	v := liveOf(t, made, key, end)
	if _, err := liveOf(t, made, key).run(t.Context()); !errors.As(err, new(*audit.Incomplete)) {
		t.Errorf("none signed: %v", err)
	}
	v.heads = away{v.heads}
	if _, err := v.run(t.Context()); !errors.Is(err, eventstore.ErrUnavailable) {
		t.Errorf("without the heads: %v", err)
	}
}

type away struct{ eventstore.LogHeads }

func (away) At(context.Context, uint64) (eventstore.StoredHead, error) {
	return eventstore.StoredHead{}, eventstore.ErrUnavailable
}

// A file is replaced as a whole or not at all, and nothing else is left beside it.
func TestWriteWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	says := func(text string, err error) func(io.Writer) error {
		return func(w io.Writer) error {
			_, writeErr := io.WriteString(w, text)
			return errors.Join(writeErr, err)
		}
	}
	failed := errors.New("failed")
	for _, step := range []struct {
		text string
		err  error
		want string
	}{{"none", failed, ""}, {"one", nil, "one"}, {"two", failed, "one"}, {"three", nil, "three"}} {
		if err := writeWhole(path, says(step.text, step.err)); !errors.Is(err, step.err) {
			t.Errorf("%s: %v", step.text, err)
		}
		left, err := filepath.Glob(filepath.Join(dir, ".*f*"))
		if text, readErr := os.ReadFile(path); string(text) != step.want || readErr != nil && !errors.Is(readErr, fs.ErrNotExist) || err != nil || len(left) > 0 {
			t.Errorf("%s: the file says %q, %v, and beside it are %q, %v", step.text, text, readErr, left, err)
		}
	}
	if err := writeWhole(dir, says("x", nil)); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a directory: %v", err)
	}
	if err := writeWhole("/dev/null", says("x", nil)); err == nil {
		t.Error("a device was replaced")
	}
	if err := writeWhole(filepath.Join(dir, "no", "f"), says("x", nil)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func TestPrintable(t *testing.T) {
	if got := printable("a\x1b[31m\nb\u009b"); got != "a\ufffd[31m\ufffdb\ufffd" {
		t.Errorf("%q", got)
	}
}
