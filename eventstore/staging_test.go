package eventstore_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

// stagingLink is where the server stages the batches of a store.
func stagingLink(dir string) string {
	return filepath.Join(dir, "jetstream", "$G", "streams", eventstore.StreamName, "batches")
}

// staged gives the directory in memory where a running server stages its batches.
func staged(t *testing.T, dir string) string {
	t.Helper()
	to, err := os.Readlink(stagingLink(dir))
	if err != nil {
		t.Skip("batches are staged on disk: this system has no file system in memory at /dev/shm")
	}
	return to
}

// together appends commits of as many boundaries, most of them in batches. It needs a log
// whose pace is set to that.
func together(t *testing.T, log *eventstore.Stream, n int) []eventstore.Record {
	t.Helper()
	var all []*eventstore.Pending
	for range n {
		all = append(all, log.Begin(t.Context(), eventstore.Head{}, logtest.Commit(domain.ClaimsOf(logtest.Namespace()))))
	}
	var records []eventstore.Record
	for _, p := range all {
		rec, err := p.Wait()
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, rec)
	}
	slices.SortFunc(records, func(a, b eventstore.Record) int { return int(a.Position) - int(b.Position) })
	return records
}

func modified(t *testing.T, dir string) time.Time {
	t.Helper()
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}

func TestBatchesAreStagedInMemory(t *testing.T) {
	dir := t.TempDir()
	e := start(t, dir)
	log, _ := openEmbedded(t, e)
	log.SetPace(2, 1, 1)
	to := staged(t, dir)
	if info, err := os.Stat(to); err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("%s: %v, %v, want a directory that nobody else can read", to, info, err)
	}
	before := modified(t, to)
	first := together(t, log, 40)
	if !modified(t, to).After(before) {
		t.Errorf("no batch was staged in %s", to)
	}

	// One who removes it costs speed and nothing else.
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	second := together(t, log, 40)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Readlink(stagingLink(dir)); errors.Is(err, fs.ErrNotExist) {
			break // the server has its own directory back
		}
		<-tick.C
	}
	third := together(t, log, 40)
	if first[0].Position != 1 || third[39].Position != second[39].Position+40 {
		t.Errorf("recorded at %d to %d, want 1 to 120", first[0].Position, third[39].Position)
	}
	if err := e.Stop(); err != nil {
		t.Fatal(err)
	}

	// The next start stages in memory again, and a stop leaves nothing there.
	e = start(t, dir)
	to = staged(t, dir)
	if err := e.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{to, stagingLink(dir)} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left behind: %v", path, err)
		}
	}
}

// What a killed process left in memory is removed by the next one, and what belongs to
// another store is left alone, though a copy of its files came here.
func TestStagingOfAnotherProcess(t *testing.T) {
	dir, original := t.TempDir(), t.TempDir()
	e := start(t, dir)
	log, _ := openEmbedded(t, e)
	together(t, log, 1)
	killed := staged(t, dir) + "-of-one-that-was-killed"
	if err := e.Stop(); err != nil {
		t.Fatal(err)
	}
	leave := func(at string) {
		for _, err := range []error{os.MkdirAll(filepath.Join(at, "batch"), 0o700), os.Symlink(at, stagingLink(dir))} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	leave(killed)
	e = start(t, dir)
	if _, err := os.Lstat(killed); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left behind: %v", killed, err)
	}
	if err := e.Stop(); err != nil {
		t.Fatal(err)
	}
	leave(original)
	start(t, dir)
	if _, err := os.Stat(filepath.Join(original, "batch")); err != nil {
		t.Errorf("what belongs to another store: %v", err)
	}
	if to := staged(t, dir); to == original {
		t.Error("batches are staged where another store has its own")
	}
}

// When the machine goes down in the middle of a batch, what was staged is lost with it:
// the log then has the first of its commits, each of them whole, and goes on behind them.
func TestHalfABatchAfterThePowerFailed(t *testing.T) {
	dir := t.TempDir()
	e := start(t, dir)
	log, _ := openEmbedded(t, e)
	log.SetPace(2, 1, 1)
	records := together(t, log, 60)
	if err := e.Stop(); err != nil {
		t.Fatal(err)
	}
	blocks := blockFiles(t, dir)
	block := blocks[len(blocks)-1]
	info, err := os.Stat(block)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(block, info.Size()/3*2); err != nil {
		t.Fatal(err)
	}
	forgetIndex(t, dir)

	log, _ = openEmbedded(t, start(t, dir))
	last, err := log.Last(t.Context())
	if err != nil || last < 20 || last >= 60 {
		t.Fatalf("the log ends at %d (%v), want some of the 60", last, err)
	}
	for _, want := range records[:last] {
		if got, err := log.At(t.Context(), want.Position); err != nil || got.Hash != want.Hash {
			t.Fatalf("position %d: %s, %v; want %s", want.Position, got.Hash, err, want.Hash)
		}
	}
	// Those that were lost were not acknowledged, and can be given again.
	for _, lost := range records[last:] {
		if _, err := log.Append(t.Context(), eventstore.Head{}, logtest.Commit(lost.Commit.Boundary())); err != nil {
			t.Fatal(err)
		}
	}
	log.SetPace(2, 1, 1)
	if more := together(t, log, 40); more[39].Position != 100 {
		t.Errorf("the log ends at %d, want 100", more[39].Position)
	}
}

// A link that the server did not take away, because its process was killed before the log
// was made, must not lead to nowhere.
func TestStagingLinkOfAStoreWithoutALog(t *testing.T) {
	dir := t.TempDir()
	e := start(t, dir)
	killed := staged(t, dir) + "-of-one-that-was-killed"
	if err := e.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.MkdirAll(killed, 0o700), os.MkdirAll(filepath.Dir(stagingLink(dir)), 0o700), os.Symlink(killed, stagingLink(dir)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	start(t, dir)
	if to, err := os.Readlink(stagingLink(dir)); err == nil {
		if _, err := os.Stat(to); err != nil {
			t.Errorf("batches are to be staged where nothing is: %v", err)
		}
	}
}

// Where everybody may make directories, one that others can write to is not ours, whatever
// its name: nothing is staged in it, taken from it or removed there.
func TestStagingThatOthersCanWriteTo(t *testing.T) {
	dir := t.TempDir()
	e := start(t, dir)
	log, _ := openEmbedded(t, e)
	together(t, log, 1)
	open := func(path string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Join(path, "batch"), 0o700), os.Chmod(path, 0o777)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(path) })
	}
	to := staged(t, dir)
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	open(to)
	e.LookAfterStaging()
	if _, err := os.Readlink(stagingLink(dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("batches are staged where others can change them: %v", err)
	}
	together(t, log, 10)
	if err := e.Stop(); err != nil {
		t.Fatal(err)
	}

	// The link of a killed process is still there when the machine has forgotten what it
	// had in memory, and somebody else has made it anew.
	gone := to + "-of-one-that-was-killed"
	open(gone)
	if err := os.Symlink(gone, stagingLink(dir)); err != nil {
		t.Fatal(err)
	}
	start(t, dir)
	if now := staged(t, dir); now == gone || now == to {
		t.Errorf("batches are staged in %s, which others can write to", now)
	}
	for _, path := range []string{to, gone} {
		if _, err := os.Stat(filepath.Join(path, "batch")); err != nil {
			t.Errorf("what is somebody else's: %v", err)
		}
	}
}
