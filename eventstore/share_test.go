package eventstore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

// reader follows a log, at the pace of whoever takes from it.
type reader struct {
	records chan eventstore.Record
	ends    chan uint64 // where it caught up; only the latest
	done    chan error
	stop    context.CancelFunc
}

func read(t *testing.T, s *eventstore.Stream, after uint64) *reader {
	ctx, cancel := context.WithCancel(t.Context())
	r := &reader{records: make(chan eventstore.Record), ends: make(chan uint64, 1), done: make(chan error, 1), stop: cancel}
	go func() {
		r.done <- s.Follow(ctx, after, func(rec eventstore.Record) error {
			select {
			case r.records <- rec:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}, func(last uint64) {
			select {
			case <-r.ends:
			default:
			}
			r.ends <- last
		})
	}()
	t.Cleanup(cancel)
	return r
}

// expect takes the next commits and compares their positions and bytes.
func (r *reader) expect(t *testing.T, want []eventstore.Record) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-r.records:
			if got.Position != w.Position || got.Hash != w.Hash {
				t.Fatalf("position %d (%s) was handed over, want %d (%s)", got.Position, got.Hash, w.Position, w.Hash)
			}
		case err := <-r.done:
			t.Fatalf("follow ended before position %d: %v", w.Position, err)
		}
	}
}

// atEnd waits until it is told that it is at the log's end.
func (r *reader) atEnd(t *testing.T, position uint64) {
	t.Helper()
	for last := range r.ends {
		if last >= position {
			return
		}
	}
}

func grow(t *testing.T, s *eventstore.Stream, head *eventstore.Head, n int) []eventstore.Record {
	t.Helper()
	records := make([]eventstore.Record, n)
	for i := range records {
		rec, err := s.Append(t.Context(), *head, logtest.Commit(domain.ClaimsOf("shared")))
		if err != nil {
			t.Fatal(err)
		}
		records[i], *head = rec, rec.Head()
	}
	return records
}

// consumers waits until the ledger has as many consumers as that.
func consumers(t *testing.T, js jetstream.JetStream, want int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		stream, err := js.Stream(t.Context(), eventstore.StreamName)
		if err != nil {
			t.Fatal(err)
		}
		if got := stream.CachedInfo().State.Consumers; got == want {
			return
		}
		<-tick.C
	}
}

// All who are at the log's end read through one consumer, wherever they began, and none is
// left when they have gone.
func TestFollowersShareAReading(t *testing.T) {
	s, js := openNode(t)
	var head eventstore.Head
	old := grow(t, s, &head, 20)
	var readers []*reader
	for after := range uint64(6) {
		r := read(t, s, 4*after)
		r.expect(t, old[4*after:])
		r.atEnd(t, 20)
		readers = append(readers, r)
	}
	consumers(t, js, 1)
	more := grow(t, s, &head, 5)
	for _, r := range readers {
		r.expect(t, more)
		r.atEnd(t, 25)
	}
	// The one who began the reading may leave.
	readers[0].stop()
	if err := <-readers[0].done; !errors.Is(err, context.Canceled) {
		t.Errorf("follow ended with %v", err)
	}
	more = grow(t, s, &head, 5)
	for _, r := range readers[1:] {
		r.expect(t, more)
		r.stop()
		<-r.done
	}
	consumers(t, js, 0)
}

// One who takes nothing neither holds the others up nor makes them keep what he has not
// taken; when he goes on, nothing is missing.
func TestFollowersDoNotWaitForEachOther(t *testing.T) {
	s, js := openNode(t)
	var head eventstore.Head
	slow, fast := read(t, s, 0), read(t, s, 0)
	slow.atEnd(t, 0)
	fast.atEnd(t, 0)
	first := grow(t, s, &head, 1)
	fast.expect(t, first)

	records := grow(t, s, &head, 30)
	for _, rec := range records {
		fast.expect(t, []eventstore.Record{rec})
	}
	if kept := s.ForgetShared(2); kept != 2 {
		t.Fatalf("%d commits are kept, want 2", kept)
	}
	slow.expect(t, first)
	slow.expect(t, records)
	slow.atEnd(t, 31)
	consumers(t, js, 1)
}

// What cannot be followed ends for all, and not before they have what came before it.
func TestFollowersAreToldOfTrouble(t *testing.T) {
	s, js := openNode(t)
	var head eventstore.Head
	readers := []*reader{read(t, s, 0), read(t, s, 0), read(t, s, 0)}
	for _, r := range readers {
		r.atEnd(t, 0)
	}
	records := grow(t, s, &head, 3)
	if _, err := js.Publish(t.Context(), eventstore.Subject(domain.ClaimsOf("shared")), []byte("no commit")); err != nil {
		t.Fatal(err)
	}
	for _, r := range readers {
		r.expect(t, records)
		if err := <-r.done; err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("follow ended with %v", err)
		}
	}
	again := read(t, s, 2)
	again.expect(t, records[2:])
	if err := <-again.done; err == nil {
		t.Error("follow went on behind what is no commit")
	}
}
