package logtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// Harness is one log and what the contract needs to do to it.
type Harness struct {
	Log     eventstore.Log
	Another eventstore.Log // the same log, as another process reaches it

	// Inject stores bytes at the end of a boundary, past all checks.
	Inject func(t *testing.T, b domain.Boundary, stored []byte)

	// Batches are the ids of the batches in which the commits after a position were
	// sent, by position, empty for those that went by themselves; nil where commits
	// never go together.
	Batches func(t *testing.T, after uint64) map[uint64]string

	// The log's heads, as each of the logs reaches them.
	Heads, AnotherHeads, FaultyHeads eventstore.LogHeads

	// Through a network that can fail; nil where the log has none.
	Faulty eventstore.Log
	Proxy  *Proxy

	// Disturb stops the server that leads the log and gets it back, or another to
	// take over; nil where that can't be done. It returns when the log can be
	// reached again.
	Disturb func(t *testing.T)

	// Many is how many commits the larger tests append: enough to leave the ways
	// that only a short log takes.
	Many int
}

// patience bounds everything in the suite that waits. Only a defect uses it up: thousands of
// commits that wait together may take a busy machine a minute.
const patience = 3 * time.Minute

// Run checks the contract. All of it works on one log, in namespaces of its own;
// the last test makes the log unreadable from the start.
func Run(t *testing.T, open func(*testing.T) *Harness) {
	t.Parallel() // most of it waits
	h := open(t)
	h.reachHeads()
	for _, test := range []struct {
		name    string
		run     func(*testing.T, *Harness)
		applies bool
	}{
		{"first commit", testFirstCommit, true},
		{"chain", testChain, true},
		{"conflict", testConflict, true},
		{"refused before it is sent", testRefused, true},
		{"boundaries are independent", testBoundaries, true},
		{"read stops", testReadStops, true},
		{"follow", testFollow, true},
		{"follow stops", testFollowStops, true},
		{"writers race on one boundary", testRace, true},
		{"heads", testHeads, true},
		{"writers race for the next head", testHeadsRace, true},
		{"lost heads", testHeadsLost, h.Proxy != nil},
		{"lost answers", testLostAnswers, h.Proxy != nil},
		{"lost answers of many", testLostAnswersOfMany, h.Proxy != nil},
		{"the log can't be reached", testUnreachable, h.Proxy != nil},
		{"server stops", testDisturbed, h.Disturb != nil},
		{"many writers", testMany, true},
		{"many writers, and the server stops", testManyDisturbed, h.Disturb != nil},
		{"chains", testChains, true},
		{"chains in batches", testChainedBatch, h.Proxy != nil},
		{"batches are refused", testRefusedBatch, h.Proxy != nil},
		{"batches are lost", testLostBatches, h.Proxy != nil},
		{"limits of batches", testBatchLimits, h.Proxy != nil},
		{"too many wait", testBusy, h.Proxy != nil},
		{"the time is over", testTimeIsOver, h.Proxy != nil},
		{"follow what the leader has not shown", testFollowUnshown, h.Proxy != nil},
		{"unknown event", testUnknownEvent, true},
	} {
		if test.applies {
			t.Run(test.name, func(t *testing.T) { test.run(t, h) })
		}
	}
}

var (
	commits    atomic.Int64
	namespaces atomic.Int64
)

// Namespace is a new one at each call.
func Namespace() string { return fmt.Sprintf("test-%d", namespaces.Add(1)) }

// Commit is a small commit that says nothing of interest, with an id of its own.
func Commit(b domain.Boundary) *domain.Commit {
	id := fmt.Sprintf("01J%023d", commits.Add(1))
	return domain.NewCommit(id, b, time.Unix(1_700_000_000, 0).UTC(), domain.Actor{Kind: domain.ActorClock},
		domain.CommandRef{Name: "expire"}, nil,
		[]domain.Payload{domain.ClaimExpired{ClaimID: "clm_" + id, Cause: domain.ExpiredUndecided}})
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// appendN appends n commits to a boundary, one after another.
func appendN(t *testing.T, log eventstore.Log, b domain.Boundary, after eventstore.Head, n int) []eventstore.Record {
	t.Helper()
	ctx := deadline(t)
	var records []eventstore.Record
	for range n {
		rec, err := log.Append(ctx, after, Commit(b))
		if err != nil {
			t.Fatalf("append after version %d: %v", after.Version, err)
		}
		records = append(records, rec)
		after = rec.Head()
	}
	return records
}

func readBoundary(t *testing.T, log eventstore.Log, b domain.Boundary, after uint64) []eventstore.Record {
	t.Helper()
	var records []eventstore.Record
	err := log.Read(deadline(t), b, after, func(r eventstore.Record) error {
		records = append(records, r)
		return nil
	})
	if err != nil {
		t.Fatalf("read %s after %d: %v", b, after, err)
	}
	return records
}

// wantSame compares by what identifies a record: where it is and what it holds.
func wantSame(t *testing.T, what string, got, want []eventstore.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d records, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i].Position != want[i].Position || got[i].Hash != want[i].Hash || got[i].Commit.ID != want[i].Commit.ID {
			t.Fatalf("%s: record %d is %s at %d, want %s at %d", what, i,
				got[i].Commit.ID, got[i].Position, want[i].Commit.ID, want[i].Position)
		}
	}
}

// lastOf is the ledger's last position.
func lastOf(t *testing.T, log eventstore.Log) uint64 {
	t.Helper()
	last, err := log.Last(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	return last
}

// wantChain checks that records are a boundary from its first commit on.
func wantChain(t *testing.T, records []eventstore.Record) {
	t.Helper()
	var prev eventstore.Head
	for _, r := range records {
		switch {
		case r.Commit.Version != prev.Version+1:
			t.Fatalf("version %d follows %d", r.Commit.Version, prev.Version)
		case r.Commit.Prev != prev.Hash:
			t.Fatalf("version %d doesn't chain to the one before", r.Commit.Version)
		case r.Position <= prev.Position:
			t.Fatalf("version %d stands at %d, the one before at %d", r.Commit.Version, r.Position, prev.Position)
		case r.Hash != domain.HashOf(r.Stored):
			t.Fatalf("version %d has a wrong hash", r.Commit.Version)
		}
		prev = r.Head()
	}
}

func wantTail(t *testing.T, log eventstore.Log, b domain.Boundary, want eventstore.Head) {
	t.Helper()
	if got, err := log.Tail(deadline(t), b); err != nil || got != want {
		t.Fatalf("tail of %s = %+v, %v; want %+v", b, got, err, want)
	}
}

func testFirstCommit(t *testing.T, h *Harness) {
	b := domain.ClaimsOf(Namespace())
	wantTail(t, h.Log, b, eventstore.Head{})
	if got := readBoundary(t, h.Log, b, 0); got != nil {
		t.Fatalf("an empty boundary has %d commits", len(got))
	}
	commit := Commit(b)
	rec, err := h.Log.Append(deadline(t), eventstore.Head{}, commit)
	if err != nil {
		t.Fatal(err)
	}
	if commit.Version != 1 || !commit.Prev.IsZero() {
		t.Errorf("the commit got version %d and prev %q", commit.Version, commit.Prev)
	}
	wantTail(t, h.Log, b, rec.Head())
	wantTail(t, h.Another, b, rec.Head())
	wantSame(t, "read", readBoundary(t, h.Another, b, 0), []eventstore.Record{rec})
	wantChain(t, []eventstore.Record{rec})
}

func testChain(t *testing.T, h *Harness) {
	ctx, b := deadline(t), domain.RegistryOf(Namespace())
	records := appendN(t, h.Log, b, eventstore.Head{}, h.Many)
	all := readBoundary(t, h.Another, b, 0)
	wantSame(t, "read", all, records)
	wantChain(t, all)
	for _, n := range []int{1, len(all) / 2, len(all) - 3, len(all) - 1, len(all)} {
		wantSame(t, fmt.Sprintf("read after %d", n), readBoundary(t, h.Log, b, all[n-1].Position), all[n:])
	}
	last := records[len(records)-1]
	if rec, err := h.Another.At(ctx, last.Position); err != nil || rec.Hash != last.Hash {
		t.Errorf("at %d: %v, %v", last.Position, rec.Hash, err)
	}
	for _, position := range []uint64{0, last.Position + 1_000_000} {
		if _, err := h.Log.At(ctx, position); !errors.Is(err, eventstore.ErrNoCommit) {
			t.Errorf("at %d: %v, want ErrNoCommit", position, err)
		}
	}
	if position, err := h.Another.Last(ctx); err != nil || position != last.Position {
		t.Errorf("last = %d, %v; want %d", position, err, last.Position)
	}
}

func testConflict(t *testing.T, h *Harness) {
	ctx, b := deadline(t), domain.ClaimsOf(Namespace())
	records := appendN(t, h.Log, b, eventstore.Head{}, 3)
	tail := records[2].Head()
	for _, expected := range []eventstore.Head{{}, records[0].Head(), records[1].Head()} {
		_, err := h.Another.Append(ctx, expected, Commit(b))
		var conflict *eventstore.ConflictError
		if !errors.As(err, &conflict) {
			t.Fatalf("append after version %d: %v, want a conflict", expected.Version, err)
		}
		if conflict.Boundary != b || conflict.Expected != expected || conflict.Actual != tail {
			t.Errorf("conflict = %+v, want the head %+v instead of %+v", conflict, tail, expected)
		}
	}
	wantSame(t, "read", readBoundary(t, h.Log, b, 0), records)
}

func testRefused(t *testing.T, h *Harness) {
	ctx, b := deadline(t), domain.ClaimsOf(Namespace())
	large := Commit(b)
	large.Command.Name = strings.Repeat("x", eventstore.MaxCommitSize)
	if _, err := h.Log.Append(ctx, eventstore.Head{}, large); !errors.Is(err, eventstore.ErrTooLarge) {
		t.Errorf("a commit that is too large: %v", err)
	}
	empty := Commit(b)
	empty.Events = nil
	if _, err := h.Log.Append(ctx, eventstore.Head{}, empty); err == nil {
		t.Error("a commit without events was recorded")
	}
	wild := Commit(domain.ClaimsOf("*"))
	if _, err := h.Log.Append(ctx, eventstore.Head{}, wild); err == nil {
		t.Error("a commit of no namespace was recorded")
	}
	wantTail(t, h.Log, b, eventstore.Head{})
	wantTail(t, h.Log, domain.ClaimsOf("*"), eventstore.Head{})

	full := Commit(b)
	stored, err := full.Encode()
	if err != nil {
		t.Fatal(err)
	}
	const numbers = 100 // what version and prev add
	full.Command.Name = strings.Repeat("x", eventstore.MaxCommitSize-len(stored)-numbers)
	rec, err := h.Log.Append(ctx, eventstore.Head{}, full)
	if err != nil {
		t.Fatalf("a commit of the largest size: %v", err)
	}
	wantSame(t, "read", readBoundary(t, h.Another, b, 0), []eventstore.Record{rec})
}

func testBoundaries(t *testing.T, h *Harness) {
	one, other := Namespace(), Namespace()
	boundaries := []domain.Boundary{domain.RegistryOf(one), domain.ClaimsOf(one), domain.RegistryOf(other), domain.ClaimsOf(other)}
	before, err := h.Log.Last(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	var all, registry []eventstore.Record
	heads := make(map[domain.Boundary]eventstore.Head)
	for range 5 {
		for _, b := range boundaries {
			rec := appendN(t, h.Log, b, heads[b], 1)[0]
			heads[b] = rec.Head()
			all = append(all, rec)
			if b.Kind == domain.KindRegistry {
				registry = append(registry, rec)
			}
		}
	}
	for _, b := range boundaries {
		wantTail(t, h.Log, b, heads[b])
		wantChain(t, readBoundary(t, h.Log, b, 0))
	}
	for kind, want := range map[domain.Kind][]eventstore.Record{"": all, domain.KindRegistry: registry} {
		var got []eventstore.Record
		err := h.Another.ReadAll(deadline(t), kind, before, func(r eventstore.Record) error {
			got = append(got, r)
			return nil
		})
		if err != nil {
			t.Fatalf("read all of kind %q: %v", kind, err)
		}
		wantSame(t, "read all of kind "+string(kind), got, want)
	}
	if got, want := all[len(all)-1].Position, before+uint64(len(all)); got != want {
		t.Errorf("the last position is %d, want %d", got, want)
	}
}

func testReadStops(t *testing.T, h *Harness) {
	b := domain.ClaimsOf(Namespace())
	records := appendN(t, h.Log, b, eventstore.Head{}, 12)
	enough := errors.New("enough")
	for _, n := range []int{1, 2, 11} {
		count := 0
		stop := func(eventstore.Record) error {
			if count++; count == n {
				return enough
			}
			return nil
		}
		if err := h.Log.Read(deadline(t), b, 0, stop); err != enough || count != n {
			t.Errorf("read: %v after %d, want to stop after %d", err, count, n)
		}
		count = 0
		if err := h.Log.ReadAll(deadline(t), "", records[0].Position-1, stop); err != enough || count != n {
			t.Errorf("read all: %v after %d, want to stop after %d", err, count, n)
		}
	}
}

// testUnknownEvent leaves a commit in the log that no one can read.
func testUnknownEvent(t *testing.T, h *Harness) {
	ctx, b := deadline(t), domain.ClaimsOf(Namespace())
	records := appendN(t, h.Log, b, eventstore.Head{}, 2)
	commit := Commit(b)
	commit.Version, commit.Prev = 3, records[1].Hash
	stored, err := commit.Encode()
	if err != nil {
		t.Fatal(err)
	}
	h.Inject(t, b, []byte(strings.Replace(string(stored), "claim.expired", "claim.unheard_of", 1)))

	before := records[0].Position
	var got []eventstore.Record
	keep := func(r eventstore.Record) error {
		got = append(got, r)
		return nil
	}
	for name, read := range map[string]func() error{
		"read":     func() error { return h.Log.Read(ctx, b, before, keep) },
		"read all": func() error { return h.Log.ReadAll(ctx, "", before, keep) },
		"follow":   func() error { return h.Log.Follow(ctx, before, keep, nil) },
	} {
		got = nil
		if err := read(); err == nil || !strings.Contains(err.Error(), "claim.unheard_of") {
			t.Errorf("%s: %v, want an error that names the event", name, err)
		}
		if name == "follow" {
			wantSame(t, name, got, records[1:])
		}
	}
}
