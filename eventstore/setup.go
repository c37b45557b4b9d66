package eventstore

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/claimledger/claimledger/domain"
)

// The names of what the ledger keeps in JetStream.
const (
	StreamName    = "LEDGER"
	subjectPrefix = "ledger."
	ownersBucket  = "owners"
	usageBucket   = "usage"
)

// MaxMessageSize bounds a stored commit with its headers. It is the max_payload of
// a server that nobody configured, so that no commit fits one deployment and not
// another.
const MaxMessageSize = 1 << 20

// duplicateWindow is as short as the server allows, because nothing here sends a
// message id: the expected last sequence of the subject already makes an append
// happen once at most, for ever rather than for a window, and it holds where ids
// don't (a retry of an id answers "duplicate" on a replicated stream while the
// first may still be refused; one repeated id rejects a whole batch). A long
// window would only make the server scan that much of the log when it starts.
const duplicateWindow = 100 * time.Millisecond

// setUpPatience bounds making a stream: a cluster that comes up elects its leaders first,
// one for itself and one for each stream.
const setUpPatience = time.Minute

// unlimited is how JetStream spells it.
const unlimited = -1

// Subject is where the commits of a boundary stand. It is always literal, never a
// wildcard: only on a literal subject does the server hold an expectation against
// rivals that are still in flight.
func Subject(b domain.Boundary) string {
	return subjectPrefix + b.Namespace + "." + string(b.Kind)
}

// kindSubject matches the boundaries of a kind, or all of them where it is empty.
func kindSubject(kind domain.Kind) string {
	if kind == "" {
		return allSubjects
	}
	return subjectPrefix + "*." + string(kind)
}

// allSubjects matches everything in the stream, without naming what it may hold.
const allSubjects = ">"

// ledgerConfig is how the stream must be: nothing in it ever expires, is
// deleted, purged, rolled up or answered by a replica that may be behind.
func ledgerConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:               StreamName,
		Description:        "The record of all commits. Never update, purge or delete this stream.",
		Subjects:           []string{kindSubject(domain.KindRegistry), kindSubject(domain.KindClaims)},
		Storage:            jetstream.FileStorage,
		Retention:          jetstream.LimitsPolicy,
		Discard:            jetstream.DiscardNew,
		MaxMsgs:            unlimited,
		MaxBytes:           unlimited,
		MaxMsgsPerSubject:  unlimited,
		MaxConsumers:       unlimited,
		MaxMsgSize:         MaxMessageSize,
		Duplicates:         duplicateWindow,
		Replicas:           replicas,
		DenyDelete:         true,
		DenyPurge:          true,
		AllowAtomicPublish: true,
		Compression:        jetstream.NoCompression,
		PersistMode:        jetstream.DefaultPersistMode,
	}
}

// bucketConfig is a key-value bucket that is read at its leader: whoever just
// changed a value sees it, whichever server he asks next. Without DenyDelete a
// value can be overwritten on the disk, not only hidden.
func bucketConfig(bucket, description string, history int64, replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              "KV_" + bucket,
		Description:       description,
		Subjects:          []string{"$KV." + bucket + ".>"},
		Storage:           jetstream.FileStorage,
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardNew,
		MaxMsgs:           unlimited,
		MaxBytes:          unlimited,
		MaxMsgsPerSubject: history,
		MaxConsumers:      unlimited,
		MaxMsgSize:        unlimited,
		Duplicates:        duplicateWindow,
		Replicas:          replicas,
		AllowRollup:       true,
	}
}

// allConfigs are of what the ledger cannot do without.
func allConfigs(replicas int) []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		ledgerConfig(replicas),
		bucketConfig(ownersBucket, "E-mail addresses and names of owners. Erasable.", profileRevisions, replicas),
		bucketConfig(usageBucket, "When keys were last used.", 1, replicas),
		headsConfig(replicas),
	}
}

// Create makes the streams and the buckets beside them where they are missing. It
// leaves those that exist as they are: changing a stream can drop what it holds,
// so that is never done here. Creating is an operator's act, with credentials
// that the ledger itself does without; what exists but differs is Open's to
// refuse.
func Create(ctx context.Context, nc *nats.Conn, replicas int) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	for _, cfg := range append(allConfigs(replicas), snapshotsConfig(replicas)) {
		err := newLink(nc).retryFor(ctx, setUpPatience, func(ctx context.Context) error {
			_, err := js.Stream(ctx, cfg.Name)
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				_, err = js.CreateStream(ctx, cfg)
			}
			return err
		})
		if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return fmt.Errorf("create %s: %w", cfg.Name, err)
		}
	}
	return nil
}

// ErrNotSetUp means that a stream or a bucket is missing.
var ErrNotSetUp = errors.New("the ledger is not set up here")

// ConfigError means that a stream is not configured as this program would create
// it. Differences name each field with what was found and what was expected.
type ConfigError struct {
	Stream      string
	Differences []string
}

func (e *ConfigError) Error() string {
	return fmt.Sprintf("stream %s is not configured as the ledger needs it: %s", e.Stream, strings.Join(e.Differences, "; "))
}

// checkConfig compares all fields, those included that a later library adds, but
// for what is an operator's own choice: description, metadata and placement.
func checkConfig(got, want jetstream.StreamConfig) error {
	got.Description, got.Metadata, got.Placement = want.Description, want.Metadata, want.Placement
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	var differences []string
	for i := range g.NumField() {
		if found, expected := g.Field(i).Interface(), w.Field(i).Interface(); !reflect.DeepEqual(found, expected) {
			name, _, _ := strings.Cut(g.Type().Field(i).Tag.Get("json"), ",")
			differences = append(differences, fmt.Sprintf("%s is %v, not %v", name, found, expected))
		}
	}
	if differences == nil {
		return nil
	}
	return &ConfigError{Stream: want.Name, Differences: differences}
}
