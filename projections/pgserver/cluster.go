package pgserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// stagingPrefix names the directories in which clusters are made. One that is
// found at a start is what a killed process left half-made.
const stagingPrefix = "initdb-"

// passwordBytes is the entropy of the superuser's password.
const passwordBytes = 32

// clusterMajor is the major version of the cluster in data; 0 when there is
// none.
func clusterMajor(data string) (int, error) {
	b, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		if _, err := os.Lstat(data); errors.Is(err, os.ErrNotExist) {
			return 0, nil
		}
		return 0, fmt.Errorf("%s is not a PostgreSQL cluster (it has no PG_VERSION): move it away; nothing was changed", data)
	}
	if err != nil {
		return 0, fmt.Errorf("the PostgreSQL cluster: %w", err)
	}
	version := strings.TrimSpace(string(b))
	major, _, _ := strings.Cut(version, ".") // "9.6", before PostgreSQL 10
	n, err := strconv.Atoi(major)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%s/PG_VERSION holds %q, which is no version of PostgreSQL; nothing was changed", data, version)
	}
	return n, nil
}

// prepare makes what a start needs and does not find: the cluster, the password.
func (h home) prepare(ctx context.Context, bin binaries, exists, syncOff bool, log *slog.Logger) error {
	if err := h.sweep(); err != nil {
		return fmt.Errorf("a half-made PostgreSQL cluster: %w", err)
	}
	if err := writeFile(filepath.Join(h.dir, serviceFile), "["+superuser+"]\n"); err != nil {
		return err
	}
	password, err := h.readPassword()
	if err != nil {
		return err
	}
	switch {
	case !exists:
		log.Info("making a PostgreSQL cluster", "version", bin.version, "in", h.data())
		if password == "" {
			password = newPassword()
			if err := h.writePassword(password); err != nil {
				return err
			}
		}
		return h.create(ctx, bin, password, syncOff)
	case password == "":
		log.Warn("the password of the PostgreSQL cluster is lost; setting a new one", "file", filepath.Join(h.dir, passFile))
		// If we crash between the two, the file is still missing, and the
		// next start does both again.
		password = newPassword()
		if err := h.singleUser(ctx, bin, h.data(), "ALTER ROLE "+superuser+" PASSWORD '"+password+"'"); err != nil {
			return err
		}
		return h.writePassword(password)
	}
	return nil
}

// create makes the cluster, with its database, beside the place that it is
// for. The rename at the end is the moment from which it exists; whatever
// fails or crashes before leaves nothing but what sweep removes.
func (h home) create(ctx context.Context, bin binaries, password string, syncOff bool) error {
	staging, err := os.MkdirTemp(h.base, stagingPrefix)
	if err != nil {
		return fmt.Errorf("making the PostgreSQL cluster: %w", err)
	}
	defer os.RemoveAll(staging)
	pwfile, data := filepath.Join(staging, "password"), filepath.Join(staging, dataName)
	if err := errors.Join(
		os.WriteFile(pwfile, []byte(password+"\n"), 0o600),
		h.account.own(pwfile),
		h.account.own(staging),
	); err != nil {
		return fmt.Errorf("making the PostgreSQL cluster: %w", err)
	}
	args := []string{
		"-D", data, "--username=" + superuser, "--auth=scram-sha-256", "--pwfile=" + pwfile,
		"--encoding=UTF8", "--locale=C", "--data-checksums", "--no-instructions",
	}
	if syncOff {
		args = append(args, "--no-sync")
	}
	if err := h.run(ctx, nil, bin.initdb(), args...); err != nil {
		return fmt.Errorf("making the PostgreSQL cluster: %w", err)
	}
	if err := h.singleUser(ctx, bin, data, "CREATE DATABASE "+databaseName); err != nil {
		return fmt.Errorf("making the PostgreSQL cluster: %w", err)
	}
	if err := os.Rename(data, h.data()); err != nil {
		return fmt.Errorf("making the PostgreSQL cluster: %w", err)
	}
	return syncDir(h.base)
}

// singleUser runs one statement on a cluster that no server runs on. It goes
// through a pipe: a command line is for everyone to see.
func (h home) singleUser(ctx context.Context, bin binaries, data, statement string) error {
	args := append([]string{"--single", "-D", data, "-c", "exit_on_error=on", "-c", "log_checkpoints=off"}, discreetArgs()...)
	return h.run(ctx, strings.NewReader(statement+";\n"), bin.postgres(), append(args, "postgres")...)
}

func (h home) sweep() error {
	left, err := filepath.Glob(filepath.Join(globEscape(h.base), stagingPrefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// readPassword is empty when there is none to be read from the file.
func (h home) readPassword() (string, error) {
	b, err := os.ReadFile(filepath.Join(h.dir, passFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("the password of the PostgreSQL cluster: %w", err)
	}
	password, ok := bytes.CutPrefix(bytes.TrimSpace(b), []byte(passLine))
	if _, err := hex.DecodeString(string(password)); !ok || err != nil {
		return "", nil
	}
	return string(password), nil
}

func (h home) writePassword(password string) error {
	if err := writeFile(filepath.Join(h.dir, passFile), passLine+password+"\n"); err != nil {
		return fmt.Errorf("the password of the PostgreSQL cluster: %w", err)
	}
	return nil
}

// passLine is what stands before the password: it is for any host, port and
// database, because the file is for this server alone.
const passLine = "*:*:*:" + superuser + ":"

func newPassword() string {
	b := make([]byte, passwordBytes)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// writeFile replaces a file that this user alone may read, whole or not at all.
func writeFile(path, content string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = io.WriteString(f, content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
