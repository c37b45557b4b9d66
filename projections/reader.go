package projections

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/projections/pgdb"
)

// Reader answers queries from the generations that serve. It is safe for concurrent
// use, and needs no more than the right to read.
//
// Every error is a *domain.Error: NOT_FOUND where a query names something that does
// not exist, INVALID_REQUEST for paging out of bounds, STALE_READ from Wait, and
// SERVICE_UNAVAILABLE when the database or a read model cannot be used just now.
type Reader struct {
	pool    *pgxpool.Pool
	waiters *waiters
	called  atomic.Pointer[func(model string)]
}

// NewReader makes a Reader. Close it before the pool.
func NewReader(pool *pgxpool.Pool) *Reader {
	return &Reader{pool: pool, waiters: newWaiters(pool)}
}

// Close ends what the Reader does in the background. Waits that are under way go on
// without it, a little slower.
func (r *Reader) Close() { r.waiters.close() }

// At says which state of the ledger an answer reflects.
type At struct {
	// Position is of the last commit that is in the answer's model.
	Position uint64
	// Age is how long ago, by the database's clock, the model held everything that
	// was in the log: a second or so while its projector keeps up, NeverFresh before
	// it caught up for the first time.
	Age time.Duration
}

// NeverFresh is the age of a model that never held everything in the log.
const NeverFresh time.Duration = math.MaxInt64

// MaxPage is the most rows that one query gives. The API's own bounds are lower.
const MaxPage = 10_000

var servingSQL = statement("generations/serving.sql")

// snapshot is one moment of one model's serving generation.
type snapshot struct {
	conn   *pgxpool.Conn
	schema string
}

func (s snapshot) query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return s.conn.Query(ctx, in(s.schema, sql), args...)
}

func (s snapshot) row(ctx context.Context, sql string, args ...any) pgx.Row {
	return s.conn.QueryRow(ctx, in(s.schema, sql), args...)
}

func (s snapshot) queue(b *pgx.Batch, sql string, args ...any) *pgx.QueuedQuery {
	return b.Queue(in(s.schema, sql), args...)
}

// read calls f with a snapshot of the model. The checkpoint and all that f reads are
// of one moment: the first statement after BEGIN fixes it.
func (r *Reader) read(ctx context.Context, model string, f func(snapshot) error) (At, error) {
	at, err := r.transact(ctx, model, f)
	return at, publicError(model, err)
}

func (r *Reader) transact(ctx context.Context, model string, f func(snapshot) error) (at At, err error) {
	conn, err := r.pool.Acquire(ctx)
	if err != nil {
		return at, err
	}
	// A connection that is still in a transaction, because ctx ended, is closed and not
	// used again.
	defer conn.Release()

	// One round trip instead of the two of pgx.BeginTx and a query: a third of what a
	// short read takes.
	var b pgx.Batch
	b.Queue("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
	b.Queue(servingSQL, model)
	results := conn.SendBatch(ctx, &b)
	_, err = results.Exec()
	var g generation
	if err == nil {
		g, err = scanServing(model, results.QueryRow())
	}
	if closed := results.Close(); err == nil {
		err = closed
	}
	if err == nil {
		at = At{Position: g.position, Age: g.age}
		err = f(snapshot{conn, g.schema})
	}
	// After an error of the database's this rolls back.
	if _, ended := conn.Exec(ctx, "COMMIT"); err == nil {
		err = ended
	}
	return at, err
}

// publicError is what a caller is told about an error, with the error as its cause.
func publicError(model string, err error) error {
	var known *domain.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case pgdb.Missing(err):
		return missing(err, model)
	case pgdb.Forbidden(err):
		return unavailable(err, "The database refuses access to the read model %s; its grants have to be checked.", model)
	case pgdb.Unavailable(err), errors.Is(err, context.Canceled):
		return unavailable(err, "The database with the read models is not available.")
	}
	return &domain.Error{Code: domain.CodeInternal, Message: fmt.Sprintf("The read model %s could not be read.", model), Err: err}
}

func unavailable(err error, format string, args ...any) error {
	return &domain.Error{Code: domain.CodeServiceUnavailable, Message: fmt.Sprintf(format, args...), Err: err}
}

// page checks the bounds of a query.
func page(limit, offset int) error {
	var v domain.Violations
	if limit < 1 || limit > MaxPage {
		v.Add("limit", fmt.Sprintf("must be a whole number from 1 to %d", MaxPage))
	}
	if offset < 0 {
		v.Add("offset", "must be a whole number from 0")
	}
	return v.Err()
}

// utc brings what the database gave in the process's time zone to UTC.
func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// clamp makes a position one that the database can compare: its integers are signed.
func clamp(position uint64) int64 { return int64(min(position, math.MaxInt64)) }
