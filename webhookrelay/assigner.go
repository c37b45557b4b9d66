package webhookrelay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections/pgdb"
)

const (
	// maxBatchCommits and maxBatchEvents bound one transaction of the assigner: below
	// them, more a transaction is faster; above, memory and the wait of the first in
	// the batch grow for nothing. An event is at most a few rows of about 1 KiB.
	maxBatchCommits = 500
	maxBatchEvents  = 1000
	// gatherFor is how far apart transactions begin at least: commits that come in quick
	// succession share one, and those that come after a pause do not wait.
	gatherFor = 10 * time.Millisecond

	// standbyInterval is how soon another process takes over where one died.
	standbyInterval = time.Second
	// retryLeast and retryMost bound the wait while the log or the database is away.
	retryLeast, retryMost = 100 * time.Millisecond, 5 * time.Second
	// stoppedInterval is the wait before what cannot be passed over is tried again:
	// the cause may have been repaired, or a newer program may take over meanwhile.
	stoppedInterval = 10 * time.Second
)

// ErrStandby means that another process assigns deliveries.
var ErrStandby = errors.New("another relay assigns deliveries")

// assigner reads the log and writes what is to be delivered. Of all processes one does
// so at a time; that two never both do rests on the checkpoint, which is updated by
// compare-and-swap, and the advisory lock only keeps them from trying.
type assigner struct {
	log      eventstore.Log
	pool     *pgxpool.Pool
	clock    func() time.Time
	logger   *slog.Logger
	metrics  *Metrics
	events   eventCache
	assigned func(fresh map[string]*webhook) // they have new deliveries
	changed  func()                          // webhooks were changed, or there are new tasks

	pid atomic.Uint32 // of the session in the database, 0: there is none

	mu       sync.Mutex
	state    AssignerState
	position uint64 // of the checkpoint, as far as this process knows
	err      error
}

// run assigns until ctx ends, or stands by while another process does.
func (a *assigner) run(ctx context.Context) {
	pause := retryLeast
	for ctx.Err() == nil {
		began := a.clock()
		err := a.lead(ctx)
		if ctx.Err() != nil {
			return
		}
		if a.clock().Sub(began) > retryMost {
			pause = retryLeast
		}
		wait := a.report(err)
		if wait == 0 {
			wait, pause = pause, min(2*pause, retryMost)
		}
		sleep(ctx, wait)
	}
}

// report records why assigning ended, and gives the wait before it is tried again, 0
// for a short one.
func (a *assigner) report(err error) time.Duration {
	state, wait := AssignerStopped, stoppedInterval
	switch {
	case errors.Is(err, ErrStandby):
		state, wait, err = AssignerStandby, standbyInterval, nil
	case temporary(err):
		state, wait = AssignerWaiting, 0
	}
	if before := a.setState(state, err); err != nil && (before == nil || before.Error() != err.Error()) {
		level := slog.LevelWarn
		if state == AssignerStopped {
			level = slog.LevelError
		}
		a.logger.Log(context.Background(), level, "webhook deliveries are not being assigned", "state", state, "err", err)
	}
	return wait
}

// temporary tells what passes by itself from what needs a person or another program.
func temporary(err error) bool {
	return pgdb.Unavailable(err) || errors.Is(err, eventstore.ErrUnavailable) || errors.Is(err, errOvertaken) ||
		errors.Is(err, context.DeadlineExceeded)
}

func (a *assigner) setState(state AssignerState, err error) (before error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before, a.err, a.state = a.err, err, state
	a.metrics.assignerStopped.Set(0)
	if state == AssignerStopped {
		a.metrics.assignerStopped.Set(1)
	}
	return before
}

// lead takes the assigner's place and follows the log until something fails.
func (a *assigner) lead(ctx context.Context) error {
	s, err := openSession(ctx, a.pool, a.log)
	if err != nil {
		return err
	}
	defer s.close()
	a.pid.Store(s.conn.PgConn().PID())
	defer a.pid.Store(0)
	a.saw(s.checkpoint.position)

	// Reading goes on while a batch is being written, so that the next one is there.
	reading, stop := context.WithCancel(ctx)
	records := make(chan eventstore.Record, maxBatchCommits)
	ended := make(chan error, 1)
	go func() {
		ended <- a.log.Follow(reading, s.checkpoint.position, func(r eventstore.Record) error {
			select {
			case records <- r:
				return nil
			case <-reading.Done():
				return reading.Err()
			}
		}, nil)
		close(records)
	}()
	defer func() { // Follow must be over before the next begins
		stop()
		for range records {
		}
	}()

	a.setState(AssignerActive, nil)
	for {
		batch := nextBatch(records)
		if len(batch) == 0 {
			return <-ended
		}
		began := time.Now()
		if err := a.assign(ctx, s, batch); err != nil {
			return err
		}
		sleep(ctx, time.Until(began.Add(gatherFor)))
	}
}

// nextBatch waits for one record and takes what else is there already. It is empty when
// the channel is closed.
func nextBatch(records <-chan eventstore.Record) []eventstore.Record {
	first, ok := <-records
	if !ok {
		return nil
	}
	batch, events := []eventstore.Record{first}, len(first.Commit.Events)
	for len(batch) < maxBatchCommits && events < maxBatchEvents {
		select {
		case r, ok := <-records:
			if !ok {
				return batch
			}
			batch, events = append(batch, r), events+len(r.Commit.Events)
		default:
			return batch
		}
	}
	return batch
}

// step assigns what is in the log now.
func (a *assigner) step(ctx context.Context) (commits int, err error) {
	s, err := openSession(ctx, a.pool, a.log)
	if err != nil {
		return 0, err
	}
	defer s.close()
	var batch []eventstore.Record
	events := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := a.assign(ctx, s, batch)
		if err == nil {
			commits += len(batch)
		}
		batch, events = nil, 0
		return err
	}
	readErr := a.log.ReadAll(ctx, "", s.checkpoint.position, func(r eventstore.Record) error {
		batch, events = append(batch, r), events+len(r.Commit.Events)
		if len(batch) < maxBatchCommits && events < maxBatchEvents {
			return nil
		}
		return flush()
	})
	// What was read before an unreadable commit is assigned all the same.
	if err := flush(); err != nil {
		return commits, err
	}
	return commits, readErr
}

// assign writes one batch and tells the deliverers.
func (a *assigner) assign(ctx context.Context, s *session, batch []eventstore.Record) error {
	p, err := s.plan(ctx, batch)
	if err != nil {
		return err
	}
	if err := s.write(ctx, p, a.clock()); err != nil {
		return fmt.Errorf("assign deliveries up to position %d: %w", p.last.position, err)
	}
	a.saw(p.last.position)
	a.metrics.assigned.Add(float64(len(p.rows)))
	if len(p.rows) > 0 {
		a.events.add(p.assigned())
		a.assigned(p.fresh)
	}
	if p.hasChanges() {
		a.changed()
	}
	return nil
}

// saw takes note of where the checkpoint is, whoever moved it there.
func (a *assigner) saw(position uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.position = max(a.position, position)
}

// sleep waits, or less where ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
