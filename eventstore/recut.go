package eventstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	// recutDir is where a log is put anew, in the directory of the server whose it
	// becomes.
	recutDir = "log.recut"
	// recutDone is in it once it is complete, and holds the name under which the store is
	// kept whose place it takes.
	recutDone = "complete"
)

// Recut puts the commits of this server's log, up to a position, into a new store: the
// same bytes in the same positions. That is for a store that lost its last commits and
// still counts them, so that it would leave a gap before the next one. The old store is
// kept under a name in the server's directory.
//
// It ends the server; only SetHeadsAside and Stop may follow. If we crash in the middle,
// the log is the old one, or the next start ends what was begun.
func (e *Embedded) Recut(ctx context.Context, log *Stream, end uint64, kept string) error {
	dir := filepath.Join(e.dir, recutDir)
	if err := os.RemoveAll(dir); err != nil { // of one that did not come to its end
		return err
	}
	fresh, err := StartEmbedded(EmbeddedConfig{Dir: dir, Logger: e.logger, Staging: e.memory, Brief: true})
	if err != nil {
		return err
	}
	to, err := fresh.Open(ctx)
	if err == nil {
		err = copyLog(ctx, log, to, end)
	}
	if err := errors.Join(err, fresh.Stop()); err != nil {
		return fmt.Errorf("put the log into a new store: %w", err)
	}
	if err := writeDurably(filepath.Join(dir, recutDone), kept); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.shutDown()
	return finishRecut(e.dir)
}

// finishRecut puts a log that was put anew in its place, where there is one that is
// complete. The caller has the directory, and no server runs.
func finishRecut(dir string) error {
	recut := filepath.Join(dir, recutDir)
	name, err := os.ReadFile(filepath.Join(recut, recutDone))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	place, kept, complete := streamDir(dir, StreamName), filepath.Join(dir, string(name)), streamDir(recut, StreamName)
	for _, move := range []struct{ from, to string }{{place, kept}, {complete, place}} {
		if _, err := os.Stat(move.to); err == nil {
			continue // it was moved before a crash
		}
		if err := os.Rename(move.from, move.to); err != nil {
			return fmt.Errorf("put the log in its place: %w", err)
		}
	}
	if err := errors.Join(syncDir(filepath.Dir(place)), syncDir(dir)); err != nil {
		return err
	}
	return os.RemoveAll(recut)
}

// copyLog appends to an empty log what another holds up to a position, with the bytes that
// it has there.
func copyLog(ctx context.Context, from, to *Stream, end uint64) error {
	heads := map[string]Head{} // by subject
	var turn []*appending
	var bytes int
	inTurn := map[string]*Pending{}
	send := func() error {
		if len(turn) == 0 {
			return nil
		}
		last := turn[len(turn)-1]
		position, err := to.publishTurn(ctx, turn)
		if err == nil && position != last.rec.Position {
			err = fmt.Errorf("the commit at position %d was given position %d", last.rec.Position, position)
		}
		turn, bytes = nil, 0
		clear(inTurn)
		return err
	}
	err := from.readUpTo(ctx, allSubjects, 0, end, func(r Record) error {
		subject := Subject(r.Commit.Boundary())
		a := &appending{Pending: &Pending{rec: r}, subject: subject, after: heads[subject], behind: inTurn[subject]}
		heads[subject], inTurn[subject] = r.Head(), a.Pending
		turn = append(turn, a)
		if bytes += len(r.Stored); len(turn) < maxBatchCommits && bytes < maxBatchBytes-MaxMessageSize {
			return nil
		}
		return send()
	})
	if err == nil {
		err = send()
	}
	if err == nil {
		err = to.Whole(ctx)
	}
	return err
}

// publishTurn sends commits together, or the one that there is, and gives the position of
// the last.
func (s *Stream) publishTurn(ctx context.Context, turn []*appending) (position uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if len(turn) == 1 {
		a := turn[0]
		return s.publish(ctx, a.subject, a.rec.Stored, a.after.Position)
	}
	return s.publishBatch(ctx, turn)
}

// writeDurably makes a file, and returns when it is on disk.
func writeDurably(path, text string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Sync(), file.Close(), syncDir(filepath.Dir(path)))
}

// syncDir makes what was made, moved and removed in a directory durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
