package eventstore

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// serverLog passes the embedded server's warnings and errors on; the rest of what
// it says is of no use to whoever runs the ledger. It keeps the reason for which
// the server gave up, as the server itself only logs it.
type serverLog struct {
	logger *slog.Logger

	mu    sync.Mutex
	fatal error
}

func (l *serverLog) Noticef(string, ...any) {}
func (l *serverLog) Debugf(string, ...any)  {}
func (l *serverLog) Tracef(string, ...any)  {}

func (l *serverLog) Warnf(format string, v ...any) {
	l.logger.Warn("nats: " + fmt.Sprintf(format, v...))
}

func (l *serverLog) Errorf(format string, v ...any) {
	l.logger.Error("nats: " + fmt.Sprintf(format, v...))
}

func (l *serverLog) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.logger.Error("nats: " + text)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fatal = errors.Join(l.fatal, errors.New(text))
}

func (l *serverLog) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}
