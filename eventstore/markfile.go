package eventstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/claimledger/claimledger/domain"
)

// MarkFile is where a process keeps, apart from the log, how far it has seen the log:
// what a server forgot without a word is found by it at the next start.
type MarkFile string

type storedMark struct {
	Position string      `json:"position"`
	Hash     domain.Hash `json:"hash"`
}

// Read reads the mark; the zero Mark where there is no file.
func (f MarkFile) Read() (Mark, error) {
	raw, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return Mark{}, nil
	}
	if err != nil {
		return Mark{}, err
	}
	var stored storedMark
	position := uint64(0)
	if err = json.Unmarshal(raw, &stored); err == nil {
		position, err = strconv.ParseUint(stored.Position, 10, 64)
	}
	if err != nil || stored.Hash.IsZero() {
		return Mark{}, fmt.Errorf("%s does not hold a place in the log; restore it, or remove it if you know that the log is whole", f)
	}
	return Mark{position, stored.Hash, "the mark in " + filepath.Base(string(f))}, nil
}

// Write replaces the mark as a whole, and returns when it is on disk.
func (f MarkFile) Write(m Mark) error {
	raw, err := json.Marshal(storedMark{strconv.FormatUint(m.Position, 10), m.Hash})
	if err != nil {
		return err
	}
	dir := filepath.Dir(string(f))
	temp, err := os.CreateTemp(dir, filepath.Base(string(f))+".*")
	if err != nil {
		return err
	}
	_, err = temp.Write(append(raw, '\n'))
	if err = errors.Join(err, temp.Sync(), temp.Close()); err == nil {
		err = os.Rename(temp.Name(), string(f))
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return nil
}

// Give replaces the mark by one that may be before it, and keeps the former one in a file
// of its own, which must not be there yet. The zero Mark is none. Should it end in the
// middle, the former mark stands.
func (f MarkFile) Give(m Mark, former string) error {
	if err := os.Link(string(f), former); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if m.Position > 0 {
		return f.Write(m)
	}
	if err := os.Remove(string(f)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
