package main

import (
	"log/slog"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/claimledger/claimledger/domain"
)

// fileOf writes a key file anew, as it is copied from another machine.
func fileOf(t *testing.T, path string, mode os.FileMode, keys ...string) {
	t.Helper()
	next := keyFile(t, mode, strings.Join(keys, "\n"))
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

func keyOf(t *testing.T, text string) *domain.SealKey {
	t.Helper()
	r, err := readRing(keyFile(t, 0o600, text))
	if err != nil {
		t.Fatal(err)
	}
	return r.keys[0]
}

// A process follows its key file, and no file takes away from it what it needs.
func TestSecretKeysFollowTheFile(t *testing.T) {
	one, two, three := hexText(32), hexText(32), hexText(32)
	first, second, third := keyOf(t, one), keyOf(t, two), keyOf(t, three)
	path, inForce := keyFile(t, 0o600, one), map[string]int{}
	var log transcript
	keys, err := newSecretKeys(path, func() map[string]int { return maps.Clone(inForce) }, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	var nonce [domain.SealNonceSize]byte
	opens := func(want bool, k *domain.SealKey) {
		t.Helper()
		got, err := keys.Open(k.Seal(nonce, "secret", "w"), "w")
		if (err == nil) != want || want && got != "secret" {
			t.Errorf("%s: %q, %v", k.ID(), got, err)
		}
	}
	seals := func(want *domain.SealKey) {
		t.Helper()
		k, err := keys.sealing()
		if want == nil && domain.ErrorCode(err) != domain.CodeServiceUnavailable || want != nil && (err != nil || k.ID() != want.ID()) {
			t.Errorf("%v, %v, want %v", k, err, want)
		}
	}
	well := func(want bool) {
		t.Helper()
		if err := keys.works(t.Context()); (err == nil) != want {
			t.Error(err)
		}
	}
	seals(first)
	opens(false, second)
	well(false)
	fileOf(t, path, 0o600, one, two)
	opens(true, second)
	seals(first)
	well(true)
	fileOf(t, path, 0o600, two, one)
	seals(second)
	opens(true, first)
	if n := testutil.CollectAndCount(keys); n != 2 {
		t.Errorf("%d metrics", n)
	}

	// Files that would take something away.
	inForce[first.ID()] = 2
	fileOf(t, path, 0o600, two)
	seals(second)
	opens(true, first)
	well(false)
	for _, bad := range [][]string{{}, {"x" + two[1:]}, {two, two}} {
		fileOf(t, path, 0o600, bad...)
		seals(second)
		opens(true, first)
		well(false)
	}
	fileOf(t, path, 0o644, three)
	seals(second)
	opens(false, third)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	seals(second)
	opens(true, first)
	well(false)
	fileOf(t, path, 0o600, two)
	delete(inForce, first.ID())
	seals(second)
	opens(false, first) // nothing needs it any more
	seals(second)
	well(true)

	// The ledger has what is sealed with a key that this process never had.
	inForce[third.ID()] = 1
	seals(nil)
	opens(true, second)
	well(false)
	if _, err := newSecretKeys(path, keys.inForce, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), third.ID()) {
		t.Errorf("a start without a key says %v", err)
	}
	fileOf(t, path, 0o600, two, three)
	seals(second)
	well(true)
	for _, key := range []string{one, two, three} {
		if strings.Contains(log.String(), key[1:30]) {
			t.Errorf("a key is in the log:\n%s", log.String())
		}
	}
	if !strings.Contains(log.String(), third.ID()) {
		t.Errorf("the log does not name the key that is lacking:\n%s", log.String())
	}
}
