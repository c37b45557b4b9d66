package projections

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// rollbackTimeout bounds taking back what a failed transaction did.
const rollbackTimeout = 5 * time.Second

// target is the tables of a generation within the transaction that changes them. What is
// queued is sent together, in the order in which it was queued: by flush, with rows that
// are copied, or in the end. A model that is moved on by a few commits takes little time
// in the database and a round trip for each time that it waits for it, so the transaction
// begins with the first statement and ends with the last.
type target struct {
	conn    *pgx.Conn
	schema  string
	advance func(*pgx.Batch) // queues the statement that moves the checkpoint

	batch  pgx.Batch
	begun  bool // the transaction is, or is queued to be
	unsure int  // statements in batch that may have to be taken back for what they did
}

// begin queues what every transaction begins with. The checkpoint goes first: a rival waits
// for its row, and then has not touched the others.
func (t *target) begin() {
	if t.begun {
		return
	}
	t.begun = true
	t.batch.Queue("BEGIN")
	t.unsure++
	t.advance(&t.batch)
}

// commit ends the transaction. A model in which nothing changes needs none.
func (t *target) commit(ctx context.Context) error {
	if !t.begun {
		t.advance(&t.batch)
		return t.flush(ctx)
	}
	if t.unsure > 0 {
		if err := t.flush(ctx); err != nil {
			return err
		}
	}
	t.batch.Queue("COMMIT").Exec(func(tag pgconn.CommandTag) error {
		if tag.String() != "COMMIT" {
			return pgx.ErrTxCommitRollback
		}
		return nil
	})
	return t.flush(ctx)
}

// rollback takes back what was done, after an error. Whatever the server does not take as
// that ends the session, and with it the transaction.
func (t *target) rollback(ctx context.Context) {
	if !t.begun || t.conn.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	if _, err := t.conn.Exec(ctx, "ROLLBACK"); err != nil {
		t.conn.Close(ctx)
	}
}

// queue adds a statement that may change any number of rows.
func (t *target) queue(sql string, args ...any) {
	t.begin()
	t.batch.Queue(in(t.schema, sql), representable(args)...)
}

// queueOne adds a statement that must change one row: a log that says something about
// what does not exist is not applied.
func (t *target) queueOne(what, sql string, args ...any) {
	t.begin()
	t.unsure++
	t.batch.Queue(in(t.schema, sql), representable(args)...).Exec(func(tag pgconn.CommandTag) error {
		if n := tag.RowsAffected(); n != 1 {
			return fmt.Errorf("%s: %d rows instead of 1", what, n)
		}
		return nil
	})
}

// insert adds rows to a table. Many are copied at once.
func (t *target) insert(ctx context.Context, table string, r *rows) error {
	if r.n >= copyFrom {
		r.end()
		return t.copy(ctx, table, r.columns, bytes.NewReader(r.copied))
	}
	var places []string
	for i := range r.columns {
		places = append(places, fmt.Sprintf("$%d", i+1))
	}
	sql := fmt.Sprintf("INSERT INTO {schema}.%s (%s) VALUES (%s)", table, strings.Join(r.columns, ", "), strings.Join(places, ", "))
	for _, row := range r.few {
		t.queue(sql, row...)
	}
	return nil
}

// insertAsMade adds rows that more makes as they are taken, copyFrom of them at least. It
// adds them until it says that there are no more.
func (t *target) insertAsMade(ctx context.Context, table string, r *rows, more func() (bool, error)) error {
	made := &rowReader{rows: r, more: more}
	if err := t.copy(ctx, table, r.columns, made); made.err == nil {
		return err
	}
	return made.err // and not that the copying was given up
}

func (t *target) copy(ctx context.Context, table string, columns []string, binary io.Reader) error {
	t.begin()
	if err := t.flush(ctx); err != nil {
		return err
	}
	sql := in(t.schema, fmt.Sprintf("COPY {schema}.%s (%s) FROM STDIN (FORMAT binary)", table, strings.Join(columns, ", ")))
	_, err := t.conn.PgConn().CopyFrom(ctx, binary, sql)
	return err
}

// flush sends what is queued.
func (t *target) flush(ctx context.Context) error {
	if t.batch.Len() == 0 {
		return nil
	}
	err := t.conn.SendBatch(ctx, &t.batch).Close()
	t.batch, t.unsure = pgx.Batch{}, 0
	return err
}

// ask queues a query. With flush, its rows are read into what scan points to, and f is
// called after each.
func (t *target) ask(sql string, args, scan []any, f func() error) {
	t.begin()
	t.batch.Queue(in(t.schema, sql), representable(args)...).Query(func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, scan, f)
		return err
	})
}

// representable replaces U+0000, in place, which PostgreSQL's text cannot hold.
// Decisions let no control character in; should one be in the log all the same, it
// must not stop the projector for good.
func representable(args []any) []any {
	for i, arg := range args {
		switch arg := arg.(type) {
		case string:
			if strings.IndexByte(arg, 0) >= 0 { // seldom, and what is put back is allocated
				args[i] = withoutZeros(arg)
			}
		case []string:
			for j := range arg {
				arg[j] = withoutZeros(arg[j])
			}
		}
	}
	return args
}

func withoutZeros(text string) string { return strings.ReplaceAll(text, "\x00", "\uFFFD") }
