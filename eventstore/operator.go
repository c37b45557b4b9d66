package eventstore

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/bcrypt"
)

const operatorFile = "operator.json"

// OperatorAccess is how operator commands on the same machine reach the server
// embedded in a running process. Password is a secret of the directory's owner.
type OperatorAccess struct {
	URL      string `json:"url"`
	User     string `json:"user"`
	Password string `json:"password"`
	PID      int    `json:"pid"`
}

// ErrNotRunning means that no process serves the directory, or none has got as far
// as writing down how to reach it.
var ErrNotRunning = errors.New("no ledger is running on this directory")

// ReadOperatorFile reads what a running Embedded wrote into its directory. A
// process that was killed leaves the file behind, so a connection may still fail.
func ReadOperatorFile(dir string) (OperatorAccess, error) {
	raw, err := os.ReadFile(filepath.Join(dir, operatorFile))
	if errors.Is(err, fs.ErrNotExist) {
		return OperatorAccess{}, ErrNotRunning
	}
	if err != nil {
		return OperatorAccess{}, err
	}
	var access OperatorAccess
	if err := json.Unmarshal(raw, &access); err != nil {
		return OperatorAccess{}, fmt.Errorf("read %s: %w", operatorFile, err)
	}
	return access, nil
}

// writeOperatorFile replaces the file as a whole, so that no one reads half of it,
// and never through a file that was there with wider permissions.
func writeOperatorFile(dir string, access OperatorAccess) error {
	raw, err := json.Marshal(access)
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, operatorFile+".*") // 0600
	if err != nil {
		return err
	}
	_, err = temp.Write(raw)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), filepath.Join(dir, operatorFile))
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return nil
}

// newPassword has 130 random bits.
func newPassword() string { return rand.Text() }

// hashPassword keeps the password itself out of the server's configuration. The
// least cost does: no one guesses 130 bits.
func hashPassword(password string) (string, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	return string(hash), err
}
