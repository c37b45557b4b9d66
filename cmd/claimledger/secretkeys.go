package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/claimledger/claimledger/domain"
)

// secretKeysInterval is how soon a process notices that its secret key file was changed,
// unless it needs a key earlier.
const secretKeysInterval = 5 * time.Second

// secretKeysChecks is every how many times it also looks at what the ledger has, though
// the file is as it was.
const secretKeysChecks = 12

// secretKeys are the sealing keys of a running process. They follow the file, so that a
// rotation needs neither a restart nor a signal.
type secretKeys struct {
	path    string
	inForce func() map[string]int // how many secrets in force each key has sealed
	log     *slog.Logger

	mu      sync.Mutex
	file    *keyRing
	ring    *domain.SealRing // the file's keys, and what they lack and is needed
	unknown []string         // ids of keys that are in force and neither in the file nor known
	trouble error            // with the file
}

// newSecretKeys reads the file. A key that is missing from it is refused: secrets could
// not be opened, and what is sealed meanwhile would be lost when the right file comes back.
func newSecretKeys(path string, inForce func() map[string]int, log *slog.Logger) (*secretKeys, error) {
	file, err := readRing(path)
	if err != nil {
		return nil, err
	}
	ring, err := file.ring()
	if err != nil {
		return nil, err
	}
	if lacking := lackingKeys(inForce(), ring); len(lacking) > 0 {
		return nil, fmt.Errorf("the secret key file %s holds the keys with the ids %s, and lacks %s, with which webhook secrets in the ledger are sealed: "+
			"put the original back, as --secret-key-file or secret.key in the data directory", path, strings.Join(file.ids(), ", "), strings.Join(lacking, ", "))
	}
	k := &secretKeys{path: path, inForce: inForce, log: log, file: file, ring: ring}
	k.tell()
	return k, nil
}

// lackingKeys are the ids of the keys that are in force and not in a ring.
func lackingKeys(inForce map[string]int, ring *domain.SealRing) (ids []string) {
	for id := range inForce {
		if !ring.Has(id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (k *secretKeys) tell() {
	k.log.Info("secret keys were read", "file", k.path, "seals", k.ring.First().ID(), "key_ids", k.ring.IDs())
}

// Open opens a webhook's secret. Where the key is not known, it may be new in the file.
func (k *secretKeys) Open(s domain.Sealed, webhookID string) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.ring.Has(s.KeyID) {
		k.look(false)
		if !k.ring.Has(s.KeyID) && k.trouble == nil {
			k.say(fmt.Errorf("%s lacks %s, with which a webhook's secret is sealed", k.path, s.KeyID))
		}
	}
	return k.ring.Open(s, webhookID)
}

// sealing is the key that seals now. There is none where the ledger knows keys that this
// process lacks: its file is behind, and so may be the key that it would seal with.
func (k *secretKeys) sealing() (*domain.SealKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.look(true)
	if len(k.unknown) > 0 {
		return nil, &domain.Error{
			Code: domain.CodeServiceUnavailable, Message: "This node cannot encrypt secrets now; its operator has to bring its secret key file up to date.",
			Err: fmt.Errorf("the secret key file %s lacks %s", k.path, strings.Join(k.unknown, ", ")),
		}
	}
	return k.ring.First(), nil
}

// run follows the file until ctx ends.
func (k *secretKeys) run(ctx context.Context) {
	for n := 1; sleep(ctx, secretKeysInterval) == nil; n++ {
		k.mu.Lock()
		k.look(k.trouble != nil || n%secretKeysChecks == 0)
		k.mu.Unlock()
	}
}

// look reads the file where it was changed, and compares it with the ledger then, or where
// it is to. A file that cannot be read, or that lacks a key which secrets in force need,
// takes nothing away. The caller holds mu.
func (k *secretKeys) look(compare bool) {
	changed, err := k.reread()
	if err == nil && !changed && !compare {
		return
	}
	k.say(errors.Join(err, k.combine()))
}

// say keeps what is wrong with the file, and tells it once.
func (k *secretKeys) say(err error) {
	if err != nil && (k.trouble == nil || k.trouble.Error() != err.Error()) {
		k.log.Error("the secret key file is not what it must be; going on with the keys that were read before", "error", err)
	}
	k.trouble = err
}

func (k *secretKeys) reread() (changed bool, err error) {
	info, err := os.Stat(k.path)
	if err != nil {
		return false, fmt.Errorf("%s: %w", secretKeyFlag, err)
	}
	if old := k.file.info; os.SameFile(info, old) && info.ModTime().Equal(old.ModTime()) && info.Size() == old.Size() && info.Mode() == old.Mode() {
		return false, nil
	}
	file, err := readRing(k.path)
	if err != nil {
		return false, err
	}
	k.file = file
	return true, nil
}

// combine makes the ring anew of the file's keys and of those that are in force and were
// known before. The error is of what the file lacks, or the ledger has and nobody here.
func (k *secretKeys) combine() error {
	ring, err := k.file.ring()
	if err != nil {
		return err
	}
	lacking := lackingKeys(k.inForce(), ring)
	if keys := k.ring.Only(lacking); len(keys) > 0 {
		if ring, err = domain.NewSealRing(append(slices.Clone(k.file.keys), keys...)...); err != nil {
			return err
		}
	}
	k.unknown = slices.DeleteFunc(slices.Clone(lacking), ring.Has)
	before := k.ring
	if k.ring = ring; !slices.Equal(before.IDs(), ring.IDs()) {
		k.tell()
	}
	if len(lacking) > 0 {
		return fmt.Errorf("%s lacks %s, with which webhook secrets in the ledger are sealed", k.path, strings.Join(lacking, ", "))
	}
	return nil
}

// works is the process's health.
func (k *secretKeys) works(context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.trouble == nil {
		return nil
	}
	return &domain.Error{Code: domain.CodeServiceUnavailable, Message: "The secret key file is not what it must be; the log of this process says why.", Err: k.trouble}
}

var secretKeyDesc = prometheus.NewDesc("claimledger_secret_key",
	"The keys of this process for webhook secrets: 1 for the one that encrypts, 0 for those that only decrypt. Activate a key when every "+
		"process has it; retire one when no process encrypts with it and claimledger secret-key list has no secrets for it.", []string{"key_id"}, nil)

// Describe is for prometheus.
func (k *secretKeys) Describe(ch chan<- *prometheus.Desc) { ch <- secretKeyDesc }

// Collect is for prometheus.
func (k *secretKeys) Collect(ch chan<- prometheus.Metric) {
	k.mu.Lock()
	ids := k.ring.IDs()
	k.mu.Unlock()
	for i, id := range ids {
		seals := 0.0
		if i == 0 {
			seals = 1
		}
		ch <- prometheus.MustNewConstMetric(secretKeyDesc, prometheus.GaugeValue, seals, id)
	}
}
