package commands

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// Snapshots keeps bytes by name, so that not all of the log has to be read again. It is a
// cache: what is saved may be gone at any time, or older than what was saved last.
type Snapshots interface {
	// Save puts contents in the place of what was saved under the name before.
	Save(ctx context.Context, name string, contents []byte) error
	// Load gives what was saved last under the name; nil where there is nothing.
	Load(ctx context.Context, name string) ([]byte, error)
}

const (
	// snapshotLoadTimeout bounds loading one: reading the log takes not much longer.
	snapshotLoadTimeout = 5 * time.Second
	// maxSnapshotState bounds what one holds when it is not compressed.
	maxSnapshotState = 1 << 30
)

// snapshot is a state as it is kept, with what shows whether it is of the log at hand.
type snapshot struct {
	Of    string // the boundary, or the directory
	Fold  int
	Head  eventstore.Head // the last commit in it
	Sum   domain.Hash     // of State
	State []byte          // compressed to half, which takes less time than to write it
}

func newSnapshot(of string, fold int, head eventstore.Head, state []byte) ([]byte, error) {
	s := snapshot{Of: of, Fold: fold, Head: head, State: s2.Encode(nil, state)}
	s.Sum = domain.HashOf(s.State)
	var out bytes.Buffer
	err := gob.NewEncoder(&out).Encode(s)
	return out.Bytes(), err
}

// errForeign refuses a snapshot that says itself that it is of no use here.
var errForeign = errors.New("it was made by another version of the program")

// readSnapshot reads what newSnapshot made. Only what follows from the bytes is checked
// here.
func readSnapshot(of string, fold int, contents []byte) (eventstore.Head, []byte, error) {
	var s snapshot
	if err := gob.NewDecoder(bytes.NewReader(contents)).Decode(&s); err != nil {
		return eventstore.Head{}, nil, err
	}
	switch {
	case s.Of != of:
		return eventstore.Head{}, nil, fmt.Errorf("it is of %q", s.Of)
	case s.Fold != fold:
		return eventstore.Head{}, nil, errForeign
	case s.Sum != domain.HashOf(s.State):
		return eventstore.Head{}, nil, errors.New("it is not what was saved")
	}
	n, err := s2.DecodedLen(s.State)
	if err == nil && n > maxSnapshotState {
		err = fmt.Errorf("it holds %d bytes", n)
	}
	if err != nil {
		return eventstore.Head{}, nil, err
	}
	state, err := s2.Decode(nil, s.State)
	return s.Head, state, err
}

// loadSnapshot gives the state that is kept of something; false where there is none that
// the log vouches for. Whatever is wrong with it, the log has everything.
func (x *Executor) loadSnapshot(ctx context.Context, of string, fold int, belongs func(*domain.Commit) bool) (head eventstore.Head, state []byte, ok bool) {
	if x.Snapshots == nil {
		return head, nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, snapshotLoadTimeout)
	defer cancel()
	contents, err := x.Snapshots.Load(ctx, of)
	x.saver.tell(err)
	if err != nil {
		x.Metrics.snapshot("load", "failed")
		return head, nil, false
	}
	if contents == nil {
		x.Metrics.snapshot("load", "none")
		return head, nil, false
	}
	head, state, err = readSnapshot(of, fold, contents)
	if err == nil {
		err = x.vouch(ctx, head, belongs)
	}
	if err != nil {
		x.ignore(of, err)
		return head, nil, false
	}
	return head, state, true
}

// vouch asks the log for the very commit that a snapshot ends with. It stands for all that
// came before it: a log that lost commits and goes on with others has another one there.
func (x *Executor) vouch(ctx context.Context, head eventstore.Head, belongs func(*domain.Commit) bool) error {
	r, err := x.Log.At(ctx, head.Position)
	switch {
	case err != nil:
		return err
	case r.Hash != head.Hash || r.Commit.Version != head.Version || !belongs(r.Commit):
		return fmt.Errorf("the log has another commit at position %d", head.Position)
	}
	return nil
}

// ignore says why a snapshot is not used.
func (x *Executor) ignore(of string, err error) {
	x.Metrics.snapshot("load", "ignored")
	x.Logger.Info("a snapshot is of no use; reading the log instead", "of", of, "reason", err)
}

// restoreClaims gives a namespace's claims as far as a snapshot has them; nil where none
// is of use.
func (x *Executor) restoreClaims(ctx context.Context, b domain.Boundary) *known[*domain.Claims] {
	head, raw, ok := x.loadSnapshot(ctx, b.String(), domain.ClaimsFold, func(c *domain.Commit) bool { return c.Boundary() == b })
	if !ok {
		return nil
	}
	state, err := domain.RestoreClaims(b.Namespace, raw)
	if err == nil && state.Version() != head.Version {
		err = fmt.Errorf("it is of version %d and not %d", state.Version(), head.Version)
	}
	if err != nil {
		x.ignore(b.String(), err)
		return nil
	}
	x.Metrics.snapshot("load", "used") // it counts as ignored too, where the log goes on otherwise
	return &known[*domain.Claims]{state, head}
}
