package eventstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

// Who has followed a log to some position does not go on with another one that has grown
// past it meanwhile, or as far.
func TestFollowAnotherLogInItsPlace(t *testing.T) {
	for name, others := range map[string]int{"as long": 6, "longer": 9} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log, js := openNode(t)
			fill(t, log, 6)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			handed, ended := make(chan eventstore.Record, 20), make(chan error, 1)
			go func() {
				ended <- log.Follow(ctx, 0, func(r eventstore.Record) error { handed <- r; return nil }, nil)
			}()
			for range 6 {
				<-handed
			}

			replaceLog(ctx, t, js, log, others)
			err := <-ended
			if eventstore.Broken(err) == nil {
				t.Errorf("it ended with %v", err)
			}
			if len(handed) > 0 {
				t.Errorf("%d commits of another log were handed over", len(handed))
			}
		})
	}
}

// openNode opens the log on a server on which its user may do anything.
func openNode(t *testing.T) (*eventstore.Stream, jetstream.JetStream) {
	t.Helper()
	node := logtest.NewNodes(t, 1, func() *server.Options { return &server.Options{JetStream: true, SyncAlways: true} })[0]
	nc, err := eventstore.Connect(node.URL(), "", logtest.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if err := eventstore.Create(t.Context(), nc, 1); err != nil {
		t.Fatal(err)
	}
	log, err := eventstore.Open(t.Context(), nc, 1, logtest.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return log, js
}

// replaceLog puts another log in the place of one, under the feet of those who read it.
func replaceLog(ctx context.Context, t *testing.T, js jetstream.JetStream, log eventstore.Log, commits int) {
	t.Helper()
	if err := js.DeleteStream(ctx, eventstore.StreamName); err != nil {
		t.Fatal(err)
	}
	if err := eventstore.Create(ctx, js.Conn(), 1); err != nil {
		t.Fatal(err)
	}
	b, head := domain.ClaimsOf("globex"), eventstore.Head{}
	for range commits {
		r, err := log.Append(ctx, head, logtest.Commit(b))
		if err != nil {
			t.Fatal(err)
		}
		head = r.Head()
	}
}
