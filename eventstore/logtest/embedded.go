// Package logtest has what tests need of the log: a real one to work on, and the
// contract that every implementation keeps. It is imported by tests only.
package logtest

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/claimledger/claimledger/eventstore"
)

// setupTimeout bounds the set-up of a log; it takes some tens of milliseconds.
const setupTimeout = 30 * time.Second

// Embedded starts a log on a server of its own in a temporary directory, and stops
// it when the test ends.
func Embedded(t testing.TB) (*eventstore.Stream, *eventstore.Embedded) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	server, err := eventstore.StartEmbedded(eventstore.EmbeddedConfig{Dir: t.TempDir(), Logger: Logger(t)})
	if err != nil {
		t.Fatalf("start the embedded server: %v", err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Errorf("stop the embedded server: %v", err)
		}
	})
	stream, err := server.Open(ctx)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return stream, server
}

// Logger shows what is logged beside the test's own output, when the test fails or
// is run with -v. What is logged after the test's end is dropped.
func Logger(t testing.TB) *slog.Logger {
	out := &output{to: t.Output()}
	t.Cleanup(func() { out.set(io.Discard) })
	return slog.New(slog.NewTextHandler(out, nil))
}

type output struct {
	mu sync.Mutex
	to io.Writer
}

func (o *output) set(to io.Writer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.to = to
}

func (o *output) Write(line []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.to.Write(line)
}
