package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// maxSecretKeys is how many keys a secret key file may hold: one that grows with every
// rotation keeps keys that were to be retired.
const maxSecretKeys = 16

// keyRing is what a secret key file holds: a line of hex digits for each key, of which the
// first one seals and all of them open. A file with one key is how every ledger begins.
type keyRing struct {
	path  string
	info  fs.FileInfo
	seals string   // the key that did when the file was read
	raw   [][]byte // in the order of the file
	keys  []*domain.SealKey
}

// readRing reads a secret key file. The error says nothing of what is in it.
func readRing(path string) (*keyRing, error) {
	text, info, err := readKeyFile(secretKeyFlag, path)
	if err != nil {
		return nil, err
	}
	r := &keyRing{path: path, info: info}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		raw, err := hex.DecodeString(line)
		if err != nil || len(raw) != domain.SealKeySize {
			return nil, fmt.Errorf("%s: %s must hold %d hex digits for each key, on a line of their own", secretKeyFlag, path, 2*domain.SealKeySize)
		}
		if err := r.add(raw); err != nil {
			return nil, err
		}
	}
	if len(r.keys) == 0 {
		return nil, fmt.Errorf("%s: %s is empty, and must hold %d hex digits for each key", secretKeyFlag, path, 2*domain.SealKeySize)
	}
	r.seals = r.keys[0].ID()
	return r, nil
}

// add puts a key at the ring's end.
func (r *keyRing) add(raw []byte) error {
	key, err := domain.NewSealKey(raw)
	if err != nil {
		return err
	}
	if r.find(key.ID()) >= 0 {
		return fmt.Errorf("%s: %s holds the key %s twice", secretKeyFlag, r.path, key.ID())
	}
	if len(r.keys) == maxSecretKeys {
		return fmt.Errorf("%s: %s may hold %d keys: retire those that nothing needs any more", secretKeyFlag, r.path, maxSecretKeys)
	}
	r.raw, r.keys = append(r.raw, raw), append(r.keys, key)
	return nil
}

// addNew makes a key and puts it at the ring's end.
func (r *keyRing) addNew() (id string, err error) {
	raw := make([]byte, domain.SealKeySize)
	rand.Read(raw)
	if err := r.add(raw); err != nil {
		return "", err
	}
	return r.keys[len(r.keys)-1].ID(), nil
}

// first makes a key of the ring the one that seals.
func (r *keyRing) first(i int) {
	raw, key := r.raw[i], r.keys[i]
	r.raw = slices.Insert(slices.Delete(r.raw, i, i+1), 0, raw)
	r.keys = slices.Insert(slices.Delete(r.keys, i, i+1), 0, key)
}

func (r *keyRing) remove(i int) {
	r.raw, r.keys = slices.Delete(r.raw, i, i+1), slices.Delete(r.keys, i, i+1)
}

// find is where a key is in the ring; -1: nowhere.
func (r *keyRing) find(id string) int {
	return slices.IndexFunc(r.keys, func(k *domain.SealKey) bool { return k.ID() == id })
}

func (r *keyRing) ids() []string {
	ids := make([]string, len(r.keys))
	for i, k := range r.keys {
		ids[i] = k.ID()
	}
	return ids
}

func (r *keyRing) ring() (*domain.SealRing, error) { return domain.NewSealRing(r.keys...) }

// write puts the ring in the place of the file, whole or not at all, for the same owner's
// eyes alone: a ledger that runs may look at any moment. The file's time is when the key was
// made the one that seals.
func (r *keyRing) write() error {
	temp, err := os.CreateTemp(filepath.Dir(r.path), ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	var text bytes.Buffer
	for _, raw := range r.raw {
		fmt.Fprintln(&text, hex.EncodeToString(raw))
	}
	_, err = temp.Write(text.Bytes())
	if owner, ok := r.info.Sys().(*syscall.Stat_t); ok && err == nil {
		err = temp.Chown(int(owner.Uid), int(owner.Gid)) // root may be the one who changes it
	}
	if err == nil && r.keys[0].ID() == r.seals {
		err = os.Chtimes(temp.Name(), time.Time{}, r.info.ModTime())
	}
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), r.path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(r.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close()) // the name, too, is on the disk
}

// lockRing keeps other commands from changing a secret key file until it is unlocked, at
// the latest when this process ends. It locks the directory, because the file is replaced
// and what is locked would be gone.
func lockRing(path string) (unlock func(), err error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("another command is changing %s", path)
	}
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return func() { dir.Close() }, nil
}
