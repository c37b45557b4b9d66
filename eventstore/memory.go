package eventstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// Memory is a log that keeps the same contract without a server, a disk or a
// network: what is appended is durable at once, as long as the process lives. It
// is for simulations and tests.
type Memory struct {
	mu    sync.Mutex
	all   []memoryCommit // the commit at position p is all[p-1]
	heads map[domain.Boundary]Head
	grown chan struct{} // closed, and replaced, when a commit is added
}

type memoryCommit struct {
	boundary domain.Boundary
	stored   []byte
}

var _ Log = (*Memory)(nil)

// NewMemory makes an empty log.
func NewMemory() *Memory {
	return &Memory{heads: make(map[domain.Boundary]Head), grown: make(chan struct{})}
}

// Append records the commit, unless ctx has ended or the head is another.
func (m *Memory) Append(ctx context.Context, after Head, commit *domain.Commit) (Record, error) {
	return m.Begin(ctx, after, commit).Wait()
}

// Begin does the same; there is nothing to wait for.
func (m *Memory) Begin(ctx context.Context, after Head, commit *domain.Commit) *Pending {
	p := newPending(after, commit)
	if p.open() {
		p.end(m.record(ctx, after, p.rec))
	}
	return p
}

// Chain records the commit if the one before it was recorded.
func (m *Memory) Chain(ctx context.Context, behind *Pending, commit *domain.Commit) *Pending {
	p := newPendingBehind(behind, commit)
	if !p.open() {
		return p
	}
	after, err := behind.outcome(p)
	if err != nil {
		p.end(0, err)
	} else {
		p.end(m.record(ctx, after, p.rec))
	}
	return p
}

func (m *Memory) record(ctx context.Context, after Head, rec Record) (position uint64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, errors.Join(ErrUnavailable, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b := rec.Commit.Boundary()
	if head := m.heads[b]; head != after {
		return 0, &ConflictError{Boundary: b, Expected: after, Actual: head}
	}
	rec.Position = m.add(b, rec.Stored)
	m.heads[b] = rec.Head()
	return rec.Position, nil
}

// Inject records bytes as they are, at the end of a boundary whose head stays what
// it was, so that tests can see what readers do with what they can't read.
func (m *Memory) Inject(b domain.Boundary, stored []byte) (position uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.add(b, stored)
}

func (m *Memory) add(b domain.Boundary, stored []byte) (position uint64) {
	m.all = append(m.all, memoryCommit{b, stored})
	close(m.grown)
	m.grown = make(chan struct{})
	return uint64(len(m.all))
}

// Tail is the head of a boundary.
func (m *Memory) Tail(_ context.Context, b domain.Boundary) (Head, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.heads[b], nil
}

// Last is the number of commits.
func (m *Memory) Last(context.Context) (uint64, error) {
	all, _ := m.view()
	return uint64(len(all)), nil
}

// view is what the log holds now, and the channel that tells when it holds more.
// Commits are never changed, so the slice can be read without the lock.
func (m *Memory) view() ([]memoryCommit, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.all, m.grown
}

// Read reads a boundary.
func (m *Memory) Read(ctx context.Context, b domain.Boundary, after uint64, f func(Record) error) error {
	r := &boundaryReader{after: after, f: f}
	return m.read(ctx, after, func(c memoryCommit) bool { return c.boundary == b }, r.take)
}

// ReadAll reads a kind or all of the ledger.
func (m *Memory) ReadAll(ctx context.Context, kind domain.Kind, after uint64, f func(Record) error) error {
	return m.read(ctx, after, func(c memoryCommit) bool { return kind == "" || c.boundary.Kind == kind }, f)
}

func (m *Memory) read(ctx context.Context, after uint64, match func(memoryCommit) bool, f func(Record) error) error {
	all, _ := m.view()
	for position := after + 1; position <= uint64(len(all)); position++ {
		c := all[position-1]
		if !match(c) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		rec, err := decode(Subject(c.boundary), position, c.stored)
		if err != nil {
			return err
		}
		if err := f(rec); err != nil {
			return err
		}
	}
	return nil
}

// At reads one commit.
func (m *Memory) At(_ context.Context, position uint64) (Record, error) {
	all, _ := m.view()
	if position == 0 || position > uint64(len(all)) {
		return Record{}, ErrNoCommit
	}
	c := all[position-1]
	return decode(Subject(c.boundary), position, c.stored)
}

// Follow hands over commits as they are appended.
func (m *Memory) Follow(ctx context.Context, after uint64, f func(Record) error, caughtUp func(last uint64)) error {
	tick := time.NewTicker(CaughtUpInterval)
	defer tick.Stop()
	for {
		all, grown := m.view()
		last := uint64(len(all))
		if last < after {
			return &GapError{after, fmt.Sprintf("the ledger ends at %d", last)}
		}
		for ; after < last; after++ {
			rec, err := m.At(ctx, after+1)
			if err == nil {
				err = ctx.Err()
			}
			if err == nil {
				err = f(rec)
			}
			if err != nil {
				return err
			}
		}
		if caughtUp != nil {
			caughtUp(last)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-grown:
		case <-tick.C:
		}
	}
}
