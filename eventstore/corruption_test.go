package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

// fill appends commits to several boundaries in turn, and gives their records.
func fill(t *testing.T, log eventstore.Log, n int) []eventstore.Record {
	t.Helper()
	heads := map[domain.Boundary]eventstore.Head{}
	var records []eventstore.Record
	for i := range n {
		b := domain.ClaimsOf(fmt.Sprintf("acme-%d", i%3))
		rec, err := log.Append(t.Context(), heads[b], logtest.Commit(b))
		if err != nil {
			t.Fatal(err)
		}
		heads[b] = rec.Head()
		records = append(records, rec)
	}
	return records
}

// blockFiles are the files that hold a store's messages, oldest first.
func blockFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", eventstore.StreamName, "msgs", "*.blk"))
	if err != nil || len(files) == 0 {
		t.Fatalf("block files in %s: %v, %v", dir, files, err)
	}
	slices.Sort(files)
	return files
}

// damaged makes a store with commits and a mark, stops it, damages its files and starts
// it again.
func damaged(t *testing.T, commits int, damage func(t *testing.T, dir string, records []eventstore.Record)) (*eventstore.Watch, *eventstore.Scrubber) {
	t.Helper()
	dir := t.TempDir()
	file := eventstore.MarkFile(filepath.Join(t.TempDir(), "log.mark"))
	first := start(t, dir)
	log, _ := openEmbedded(t, first)
	records := fill(t, log, commits)
	w := &eventstore.Watch{Log: log, Fence: eventstore.NewFence(logtest.Logger(t)), File: file, Logger: logtest.Logger(t)}
	if err := w.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	damage(t, dir, records)
	log, _ = openEmbedded(t, start(t, dir))
	fence := eventstore.NewFence(logtest.Logger(t))
	return &eventstore.Watch{Log: log, Fence: fence, File: file, Logger: logtest.Logger(t)}, eventstore.NewScrubber(log, fence)
}

// forgetIndex removes what the server keeps beside the messages and could restore its
// knowledge of them from, as it does itself after a kill.
func forgetIndex(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"index.db", "*.idx", "*.fss"} {
		files, _ := filepath.Glob(filepath.Join(filepath.Dir(blockFiles(t, dir)[0]), name))
		for _, f := range files {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[at] ^= 0x10
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Whatever happened to the store's files, the log is either whole or found to be broken,
// by what costs little at the start or by reading it through.
func TestDamageIsFound(t *testing.T) {
	const commits = 200
	size := func(path string) int64 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	cases := map[string]func(t *testing.T, dir string, records []eventstore.Record){
		"the last block cut in half": func(t *testing.T, dir string, _ []eventstore.Record) {
			last := blockFiles(t, dir)[len(blockFiles(t, dir))-1]
			if err := os.Truncate(last, size(last)/2); err != nil {
				t.Fatal(err)
			}
		},
		"the last block cut within its last message, after a kill": func(t *testing.T, dir string, _ []eventstore.Record) {
			last := blockFiles(t, dir)[len(blockFiles(t, dir))-1]
			if err := os.Truncate(last, size(last)-20); err != nil {
				t.Fatal(err)
			}
			forgetIndex(t, dir)
		},
		"everything gone": func(t *testing.T, dir string, _ []eventstore.Record) {
			if err := os.RemoveAll(filepath.Join(dir, "jetstream")); err != nil {
				t.Fatal(err)
			}
		},
		"the messages gone, after a kill": func(t *testing.T, dir string, _ []eventstore.Record) {
			blocks := blockFiles(t, dir)
			forgetIndex(t, dir)
			for _, b := range blocks {
				if err := os.Remove(b); err != nil {
					t.Fatal(err)
				}
			}
		},
	}
	for _, part := range []int64{10, 35, 50, 75, 99} {
		cases[fmt.Sprintf("a bit flipped at %d %%", part)] = func(t *testing.T, dir string, _ []eventstore.Record) {
			last := blockFiles(t, dir)[0]
			flip(t, last, size(last)*part/100)
		}
		cases[fmt.Sprintf("a bit flipped at %d %%, after a kill", part)] = func(t *testing.T, dir string, _ []eventstore.Record) {
			last := blockFiles(t, dir)[0]
			flip(t, last, size(last)*part/100)
			forgetIndex(t, dir)
		}
	}
	for name, damage := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			watch, scrubber := damaged(t, commits, damage)
			by := "the start"
			err := watch.Begin(t.Context())
			if err == nil {
				by = "reading"
				err = scrubAll(t.Context(), scrubber)
			}
			var broken *eventstore.BrokenError
			if !errors.As(watch.Fence.Broken(), &broken) {
				t.Fatalf("nothing was found (%v)", err)
			}
			t.Logf("found by %s: %v", by, broken)
			if strings.TrimSpace(broken.Found) == "" {
				t.Error("it does not say what is wrong")
			}
		})
	}
}

// scrubAll reads the log through once, or until something is found.
func scrubAll(ctx context.Context, s *eventstore.Scrubber) error {
	for {
		if end, err := s.Step(ctx); end || err != nil {
			return err
		}
	}
}
