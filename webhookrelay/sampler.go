package webhookrelay

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/eventstore"
)

const (
	sampleInterval = 5 * time.Second
	samplePatience = 5 * time.Second
	// maxCounted bounds the work of counting what is queued.
	maxCounted = 100_000
)

// sampler looks at the queue and the log now and then, so that neither a scrape nor a
// health check costs the database anything.
type sampler struct {
	log      eventstore.Log
	pool     *pgxpool.Pool
	clock    func() time.Time
	logger   *slog.Logger
	metrics  *Metrics
	assigner *assigner

	mu          sync.Mutex
	last        uint64    // position in the log
	behindSince time.Time // zero when all of it is assigned
	behindUpTo  uint64    // where the log ended then
}

func (s *sampler) run(ctx context.Context) {
	tick := time.NewTicker(sampleInterval)
	defer tick.Stop()
	for {
		// What is wrong with the log or the database, the others report.
		if err := s.sample(ctx); err != nil {
			s.logger.Debug("the webhook queue could not be sampled", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *sampler) sample(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, samplePatience)
	defer cancel()
	last, err := s.log.Last(ctx)
	if err != nil {
		return err
	}
	tx, err := s.pool.BeginTx(ctx, begin)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	var position uint64
	var pending, tasks int
	var oldestDue *time.Time
	now := s.clock()
	if err := tx.QueryRow(ctx, sampleSQL, now, maxCounted).Scan(&position, &pending, &tasks, &oldestDue); err != nil {
		return err
	}
	s.metrics.pending.Set(float64(pending))
	s.metrics.tasks.Set(float64(tasks))
	s.metrics.oldestDue.Set(0)
	if oldestDue != nil {
		s.metrics.oldestDue.Set(now.Sub(*oldestDue).Seconds())
	}
	s.assigner.saw(position)
	s.note(position, max(last, position), now)
	return tx.Commit(ctx)
}

func (s *sampler) note(position, last uint64, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = last
	switch {
	case position >= last:
		s.behindSince = time.Time{}
	case s.behindSince.IsZero() || position >= s.behindUpTo: // with what has come since
		s.behindSince, s.behindUpTo = now, last
	}
	s.metrics.lagCommits.Set(float64(last - min(position, last))) // it may have moved on meanwhile
	s.metrics.lagSeconds.Set(s.behind(now).Seconds())
}

func (s *sampler) behind(now time.Time) time.Duration {
	if s.behindSince.IsZero() {
		return 0
	}
	return now.Sub(s.behindSince)
}

// seen is the log's last position and how long it has been ahead.
func (s *sampler) seen() (last uint64, behind time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.behind(s.clock())
}
