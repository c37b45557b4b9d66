package main

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claimledger/claimledger/api"
	"github.com/claimledger/claimledger/domain"
)

// keyFile writes a key file.
func keyFile(t *testing.T, mode os.FileMode, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "some.key")
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return path
}

// A key that cannot be used is refused before anything is touched, and not a word of it
// is shown.
func TestKeyFilesRefused(t *testing.T) {
	text := hexText(api.MinSessionKey)
	good := keyFile(t, 0o600, text+"\n")
	missing := filepath.Join(t.TempDir(), "missing.key")
	tests := []struct {
		name, session, secret, head string
		code                        int
		says                        string
	}{
		{"session key required", "", good, good, exitUsage, "--session-key-file is required"},
		{"secret key required", good, "", good, exitUsage, "--secret-key-file is required"},
		{"head key required", good, good, "", exitUsage, "--head-key-file is required"},
		{"head key too short", good, good, keyFile(t, 0o600, text[2:]), exitFailure, "64 hex digits"},
		{"missing", missing, good, good, exitFailure, missing},
		{"readable by all", keyFile(t, 0o644, text), good, good, exitFailure, "chmod 600"},
		{"readable by the group", good, keyFile(t, 0o640, text), good, exitFailure, "chmod 600"},
		{"too short", keyFile(t, 0o600, text[2:]), good, good, exitFailure, "64 hex digits"},
		{"too long", good, keyFile(t, 0o600, text+"00"), good, exitFailure, "64 hex digits"},
		{"not hex", good, keyFile(t, 0o600, "x"+text[1:]), good, exitFailure, "64 hex digits"},
		{"empty", keyFile(t, 0o600, ""), good, good, exitFailure, "64 hex digits"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := outcome(t, nil, "serve", "--listen", "127.0.0.1:0", "--nats-url", "nats://127.0.0.1:1", "--database-url", "postgres://127.0.0.1:1/x",
				"--session-key-file", test.session, "--secret-key-file", test.secret, "--head-key-file", test.head)
			if r.code != test.code || !strings.Contains(r.err, test.says) {
				t.Errorf("it ended with %d: %s", r.code, r.err)
			}
			if strings.Contains(r.err, text[4:20]) {
				t.Errorf("it shows the key: %s", r.err)
			}
		})
	}
	// No role is to be given what it does not need.
	for role, keys := range map[string]keySettings{
		roleAPI: {SessionKeyFile: good, SecretKeyFile: good}, roleRelay: {SecretKeyFile: good}, roleProjector: {HeadKeyFile: good},
	} {
		c := serveCommand{Roles: []string{role}, placeSettings: placeSettings{NATSURL: "nats://n"}, keySettings: keys}
		if err := c.validateKeys(); err != nil {
			t.Errorf("%s: %v", role, err)
		}
	}
}

// A key is made once, for its owner's eyes alone.
func TestKeyFilesMade(t *testing.T) {
	place := placeSettings{DataDir: t.TempDir()}
	first, err := keySettings{}.sessionKey(place)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(place.DataDir, "session.key")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	again, err := keySettings{}.sessionKey(place)
	if err != nil || string(again) != string(first) || len(first) != api.MinSessionKey {
		t.Errorf("%x, then %x, %v", first, again, err)
	}
	path, err = keySettings{}.secretKeys(place)
	if err == nil {
		_, err = readRing(path)
	}
	if err != nil {
		t.Error(err)
	}
	if _, err := (keySettings{}).headKey(place); err != nil {
		t.Error(err)
	}
	secret, err := os.ReadFile(filepath.Join(place.DataDir, "secret.key"))
	if err != nil || len(secret) != 2*domain.SealKeySize+1 || strings.Contains(string(secret), hex.EncodeToString(first)) {
		t.Errorf("%d bytes, %v", len(secret), err)
	}
	left, err := os.ReadDir(place.DataDir)
	if err != nil || len(left) != 3 {
		t.Errorf("making three keys left %v, %v", left, err)
	}
}
