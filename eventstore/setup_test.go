package eventstore

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func embeddedConn(t *testing.T) *nats.Conn {
	t.Helper()
	e, err := StartEmbedded(EmbeddedConfig{Dir: t.TempDir(), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Stop() })
	nc, err := e.Connect()
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

func TestOpenBeforeCreate(t *testing.T) {
	if _, err := Open(t.Context(), embeddedConn(t), 1, quiet()); !errors.Is(err, ErrNotSetUp) {
		t.Errorf("open: %v, want ErrNotSetUp", err)
	}
}

func TestOpenNamesEachDifference(t *testing.T) {
	nc := embeddedConn(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cfg := ledgerConfig(1)
	cfg.MaxAge, cfg.AllowDirect, cfg.DenyPurge = time.Hour, true, false
	cfg.Description, cfg.Metadata = "an operator's own", map[string]string{"team": "records"}
	if _, err := js.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	// Create adds the buckets, and leaves the stream as it is.
	if err := Create(t.Context(), nc, 1); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), nc, 1, quiet())
	var differs *ConfigError
	if !errors.As(err, &differs) {
		t.Fatalf("open: %v, want a ConfigError", err)
	}
	want := "max_age is 1h0m0s, not 0s; deny_purge is false, not true; allow_direct is true, not false"
	if got := strings.Join(differs.Differences, "; "); differs.Stream != StreamName || got != want {
		t.Errorf("differences of %s: %s\nwant %s", differs.Stream, got, want)
	}
}

func TestOpenChecksReplicas(t *testing.T) {
	nc := embeddedConn(t)
	if err := Create(t.Context(), nc, 1); err != nil {
		t.Fatal(err)
	}
	var differs *ConfigError
	if _, err := Open(t.Context(), nc, 3, quiet()); !errors.As(err, &differs) {
		t.Errorf("open with 3 replicas: %v, want a ConfigError", err)
	}
	if err := Create(t.Context(), nc, 1); err != nil {
		t.Errorf("create once more: %v", err)
	}
	if _, err := Open(t.Context(), nc, 1, quiet()); err != nil {
		t.Errorf("open: %v", err)
	}
}

func TestOpenRefusesAConnectionThatBuffers(t *testing.T) {
	dir := t.TempDir()
	e, err := StartEmbedded(EmbeddedConfig{Dir: dir, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Stop()
	access, err := ReadOperatorFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(access.URL, nats.UserInfo(access.User, access.Password))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := Open(t.Context(), nc, 1, quiet()); err == nil {
		t.Error("open took a connection that sends later what failed before")
	}
}

// A follower that was further than the log is must not wait for others' commits to
// fill the positions.
func TestFollowNoticesAShortenedLog(t *testing.T) {
	nc := embeddedConn(t)
	if err := Create(t.Context(), nc, 1); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), nc, 1, quiet())
	if err != nil {
		t.Fatal(err)
	}
	fl := &follower{s: s, at: place{position: 5}, cursor: &cursor{}, caughtUp: func(uint64) { t.Error("caught up with a log that is shorter") }}
	if err := fl.confirm(t.Context()); err != nil || fl.behindSince.IsZero() {
		t.Fatalf("at first: %v", err)
	}
	fl.behindSince = fl.behindSince.Add(-2 * rewindPatience)
	var gap *GapError
	if err := fl.confirm(t.Context()); !errors.As(err, &gap) || gap.After != 5 {
		t.Errorf("after a while: %v, want a GapError after 5", err)
	}
}

func TestVerdict(t *testing.T) {
	api := func(code jetstream.ErrorCode) error { return &jetstream.APIError{ErrorCode: code} }
	for _, test := range []struct {
		err  error
		want outcome
	}{
		{context.DeadlineExceeded, unknown},
		{nats.ErrDisconnected, unknown},
		{nats.ErrConnectionClosed, unknown},
		{errors.New("anything else"), unknown},
		{nats.ErrNoResponders, notSent},
		{nats.ErrReconnectBufExceeded, notSent},
		{errors.Join(errNotSent, context.DeadlineExceeded), notSent},
		{api(10071), conflict},
		{api(10164), conflict},
		{api(10077), refused},
		{nats.ErrMaxPayload, refused},
	} {
		if got := verdict(test.err); got != test.want {
			t.Errorf("verdict(%v) = %v, want %v", test.err, got, test.want)
		}
	}
}

func TestSupportedVersions(t *testing.T) {
	for version, want := range map[string]bool{
		"2.12.0": true, "2.15.2": true, "v2.12.1-beta.1": true, "3.0.0": true,
		"2.11.9": false, "2.9.25": false, "1.99.0": false, "": false, "nightly": false,
	} {
		if got := supported(version); got != want {
			t.Errorf("supported(%q) = %v", version, got)
		}
	}
}

func TestConnectShowsNoPassword(t *testing.T) {
	for _, urls := range []string{
		"nats://ledger:hunter2@127.0.0.1:1",
		"nats://hunter2@127.0.0.1:1",
		"nats://ledger:hunter2@127.0.0.1:1,nats://ledger:hunter2@127.0.0.1:2",
		"nats://ledger:hunter2@127.0.0.1:port",
		"nats://ledger:hunter2%zz@127.0.0.1:1",
		"ledger:hunter2@127.0.0.1:1",
		"://ledger:hunter2",
	} {
		nc, err := Connect(urls, "", quiet())
		if err == nil {
			nc.Close()
			t.Fatalf("connected to %s", urls)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

func TestDiskFull(t *testing.T) {
	err := error(&DiskFullError{Dir: "/var/ledger", Free: 10 << 20, Need: 2 * freeReserve})
	if want := "the disk of /var/ledger is full: 10 MiB are free, 128 MiB are needed to start"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

// A deployment that was set up before there were signed heads lacks their stream alone.
// Open names it, and Create adds it and leaves the rest as it is.
func TestHeadsAreAddedToALedgerThatExists(t *testing.T) {
	nc := embeddedConn(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, cfg := range allConfigs(1) {
		if cfg.Name == HeadsStreamName {
			continue
		}
		if _, err := js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(t.Context(), nc, 1, quiet()); !errors.Is(err, ErrNotSetUp) || !strings.Contains(err.Error(), HeadsStreamName) {
		t.Errorf("open: %v, want ErrNotSetUp that names %s", err, HeadsStreamName)
	}
	if err := Create(t.Context(), nc, 1); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), nc, 1, quiet())
	if err != nil {
		t.Fatal(err)
	}
	// What is no head, as nothing here publishes it, is not taken for one.
	if _, err := nc.RequestWithContext(t.Context(), headsSubject, []byte("no head")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Heads().Last(t.Context()); err == nil || errors.Is(err, ErrUnavailable) {
		t.Errorf("the last head: %v", err)
	}
}
