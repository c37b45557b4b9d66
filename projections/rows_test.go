package projections

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// changing is a transaction like a projector's, on tables that no generation has.
func changing(t *testing.T, pool *pgxpool.Pool, f func(*target) error) error {
	t.Helper()
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	to := &target{conn: conn.Conn(), schema: "public", advance: func(b *pgx.Batch) { b.Queue("SELECT") }}
	if err = f(to); err == nil {
		err = to.commit(t.Context())
	}
	if err != nil {
		to.rollback(t.Context())
	}
	return err
}

// Rows say the same by COPY as by INSERT, whatever is in them.
func TestRowsOfBothForms(t *testing.T) {
	t.Parallel()
	pool, ctx := newPool(t), t.Context()
	columns := []string{"label", "words", "maybe", "document", "raw", "large", "small", "flag", "at", "ends"}
	times := []time.Time{
		{}, time.Date(1999, 12, 31, 23, 59, 59, 999_999_999, time.UTC), time.Date(1969, 1, 1, 0, 0, 0, 1, time.UTC),
		time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.FixedZone("", 3600)), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	texts := []string{"", "a", "ü\n\t\\N", "\x00 zero \x00", strings.Repeat("long ", 20_000)}
	large, small := []uint64{0, 1, math.MaxInt64}, []int{0, -1, math.MaxInt32, math.MinInt32}
	fill := func(r *rows, i int) {
		r.begin()
		r.text(string(rune('a' + i)))
		r.text(texts[i%len(texts)])
		r.null()
		r.text(`{ "kept" : "as it is" }`)
		r.bytes([]byte(texts[(i+1)%len(texts)]))
		r.bigint(large[i%len(large)])
		r.integer(small[i%len(small)])
		r.boolean(i%2 == 0)
		r.time(times[i%len(times)])
		if i%3 == 0 {
			r.optionalTime(nil)
		} else {
			r.optionalTime(&times[i%len(times)])
		}
	}
	dumps := map[string][]string{}
	for _, table := range []string{"copied", "inserted"} {
		if _, err := pool.Exec(ctx, `CREATE TABLE `+table+` (label text PRIMARY KEY, words text NOT NULL, maybe text, document json, raw bytea,
			large bigint, small integer, flag boolean, at timestamptz, ends timestamptz)`); err != nil {
			t.Fatal(err)
		}
		err := changing(t, pool, func(to *target) error {
			one := rowsOf(columns)
			for i := range copyFrom + 4 {
				fill(one, i)
				if table == "copied" {
					continue
				}
				if err := to.insert(ctx, table, one); err != nil {
					return err
				}
				one = rowsOf(columns)
			}
			return to.insert(ctx, table, one)
		})
		if err != nil {
			t.Fatalf("%s: %v", table, err)
		}
		found, _ := pool.Query(ctx, `SELECT t::text FROM `+table+` t ORDER BY label`)
		if dumps[table], err = pgx.CollectRows(found, pgx.RowTo[string]); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(dumps["copied"], dumps["inserted"]) || len(dumps["copied"]) != copyFrom+4 {
		t.Errorf("copied\n%.2000q\ninserted\n%.2000q", dumps["copied"], dumps["inserted"])
	}
}

// A row that lacks a value, or has one too many, is refused in either form.
func TestRowsOfAnotherLength(t *testing.T) {
	t.Parallel()
	pool, ctx := newPool(t), t.Context()
	if _, err := pool.Exec(ctx, `CREATE TABLE pairs (a text, b text)`); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, copyFrom} {
		for _, values := range []int{1, 3} {
			r := rowsOf([]string{"a", "b"})
			for range n {
				r.begin()
				for range values {
					r.text("x")
				}
			}
			err := changing(t, pool, func(to *target) error { return to.insert(ctx, "pairs", r) })
			if err == nil {
				t.Errorf("%d rows of %d values were taken", n, values)
			}
		}
	}
}

// What rows cannot be made for is what a projector is told, and none of them are there.
func TestRowsThatCannotBeMade(t *testing.T) {
	t.Parallel()
	pool, ctx := newPool(t), t.Context()
	if _, err := pool.Exec(ctx, `CREATE TABLE singles (a text)`); err != nil {
		t.Fatal(err)
	}
	count := func() (n int) {
		t.Helper()
		if err := pool.QueryRow(ctx, `SELECT count(*) FROM singles`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	insert := func(fails error) error {
		r := rowsOf([]string{"a"})
		return changing(t, pool, func(to *target) error {
			return to.insertAsMade(ctx, "singles", r, func() (bool, error) {
				if r.n == 5_000 {
					return false, fails
				}
				r.begin()
				r.text(strings.Repeat("x", 50)) // more in all than is made at once
				return true, nil
			})
		})
	}
	cause := errors.New("cannot be read")
	if err := insert(cause); !errors.Is(err, cause) || temporary(err) || count() != 0 {
		t.Errorf("%v, and %d rows", err, count())
	}
	if err := insert(nil); err != nil || count() != 5_000 {
		t.Errorf("%v, and %d rows", err, count())
	}
}
