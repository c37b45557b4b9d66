package commands

import (
	"fmt"
	"testing"
	"time"

	"github.com/claimledger/claimledger/eventstore"
)

func TestTrouble(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	x := &Executor{Config: Config{Now: func() time.Time { return now }}}
	if err := x.Trouble(); err != nil {
		t.Errorf("before any append: %v", err)
	}
	for _, failure := range []error{eventstore.ErrOutcomeUnknown, fmt.Errorf("disk: %w", eventstore.ErrUnavailable)} {
		x.noteAppend(failure)
		if x.Trouble() == nil {
			t.Errorf("no trouble after %v", failure)
		}
		x.noteAppend(&eventstore.ConflictError{})
		if err := x.Trouble(); err != nil {
			t.Errorf("a log that answers with a conflict is well: %v", err)
		}
	}
	x.noteAppend(fmt.Errorf("%w: %w: %v", eventstore.ErrUnavailable, eventstore.ErrFell, eventstore.ErrBusy))
	if err := x.Trouble(); err != nil {
		t.Errorf("a commit that fell with another was never given to the log: %v", err)
	}
	x.noteAppend(eventstore.ErrUnavailable)
	x.noteAppend(eventstore.ErrTooLarge)
	if x.Trouble() == nil {
		t.Error("a commit that is too large says nothing about the log")
	}
	now = now.Add(troubleLasts + time.Second)
	if err := x.Trouble(); err != nil {
		t.Errorf("a process that is sent nothing would never be ready again: %v", err)
	}
}
