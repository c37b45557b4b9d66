package projections

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/claimledger/claimledger/eventstore"
)

const (
	// maxBatch bounds the commits of a transaction. From a few hundred on, more gain
	// little, and a reader sees none of them before the last is applied.
	maxBatch = 1000

	// maxBatchBytes bounds their stored size, and so the memory of a batch.
	maxBatchBytes = 4 << 20

	// freshEvery is how often fresh_at is written at most while nothing happens.
	freshEvery = time.Second

	// applyTimeout ends a batch that hangs. The slowest takes about a second.
	applyTimeout = 30 * time.Second

	// lastBatch is how long the batch under way at the end may take: the process has
	// ten seconds for everything. What is not finished is applied again.
	lastBatch = 3 * time.Second
)

var errFull = errors.New("the batch is full")

// batch is commits to apply in one transaction.
type batch struct {
	records []eventstore.Record
	bytes   int
	// fresh is when the log held nothing more than the records and what is before
	// them. The zero time: not known.
	fresh time.Time
}

func (b *batch) add(rec eventstore.Record) {
	b.records = append(b.records, rec)
	b.bytes += len(rec.Stored)
	b.fresh = time.Time{}
}

func (b *batch) full() bool { return len(b.records) >= maxBatch || b.bytes >= maxBatchBytes }

var (
	advanceSQL = statement("generations/advance.sql")
	freshenSQL = statement("generations/freshen.sql")
)

// apply applies a batch. When that fails for what is in it, its commits are applied one
// by one, so that those before the culprit are, and it is known by name.
func (p *Projector) apply(ctx context.Context, b batch) error {
	ctx, cancel := patient(ctx)
	defer cancel()
	return p.applyAll(ctx, b)
}

// applyAll is apply for as long as ctx allows.
func (p *Projector) applyAll(ctx context.Context, b batch) error {
	records, err := p.contiguous(b.records)
	if err != nil {
		return err
	}
	if len(records) == 0 {
		return p.freshen(ctx, b.fresh)
	}
	err = p.transact(ctx, records, b.fresh)
	if err == nil || temporary(err) {
		return err
	}
	for _, rec := range records {
		err := p.transact(ctx, []eventstore.Record{rec}, time.Time{})
		if err != nil && !temporary(err) {
			err = &StoppedError{p.model.Name, rec.Position, rec.Commit.ID, err}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// patient is a context for a batch: it outlasts the end of the process by a little.
func patient(ctx context.Context) (context.Context, context.CancelFunc) {
	inner, cancel := context.WithTimeout(context.WithoutCancel(ctx), applyTimeout)
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(lastBatch, cancel)
		context.AfterFunc(inner, func() { timer.Stop() })
	})
	return inner, func() { stop(); cancel() }
}

// contiguous drops what was applied already, and refuses a gap.
func (p *Projector) contiguous(records []eventstore.Record) ([]eventstore.Record, error) {
	for len(records) > 0 && records[0].Position <= p.tenure.position {
		records = records[1:]
	}
	for i, rec := range records {
		if want := p.tenure.position + 1 + uint64(i); rec.Position != want {
			return nil, &StoppedError{p.model.Name, want, "", fmt.Errorf("the log gave the commit at position %d instead", rec.Position)}
		}
	}
	return records, nil
}

// transact applies records and moves the checkpoint, both or neither.
func (p *Projector) transact(ctx context.Context, records []eventstore.Record, fresh time.Time) error {
	t, last := p.tenure, records[len(records)-1]
	in := &target{conn: t.conn, schema: t.schema, advance: func(b *pgx.Batch) {
		b.Queue(advanceSQL, t.model, t.number, t.position, t.hash[:], last.Position, last.Hash[:], ago(fresh), channel, t.serving).
			Exec(func(tag pgconn.CommandTag) error {
				if tag.RowsAffected() == 0 {
					return errLost
				}
				return nil
			})
	}}
	err := p.model.apply(ctx, in, records)
	if err == nil {
		err = in.commit(ctx)
	}
	if err != nil {
		in.rollback(ctx)
		return err
	}
	t.position, t.hash = last.Position, last.Hash
	if p.audience != nil {
		p.audience.Heard(p.model.Name, last.Position)
	}
	if !fresh.IsZero() {
		t.freshened = time.Now()
	}
	p.status.applied(len(records), last.Position, fresh)
	return nil
}

// freshen notes that the model holds all that was in the log at a time.
func (p *Projector) freshen(ctx context.Context, at time.Time) error {
	t := p.tenure
	if at.IsZero() {
		return nil
	}
	p.status.applied(0, t.position, at)
	if time.Since(t.freshened) < freshEvery {
		return nil
	}
	tag, err := t.conn.Exec(ctx, freshenSQL, t.model, t.number, t.position, t.hash[:], ago(at), t.serving)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return errLost
	}
	t.freshened = time.Now()
	return nil
}

// ago is how many seconds ago a time was. The database subtracts it from its own clock:
// only one clock counts.
func ago(at time.Time) *float64 {
	if at.IsZero() {
		return nil
	}
	seconds := time.Since(at).Seconds()
	return &seconds
}
