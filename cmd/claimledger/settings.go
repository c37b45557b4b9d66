package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/claimledger/claimledger/api"
	"github.com/claimledger/claimledger/domain"
)

// placeSettings say where the ledger is; every command that touches it has them.
type placeSettings struct {
	DataDir     string `default:"./data" help:"Everything that the embedded parts keep." placeholder:"DIR"`
	NATSURL     string `name:"nats-url" help:"A NATS cluster with JetStream, 2.12 or later. Empty: an embedded server in the data directory." placeholder:"URL"`
	NATSCreds   string `name:"nats-creds" help:"Credentials file for the cluster." placeholder:"FILE"`
	DatabaseURL string `help:"A PostgreSQL, 14 or later. Empty: a private one in the data directory." placeholder:"URL"`
	PostgresBin string `help:"Where PostgreSQL's server binaries are, if they are not found." placeholder:"DIR"`
	Replicas    int    `help:"Of the streams. Default: 1 embedded, 3 with --nats-url." placeholder:"N"`
	logSettings
}

type logSettings struct {
	LogFormat string `enum:"auto,text,json" default:"auto" help:"text, json, or auto: text on a terminal." placeholder:"FORMAT"`
	LogLevel  string `enum:"debug,info,warn,error" default:"info" help:"debug, info, warn or error." placeholder:"LEVEL"`
}

const (
	replicasEmbedded = 1
	replicasCluster  = 3
	maxReplicas      = 5 // what JetStream allows
)

func (p placeSettings) embedded() bool { return p.NATSURL == "" }

func (p placeSettings) replicas() (int, error) {
	switch {
	case p.Replicas < 0 || p.Replicas > maxReplicas:
		return 0, usageError{fmt.Errorf("--replicas must be from 1 to %d", maxReplicas)}
	case p.Replicas > 1 && p.embedded():
		return 0, usageError{errors.New("the embedded server is one node: --replicas above 1 needs --nats-url")}
	case p.Replicas > 0:
		return p.Replicas, nil
	case p.embedded():
		return replicasEmbedded, nil
	}
	return replicasCluster, nil
}

func (l logSettings) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(l.LogLevel)) // one of the flag's values
	options := &slog.HandlerOptions{Level: level}
	if l.LogFormat == "text" || l.LogFormat == "auto" && isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&fs.ModeCharDevice != 0
}

// dataDirMode lets PostgreSQL's own account pass through to its directory when the
// ledger runs as root, and lets nobody list what is there.
const dataDirMode = 0o711

func makeDataDir(dir string) error {
	if err := os.MkdirAll(dir, dataDirMode); err != nil {
		return fmt.Errorf("the data directory cannot be made: %w", err)
	}
	return nil
}

// newSettings are what a namespace begins with; its owners change it.
type newSettings struct {
	NewMaxPending         int `default:"20" help:"Pending claims that a new namespace may have." placeholder:"N"`
	NewMaxAgents          int `default:"100" help:"Approved agents that a new namespace may have." placeholder:"N"`
	NewMaxServices        int `default:"10" help:"Services with an approved claim that a new namespace may have." placeholder:"N"`
	NewPendingExpiryHours int `default:"24" help:"Hours after which a new namespace's pending claims expire; 0: never." placeholder:"N"`
}

func (n newSettings) limits() (*domain.Limits, error) {
	p := domain.DefaultPolicy()
	p.Limits = domain.Limits{
		MaxPending: n.NewMaxPending, MaxAgents: n.NewMaxAgents, MaxServices: n.NewMaxServices, PendingExpiryHours: n.NewPendingExpiryHours,
	}
	if p.Validate() != nil {
		return nil, usageError{fmt.Errorf("--new-max-pending, --new-max-agents and --new-max-services must be from 1 to %d, --new-pending-expiry-hours from 0", domain.MaxPolicyValue)}
	}
	return &p.Limits, nil
}

// keySettings are the secrets of an installation.
type keySettings struct {
	SessionKeyFile string `help:"Signs owners' sessions. Embedded, it is made in the data directory; else required." placeholder:"FILE"`
	SecretKeyFile  string `help:"Encrypts webhook secrets at rest; claimledger secret-key replaces the key in it. Embedded, it is made in the data directory; else required." placeholder:"FILE"`
	HeadKeyFile    string `help:"Signs heads of the log, which auditors compare with. Embedded, it is made in the data directory; else required for the role projector." placeholder:"FILE"`
}

func (k keySettings) sessionKey(p placeSettings) ([]byte, error) {
	return readKey("--session-key-file", k.SessionKeyFile, filepath.Join(p.DataDir, "session.key"), p.embedded(), api.MinSessionKey)
}

const secretKeyFlag = "--secret-key-file"

// secretKeys finds the secret key file, which is made once where the ledger is embedded.
func (k keySettings) secretKeys(p placeSettings) (path string, err error) {
	return keyPath(secretKeyFlag, k.SecretKeyFile, p.secretKeyFile(), p.embedded(), domain.SealKeySize)
}

// secretKeyFile is where it is unless it is said otherwise.
func (p placeSettings) secretKeyFile() string { return filepath.Join(p.DataDir, "secret.key") }

func (k keySettings) headKey(p placeSettings) (*domain.HeadKey, error) {
	raw, err := readKey("--head-key-file", k.HeadKeyFile, filepath.Join(p.DataDir, "head.key"), p.embedded(), domain.HeadKeySize)
	if err != nil {
		return nil, err
	}
	return domain.NewHeadKey(raw)
}

// readKey reads a key, 64 hex digits in a file that only its owner may read. Where the
// ledger is embedded, it makes the file once.
func readKey(flag, path, made string, embedded bool, size int) ([]byte, error) {
	path, err := keyPath(flag, path, made, embedded, size)
	if err != nil {
		return nil, err
	}
	text, _, err := readKeyFile(flag, path)
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil || len(key) != size {
		return nil, fmt.Errorf("%s: %s must hold %d hex digits", flag, path, 2*size) // and not a word of what it holds
	}
	return key, nil
}

// keyPath is where a key is: where the flag says, or where the embedded ledger makes it.
func keyPath(flag, path, made string, embedded bool, size int) (string, error) {
	switch {
	case path != "":
		return path, nil
	case !embedded:
		return "", usageError{fmt.Errorf("%s is required with --nats-url: all nodes must share it. Make one with: openssl rand -hex %d", flag, size)}
	}
	return made, makeKey(made, size)
}

// readKeyFile reads a file that only its owner may read. The info is from before.
func readKeyFile(flag, path string) (text string, info fs.FileInfo, err error) {
	if info, err = os.Stat(path); err != nil {
		return "", nil, fmt.Errorf("%s: %w", flag, err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", nil, fmt.Errorf("%s: %s may be read by others than its owner; chmod 600 it", flag, path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", flag, err)
	}
	return string(raw), info, nil
}

// makeKey makes a key file where there is none, whole or not at all.
func makeKey(path string, size int) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	raw := make([]byte, size)
	rand.Read(raw)
	temp, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	if _, err := fmt.Fprintln(temp, hex.EncodeToString(raw)); err != nil {
		return err
	}
	if err := errors.Join(temp.Sync(), temp.Close()); err != nil {
		return err
	}
	// A link fails where the file exists by now: another process was first, and its
	// key counts.
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
