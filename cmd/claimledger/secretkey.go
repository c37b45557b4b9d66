package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

type secretKeyCommands struct {
	List     secretKeyListCommand     `cmd:"" help:"Show the keys of a secret key file by their ids, and how many secrets in force each has encrypted. Example: claimledger secret-key list"`
	Rotate   secretKeyRotateCommand   `cmd:"" help:"Embedded: make a new key, encrypt with it from now on, and encrypt what is in force again. Example: claimledger secret-key rotate"`
	Add      secretKeyAddCommand      `cmd:"" help:"Add a new key to the file, with which nothing is encrypted yet. Example: claimledger secret-key add --secret-key-file secret.key"`
	Activate secretKeyActivateCommand `cmd:"" help:"Encrypt with another key of the file from now on. Example: claimledger secret-key activate 5f0c2d9b7e318a64 --secret-key-file secret.key"`
	Reseal   secretKeyResealCommand   `cmd:"" help:"Encrypt again what is in force and encrypted with another key than the one in use. Example: claimledger secret-key reseal"`
	Retire   secretKeyRetireCommand   `cmd:"" help:"Take a key out of the file with which nothing in force is encrypted. Example: claimledger secret-key retire 5f0c2d9b7e318a64"`
}

// secretKeySettings are the flags of commands on the secret key file.
type secretKeySettings struct {
	placeSettings
	SecretKeyFile string `help:"The file. Default: secret.key in the data directory. Required with --nats-url." placeholder:"FILE"`
	JSON          bool   `help:"Print JSON."`
}

// file is where the key file is. A command never makes one: where there is none, somebody
// mistyped a path, or no ledger was served yet.
func (s secretKeySettings) file() (string, error) {
	path := s.SecretKeyFile
	switch {
	case path == "" && !s.embedded():
		return "", usageError{errors.New("--secret-key-file is required with --nats-url")}
	case path == "":
		path = s.secretKeyFile()
	}
	whole, err := filepath.EvalSymlinks(path) // a link stays one when the file is replaced
	if err != nil {
		return "", fmt.Errorf("%s: %w", secretKeyFlag, err)
	}
	return whole, nil
}

// change reads the file, has it changed, and keeps other commands from changing it
// meanwhile. What is changed is written by whoever changes it.
func (s secretKeySettings) change(do func(*keyRing) error) error {
	path, err := s.file()
	if err != nil {
		return err
	}
	unlock, err := lockRing(path)
	if err != nil {
		return err
	}
	defer unlock()
	ring, err := readRing(path)
	if err != nil {
		return err
	}
	return do(ring)
}

// print shows an outcome as JSON, or as a sentence.
func (s secretKeySettings) print(w *world, outcome map[string]any, sentence string, args ...any) error {
	if s.JSON {
		return json.NewEncoder(w.stdout).Encode(outcome)
	}
	_, err := fmt.Fprintf(w.stdout, sentence+"\n", args...)
	return err
}

// of finds the key that a command is about.
func (r *keyRing) of(id string) (int, error) {
	i := r.find(id)
	if i < 0 {
		return 0, fmt.Errorf("%s holds no key %q; it holds %s", r.path, id, strings.Join(r.ids(), ", "))
	}
	return i, nil
}

type secretKeyAddCommand struct{ secretKeySettings }

// Help is shown below the flags.
func (secretKeyAddCommand) Help() string {
	return `For several machines, each with a copy of the file: add a key on one of them and copy the file to all of them. Processes read it
within 5 seconds, without a restart. Then activate the key and copy the file again; reseal; retire the old key and copy the file a last time.`
}

// Run adds a key at the file's end, where it opens and does not seal.
func (c *secretKeyAddCommand) Run(w *world) error {
	return c.change(func(r *keyRing) error {
		id, err := r.addNew()
		if err == nil {
			err = r.write()
		}
		if err != nil {
			return err
		}
		return c.print(w, map[string]any{"key_id": id, "seals": false},
			"%s holds the new key %s. When every process that shares the file has it: claimledger secret-key activate %s", r.path, id, id)
	})
}

type secretKeyActivateCommand struct {
	KeyID string `arg:"" name:"key-id" help:"The key's id; secret-key list shows it."`
	secretKeySettings
}

// Run makes a key the one that seals.
func (c *secretKeyActivateCommand) Run(w *world) error {
	return c.change(func(r *keyRing) error {
		i, err := r.of(c.KeyID)
		if err != nil {
			return err
		}
		if i > 0 {
			r.first(i)
			if err := r.write(); err != nil {
				return err
			}
		}
		return c.print(w, map[string]any{"key_id": c.KeyID, "seals": true, "changed": i > 0},
			"Secrets are encrypted with %s from now on. When every process that shares the file has it: claimledger secret-key reseal", c.KeyID)
	})
}

// sealedWithin is for how long after another key began to seal something may still come
// into the log that the one before has sealed: until all processes have read the file, and
// the requests that began before have ended, which have ten seconds.
const sealedWithin = secretKeysInterval + 15*time.Second

type secretKeyRetireCommand struct {
	KeyID string `arg:"" name:"key-id" help:"The key's id; secret-key list shows it."`
	secretKeySettings
}

// Help is shown below the flags.
func (secretKeyRetireCommand) Help() string {
	return `Refused within 20 s after another key began to encrypt: requests that began before may still use the one before.

What the log has from before that was encrypted with the key cannot be read by anybody any more once no copy of the key is left, and
neither can a backup from before its secrets were encrypted again: keep a copy with such a backup for as long as you may need it.`
}

// Run takes a key out of the file, unless it seals or something in force needs it.
func (c *secretKeyRetireCommand) Run(w *world) error {
	return c.change(func(r *keyRing) error {
		i, err := r.of(c.KeyID)
		switch {
		case err != nil:
			return err
		case i == 0:
			return fmt.Errorf("secrets are encrypted with the key %s now: it cannot be retired before another is activated", c.KeyID)
		}
		if wait := time.Until(r.info.ModTime().Add(sealedWithin)).Round(time.Second); wait > 0 {
			return fmt.Errorf("requests that began before the key %s was replaced may still use it: try again in %s", c.KeyID, wait)
		}
		return c.ledger(w, func(l *sealedLedger) error {
			if n := l.inForce()[c.KeyID]; n > 0 {
				return fmt.Errorf("%d webhook secrets in force are encrypted with the key %s: run claimledger secret-key reseal first", n, c.KeyID)
			}
			r.remove(i)
			if err := r.write(); err != nil {
				return err
			}
			return c.print(w, map[string]any{"key_id": c.KeyID, "retired": true}, "%s holds the key %s no more", r.path, c.KeyID)
		})
	})
}

type secretKeyListCommand struct{ secretKeySettings }

type listedSecretKey struct {
	KeyID   string `json:"key_id"`
	Seals   bool   `json:"seals"`
	Missing bool   `json:"missing"`
	Secrets int    `json:"secrets"` // in force, that it has sealed
}

// Run lists the keys; those that the file lacks and secrets need end it with a failure.
func (c *secretKeyListCommand) Run(w *world) error {
	path, err := c.file()
	if err != nil {
		return err
	}
	ring, err := readRing(path)
	if err != nil {
		return err
	}
	var keys []listedSecretKey
	var missing []string
	err = c.ledger(w, func(l *sealedLedger) error {
		inForce := l.inForce()
		for i, id := range ring.ids() {
			keys = append(keys, listedSecretKey{KeyID: id, Seals: i == 0, Secrets: inForce[id]})
			delete(inForce, id)
		}
		for id, n := range inForce {
			keys, missing = append(keys, listedSecretKey{KeyID: id, Missing: true, Secrets: n}), append(missing, id)
		}
		return nil
	})
	if err == nil {
		err = c.show(w, path, keys)
	}
	if err == nil && len(missing) > 0 {
		slices.Sort(missing)
		err = fmt.Errorf("%s lacks %s, with which webhook secrets in force are encrypted", path, strings.Join(missing, ", "))
	}
	return err
}

func (c *secretKeyListCommand) show(w *world, path string, keys []listedSecretKey) error {
	if c.JSON {
		return json.NewEncoder(w.stdout).Encode(map[string]any{"file": path, "keys": keys})
	}
	table := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
	_, err := fmt.Fprintln(table, "key\tis for\tsecrets in force")
	for _, k := range keys {
		does := "reading"
		switch {
		case k.Seals:
			does = "encrypting and reading"
		case k.Missing:
			does = "(missing)"
		}
		_, rowErr := fmt.Fprintf(table, "%s\t%s\t%d\n", k.KeyID, does, k.Secrets)
		err = errors.Join(err, rowErr)
	}
	return errors.Join(err, table.Flush())
}
