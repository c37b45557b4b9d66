package logtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/claimledger/claimledger/eventstore"
)

// Snapshots is what is kept beside a log, as those who use it see it.
type Snapshots interface {
	Save(ctx context.Context, name string, contents []byte) error
	Load(ctx context.Context, name string) ([]byte, error)
}

// SnapshotsHarness is a store and what the contract needs to do to it.
type SnapshotsHarness struct {
	Snapshots Snapshots
	Another   Snapshots // the same, as another process reaches it
	Drop      func(t *testing.T)
	Make      func(t *testing.T) // makes it again after Drop
}

// RunSnapshots checks the contract of a store of snapshots.
func RunSnapshots(t *testing.T, open func(*testing.T) *SnapshotsHarness) {
	t.Parallel()
	h := open(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *SnapshotsHarness)
	}{
		{"saved and loaded", testSnapshots},
		{"too large", testLargeSnapshot},
		{"many save and load", testSnapshotsRace},
		{"dropped", testSnapshotsDropped},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, h) })
	}
}

// DropSnapshots deletes the bucket of the snapshots, as an operator may at any time.
func DropSnapshots(t *testing.T, server *eventstore.Embedded) {
	t.Helper()
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err == nil {
		err = js.DeleteObjectStore(deadline(t), "snapshots")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// MakeSnapshots makes it again.
func MakeSnapshots(t *testing.T, server *eventstore.Embedded) {
	t.Helper()
	nc, err := server.Connect()
	if err == nil {
		err = eventstore.Create(deadline(t), nc, 1)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// wantSnapshot checks what everyone loads.
func (h *SnapshotsHarness) wantSnapshot(t *testing.T, name string, want []byte) {
	t.Helper()
	for _, s := range []Snapshots{h.Snapshots, h.Another} {
		if got, err := s.Load(deadline(t), name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: loaded %d bytes, %v, want %d", name, len(got), err, len(want))
		}
	}
}

// contents are bytes that nothing makes smaller.
func contents(size int) []byte {
	raw := make([]byte, size)
	rand.Read(raw)
	return raw
}

func testSnapshots(t *testing.T, h *SnapshotsHarness) {
	h.wantSnapshot(t, "a", nil)
	var last []byte
	for _, size := range []int{1, 512<<10 - 1, 512 << 10, 512<<10 + 1, 3 << 20, 10} {
		last = contents(size)
		if err := h.Snapshots.Save(deadline(t), "a", last); err != nil {
			t.Fatal(err)
		}
		h.wantSnapshot(t, "a", last)
	}
	other := contents(100)
	if err := h.Another.Save(deadline(t), "a.claims/ü", other); err != nil {
		t.Fatal(err)
	}
	h.wantSnapshot(t, "a.claims/ü", other)
	h.wantSnapshot(t, "a", last)
	last[0]++ // what was loaded and saved is nobody else's
	if got, err := h.Snapshots.Load(deadline(t), "a"); err != nil || bytes.Equal(got, last) {
		t.Errorf("%v; what was saved changed", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Snapshots.Save(ended, "late", last); err == nil {
		t.Error("saved when the time was over")
	}
	h.wantSnapshot(t, "late", nil)
}

func testLargeSnapshot(t *testing.T, h *SnapshotsHarness) {
	if err := h.Snapshots.Save(deadline(t), "large", make([]byte, eventstore.MaxSnapshotSize+1)); err == nil {
		t.Error("it was saved")
	}
	h.wantSnapshot(t, "large", nil)
}

// testSnapshotsRace has many save under one name: whoever loads gets one of them, whole.
func testSnapshotsRace(t *testing.T, h *SnapshotsHarness) {
	var writers, readers sync.WaitGroup
	known := make([][]byte, raceWriters)
	for i := range known {
		known[i] = contents(700<<10 + i)
	}
	isKnown := func(got []byte) error {
		for _, k := range known {
			if bytes.Equal(got, k) {
				return nil
			}
		}
		return fmt.Errorf("loaded %d bytes that nobody saved", len(got))
	}
	done := make(chan struct{})
	readers.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			got, err := h.Another.Load(deadline(t), "race")
			if err == nil && got != nil {
				err = isKnown(got)
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	for i := range known {
		writers.Go(func() {
			if err := []Snapshots{h.Snapshots, h.Another}[i%2].Save(deadline(t), "race", known[i]); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	got, err := h.Snapshots.Load(deadline(t), "race")
	if err == nil {
		err = isKnown(got)
	}
	if err != nil {
		t.Error(err)
	}
}

// testSnapshotsDropped takes all of it away: what is lost is not missed, and once there is
// room again, it is used.
func testSnapshotsDropped(t *testing.T, h *SnapshotsHarness) {
	ctx := deadline(t)
	if err := h.Snapshots.Save(ctx, "b", contents(10)); err != nil {
		t.Fatal(err)
	}
	h.Drop(t)
	for _, s := range []Snapshots{h.Snapshots, h.Another} {
		if got, err := s.Load(ctx, "b"); got != nil || err != nil && !errors.Is(err, eventstore.ErrUnavailable) {
			t.Errorf("loaded %d bytes, %v", len(got), err)
		}
	}
	for _, s := range []Snapshots{h.Snapshots, h.Another} {
		if err := s.Save(ctx, "b", contents(10)); err != nil && !errors.Is(err, eventstore.ErrUnavailable) {
			t.Error(err)
		}
	}
	h.Make(t)
	after := contents(20)
	if err := h.Snapshots.Save(ctx, "b", after); err != nil {
		t.Fatal(err)
	}
	h.wantSnapshot(t, "b", after)
}
