package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/claimledger/claimledger/domain"
)

// forPerson reduces an error to what a person is told of it; its cause is for the log.
func forPerson(err error) error {
	var known *domain.Error
	if errors.As(err, &known) {
		return errors.New(known.Message)
	}
	return err
}

// quiet keeps what is routine out of the output of short commands.
func quiet(l *slog.Logger) *slog.Logger { return slog.New(warnings{l.Handler()}) }

type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}

func (w warnings) WithAttrs(a []slog.Attr) slog.Handler { return warnings{w.Handler.WithAttrs(a)} }

func (w warnings) WithGroup(name string) slog.Handler { return warnings{w.Handler.WithGroup(name)} }
