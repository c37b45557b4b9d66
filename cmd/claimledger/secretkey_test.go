package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// secretKeyTest runs secret-key commands, none of which may show a key.
type secretKeyTest struct {
	t     testing.TB
	flags []string
	seen  map[string]bool // what was ever in a file
}

func newSecretKeyTest(t testing.TB, flags ...string) *secretKeyTest {
	return &secretKeyTest{t, flags, map[string]bool{}}
}

// file is what a key file holds, which must be for its owner alone.
func (s *secretKeyTest) file(path string) []string {
	s.t.Helper()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		s.t.Fatalf("%s: %v, %v", path, info.Mode(), err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	keys := strings.Fields(string(text))
	for _, key := range keys {
		s.seen[key] = true
	}
	return keys
}

// run runs a command, which must end with the code, and gives what it prints.
func (s *secretKeyTest) run(code int, args ...string) result {
	s.t.Helper()
	r := run(s.t, slices.Concat([]string{"secret-key"}, args, s.flags)...)
	if r.code != code {
		s.t.Fatalf("secret-key %v ended with %d: %s%s", args, r.code, r.out, r.err)
	}
	s.hides(r.out + r.err)
	return r
}

// aged has a key file be one whose first key has sealed for a while.
func aged(t *testing.T, path string) {
	t.Helper()
	before := time.Now().Add(-2 * sealedWithin)
	if err := os.Chtimes(path, time.Time{}, before); err != nil {
		t.Fatal(err)
	}
}

// hides looks for keys in what anybody may read.
func (s *secretKeyTest) hides(text string) {
	s.t.Helper()
	for key := range s.seen {
		if strings.Contains(text, key) || strings.Contains(text, key[8:40]) {
			s.t.Errorf("a key is shown: %s", text)
		}
	}
}

type secretKeyOutcome struct {
	KeyID     string `json:"key_id"`
	KeyBefore string `json:"key_before"`
	Webhooks  int    `json:"webhooks"`
}

func (s *secretKeyTest) json(args ...string) (o secretKeyOutcome) {
	s.t.Helper()
	out := s.run(0, append(args, "--json")...).out
	if err := json.Unmarshal([]byte(out), &o); err != nil || o.KeyID == "" {
		s.t.Fatalf("secret-key %v prints %s: %v", args, out, err)
	}
	return o
}

// list is how many secrets in force each key has sealed, and which of them seals.
func (s *secretKeyTest) list() (inForce map[string]int, seals string) {
	s.t.Helper()
	var listed struct{ Keys []listedSecretKey }
	out := s.run(0, "list", "--json").out
	if err := json.Unmarshal([]byte(out), &listed); err != nil {
		s.t.Fatalf("secret-key list prints %s: %v", out, err)
	}
	inForce = map[string]int{}
	for _, k := range listed.Keys {
		inForce[k.KeyID] = k.Secrets
		if k.Seals {
			seals += k.KeyID
		}
	}
	return inForce, seals
}

func (s *secretKeyTest) holds(want map[string]int, seals string) {
	s.t.Helper()
	if inForce, sealing := s.list(); !maps.Equal(inForce, want) || sealing != seals {
		s.t.Errorf("the file has %v and seals with %s, not %v and %s", inForce, sealing, want, seals)
	}
}

// One command replaces the key of an embedded ledger, beside it and without it, and what
// was sealed with the old key goes on signing.
func TestRotateSecretKey(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	flags := []string{"--data-dir", dir, "--listen", freeAddress(t), "--webhook-allow-private", "--log-level", "debug"}
	p := serve(t, flags...)
	c := newClient(t, p.address)
	tn := newTenant(t, c, "acme", "--data-dir", dir)
	s, path := newSecretKeyTest(t, "--data-dir", dir), filepath.Join(dir, "secret.key")
	s.file(path)
	before, other := newHooks(t), newHooks(t)
	tn.webhook(before, map[string]any{"auth_header": "Authorization", "auth_value": "Bearer before"})
	var claims []string
	delivered := func(to ...*hooks) {
		t.Helper()
		id, _ := tn.mustSubmit()
		claims = append(claims, id)
		for _, h := range to {
			h.await(patience, "request.submitted", []string{id})
		}
		if got := before.last(1)[0].Get("Authorization"); got != "Bearer before" {
			t.Errorf("the owner's header is %q", got)
		}
	}
	delivered(before)

	first := s.json("rotate")
	s.file(path)
	if first.Webhooks != 1 {
		t.Errorf("%+v", first)
	}
	s.holds(map[string]int{first.KeyID: 2, first.KeyBefore: 0}, first.KeyID)
	tn.webhook(other, nil)
	s.holds(map[string]int{first.KeyID: 3, first.KeyBefore: 0}, first.KeyID)
	delivered(before, other)
	s.run(exitFailure, "retire", first.KeyID)
	s.run(exitFailure, "retire", "0123456789abcdef")
	s.run(exitFailure, "activate", "0123456789abcdef")
	s.run(exitUsage, "retire")
	if r := s.run(exitFailure, "retire", first.KeyBefore); !strings.Contains(r.err, "try again in") {
		t.Errorf("what may still be encrypted with it is not waited for: %s", r.err)
	}
	s.file(path)
	aged(t, path)
	s.json("retire", first.KeyBefore)
	s.holds(map[string]int{first.KeyID: 3}, first.KeyID)
	delivered(before, other)
	p.stop()
	s.hides(p.log.String())

	second := s.json("rotate") // without a ledger that runs
	s.file(path)
	if second.KeyBefore != first.KeyID || second.Webhooks != 2 {
		t.Errorf("%+v, after %+v", second, first)
	}
	old := filepath.Join(dir, "old.key") // as a copy from before would be
	if err := os.WriteFile(old, []byte(s.file(path)[1]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refusesToServe(t, []string{"secret key file", second.KeyID, "put the original back"}, append(flags, "--secret-key-file", old)...)
	lacks := s.run(exitFailure, "list", "--secret-key-file", old)
	if !strings.Contains(lacks.out, "missing") || !strings.Contains(lacks.err, "lacks "+second.KeyID) {
		t.Errorf("%+v", lacks)
	}
	for _, command := range []string{"reseal", "rotate"} {
		if r := s.run(exitFailure, command, "--secret-key-file", old); !strings.Contains(r.err, "lacks "+second.KeyID) {
			t.Errorf("%+v", r)
		}
	}
	p = serve(t, flags...)
	tn = tn.at(newClient(t, p.address))
	delivered(before, other)
	p.stop()
	s.hides(p.log.String())
	for _, h := range []*hooks{before, other} {
		h.check()
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".key-*")); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// Files that commands refuse, or leave as they are.
func TestSecretKeyFiles(t *testing.T) {
	t.Parallel()
	text := hexText(32)
	path := keyFile(t, 0o600, text+"\n")
	s := newSecretKeyTest(t, "--nats-url", "nats://127.0.0.1:1", "--secret-key-file", path)
	s.file(path)
	added := s.json("add")
	if keys := s.file(path); len(keys) != 2 || keys[0] != text {
		t.Errorf("%d keys", len(keys))
	}
	for range 2 { // the second time it is so already
		s.json("activate", added.KeyID)
		if keys := s.file(path); len(keys) != 2 || keys[1] != text {
			t.Errorf("%d keys", len(keys))
		}
	}
	for n := 2; n < maxSecretKeys; n++ {
		r, err := readRing(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.addNew(); err != nil {
			t.Fatal(err)
		}
		if err := r.write(); err != nil {
			t.Fatal(err)
		}
	}
	whole := s.file(path)
	if r := s.run(exitFailure, "add"); !strings.Contains(r.err, "retire") {
		t.Errorf("%+v", r)
	}
	unlock, err := lockRing(path)
	if err != nil {
		t.Fatal(err)
	}
	if r := s.run(exitFailure, "activate", added.KeyID); !strings.Contains(r.err, "another command") {
		t.Errorf("%+v", r)
	}
	unlock()
	if r := s.run(exitUsage, "rotate"); !strings.Contains(r.err, "secret-key add") {
		t.Errorf("%+v", r)
	}
	if got := s.file(path); !slices.Equal(got, whole) {
		t.Errorf("what was refused has changed the file")
	}
	for name, content := range map[string]string{"twice": text + "\n" + text, "half": text + "\n" + text[:40], "no hex": text + "\nx" + text[1:], "nothing": "\n\n"} {
		s := newSecretKeyTest(t, "--nats-url", "nats://127.0.0.1:1", "--secret-key-file", keyFile(t, 0o600, content))
		s.seen[text] = true
		for _, command := range []string{"list", "add", "reseal"} {
			if r := s.run(exitFailure, command); !strings.Contains(r.err, "--secret-key-file: ") {
				t.Errorf("%s: %s: %s", name, command, r.err)
			}
		}
	}
	link := filepath.Join(t.TempDir(), "secret.key")
	if err := os.Symlink(keyFile(t, 0o600, text), link); err != nil {
		t.Fatal(err)
	}
	newSecretKeyTest(t, "--secret-key-file", link).json("add")
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info.Mode(), err)
	}
	for _, args := range [][]string{{"--nats-url", "nats://127.0.0.1:1"}, {"--data-dir", t.TempDir()}} {
		r := run(t, append([]string{"secret-key", "add"}, args...)...)
		if r.code == 0 || !strings.Contains(r.err, "secret") {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Error(fmt.Errorf("%v is left, %w", entries, err))
	}
}
