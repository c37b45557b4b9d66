package eventstore_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

// A survey tells where the log ends, and names whoever holds what is not in it: one that
// it ends before, one that it has another commit for, and a head that it does not lead to.
func TestSurvey(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir)
	log, _ := openEmbedded(t, first)
	records := fill(t, log, 9)
	mark := func(position uint64, of int, holder string) eventstore.Mark {
		return eventstore.Mark{Position: position, Hash: records[of-1].Hash, Holder: holder}
	}
	borneOut, past, other := mark(4, 4, "a"), mark(11, 9, "b"), mark(5, 6, "c")
	survey := func(marks ...eventstore.Mark) eventstore.Survey {
		t.Helper()
		s, err := eventstore.TakeSurvey(t.Context(), log, marks)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := survey(borneOut)
	if s.End.Position != 9 || s.End.Hash != records[8].Hash || !s.Time.Equal(records[8].Commit.Time) || s.Lost != nil || s.Heads != nil {
		t.Errorf("the survey of a log that is whole: %+v", s)
	}
	s = survey(borneOut, past, other)
	if len(s.Lost) != 2 || s.Lost[0].Mark != past || s.Lost[1].Mark != other || s.Lost[0].Found == "" || s.Lost[1].Found == "" {
		t.Errorf("contradicted: %+v", s.Lost)
	}

	key, err := domain.NewHeadKey(make([]byte, domain.HeadKeySize))
	if err != nil {
		t.Fatal(err)
	}
	var chain domain.Chain
	for _, r := range records[:5] {
		chain = chain.Then(r.Position, r.Hash)
	}
	head, err := log.Heads().Append(t.Context(), eventstore.StoredHead{}, key.Sign(chain, time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	if s := survey(); s.Heads != nil {
		t.Errorf("a head that the log leads to: %+v", s.Heads)
	}
	wrong := chain.Then(6, records[7].Hash)
	if head, err = log.Heads().Append(t.Context(), head, key.Sign(wrong, time.Now())); err != nil {
		t.Fatal(err)
	}
	if s := survey(); s.Heads == nil || s.Heads.Position != 6 {
		t.Errorf("a head of another log: %+v", s.Heads)
	}
	unsigned := key.Sign(domain.Chain{Position: 12, Count: 12, Hash: wrong.Hash}, time.Now())
	unsigned.Signature[0] ^= 1
	if _, err = log.Heads().Append(t.Context(), head, unsigned); err != nil {
		t.Fatal(err)
	}
	if s := survey(); s.Heads == nil || s.Heads.Position != 0 {
		t.Errorf("a head that was not signed: %+v", s.Heads)
	}

	if err := first.SetHeadsAside("heads.kept"); err != nil {
		t.Fatal(err)
	}
	var locked *eventstore.LockedError
	if _, err := eventstore.StartEmbedded(eventstore.EmbeddedConfig{Dir: dir, Logger: logtest.Logger(t)}); !errors.As(err, &locked) {
		t.Errorf("the directory is another's before the end: %v", err)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(filepath.Join(dir, "heads.kept", "msgs", "*.blk"))
	if err != nil || len(kept) != 1 {
		t.Errorf("kept: %v, %v", kept, err)
	}
	log, _ = openEmbedded(t, start(t, dir))
	if last, err := log.Heads().Last(t.Context()); err != nil || last.Sequence != 0 {
		t.Errorf("the heads after that: %+v, %v", last, err)
	}
	if s := survey(borneOut); s.End.Position != 9 || s.Lost != nil || s.Heads != nil {
		t.Errorf("the log after that: %+v", s)
	}
}

// What contradicts itself has no survey.
func TestSurveyOfWhatContradictsItself(t *testing.T) {
	log, js := openEmbedded(t, start(t, t.TempDir()))
	fill(t, log, 3)
	b := domain.ClaimsOf("acme-0")
	stray := logtest.Commit(b)
	stray.Version = 7
	stored, err := stray.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), eventstore.Subject(b), stored); err != nil {
		t.Fatal(err)
	}
	_, err = eventstore.TakeSurvey(t.Context(), log, nil)
	var broken *eventstore.BrokenError
	if !errors.As(err, &broken) || broken.Position != 4 {
		t.Errorf("%v, want that it is broken at 4", err)
	}
}

// A mark is taken back as a whole or not at all, and what it was is kept.
func TestMarkTakenBack(t *testing.T) {
	dir := t.TempDir()
	file, former := eventstore.MarkFile(filepath.Join(dir, "log.mark")), filepath.Join(dir, "former")
	m := eventstore.Mark{Position: 9, Hash: domain.Hash{1}}
	if err := file.Write(m); err != nil {
		t.Fatal(err)
	}
	if err := file.Give(eventstore.Mark{Position: 5, Hash: domain.Hash{2}}, former); err != nil {
		t.Fatal(err)
	}
	now, err := file.Read()
	was, wasErr := eventstore.MarkFile(former).Read()
	if err := errors.Join(err, wasErr); err != nil || now.Position != 5 || was.Position != 9 {
		t.Errorf("the mark is %+v and was %+v, %v", now, was, err)
	}
	if err := file.Give(m, former); !errors.Is(err, fs.ErrExist) {
		t.Errorf("what was kept is overwritten: %v", err)
	}
	if err := file.Give(eventstore.Mark{}, filepath.Join(dir, "another")); err != nil {
		t.Fatal(err)
	}
	if now, err := file.Read(); err != nil || now.Position != 0 {
		t.Errorf("the mark of an empty log is %+v, %v", now, err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Errorf("left are %v, %v; want what was kept twice", files, err)
	}
}

// A store that lost its last commits and still counts them would leave a gap before the
// next one. What it holds can be put into a store that goes on from there, byte by byte,
// and a crash in the middle of that loses nothing.
func TestRecut(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir)
	log, _ := openEmbedded(t, first)
	records := fill(t, log, 200)
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	block := blockFiles(t, dir)[0]
	info, err := os.Stat(block)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(block, info.Size()/2); err != nil {
		t.Fatal(err)
	}
	damaged := start(t, dir)
	log, _ = openEmbedded(t, damaged)
	survey := func() eventstore.Survey {
		t.Helper()
		s, err := eventstore.TakeSurvey(t.Context(), log, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	was := survey()
	if was.Store == nil || was.Store.Position != 200 || was.End.Position == 0 || was.End.Position >= 200 {
		t.Fatalf("the survey of a store whose file was cut: %+v", was)
	}
	var read uint64
	var gap *eventstore.GapError
	err = log.ReadAll(t.Context(), "", 0, func(r eventstore.Record) error { read = r.Position; return nil })
	if read != was.End.Position || !errors.As(err, &gap) || gap.After != read {
		t.Errorf("read up to %d and then: %v, want a gap after %d", read, err, was.End.Position)
	}
	if last, err := log.Last(t.Context()); err != nil || last != read {
		t.Errorf("the last is %d, %v", last, err)
	}
	const kept = "log.kept"
	if err := damaged.Recut(t.Context(), log, was.End.Position, kept); err != nil {
		t.Fatal(err)
	}
	if err := damaged.Stop(); err != nil {
		t.Fatal(err)
	}
	place, recut := filepath.Join(dir, "jetstream", "$G", "streams", eventstore.StreamName), filepath.Join(dir, "log.recut")
	check := func(when string) {
		t.Helper()
		server := start(t, dir)
		log, _ = openEmbedded(t, server)
		if err := log.Whole(t.Context()); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		if now := survey(); now.End != was.End || now.Store != nil {
			t.Errorf("%s: %+v, was %+v", when, now, was)
		}
		for _, name := range []string{recut, filepath.Join(dir, "complete")} {
			if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %s is left: %v", when, name, err)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, kept, "msgs")); err != nil {
			t.Errorf("%s: the old store is not kept: %v", when, err)
		}
		if err := server.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	check("at once")
	move := func(from, to string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o700), os.Rename(from, to)); err != nil {
			t.Fatal(err)
		}
	}
	complete := func() {
		t.Helper()
		move(place, filepath.Join(recut, "jetstream", "$G", "streams", eventstore.StreamName))
		if err := os.WriteFile(filepath.Join(recut, "complete"), []byte(kept), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	complete()
	check("after a crash between the two moves")
	complete()
	move(filepath.Join(dir, kept), place)
	check("after a crash before them")
	if err := os.MkdirAll(filepath.Join(recut, "jetstream"), 0o700); err != nil {
		t.Fatal(err)
	}
	server := start(t, dir)
	log, _ = openEmbedded(t, server)
	if err := server.Recut(t.Context(), log, was.End.Position, kept+"-2"); err != nil {
		t.Errorf("after one that did not come to its end: %v", err)
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	log, _ = openEmbedded(t, start(t, dir))
	last := records[was.End.Position-1]
	b := last.Commit.Boundary()
	if next, err := log.Append(t.Context(), last.Head(), logtest.Commit(b)); err != nil || next.Position != was.End.Position+1 {
		t.Errorf("the next commit: %+v, %v", next, err)
	}
}
