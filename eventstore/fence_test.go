package eventstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

func TestFence(t *testing.T) {
	var none *eventstore.Fence
	if err := none.Broken(); err != nil {
		t.Errorf("no fence is closed: %v", err)
	}
	f := eventstore.NewFence(logtest.Logger(t))
	for _, harmless := range []error{nil, eventstore.ErrUnavailable, eventstore.ErrNoCommit, errors.New("something else"), &eventstore.ConflictError{}} {
		if f.Close(harmless) || f.Broken() != nil {
			t.Errorf("%v closed the fence", harmless)
		}
	}
	newer := []byte(`{"id":"01J","namespace":"acme","boundary":"claims","version":1,"events":[{"id":"evt_1","type":"claim.of_tomorrow","version":1,"data":{}}]}`)
	if _, err := domain.DecodeCommit(newer); err == nil || f.Close(&eventstore.UnreadableError{Position: 3, Err: err}) {
		t.Errorf("what a newer program recorded closed the fence: %v", err)
	}
	first := fmt.Errorf("read: %w", &eventstore.GapError{After: 7, Got: "the next is at 9"})
	if !f.Close(first) || !f.Close(&eventstore.UnreadableError{Position: 3, Err: errors.New("garbage")}) {
		t.Error("what says that the log is broken did not close the fence")
	}
	var broken *eventstore.BrokenError
	if !errors.As(f.Broken(), &broken) || broken.Position != 8 {
		t.Errorf("broken = %v, want the first finding, at 8", f.Broken())
	}
}

// A mark that the log contradicts closes the fence before anything is done, whichever way
// it contradicts it; one that it bears out does not.
func TestMarks(t *testing.T) {
	log, _ := openEmbedded(t, start(t, t.TempDir()))
	records := fill(t, log, 9)
	last := records[8]
	cases := map[string]struct {
		mark   eventstore.Mark
		broken uint64
	}{
		"none yet":          {eventstore.Mark{}, 0},
		"borne out":         {eventstore.Mark{Position: 4, Hash: records[3].Hash}, 0},
		"the last":          {eventstore.Mark{Position: 9, Hash: last.Hash}, 0},
		"of another commit": {eventstore.Mark{Position: 4, Hash: records[4].Hash}, 4},
		"past the end":      {eventstore.Mark{Position: 10, Hash: last.Hash}, 10},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := &eventstore.Watch{Log: log, Fence: eventstore.NewFence(logtest.Logger(t)), Logger: logtest.Logger(t),
				File: eventstore.MarkFile(filepath.Join(t.TempDir(), "log.mark"))}
			if c.mark.Position > 0 {
				if err := w.File.Write(c.mark); err != nil {
					t.Fatal(err)
				}
			}
			err := w.Begin(t.Context())
			var broken *eventstore.BrokenError
			if errors.As(err, &broken) != (c.broken > 0) || broken != nil && broken.Position != c.broken {
				t.Fatalf("begin: %v, want broken at %d", err, c.broken)
			}
			if c.broken > 0 {
				if step := w.Step(t.Context()); !errors.As(step, &broken) {
					t.Errorf("step behind a closed fence: %v", step)
				}
				ended, end := context.WithCancel(t.Context())
				end()
				w.Run(ended)
				if kept, err := w.File.Read(); err != nil || kept.Position != c.mark.Position || kept.Hash != c.mark.Hash {
					t.Errorf("a process that found the log broken left the mark %+v, %v", kept, err)
				}
				return
			}
			if err := w.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
			mark, err := w.File.Read()
			if err != nil || mark.Position != 9 || mark.Hash != last.Hash {
				t.Errorf("the mark is %+v (%v), want the log's last commit", mark, err)
			}
		})
	}
}

// What others hold is compared too, and named.
func TestMarksOfOthers(t *testing.T) {
	log, _ := openEmbedded(t, start(t, t.TempDir()))
	records := fill(t, log, 3)
	w := &eventstore.Watch{Log: log, Fence: eventstore.NewFence(logtest.Logger(t)), Logger: logtest.Logger(t)}
	marks := []eventstore.Mark{{Position: 2, Hash: records[1].Hash, Holder: "somebody"}}
	w.Others = func(context.Context) ([]eventstore.Mark, error) { return marks, nil }
	if err := w.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	marks = append(marks, eventstore.Mark{Position: 5, Hash: records[1].Hash, Holder: "the read model claims"})
	err := w.Fence.Broken()
	for err == nil { // others are not asked at every step
		err = w.Step(t.Context())
	}
	if want := "the read model claims"; !strings.Contains(err.Error(), want) {
		t.Errorf("found %v, which does not name %s", err, want)
	}
}

// On a cluster, too, a look at what others hold takes as long as it must, and then closes
// the fence.
func TestMarksOfOthersOnACluster(t *testing.T) {
	_, log := logtest.Cluster(t)
	records := fill(t, log, 3)
	w := &eventstore.Watch{Log: log, Fence: eventstore.NewFence(logtest.Logger(t)), Logger: logtest.Logger(t)}
	w.Others = func(context.Context) ([]eventstore.Mark, error) {
		return []eventstore.Mark{{Position: 5, Hash: records[1].Hash, Holder: "somebody"}}, nil
	}
	if err := w.Step(t.Context()); w.Fence.Broken() == nil {
		t.Errorf("the first look found nothing: %v", err)
	}
}

func TestMarkFileThatIsDamaged(t *testing.T) {
	f := eventstore.MarkFile(filepath.Join(t.TempDir(), "log.mark"))
	for _, text := range []string{"", "{", `{"position":"x","hash":"00"}`, `{"position":"7"}`, `{"position":"-1","hash":""}`} {
		if err := os.WriteFile(string(f), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if m, err := f.Read(); err == nil {
			t.Errorf("%q was read as %+v", text, m)
		}
	}
}

// Every way in which a log can be other than what was appended shows in its chain.
func TestChain(t *testing.T) {
	log := eventstore.NewMemory()
	records := fill(t, log, 12)
	check := func(rs []eventstore.Record) error {
		c := eventstore.NewChain()
		for _, r := range rs {
			if err := c.Add(r); err != nil {
				return err
			}
		}
		return nil
	}
	if err := check(records); err != nil {
		t.Fatalf("what was appended: %v", err)
	}
	// renumbered gives the commits positions as a log that was tampered with would.
	renumbered := func(rs ...eventstore.Record) []eventstore.Record {
		for i := range rs {
			rs[i].Position = uint64(i + 1)
		}
		return rs
	}
	altered := func(i int, change func(*domain.Commit)) []eventstore.Record {
		rs := append([]eventstore.Record(nil), records...)
		var c domain.Commit
		if err := json.Unmarshal(rs[i].Stored, &c); err != nil {
			t.Fatal(err)
		}
		change(&c)
		stored, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		rs[i] = eventstore.Record{Position: rs[i].Position, Stored: stored, Hash: domain.HashOf(stored), Commit: &c}
		return rs
	}
	dropped := append(append([]eventstore.Record(nil), records[:4]...), records[5:]...)
	swapped := append([]eventstore.Record(nil), records...)
	swapped[4], swapped[7] = swapped[7], swapped[4]
	cases := map[string][]eventstore.Record{
		"one dropped":              dropped,
		"one dropped, renumbered":  renumbered(append([]eventstore.Record(nil), dropped...)...),
		"two swapped, renumbered":  renumbered(swapped...),
		"one twice, renumbered":    renumbered(append(append([]eventstore.Record(nil), records[:6]...), records[5:]...)...),
		"the first dropped":        append([]eventstore.Record(nil), records[1:]...),
		"an actor exchanged":       altered(4, func(c *domain.Commit) { c.Actor.ID = "somebody-else" }),
		"a prev exchanged":         altered(4, func(c *domain.Commit) { c.Prev = domain.HashOf([]byte("x")) }),
		"a version exchanged":      altered(4, func(c *domain.Commit) { c.Version++ }),
		"a time before the former": altered(11, func(c *domain.Commit) { c.Time = c.Time.Add(-24 * time.Hour) }),
	}
	for name, rs := range cases {
		var broken *eventstore.BrokenError
		if err := check(rs); !errors.As(err, &broken) || broken.Found == "" {
			t.Errorf("%s: %v, want a BrokenError", name, err)
		}
	}
}

// The scrubber passes over a log again and again, and finds what was put in meanwhile.
func TestScrubber(t *testing.T) {
	log := eventstore.NewMemory()
	fill(t, log, 1203)
	fence := eventstore.NewFence(logtest.Logger(t))
	s := eventstore.NewScrubber(log, fence)
	for pass := 1; pass <= 2; pass++ {
		steps := 1
		for {
			end, err := s.Step(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if end {
				break
			}
			steps++
		}
		if steps != 3 || s.Passes() != pass || s.Position() != 0 {
			t.Errorf("pass %d took %d steps, counts %d passes, stands at %d", pass, steps, s.Passes(), s.Position())
		}
	}
	position := log.Inject(domain.ClaimsOf("acme"), []byte("garbage"))
	err := scrubAll(t.Context(), s)
	var broken *eventstore.BrokenError
	if !errors.As(fence.Broken(), &broken) || broken.Position != position {
		t.Errorf("%v, fence %v; want it broken at %d", err, fence.Broken(), position)
	}
}
