package projections

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// target is the tables of a generation within the transaction that changes them. What
// is queued is sent together, by flush, in the order in which it was queued.
type target struct {
	tx     pgx.Tx
	schema string
	batch  pgx.Batch
}

// queue adds a statement that may change any number of rows.
func (t *target) queue(sql string, args ...any) {
	t.batch.Queue(in(t.schema, sql), representable(args)...)
}

// queueOne adds a statement that must change one row: a log that says something about
// what does not exist is not applied.
func (t *target) queueOne(what, sql string, args ...any) {
	t.batch.Queue(in(t.schema, sql), representable(args)...).Exec(func(tag pgconn.CommandTag) error {
		if n := tag.RowsAffected(); n != 1 {
			return fmt.Errorf("%s: %d rows instead of 1", what, n)
		}
		return nil
	})
}

// insert adds rows to a table. Many are copied at once, ahead of what is queued.
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
	sql := in(t.schema, fmt.Sprintf("COPY {schema}.%s (%s) FROM STDIN (FORMAT binary)", table, strings.Join(columns, ", ")))
	_, err := t.tx.Conn().PgConn().CopyFrom(ctx, binary, sql)
	return err
}

// flush sends what is queued.
func (t *target) flush(ctx context.Context) error {
	if t.batch.Len() == 0 {
		return nil
	}
	err := t.tx.SendBatch(ctx, &t.batch).Close()
	t.batch = pgx.Batch{}
	return err
}

// load reads rows into what scan points to, and calls f after each.
func (t *target) load(ctx context.Context, sql string, args, scan []any, f func() error) error {
	rows, err := t.tx.Query(ctx, in(t.schema, sql), representable(args)...)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, scan, f)
	return err
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
