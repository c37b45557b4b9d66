package eventstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

func TestSnapshotsInMemory(t *testing.T) {
	logtest.RunSnapshots(t, func(*testing.T) *logtest.SnapshotsHarness {
		s := &eventstore.MemorySnapshots{}
		return &logtest.SnapshotsHarness{Snapshots: s, Another: s, Drop: func(*testing.T) { s.Drop() }, Make: func(*testing.T) {}}
	})
}

func TestSnapshotsOnEmbedded(t *testing.T) {
	logtest.RunSnapshots(t, func(t *testing.T) *logtest.SnapshotsHarness {
		log, server := logtest.Embedded(t)
		nc, err := server.Connect()
		if err != nil {
			t.Fatal(err)
		}
		another, err := eventstore.Open(t.Context(), nc, 1, logtest.Logger(t))
		if err != nil {
			t.Fatal(err)
		}
		return &logtest.SnapshotsHarness{
			Snapshots: log.Snapshots(), Another: another.Snapshots(),
			Drop: func(t *testing.T) { logtest.DropSnapshots(t, server) },
			Make: func(t *testing.T) { logtest.MakeSnapshots(t, server) },
		}
	})
}

// What was changed on its way is not what was saved, and what is not there any more keeps
// nobody waiting.
func TestSnapshotsThatAreDamaged(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	log, server := logtest.Embedded(t)
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	store, err := js.ObjectStore(ctx, "snapshots")
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := js.Stream(ctx, "OBJ_snapshots")
	if err != nil {
		t.Fatal(err)
	}
	save := func() *jetstream.ObjectInfo {
		if err := log.Snapshots().Save(ctx, "a", make([]byte, 2<<20)); err != nil {
			t.Fatal(err)
		}
		info, err := store.GetInfo(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	first := save()
	last, err := bucket.GetLastMsgForSubject(ctx, "$O.snapshots.C."+first.NUID)
	if err != nil {
		t.Fatal(err)
	}
	if err := bucket.DeleteMsg(ctx, last.Sequence); err != nil {
		t.Fatal(err)
	}
	if got, err := log.Snapshots().Load(ctx, "a"); got != nil || err != nil {
		t.Errorf("without its last chunk: %d bytes, %v", len(got), err)
	}
	last.Data[0]++
	if _, err := js.Publish(ctx, last.Subject, last.Data); err != nil {
		t.Fatal(err)
	}
	if got, err := log.Snapshots().Load(ctx, "a"); got != nil || err == nil {
		t.Errorf("with another one: %d bytes, %v", len(got), err)
	}
	second := save()
	if got, err := log.Snapshots().Load(ctx, "a"); len(got) != 2<<20 || err != nil {
		t.Errorf("saved again: %d bytes, %v", len(got), err)
	}
	if _, err := bucket.GetLastMsgForSubject(ctx, "$O.snapshots.C."+first.NUID); err != jetstream.ErrMsgNotFound || second.NUID == first.NUID {
		t.Errorf("the chunks of the first: %v", err)
	}
}
