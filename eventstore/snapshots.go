package eventstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	snapshotsBucket = "snapshots"
	snapshotsStream = "OBJ_" + snapshotsBucket
	snapshotChunks  = "$O." + snapshotsBucket + ".C."
	snapshotMetas   = "$O." + snapshotsBucket + ".M."

	// MaxSnapshotSize bounds one snapshot as it is kept: that of millions of claims.
	MaxSnapshotSize = 256 << 20
	// snapshotChunk is how much of one goes into a message. Each costs an fsync, and has
	// to fit the max_payload of a server that nobody configured.
	snapshotChunk = 512 << 10
	// snapshotAge is how long one is kept that is not renewed. It also frees what a
	// process left behind that was killed while it saved.
	snapshotAge = 30 * 24 * time.Hour
)

// snapshotsConfig is how Create makes the bucket. It is a cache: Open does without it, and
// nobody minds if it is configured otherwise.
func snapshotsConfig(replicas int) jetstream.StreamConfig {
	cfg := bucketConfig(snapshotsBucket, "States that commits fold to. A cache; may be deleted at any time.", unlimited, replicas)
	cfg.Name = snapshotsStream
	cfg.Subjects = []string{snapshotChunks + ">", snapshotMetas + ">"}
	cfg.MaxAge = snapshotAge
	cfg.AllowDirect = true // an older one does nearly as well
	return cfg
}

// Snapshots keeps bytes by name in a NATS object store, beside the log and without its
// promises: they may be gone, or older than what was saved last. It is safe for concurrent
// use by any number of processes.
type Snapshots struct {
	js jetstream.JetStream

	mu    sync.Mutex
	bound *snapshotBucket // nil: to be looked up
}

// snapshotBucket is one bucket, for what is done with objects and with the messages that
// they consist of.
type snapshotBucket struct {
	jetstream.ObjectStore
	messages jetstream.Stream
}

// Snapshots are what is kept beside the log so that not all of it has to be read again.
func (s *Stream) Snapshots() *Snapshots { return s.snapshots }

// Save puts contents in the place of what was saved under the name before. Whoever loads
// meanwhile gets the one or the other, or nothing; of two that save at the same time one
// wins.
func (k *Snapshots) Save(ctx context.Context, name string, contents []byte) error {
	if err := checkSnapshotSize(uint64(len(contents))); err != nil {
		return err
	}
	return k.within(ctx, func(b *snapshotBucket) error {
		meta := jetstream.ObjectMeta{Name: name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: snapshotChunk}}
		_, err := b.Put(ctx, meta, bytes.NewReader(contents))
		return err
	})
}

// Load gives what was saved last under the name, whole; nil where nothing was, or where it
// is just being replaced.
func (k *Snapshots) Load(ctx context.Context, name string) (contents []byte, err error) {
	err = k.within(ctx, func(b *snapshotBucket) error {
		info, err := b.GetInfo(ctx, name)
		if err == nil {
			contents, err = b.read(ctx, info)
		}
		if errors.Is(err, jetstream.ErrObjectNotFound) || errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		return err
	})
	return contents, err
}

// read reads the chunks one by one: a consumer would wait in vain for those that somebody
// removes meanwhile.
func (b *snapshotBucket) read(ctx context.Context, info *jetstream.ObjectInfo) ([]byte, error) {
	if err := checkSnapshotSize(info.Size); err != nil {
		return nil, err
	}
	contents := make([]byte, 0, info.Size)
	next := uint64(1)
	for uint64(len(contents)) < info.Size {
		chunk, err := b.messages.GetMsg(ctx, next, jetstream.WithGetMsgSubject(snapshotChunks+info.NUID))
		if err != nil {
			return nil, err
		}
		contents, next = append(contents, chunk.Data...), chunk.Sequence+1
	}
	digest, err := jetstream.DecodeObjectDigest(info.Digest)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(contents); !bytes.Equal(digest, sum[:]) {
		return nil, fmt.Errorf("the snapshot %s is not what was saved", info.Name)
	}
	return contents, nil
}

// within does something with the bucket. After an error it is looked up again: it may have
// been deleted, and made anew.
func (k *Snapshots) within(ctx context.Context, f func(*snapshotBucket) error) error {
	b, err := k.bucket(ctx)
	if err == nil {
		err = f(b)
	}
	if err == nil {
		return nil
	}
	k.forget(b)
	return unavailable(fmt.Errorf("the bucket %s: %w", snapshotsBucket, err))
}

// bucket asks for it without a lock: where nobody answers, each waits as long as he may, and
// none for another.
func (k *Snapshots) bucket(ctx context.Context) (*snapshotBucket, error) {
	k.mu.Lock()
	bound := k.bound
	k.mu.Unlock()
	if bound != nil {
		return bound, nil
	}
	store, err := k.js.ObjectStore(ctx, snapshotsBucket)
	if err != nil {
		return nil, err
	}
	messages, err := k.js.Stream(ctx, snapshotsStream)
	if err != nil {
		return nil, err
	}
	bound = &snapshotBucket{store, messages}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.bound = bound
	return bound, nil
}

// forget has the bucket looked up again, unless that was done meanwhile.
func (k *Snapshots) forget(b *snapshotBucket) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.bound == b {
		k.bound = nil
	}
}

func checkSnapshotSize(size uint64) error {
	if size > MaxSnapshotSize {
		return fmt.Errorf("a snapshot of %d bytes is larger than %d", size, MaxSnapshotSize)
	}
	return nil
}

// MemorySnapshots keeps the same contract without a server. It is for simulations and
// tests.
type MemorySnapshots struct {
	mu   sync.Mutex
	kept map[string][]byte
}

// Save keeps contents, unless ctx has ended.
func (m *MemorySnapshots) Save(ctx context.Context, name string, contents []byte) error {
	if err := ctx.Err(); err != nil {
		return errors.Join(ErrUnavailable, err)
	}
	if err := checkSnapshotSize(uint64(len(contents))); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept == nil {
		m.kept = map[string][]byte{}
	}
	m.kept[name] = bytes.Clone(contents)
	return nil
}

// Load gives what was saved last under the name.
func (m *MemorySnapshots) Load(_ context.Context, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.kept[name]), nil
}

// Names lists under which names something is kept.
func (m *MemorySnapshots) Names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.kept))
}

// Drop loses all, as when the bucket is deleted.
func (m *MemorySnapshots) Drop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.kept)
}
