package eventstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// Mark is a commit that somebody relies on: it was durable, so the log must have it,
// unchanged, for ever.
type Mark struct {
	Position uint64
	Hash     domain.Hash
	Holder   string // who relies on it, in an operator's words
}

// BrokenError means that the log is not what it was, or cannot be what it says that it
// is: commits are missing, are others than they were, or do not follow one another.
type BrokenError struct {
	Position uint64 // where it shows
	Found    string // what is wrong, for an operator; without secrets
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("the ledger's log is broken at position %d: %s", e.Position, e.Found)
}

// Fence stands between a process and a log that is not what it was. It is open until
// something is found; then it stays closed as long as the process lives, for what was
// decided on such a log could never be told from what was decided on the right one.
//
// A nil Fence is open. It is safe for concurrent use.
type Fence struct {
	logger *slog.Logger

	mu     sync.Mutex
	broken *BrokenError
	known  Mark // the last commit that the process was shown or has appended
}

// NewFence makes an open fence.
func NewFence(logger *slog.Logger) *Fence { return &Fence{logger: logger} }

// Broken tells why nothing may be appended: a *BrokenError, or nil while the fence is
// open.
func (f *Fence) Broken() error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken == nil {
		return nil
	}
	return f.broken
}

// holderSelf names the process as the holder of a mark.
const holderSelf = "this process"

func (f *Fence) learn(r Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Position > f.known.Position {
		f.known = Mark{r.Position, r.Hash, holderSelf}
	}
}

// last is the last commit that the process knows.
func (f *Fence) last() Mark {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known
}

// Close closes the fence where err says that the log is broken, and tells whether it
// does. The first finding stays.
func (f *Fence) Close(err error) bool {
	broken := asBroken(err)
	if broken == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken == nil {
		f.broken = broken
		f.logger.Error("the log is not what it was: no commands are taken any more", "position", broken.Position, "found", broken.Found)
	}
	return true
}

// Broken is what an error says about the log itself, a *BrokenError; nil where it says
// nothing.
func Broken(err error) error {
	if broken := asBroken(err); broken != nil {
		return broken
	}
	return nil
}

func asBroken(err error) *BrokenError {
	var broken *BrokenError
	var gap *GapError
	var unreadable *UnreadableError
	var config *ConfigError
	var newer *domain.UnknownEventError
	switch {
	case errors.As(err, &newer):
		return nil // a newer program's commit: this one is too old for the log
	case errors.As(err, &broken):
		return broken
	case errors.As(err, &gap):
		return &BrokenError{gap.After + 1, "a commit is missing: after position " + fmt.Sprint(gap.After) + ", " + gap.Got}
	case errors.As(err, &unreadable):
		return &BrokenError{unreadable.Position, "what stands there cannot be read: " + unreadable.Err.Error()}
	case errors.As(err, &config):
		return &BrokenError{0, config.Error()}
	}
	return nil
}

// require calls check until it finds nothing, or has found the log broken for as long as
// patience lasts; then it closes the fence. Any other error means that the log could not
// be asked, and nothing is known.
func (f *Fence) require(ctx context.Context, patience time.Duration, check func() error) error {
	giveUp := time.Now().Add(patience)
	var pause backoff
	for {
		err := check()
		if asBroken(err) == nil {
			return err
		}
		if !time.Now().Before(giveUp) {
			f.Close(err)
			return err
		}
		if !pause.wait(ctx) {
			return ctx.Err()
		}
	}
}

// checkMark makes sure that the log has the marked commit, unchanged.
func checkMark(ctx context.Context, log Log, m Mark) error {
	if m.Position == 0 {
		return nil
	}
	rec, err := log.At(ctx, m.Position)
	switch {
	case errors.Is(err, ErrNoCommit):
		last, err := log.Last(ctx)
		if err != nil {
			return err
		}
		return &BrokenError{m.Position, fmt.Sprintf("it ends at position %d, and %s holds the commit at position %d (hash %s): "+
			"commits were lost, or this is another log", last, m.Holder, m.Position, m.Hash)}
	case err != nil:
		return err
	case rec.Hash != m.Hash:
		return &BrokenError{m.Position, fmt.Sprintf("it has another commit there (hash %s) than %s holds (hash %s): "+
			"commits were lost and their positions given to others, or this is another log", rec.Hash, m.Holder, m.Hash)}
	}
	return nil
}
