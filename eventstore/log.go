// Package eventstore keeps the record: an append-only log of commits in a NATS
// JetStream stream, and the only writer to it. It never decides what may be
// recorded, and never rewrites or removes what was.
package eventstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// Head is the last commit of a boundary. The zero Head says that there is none yet.
type Head struct {
	Version  uint64      // of the commit within its boundary
	Position uint64      // in the ledger
	Hash     domain.Hash // of its stored bytes
}

// Record is a commit as it stands in the log. Several readers may share what it points
// to: it is read-only.
type Record struct {
	Position uint64
	Stored   []byte // the bytes that Hash covers
	Hash     domain.Hash
	Commit   *domain.Commit
}

// Head is the record seen as the last of its boundary.
func (r Record) Head() Head { return Head{r.Commit.Version, r.Position, r.Hash} }

// Log is the ledger's record of commits, in one order for all readers.
type Log interface {
	// Append records a commit directly after the head, and returns when the commit
	// is durable: on disk where there is one node, on the disks of a quorum where
	// there are more. It sets the commit's Version and Prev.
	//
	// When the boundary's head is another, nothing is recorded and the error is a
	// *ConflictError: the caller reads on and decides again. When the outcome is
	// not known (the answer was lost), Append settles it itself by reading the
	// boundary's tail and sending the same bytes again, until ctx ends; only then
	// the error is ErrOutcomeUnknown, and the commit may or may not be recorded.
	// Any other error means that nothing was recorded: ErrUnavailable; ErrBusy, at once,
	// when too many commits wait already; ErrTooLarge and others for a commit that was
	// not worth sending. Without a connection it fails at once. ctx should have a
	// deadline: a commit that still waits to be sent when it ends is not recorded.
	//
	// Commits that are appended at the same time share what it costs to make them
	// durable; those of different boundaries neither wait nor fail for each other.
	Append(ctx context.Context, after Head, commit *domain.Commit) (Record, error)

	// Begin is Append that doesn't wait for the end. The commit's version and hash are
	// known at once.
	Begin(ctx context.Context, after Head, commit *domain.Commit) *Pending

	// Chain is Begin after a commit of the same boundary that was begun on this log and
	// may not have ended. They are recorded in their order and, where that saves time,
	// together. When the one before fails, so does this one, and nothing of it is
	// recorded: with a *ConflictError if that was the reason, else with ErrFell, which is
	// an ErrUnavailable. Only where the outcome of both is not known the error is ErrOutcomeUnknown.
	Chain(ctx context.Context, behind *Pending, commit *domain.Commit) *Pending

	// Tail is the head of a boundary as its leader has it, durable; never behind an
	// acknowledged Append of anyone.
	Tail(ctx context.Context, b domain.Boundary) (Head, error)

	// Last is the position of the last commit in the ledger (0: none), as the
	// leader has it.
	Last(ctx context.Context) (uint64, error)

	// Read calls f for each commit of a boundary after the position, oldest first,
	// up to the tail at the time of the call, and stops at f's first error.
	Read(ctx context.Context, b domain.Boundary, after uint64, f func(Record) error) error

	// ReadAll does the same for all boundaries of a kind, or for all of the ledger
	// where kind is empty.
	ReadAll(ctx context.Context, kind domain.Kind, after uint64, f func(Record) error) error

	// At is the commit at a position, or ErrNoCommit.
	At(ctx context.Context, position uint64) (Record, error)

	// Follow calls f for every commit after the position, in the ledger's order and
	// without a gap, as they become durable, until ctx ends or f fails. It
	// reconnects by itself; a commit is handed to f once for each call of Follow. A
	// commit that can't be decoded, or a gap in the positions (a *GapError, also for
	// a log that ends before the position), or another commit in the place of the last
	// that was handed over (a *BrokenError), ends it with an error: no reader may skip
	// what it can't read.
	//
	// caughtUp is called, from the same goroutine as f, whenever everything that
	// was in the ledger at a moment shortly before has been handed to f, at least
	// once a second while the log can be reached; it is given that last position.
	// It may be nil.
	Follow(ctx context.Context, after uint64, f func(Record) error, caughtUp func(last uint64)) error
}

// ErrOutcomeUnknown means that an append could not be settled in time.
var ErrOutcomeUnknown = errors.New("the outcome of the append is unknown")

// ErrUnavailable means that the log could not be reached. Nothing was recorded.
var ErrUnavailable = errors.New("the log cannot be reached")

// ErrFell means that the commit before it was not recorded, and so neither was this one,
// whatever it is worth by itself.
var ErrFell = errors.New("the commit before it was not recorded")

// ErrNoCommit means that there is no commit at a position.
var ErrNoCommit = errors.New("no commit at this position")

// ConflictError means that a boundary's head is not the expected one.
type ConflictError struct {
	Boundary         domain.Boundary
	Expected, Actual Head
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s is at version %d, not %d", e.Boundary, e.Actual.Version, e.Expected.Version)
}

// CaughtUpInterval is how often Follow confirms that it is at the log's end.
const CaughtUpInterval = 500 * time.Millisecond
