package logtest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// raceWriters and raceCommits are how many writers race on one boundary, and how
// many commits each gets in. They are odd so that no rhythm sets in.
const raceWriters, raceCommits = 9, 11

// writer appends to a boundary that others append to, until n commits are
// acknowledged, and returns those.
func writer(ctx context.Context, log eventstore.Log, b domain.Boundary, n int, acked func()) ([]eventstore.Record, error) {
	var records []eventstore.Record
	var head eventstore.Head
	for len(records) < n {
		rec, err := log.Append(ctx, head, Commit(b))
		var conflict *eventstore.ConflictError
		switch {
		case err == nil:
			records = append(records, rec)
			head = rec.Head()
			acked()
		case errors.As(err, &conflict):
			head = conflict.Actual
		case errors.Is(err, eventstore.ErrUnavailable) && ctx.Err() == nil:
			// Nothing was recorded; a server is coming back.
		default:
			return records, err
		}
	}
	return records, nil
}

// race runs writers on a boundary to their end, and checks that each acknowledged
// commit is there once, at the position that was acknowledged.
func race(t *testing.T, logs []eventstore.Log, b domain.Boundary, n int, acked func()) {
	t.Helper()
	ctx := deadline(t)
	var mu sync.Mutex
	all := make(map[string]eventstore.Record)
	var group sync.WaitGroup
	for i := range raceWriters {
		group.Go(func() {
			records, err := writer(ctx, logs[i%len(logs)], b, n, acked)
			if err != nil {
				t.Errorf("writer %d after %d commits: %v", i, len(records), err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, r := range records {
				all[r.Commit.ID] = r
			}
		})
	}
	group.Wait()
	got := readBoundary(t, logs[0], b, 0)
	wantChain(t, got)
	seen := make(map[string]bool)
	for _, r := range got {
		if ack, ok := all[r.Commit.ID]; ok && (ack.Position != r.Position || ack.Hash != r.Hash) {
			t.Errorf("commit %s is at %d; %d was acknowledged", r.Commit.ID, r.Position, ack.Position)
		}
		if seen[r.Commit.ID] {
			t.Errorf("commit %s is there twice", r.Commit.ID)
		}
		seen[r.Commit.ID] = true
	}
	for id := range all {
		if !seen[id] {
			t.Errorf("commit %s was acknowledged and is not there", id)
		}
	}
	if len(all) != raceWriters*n || len(got) != len(all) {
		t.Errorf("%d commits are there, %d were acknowledged, want %d", len(got), len(all), raceWriters*n)
	}
}

func testRace(t *testing.T, h *Harness) {
	race(t, []eventstore.Log{h.Log, h.Another}, domain.ClaimsOf(Namespace()), raceCommits, func() {})
}

func testLostAnswers(t *testing.T, h *Harness) {
	b := domain.ClaimsOf(Namespace())
	var head eventstore.Head
	var want []eventstore.Record
	for _, lose := range []func(func()){h.Proxy.LoseAnswer, h.Proxy.LoseRequest, h.Proxy.LoseAnswer} {
		lost := make(chan struct{})
		lose(func() { close(lost) })
		rec, err := h.Faulty.Append(deadline(t), head, Commit(b))
		if err != nil {
			t.Fatalf("append: %v", err)
		}
		select {
		case <-lost:
		default:
			t.Fatal("nothing was lost")
		}
		want = append(want, rec)
		head = rec.Head()
	}
	wantSame(t, "read", readBoundary(t, h.Log, b, 0), want)

	// The request is lost, and a rival is first.
	var rival eventstore.Record
	h.Proxy.LoseRequest(func() { rival = appendN(t, h.Log, b, head, 1)[0] })
	_, err := h.Faulty.Append(deadline(t), head, Commit(b))
	var conflict *eventstore.ConflictError
	if !errors.As(err, &conflict) || conflict.Actual != rival.Head() {
		t.Errorf("append: %v, want a conflict with version %d", err, rival.Commit.Version)
	}

	// The answer is lost, and a rival goes on behind the commit.
	mine := Commit(b)
	h.Proxy.LoseAnswer(func() {
		tail, err := h.Log.Tail(deadline(t), b)
		if err != nil {
			t.Error(err)
		}
		appendN(t, h.Log, b, tail, 2)
	})
	rec, err := h.Faulty.Append(deadline(t), rival.Head(), mine)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	got := readBoundary(t, h.Log, b, rival.Position)
	wantSame(t, "read", got[:1], []eventstore.Record{rec})
	wantChain(t, readBoundary(t, h.Log, b, 0))
}

// lossEvery is after how many acknowledged commits the network fails once more.
const lossEvery = 5

func testLostAnswersOfMany(t *testing.T, h *Harness) {
	var mu sync.Mutex
	count := 0
	race(t, []eventstore.Log{h.Log, h.Faulty}, domain.ClaimsOf(Namespace()), raceCommits, func() {
		mu.Lock()
		defer mu.Unlock()
		switch count++; count % (2 * lossEvery) {
		case 0:
			h.Proxy.LoseAnswer(func() {})
		case lossEvery:
			h.Proxy.LoseRequest(func() {})
		}
	})
	h.Proxy.Heal()
}

// shortDeadline is for appends that must give up.
const shortDeadline = 300 * time.Millisecond

func testUnreachable(t *testing.T, h *Harness) {
	b := domain.ClaimsOf(Namespace())
	head := appendN(t, h.Faulty, b, eventstore.Head{}, 1)[0].Head()
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), shortDeadline)
		t.Cleanup(cancel)
		return ctx
	}

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Faulty.Append(ended, head, Commit(b)); !errors.Is(err, eventstore.ErrUnavailable) || errors.Is(err, eventstore.ErrOutcomeUnknown) {
		t.Errorf("append when the time is over: %v, want ErrUnavailable", err)
	}

	h.Proxy.Stall()
	// One that had to wait for others, which are in the silence too, was not sent.
	h.wait(t, func() bool {
		_, err := h.Faulty.Append(short(), head, Commit(b))
		unknown, unsent := errors.Is(err, eventstore.ErrOutcomeUnknown), errors.Is(err, eventstore.ErrUnavailable)
		if unknown == unsent {
			t.Fatalf("append into silence: %v, want ErrOutcomeUnknown", err)
		}
		return unknown
	})
	if _, err := h.Faulty.Tail(short(), b); !errors.Is(err, eventstore.ErrUnavailable) {
		t.Errorf("tail in silence: %v, want ErrUnavailable", err)
	}

	h.Proxy.Refuse()
	h.wait(t, func() bool {
		_, err := h.Faulty.Append(short(), head, Commit(b))
		return errors.Is(err, eventstore.ErrUnavailable) && !errors.Is(err, eventstore.ErrOutcomeUnknown)
	})
	if err := h.Faulty.Read(short(), b, 0, func(eventstore.Record) error { return nil }); !errors.Is(err, eventstore.ErrUnavailable) {
		t.Errorf("read without a connection: %v, want ErrUnavailable", err)
	}

	h.Proxy.Heal()
	h.wait(t, func() bool {
		_, err := h.Faulty.Tail(short(), b)
		return err == nil
	})
	wantTail(t, h.Log, b, head)
	rec := appendN(t, h.Faulty, b, head, 1)[0]
	wantTail(t, h.Log, b, rec.Head())
}

// wait polls a condition that costs a round trip at least.
func (h *Harness) wait(t *testing.T, condition func() bool) {
	t.Helper()
	for ctx := deadline(t); !condition(); {
		if ctx.Err() != nil {
			t.Fatalf("waited in vain for %v", patience)
		}
	}
}

// disturbAfter is how many commits are acknowledged before the server stops.
const disturbAfter = 2 * raceWriters

func testDisturbed(t *testing.T, h *Harness) {
	b := domain.ClaimsOf(Namespace())
	before, err := h.Log.Last(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	followers := []*follower{follow(t, h.Log, before), follow(t, h.Another, before)}

	due := make(chan struct{})
	var mu sync.Mutex
	count := 0
	var disturbed sync.WaitGroup
	disturbed.Go(func() {
		select {
		case <-due:
			h.Disturb(t)
		case <-t.Context().Done():
		}
	})
	race(t, []eventstore.Log{h.Log, h.Another}, b, 2*raceCommits, func() {
		mu.Lock()
		defer mu.Unlock()
		if count++; count == disturbAfter {
			close(due)
		}
	})
	disturbed.Wait()

	want := readBoundary(t, h.Log, b, 0)
	for _, f := range followers {
		wantSame(t, "follow through it all", f.wait(t, want[len(want)-1].Position), want)
	}
}
