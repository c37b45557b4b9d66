package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/api"
	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections"
	"github.com/claimledger/claimledger/projections/pgdb"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
	"github.com/claimledger/claimledger/webhookrelay"
)

// lossyLog is the data directory of a ledger that was stopped: a log with its mark, a head
// that was signed for all of it, and what read models and relay make of it.
type lossyLog struct {
	t       *testing.T
	dir     string
	records []eventstore.Record
}

func newLossyLog(t *testing.T) *lossyLog {
	t.Helper()
	l := &lossyLog{t: t, dir: t.TempDir()}
	if r := outcome(t, nil, "owner", "create", "acme", "--email", "o@example.com", "--data-dir", l.dir); r.code != 0 {
		t.Fatal(r.err)
	}
	place := placeSettings{DataDir: l.dir}
	stream, closeLog, err := place.openLog(t.Context(), true, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer closeLog()
	x, err := executor(t.Context(), stream, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for range 19 {
		_, token := newLoginToken("acme")
		_, _, err := x.Registry(t.Context(), "acme", domain.AddOwner{OwnerID: api.NewOwnerID(newID()), Token: token},
			commands.Meta{Actor: operator, Ref: domain.CommandRef{Name: "owner.add"}})
		if err != nil {
			t.Fatal(err)
		}
	}
	var chain domain.Chain
	readStream(t, stream, func(r eventstore.Record) {
		l.records = append(l.records, r)
		chain = chain.Then(r.Position, r.Hash)
	})
	key, err := domain.NewHeadKey(make([]byte, domain.HeadKeySize))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Heads().Append(t.Context(), eventstore.StoredHead{}, key.Sign(chain, time.Now())); err != nil {
		t.Fatal(err)
	}
	last := l.last()
	if err := place.markFile().Write(eventstore.Mark{Position: last.Position, Hash: last.Hash}); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lossyLog) last() eventstore.Record { return l.records[len(l.records)-1] }

// copied gives another directory with the same, and a database that was built from it.
func (l *lossyLog) copied() (dir, database string) {
	l.t.Helper()
	dir, database = l.t.TempDir(), pgtest.New(l.t)
	if err := os.CopyFS(dir, os.DirFS(l.dir)); err != nil {
		l.t.Fatal(err)
	}
	stream, closeLog, err := placeSettings{DataDir: dir}.openLog(l.t.Context(), true, slog.New(slog.DiscardHandler))
	if err != nil {
		l.t.Fatal(err)
	}
	defer closeLog()
	ctx := l.t.Context()
	pool := l.open(database)
	defer pool.Close()
	if err := projections.Setup(ctx, pool); err != nil {
		l.t.Fatal(err)
	}
	for _, model := range projections.Models() {
		projector := projections.NewProjector(stream, pool, model, nil)
		for n := 1; n > 0; {
			if n, err = projector.Step(ctx); err != nil {
				l.t.Fatal(err)
			}
		}
		projector.Close()
	}
	if err := webhookrelay.Setup(ctx, pool); err != nil {
		l.t.Fatal(err)
	}
	last := l.last()
	if _, err := pool.Exec(ctx, "UPDATE webhookrelay.checkpoint SET position = $1, hash = $2", last.Position, last.Hash[:]); err != nil {
		l.t.Fatal(err)
	}
	return dir, database
}

func (l *lossyLog) open(database string) *pgxpool.Pool {
	l.t.Helper()
	pool, err := pgdb.Open(l.t.Context(), database, pgdb.Options{ApplicationName: "the test"})
	if err != nil {
		l.t.Fatal(err)
	}
	return pool
}

// Wherever it was ended, running it again does the rest, and only that. What was accepted
// is written down before anything is done.
func TestAcceptLossThatIsInterrupted(t *testing.T) {
	t.Parallel()
	l := newLossyLog(t)
	const all = 6 // with what is written down
	for after := range all + 1 {
		t.Run(fmt.Sprintf("after %d of %d steps", after, all), func(t *testing.T) {
			l := &lossyLog{t, l.dir, l.records}
			dir, database := l.copied()
			cutTail(t, blockOf(t, filepath.Join(dir, "nats")))
			c := &acceptLossCommand{placeSettings: placeSettings{DataDir: dir, DatabaseURL: database}}
			a, err := c.open(t.Context(), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if err := a.look(t.Context()); err != nil {
				t.Fatal(err)
			}
			steps := a.steps(time.Now())
			if len(steps) != all {
				t.Fatalf("%d steps: %v", len(steps), steps)
			}
			for _, s := range steps[:after] {
				if err := s.do(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			end := a.survey.End.Position
			if err := a.close(t.Context()); err != nil {
				t.Fatal(err)
			}
			again := []string{"log", "accept-loss", "--data-dir", dir, "--database-url", database, "--confirm", fmt.Sprint(end)}
			r := outcome(t, nil, again...)
			// What is written down once more is what is left.
			if want := min(all-max(after, 1)+1, (all-after)*all); r.code != 0 || strings.Count(r.out, "\n  - ") != want {
				t.Errorf("the rest, %d steps, ended with %d: %s%s", want, r.code, r.out, r.err)
			}
			if r := outcome(t, nil, again...); r.code != 0 || !strings.Contains(r.out, "nothing to accept") {
				t.Errorf("after that it ended with %d: %s%s", r.code, r.out, r.err)
			}
			if r := outcome(t, nil, "log", "check", "--data-dir", dir, "--database-url", database); r.code != 0 {
				t.Errorf("log check ended with %d: %s%s", r.code, r.out, r.err)
			}
			accepted, err := os.ReadFile(filepath.Join(dir, "log.accepted"))
			if lines := strings.Count(string(accepted), "\n"); err != nil || lines < 1 || lines > 2 {
				t.Errorf("log.accepted says %s, %v", accepted, err)
			}
			l.goesOn(dir, end)
		})
	}
}

// repeat has the log's server take a commit a second time, past all that keeps the ledger
// from it.
func (l *lossyLog) repeat(position int) {
	l.t.Helper()
	server, err := placeSettings{DataDir: l.dir}.startNATS(true, slog.New(slog.DiscardHandler))
	if err != nil {
		l.t.Fatal(err)
	}
	nc, err := server.Connect()
	if err != nil {
		l.t.Fatal(err)
	}
	r := l.records[position-1]
	if _, err := nc.RequestWithContext(l.t.Context(), eventstore.Subject(r.Commit.Boundary()), r.Stored); err != nil {
		l.t.Fatal(err)
	}
	if err := server.Stop(); err != nil {
		l.t.Fatal(err)
	}
}

// goesOn makes sure that the next commit has the next position.
func (l *lossyLog) goesOn(dir string, end uint64) {
	l.t.Helper()
	if r := outcome(l.t, nil, "owner", "add", "acme", "--email", "n@example.com", "--data-dir", dir); r.code != 0 {
		l.t.Fatal(r.err)
	}
	var now []eventstore.Record
	readLog(l.t, dir, func(r eventstore.Record) { now = append(now, r) })
	if uint64(len(now)) != end+1 || !slices.EqualFunc(now[:end], l.records[:end], func(a, b eventstore.Record) bool {
		return a.Position == b.Position && a.Hash == b.Hash
	}) {
		l.t.Errorf("the log has %d commits, or others than it had, where %d were left", len(now), end)
	}
}

// A log that contradicts itself is not accepted, whoever confirms it, and neither is what is
// no log.
func TestAcceptLossRefuses(t *testing.T) {
	t.Parallel()
	l := newLossyLog(t)
	l.repeat(2)
	place := []string{"log", "accept-loss", "--data-dir", l.dir}
	for _, args := range [][]string{nil, {"--confirm", "20"}, {"--confirm", "21"}} {
		r := outcome(t, nil, append(place, args...)...)
		if r.code != exitFailure || !strings.Contains(r.out, "contradicts itself at position 21") || !strings.Contains(r.out, "Only a copy") {
			t.Errorf("of a log with a commit twice it says, with %d: %s%s", r.code, r.out, r.err)
		}
	}
	files, err := filepath.Glob(filepath.Join(l.dir, "log.*"))
	if mark, readErr := (placeSettings{DataDir: l.dir}).markFile().Read(); err != nil || len(files) != 1 || readErr != nil || mark.Position != 20 {
		t.Errorf("it changed something: %v, %+v, %v, %v", files, mark, err, readErr)
	}

	none := filepath.Join(t.TempDir(), "none")
	if r := outcome(t, nil, "log", "accept-loss", "--data-dir", none); r.code != exitFailure || !strings.Contains(r.err, "there is no log in "+none) {
		t.Errorf("without a log it ended with %d: %s", r.code, r.err)
	}
	if _, err := os.Stat(none); !os.IsNotExist(err) {
		t.Errorf("a directory was made: %v", err)
	}
	for _, args := range [][]string{
		{"--nats-url", "nats://127.0.0.1:1"}, {"--confirm", "many"}, {"--confirm", "-1"}, {"--replicas", "3"},
	} {
		if r := outcome(t, nil, append([]string{"log", "accept-loss", "--data-dir", none}, args...)...); r.code == 0 || r.out != "" && !strings.Contains(r.out, "Usage") {
			t.Errorf("%q ended with %d: %s%s", args, r.code, r.out, r.err)
		}
	}
}
