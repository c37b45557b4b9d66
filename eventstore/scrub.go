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

const (
	// scrubBatch and scrubPause set the pace of reading everything again: at most 1,000
	// commits a second, a few percent of one CPU.
	scrubBatch = 500
	scrubPause = 500 * time.Millisecond
	// scrubAgain is the rest between two passes over the whole log.
	scrubAgain = time.Hour
)

// Scrubber reads the whole log, slowly, again and again, and closes the fence where a
// commit is missing, cannot be read, or does not follow the one before it in its
// boundary: disks forget what nobody reads.
type Scrubber struct {
	log   Log
	fence *Fence

	mu     sync.Mutex
	chain  *Chain
	passes int
	total  uint64 // commits of the last pass
}

// NewScrubber makes a scrubber that begins at the log's start.
func NewScrubber(log Log, fence *Fence) *Scrubber {
	return &Scrubber{log: log, fence: fence, chain: NewChain()}
}

// Position is up to where the pass of now has come.
func (s *Scrubber) Position() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.chain.Position()
}

// Passes counts how often the whole log was read.
func (s *Scrubber) Passes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.passes
}

// Total counts the commits that the last whole pass read.
func (s *Scrubber) Total() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

var errBatchFull = errors.New("the batch is full")

// Step reads the next commits, and tells whether the pass has come to the log's end;
// then the next Step begins anew.
func (s *Scrubber) Step(ctx context.Context) (end bool, err error) {
	n := 0
	err = s.log.ReadAll(ctx, "", s.Position(), func(r Record) error {
		if n++; n > scrubBatch {
			return errBatchFull
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.chain.Add(r)
	})
	if errors.Is(err, errBatchFull) {
		return false, nil
	}
	if err != nil {
		s.fence.Close(err)
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total, s.passes, s.chain = s.chain.Position(), s.passes+1, NewChain()
	return true, nil
}

// Run reads on until ctx ends or the fence is closed.
func (s *Scrubber) Run(ctx context.Context, logger *slog.Logger) {
	for {
		end, err := s.Step(ctx)
		pause := scrubPause
		switch {
		case ctx.Err() != nil || s.fence.Broken() != nil:
			return
		case err != nil:
			logger.Debug("the log cannot be read through for now", "error", err)
			pause = retryMax
		case end:
			pause = scrubAgain
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// Chain checks that commits, given in the ledger's order from its start, follow one
// another: positions and each boundary's versions without a gap, each commit's prev the
// hash of the one before it, times that do not go back. The zero Chain is not for use.
type Chain struct {
	position uint64
	tips     map[domain.Boundary]domain.Tip
}

// NewChain makes a chain that expects the first commit.
func NewChain() *Chain { return &Chain{tips: map[domain.Boundary]domain.Tip{}} }

// Position is that of the last commit that was added.
func (c *Chain) Position() uint64 { return c.position }

// Add takes the next commit. The error is a *BrokenError that says what is wrong with
// it; then nothing behind it can be checked.
func (c *Chain) Add(r Record) error {
	if r.Position != c.position+1 {
		return &BrokenError{r.Position, fmt.Sprintf("it follows position %d", c.position)}
	}
	b := r.Commit.Boundary()
	tip, err := c.tips[b].Then(r.Commit, r.Hash)
	if err != nil {
		return &BrokenError{r.Position, err.Error()}
	}
	c.position, c.tips[b] = r.Position, tip
	return nil
}
