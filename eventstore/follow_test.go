package eventstore_test

import (
	"context"
	"errors"
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

// The readers of a process share what was decoded once, and only that: other bytes are
// another commit.
func TestReadersShareWhatWasDecoded(t *testing.T) {
	t.Parallel()
	stream, _ := logtest.Embedded(t)
	b := domain.ClaimsOf(logtest.Namespace())
	first, err := stream.Append(t.Context(), eventstore.Head{}, logtest.Commit(b))
	if err == nil {
		_, err = stream.Append(t.Context(), first.Head(), logtest.Commit(b))
	}
	if err != nil {
		t.Fatal(err)
	}
	var seen [2][]eventstore.Record
	for i := range seen {
		done := errors.New("all")
		err := stream.Follow(t.Context(), 0, func(r eventstore.Record) error {
			if seen[i] = append(seen[i], r); len(seen[i]) == 2 {
				return done
			}
			return nil
		}, nil)
		if !errors.Is(err, done) {
			t.Fatal(err)
		}
	}
	if seen[0][0].Commit != first.Commit || seen[1][0].Commit != first.Commit || seen[0][1].Commit != seen[1][1].Commit {
		t.Error("a commit was decoded twice")
	}
	if seen[0][1].Commit == first.Commit || seen[0][1].Commit.Prev != first.Hash {
		t.Error("one commit passes for another")
	}
}
