package eventstore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// mute is a JetStream that does not answer, as where a bucket has no leader.
type mute struct {
	jetstream.JetStream
	asked chan struct{}
}

func (m mute) ObjectStore(ctx context.Context, _ string) (jetstream.ObjectStore, error) {
	m.asked <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

// Nobody waits longer for snapshots than he has time, however long others wait: what they
// are for takes the log instead.
func TestSnapshotsThatDoNotAnswer(t *testing.T) {
	js := mute{asked: make(chan struct{}, 2)}
	k := &Snapshots{js: js}
	patient, stop := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- k.Save(patient, "acme", []byte("state")) }()
	<-js.asked
	hasty, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := k.Load(hasty, "globex")
		done <- err
	}()
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for another")
	}
	stop()
	<-done
}
