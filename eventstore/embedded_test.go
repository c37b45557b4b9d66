package eventstore_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

func start(t *testing.T, dir string) *eventstore.Embedded {
	t.Helper()
	e, err := eventstore.StartEmbedded(eventstore.EmbeddedConfig{Dir: dir, Logger: logtest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Stop() })
	return e
}

func openEmbedded(t *testing.T, e *eventstore.Embedded) (*eventstore.Stream, jetstream.JetStream) {
	t.Helper()
	nc, err := e.Connect()
	if err != nil {
		t.Fatal(err)
	}
	if err := eventstore.Create(t.Context(), nc, 1); err != nil {
		t.Fatal(err)
	}
	log, err := eventstore.Open(t.Context(), nc, 1, logtest.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return log, js
}

func TestEmbeddedKeepsTheLogOverARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "the", "start")
	b := domain.ClaimsOf("acme")
	first := start(t, dir)
	log, _ := openEmbedded(t, first)
	rec, err := log.Append(t.Context(), eventstore.Head{}, logtest.Commit(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(t.Context(), rec.Head(), logtest.Commit(b)); !errors.Is(err, eventstore.ErrUnavailable) {
		t.Errorf("append after the stop: %v, want ErrUnavailable", err)
	}

	log, _ = openEmbedded(t, start(t, dir))
	if head, err := log.Tail(t.Context(), b); err != nil || head != rec.Head() {
		t.Errorf("tail after the restart = %+v, %v; want %+v", head, err, rec.Head())
	}
}

func TestEmbeddedIsAloneInItsDirectory(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir)
	_, err := eventstore.StartEmbedded(eventstore.EmbeddedConfig{Dir: dir, Logger: logtest.Logger(t)})
	var locked *eventstore.LockedError
	if !errors.As(err, &locked) || locked.PID != os.Getpid() || locked.Dir != dir {
		t.Fatalf("a second start: %v, want a LockedError with this process's id", err)
	}
	if _, err := eventstore.ReadOperatorFile(dir); err != nil {
		t.Errorf("the refused start took the operators' access away: %v", err)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	start(t, dir)
}

func TestOperatorFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := eventstore.ReadOperatorFile(dir); !errors.Is(err, eventstore.ErrNotRunning) {
		t.Errorf("before the start: %v, want ErrNotRunning", err)
	}
	e := start(t, dir)
	openEmbedded(t, e)
	info, err := os.Stat(filepath.Join(dir, "operator.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("operator.json has mode %v, %v; want 0600", info.Mode(), err)
	}
	access, err := eventstore.ReadOperatorFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	url := strings.Replace(access.URL, "://", "://"+access.User+":"+access.Password+"@", 1)
	nc, err := eventstore.Connect(url, "", logtest.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := eventstore.Open(t.Context(), nc, 1, logtest.Logger(t)); err != nil {
		t.Errorf("open as operator: %v", err)
	}
	nc.Close()
	if nc, err := eventstore.Connect(access.URL, "", logtest.Logger(t)); err == nil {
		nc.Close()
		t.Error("someone without a password could connect")
	}
	if err := e.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := eventstore.ReadOperatorFile(dir); !errors.Is(err, eventstore.ErrNotRunning) {
		t.Errorf("after the stop: %v, want ErrNotRunning", err)
	}
}

// A server that is there for a short command tells nobody how to reach it.
func TestBriefServerIsNotShared(t *testing.T) {
	dir := t.TempDir()
	e, err := eventstore.StartEmbedded(eventstore.EmbeddedConfig{Dir: dir, Logger: logtest.Logger(t), Brief: true})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Stop()
	if access, err := eventstore.ReadOperatorFile(dir); !errors.Is(err, eventstore.ErrNotRunning) {
		t.Errorf("%+v, %v", access, err)
	}
}

func TestStartSaysWhatIsWrongWithTheDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	inTheWay := t.TempDir()
	if err := os.WriteFile(filepath.Join(inTheWay, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, named := range map[string]string{file: file, filepath.Join(file, "below"): file, inTheWay: inTheWay} {
		_, err := eventstore.StartEmbedded(eventstore.EmbeddedConfig{Dir: dir, Logger: logtest.Logger(t)})
		if err == nil || !strings.Contains(err.Error(), named) {
			t.Errorf("start in %s: %v, want an error that names %s", dir, err, named)
		}
		if _, err := eventstore.ReadOperatorFile(dir); err == nil {
			t.Errorf("%s has access for operators to nothing", dir)
		}
	}
}

func TestEmbeddedLogHasNoSecrets(t *testing.T) {
	var said bytes.Buffer
	dir := t.TempDir()
	e, err := eventstore.StartEmbedded(eventstore.EmbeddedConfig{
		Dir: dir, Logger: slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	access, err := eventstore.ReadOperatorFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Stop(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(said.String(), access.Password) {
		t.Error("the log shows the operators' password")
	}
	if said.Len() > 0 {
		t.Errorf("a start and a stop without trouble said: %s", said.String())
	}
}

func TestNobodyDestroysTheEmbeddedLog(t *testing.T) {
	log, js := openEmbedded(t, start(t, t.TempDir()))
	rec, err := log.Append(t.Context(), eventstore.Head{}, logtest.Commit(domain.ClaimsOf("acme")))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), eventstore.StreamName)
	if err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]func(context.Context) error{
		"update": func(ctx context.Context) error {
			_, err := js.UpdateStream(ctx, stream.CachedInfo().Config)
			return err
		},
		"delete": func(ctx context.Context) error { return js.DeleteStream(ctx, eventstore.StreamName) },
		"purge":  func(ctx context.Context) error { return stream.Purge(ctx) },
		"erase":  func(ctx context.Context) error { return stream.SecureDeleteMsg(ctx, rec.Position) },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		if err := try(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want no answer", name, err)
		}
		cancel()
	}
	if last, err := log.Last(t.Context()); err != nil || last != rec.Position {
		t.Errorf("last = %d, %v; want %d", last, err, rec.Position)
	}
}

func TestProfilesAreErased(t *testing.T) {
	dir := t.TempDir()
	e := start(t, dir)
	log, _ := openEmbedded(t, e)
	ctx, profiles := t.Context(), log.Profiles()
	if _, found, err := profiles.Get(ctx, "own_1"); err != nil || found {
		t.Fatalf("a profile that nobody put: %v, %v", found, err)
	}
	for _, email := range []string{"first@example.com", "second@example.com", "third@example.com"} {
		if err := profiles.Put(ctx, "own_1", eventstore.Profile{Email: email, Name: "N. N."}); err != nil {
			t.Fatal(err)
		}
		if p, found, err := profiles.Get(ctx, "own_1"); err != nil || !found || p.Email != email {
			t.Errorf("get = %v, %v, %v; want %s", p, found, err, email)
		}
	}
	if err := profiles.Put(ctx, "own_2", eventstore.Profile{Email: "other@example.com"}); err != nil {
		t.Fatal(err)
	}
	if err := profiles.Delete(ctx, "own_1"); err != nil {
		t.Fatal(err)
	}
	if err := profiles.Delete(ctx, "own_1"); err != nil {
		t.Errorf("delete once more: %v", err)
	}
	if _, found, err := profiles.Get(ctx, "own_1"); err != nil || found {
		t.Errorf("a deleted profile: %v, %v", found, err)
	}
	if err := e.Stop(); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"first@example.com": false, "second@example.com": false, "third@example.com": false, "other@example.com": true,
	} {
		if got := onDisk(t, dir, text); got != want {
			t.Errorf("%s is on disk: %v, want %v", text, got, want)
		}
	}
}

// onDisk reports whether any file below a directory has a text in it.
func onDisk(t *testing.T, dir, text string) (found bool) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		found = found || bytes.Contains(content, []byte(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestUsage(t *testing.T) {
	log, _ := logtest.Embedded(t)
	ctx, usage := t.Context(), log.Usage()
	if all, err := usage.All(ctx); err != nil || len(all) != 0 {
		t.Fatalf("unused: %v, %v", all, err)
	}
	at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	if err := usage.Touch(ctx, map[string]time.Time{"key_1": at, "key_2": at}); err != nil {
		t.Fatal(err)
	}
	if err := usage.Touch(ctx, map[string]time.Time{"key_2": at.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	all, err := usage.All(ctx)
	if err != nil || len(all) != 2 || !all["key_1"].Equal(at) || !all["key_2"].Equal(at.Add(time.Hour)) {
		t.Errorf("all = %v, %v", all, err)
	}
}
