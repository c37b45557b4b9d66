package webhookrelay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections/pgdb"
)

// ErrDiverged means that the log is not the one that deliveries were assigned from.
var ErrDiverged = errors.New("the log is not the one that deliveries were assigned from")

// errOvertaken means that another process moved the checkpoint.
var errOvertaken = errors.New("another relay moved the checkpoint")

// closePatience bounds the farewell to a database that may not answer.
const closePatience = time.Second

// checkpoint is how far the log was read.
type checkpoint struct {
	position uint64
	hash     domain.Hash
}

// session is one process's turn as the assigner. It ends with the first error: what it
// holds in memory may then differ from what is in the database.
type session struct {
	conn       *pgx.Conn // holds the advisory lock
	checkpoint checkpoint
	webhooks   map[string]*webhook
	byService  map[string]map[string]*webhook
}

// webhook is what assigning needs to know of a webhook.
type webhook struct {
	id, serviceID string
	events        map[domain.EventType]bool
	active        bool
	next          int64 // sequence
}

// openSession takes the assigner's place, or says ErrStandby.
func openSession(ctx context.Context, pool *pgxpool.Pool, log eventstore.Log) (*session, error) {
	pooled, err := pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{
		conn:     pooled.Hijack(), // the pool's other users must not wait for this one
		webhooks: map[string]*webhook{}, byService: map[string]map[string]*webhook{},
	}
	if err := s.begin(ctx, log); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *session) begin(ctx context.Context, log eventstore.Log) error {
	var free bool
	if err := s.conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1)`, pgdb.LockKey("webhook assigner")).Scan(&free); err != nil {
		return err
	}
	if !free {
		return ErrStandby
	}
	if err := s.readCheckpoint(ctx); err != nil {
		return err
	}
	if err := s.verify(ctx, log); err != nil {
		return err
	}
	return s.readWebhooks(ctx)
}

// close gives the place up. A connection that is only closed keeps its lock until the
// server notices, so the lock is given back in so many words where that can be done.
func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	_, _ = s.conn.Exec(ctx, `SELECT pg_advisory_unlock_all()`) // or else by closing
	s.conn.Close(ctx)
}

func (s *session) readCheckpoint(ctx context.Context) error {
	var hash []byte
	if err := s.conn.QueryRow(ctx, readCheckpointSQL).Scan(&s.checkpoint.position, &hash); err != nil {
		return fmt.Errorf("read the relay's checkpoint: %w", err)
	}
	copy(s.checkpoint.hash[:], hash)
	return nil
}

// verify makes sure that the log still has the commit that the checkpoint rests on. A
// log that was restored from an old backup, or exchanged, would otherwise be read on
// from the middle, and sequence numbers be given twice.
func (s *session) verify(ctx context.Context, log eventstore.Log) error {
	c := s.checkpoint
	if c.position == 0 {
		return nil
	}
	r, err := log.At(ctx, c.position)
	switch {
	case errors.Is(err, eventstore.ErrNoCommit):
		return fmt.Errorf("%w: it has no commit at position %d, up to which they were; restore a log that is at least as new, "+
			"or the relay's schema as it was with this log", ErrDiverged, c.position)
	case err != nil:
		return fmt.Errorf("check the relay's checkpoint at position %d: %w", c.position, err)
	case r.Hash != c.hash:
		return fmt.Errorf("%w: the commit at position %d has the hash %s, not %s; restore the log that belongs to this database, "+
			"or the relay's schema as it was with this log", ErrDiverged, c.position, r.Hash, c.hash)
	}
	return nil
}

func (s *session) readWebhooks(ctx context.Context) error {
	rows, err := s.conn.Query(ctx, readWebhooksSQL)
	if err != nil {
		return err
	}
	var w webhook
	var events []string
	_, err = pgx.ForEachRow(rows, []any{&w.id, &w.serviceID, &events, &w.active, &w.next}, func() error {
		read := w
		read.events = map[domain.EventType]bool{}
		for _, t := range events {
			read.events[domain.EventType(t)] = true
		}
		s.add(&read)
		return nil
	})
	return err
}

func (s *session) existing(webhookID string) (*webhook, error) {
	w := s.webhooks[webhookID]
	if w == nil {
		return nil, fmt.Errorf("webhook %s does not exist", webhookID)
	}
	return w, nil
}

func (s *session) add(w *webhook) {
	s.webhooks[w.id] = w
	if s.byService[w.serviceID] == nil {
		s.byService[w.serviceID] = map[string]*webhook{}
	}
	s.byService[w.serviceID][w.id] = w
}

func (s *session) remove(w *webhook) {
	delete(s.webhooks, w.id)
	delete(s.byService[w.serviceID], w.id)
}

// write puts a plan into the database, with the checkpoint, in one transaction. If the
// process dies before the commit, the same commits are read and planned again, with the
// same sequence numbers; if it dies after, they are not read again.
func (s *session) write(ctx context.Context, p *plan, now time.Time) error {
	tx, err := s.conn.BeginTx(ctx, begin)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	moved, err := tx.Exec(ctx, moveCheckpointSQL, s.checkpoint.position, hashBytes(s.checkpoint), p.last.position, hashBytes(p.last))
	if err != nil {
		return err
	}
	if moved.RowsAffected() != 1 {
		return errOvertaken
	}
	if err := tx.SendBatch(ctx, p.statements(now)).Close(); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	s.checkpoint = p.last
	return nil
}

func hashBytes(c checkpoint) []byte {
	if c.position == 0 {
		return []byte{}
	}
	return c.hash[:]
}
