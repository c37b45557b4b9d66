package domain

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"
)

// What the state says that it takes is what it takes.
func TestSizeOfClaims(t *testing.T) {
	for name, keys := range map[string]int{"each agent comes once": 0, "agents come again": 500} {
		t.Run(name, func(t *testing.T) {
			before := held()
			h := newBusy(keys)
			for range 20_000 {
				h.live(t)
			}
			took := held() - before
			if said := h.Size(); said < took*3/4 || said > took*5/4 {
				t.Errorf("it says %d bytes, and takes %d", said, took)
			}
			if most := int64(20_000 * 450); took > most {
				t.Errorf("it takes %d bytes a claim", took/20_000)
			}
			raw, err := h.Snapshot().Encode()
			if err != nil {
				t.Fatal(err)
			}
			before = held()
			back, err := RestoreClaims("acme", raw)
			if err != nil {
				t.Fatal(err)
			}
			took = held() - before
			runtime.KeepAlive(raw)
			if said := back.Size(); said < took*3/4 || said > took*5/4 {
				t.Errorf("restored, it says %d bytes, and takes %d", said, took)
			}
			if back.Len() != h.Len() {
				t.Errorf("%d claims came back of %d", back.Len(), h.Len())
			}
		})
	}
}

// Answers count too, and what is past its time does not.
func TestSizeOfAnswers(t *testing.T) {
	before := held()
	s := NewClaims("acme")
	apply := func(at time.Time, ref CommandRef) {
		t.Helper()
		c := NewCommit("01J", ClaimsOf("acme"), at, Actor{}, ref, nil, nil)
		c.Version = s.Version() + 1
		if err := s.Apply(c); err != nil {
			t.Fatal(err)
		}
	}
	const n, later = 20_000, 10
	for i := range n + later {
		at := start
		if i >= n {
			at = start.Add(time.Hour)
		}
		apply(at, CommandRef{
			Name: "claim.submit", Caller: "service_key:k", Key: fmt.Sprint(i), Request: hashOf("x"), Answer: fmt.Appendf(nil, `{"claim_id":%0200d}`, i),
		})
	}
	took := held() - before
	if said := s.Size(); said < took*3/4 || said > took*5/4 {
		t.Errorf("it says %d bytes, and takes %d", said, took)
	}
	apply(start.Add(ReplayWindow), CommandRef{})
	if took := held() - before; s.Size() > 50_000 || took > 100_000 || s.answers.len() != later {
		t.Errorf("then it says %d bytes, and takes %d for %d answers", s.Size(), took, s.answers.len())
	}
	runtime.KeepAlive(s)
}

// A snapshot is written while the state goes on, forward and back. Run with -race.
func TestSnapshotWhileTheStateGoesOn(t *testing.T) {
	h := newBusy(50)
	for range 300 {
		h.live(t)
	}
	var writing sync.WaitGroup
	defer writing.Wait()
	for range 20 {
		settled := encoded(t, h.Snapshot())
		ahead := h.n
		for range 40 { // may come to nothing
			if err := h.ApplyAhead(h.commit(h.submission())); err != nil {
				t.Fatal(err)
			}
		}
		taken := h.Snapshot()
		for range 4 {
			writing.Go(func() {
				if string(encoded(t, taken)) != string(settled) {
					t.Error("a snapshot is not what was settled")
				}
			})
		}
		h.Withdraw()
		h.n = ahead
		for range 20 {
			h.live(t)
		}
	}
}
