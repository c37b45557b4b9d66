package logtest

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// HeadKey makes a key to sign heads of the log with; another for each fill.
func HeadKey(t testing.TB, fill byte) *domain.HeadKey {
	t.Helper()
	key, err := domain.NewHeadKey(bytes.Repeat([]byte{fill}, domain.HeadKeySize))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Head is a signed head of a log of that many commits, which nobody has.
func Head(t testing.TB, commits uint64) domain.LogHead {
	t.Helper()
	c := domain.Chain{Position: commits, Count: commits, Hash: domain.HashOf([]byte{byte(commits)})}
	return HeadKey(t, 1).Sign(c, time.Unix(1_700_000_000, 0))
}

// reachHeads finds the heads beside each of the logs. In memory they stand by themselves.
func (h *Harness) reachHeads() {
	inMemory := &eventstore.MemoryHeads{}
	of := func(log eventstore.Log) eventstore.LogHeads {
		if s, ok := log.(*eventstore.Stream); ok {
			return s.Heads()
		}
		return inMemory
	}
	h.Heads, h.AnotherHeads, h.FaultyHeads = of(h.Log), of(h.Another), of(h.Faulty)
}

func lastHead(t *testing.T, heads eventstore.LogHeads) eventstore.StoredHead {
	t.Helper()
	last, err := heads.Last(deadline(t))
	if err != nil {
		t.Fatalf("the last head: %v", err)
	}
	return last
}

// wantHead checks the last head as everyone sees it.
func (h *Harness) wantHead(t *testing.T, want eventstore.StoredHead) {
	t.Helper()
	for _, heads := range []eventstore.LogHeads{h.Heads, h.AnotherHeads} {
		got := lastHead(t, heads)
		if got.Sequence != want.Sequence || got.Chain() != want.Chain() || !bytes.Equal(got.Signature, want.Signature) {
			t.Fatalf("the last head is %+v, want %+v", got, want)
		}
		if got.Sequence > 0 && got.Verify() != nil {
			t.Errorf("as it is stored: %v", got.Verify())
		}
	}
}

// nextHead is a head for one commit more than the last.
func (h *Harness) nextHead(t *testing.T) (after eventstore.StoredHead, next domain.LogHead) {
	t.Helper()
	after = lastHead(t, h.Heads)
	return after, Head(t, after.Position+1)
}

func testHeads(t *testing.T, h *Harness) {
	ctx := deadline(t)
	h.wantHead(t, eventstore.StoredHead{})
	first, err := h.Heads.Append(ctx, eventstore.StoredHead{}, Head(t, 5))
	if err != nil || first.Sequence == 0 {
		t.Fatalf("%+v, %v", first, err)
	}
	h.wantHead(t, first)

	// Who does not know of it, or knows of one that is not the last any more, publishes
	// nothing.
	if _, err := h.AnotherHeads.Append(ctx, eventstore.StoredHead{}, Head(t, 6)); !errors.Is(err, eventstore.ErrHeadMoved) {
		t.Errorf("after none: %v, want ErrHeadMoved", err)
	}
	second, err := h.AnotherHeads.Append(ctx, first, Head(t, 6))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Heads.Append(ctx, first, Head(t, 7)); !errors.Is(err, eventstore.ErrHeadMoved) {
		t.Errorf("after the first: %v, want ErrHeadMoved", err)
	}

	// A head never goes back, nor takes back what was said.
	other := Head(t, 6)
	other.Hash[0]++
	for name, head := range map[string]domain.LogHead{"earlier": Head(t, 5), "other hash": other} {
		if _, err := h.Heads.Append(ctx, second, head); err == nil || errors.Is(err, eventstore.ErrHeadMoved) || errors.Is(err, eventstore.ErrUnavailable) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
	h.wantHead(t, second)

	// The same again is allowed: another key may sign it.
	again, err := h.Heads.Append(ctx, second, HeadKey(t, 2).Sign(second.Chain(), second.Time))
	if err != nil {
		t.Fatal(err)
	}
	h.wantHead(t, again)

	// All of them stay, and are found by their position.
	all := []eventstore.StoredHead{first, second, again}
	for _, want := range all {
		if got, err := h.AnotherHeads.At(ctx, want.Sequence); err != nil || got.Sequence != want.Sequence || !bytes.Equal(got.Signature, want.Signature) {
			t.Errorf("head %d: %+v, %v", want.Sequence, got, err)
		}
	}
	for _, sequence := range []uint64{0, again.Sequence + 1} {
		if got, err := h.Heads.At(ctx, sequence); !errors.Is(err, eventstore.ErrNoHead) {
			t.Errorf("head %d: %+v, %v, want ErrNoHead", sequence, got, err)
		}
	}
	for position, want := range map[uint64][2]uint64{4: {0, first.Sequence}, 5: {first.Sequence, second.Sequence}, 6: {again.Sequence, 0}, 7: {again.Sequence, 0}} {
		upTo, after, err := eventstore.HeadsAround(ctx, h.Heads, position)
		if got := [2]uint64{upTo.Sequence, after.Sequence}; err != nil || got != want {
			t.Errorf("around %d: %d, %v, want %d", position, got, err, want)
		}
	}
}

// testHeadsRace has many publish after the same head: one wins.
func testHeadsRace(t *testing.T, h *Harness) {
	after, next := h.nextHead(t)
	var mu sync.Mutex
	var won []eventstore.StoredHead
	var group sync.WaitGroup
	for i := range raceWriters {
		group.Go(func() {
			heads := []eventstore.LogHeads{h.Heads, h.AnotherHeads}[i%2]
			head, err := heads.Append(deadline(t), after, next)
			if err != nil && !errors.Is(err, eventstore.ErrHeadMoved) {
				t.Errorf("writer %d: %v", i, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won = append(won, head)
			}
		})
	}
	group.Wait()
	if len(won) != 1 {
		t.Fatalf("%d published after the same head", len(won))
	}
	h.wantHead(t, won[0])
}

// testHeadsLost loses what goes to the server, and what comes from it: publishing again
// shows which, and does no harm.
func testHeadsLost(t *testing.T, h *Harness) {
	for name, lose := range map[string]func(func()){"request": h.Proxy.LoseRequest, "answer": h.Proxy.LoseAnswer} {
		after, next := h.nextHead(t)
		lost := make(chan struct{})
		lose(func() { close(lost) })
		if _, err := h.FaultyHeads.Append(deadline(t), after, next); !errors.Is(err, eventstore.ErrOutcomeUnknown) {
			t.Fatalf("the %s is lost: %v, want ErrOutcomeUnknown", name, err)
		}
		<-lost
		var err error
		h.wait(t, func() bool {
			_, err = h.FaultyHeads.Append(deadline(t), after, next)
			return !errors.Is(err, eventstore.ErrUnavailable)
		})
		if err != nil && (name == "request" || !errors.Is(err, eventstore.ErrHeadMoved)) {
			t.Errorf("the %s was lost, and again: %v", name, err)
		}
		if last := lastHead(t, h.Heads); last.Chain() != next.Chain() || last.Sequence != after.Sequence+1 {
			t.Errorf("in the end the last head is %+v", last)
		}
	}

	h.Proxy.Refuse()
	after, next := h.nextHead(t)
	h.wait(t, func() bool {
		_, err := h.FaultyHeads.Last(deadline(t))
		return errors.Is(err, eventstore.ErrUnavailable)
	})
	if _, err := h.FaultyHeads.Append(deadline(t), after, next); !errors.Is(err, eventstore.ErrUnavailable) {
		t.Errorf("without a connection: %v, want ErrUnavailable", err)
	}
	h.Proxy.Heal()
	h.wait(t, func() bool {
		_, err := h.FaultyHeads.Last(deadline(t))
		return err == nil
	})
	h.wantHead(t, after)
}
