package pgdb

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"path"
	"regexp"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// migration is one file: 0001_deliveries.sql.
type migration struct {
	number   int
	name     string
	sql      string
	checksum [sha256.Size]byte
}

var migrationName = regexp.MustCompile(`^(\d{4})_[a-z0-9_]+\.sql$`)

// Migrate brings a schema, made where there is none, up to date with the .sql files
// in the root of files. They are numbered 0001_name.sql, 0002_name.sql, … without a
// gap and run once each, in a transaction of its own with the schema as search_path;
// <schema>.migrations keeps the record. There is no way back: a file is never changed
// once it was released, and to undo one takes another.
//
// Any number of processes may call it at once. A schema that is ahead of files, of a
// later program that runs beside this one, is left alone.
func Migrate(ctx context.Context, pool *pgxpool.Pool, schema string, files fs.FS) error {
	migrations, err := readMigrations(files)
	if err != nil {
		return fmt.Errorf("migrations of %s: %w", schema, err)
	}
	var applied map[int][]byte
	err = Exclusively(ctx, pool, "migrate "+schema, func(tx pgx.Tx) (err error) {
		applied, err = prepareSchema(ctx, tx, schema)
		return err
	})
	if err != nil {
		return fmt.Errorf("migrate %s: %w", schema, err)
	}
	for _, m := range migrations {
		if checksum, ok := applied[m.number]; ok {
			if !bytes.Equal(checksum, m.checksum[:]) {
				return fmt.Errorf("migrate %s: %s was changed after it was applied", schema, m.name)
			}
			continue
		}
		err := Exclusively(ctx, pool, "migrate "+schema, func(tx pgx.Tx) error { return m.apply(ctx, tx, schema) })
		if err != nil {
			return fmt.Errorf("migrate %s: %s: %w", schema, m.name, err)
		}
	}
	return nil
}

// Exclusively calls f in a transaction that no other process's call with the same
// name overlaps, and that may take as long as it takes.
func Exclusively(ctx context.Context, pool *pgxpool.Pool, name string, f func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL statement_timeout = 0"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", LockKey(name)); err != nil {
			return err
		}
		return f(tx)
	})
}

// LockKey is the key of an advisory lock. The prefix keeps it apart from the locks of
// whatever else uses the database.
func LockKey(name string) int64 {
	h := fnv.New64a()
	h.Write([]byte("claimledger " + name))
	return int64(h.Sum64())
}

func readMigrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "*.sql") // sorted
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errors.New("there are none")
	}
	var migrations []migration
	for i, name := range names {
		match := migrationName.FindStringSubmatch(path.Base(name))
		if match == nil {
			return nil, fmt.Errorf("%s is not named like 0001_name.sql", name)
		}
		number, err := strconv.Atoi(match[1])
		if err != nil || number != i+1 {
			return nil, fmt.Errorf("%s stands where number %04d belongs", name, i+1)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		migrations = append(migrations, migration{number, name, string(text), sha256.Sum256(text)})
	}
	return migrations, nil
}

// prepareSchema makes the schema and its record of migrations where they are missing,
// and reads the record.
func prepareSchema(ctx context.Context, tx pgx.Tx, schema string) (map[int][]byte, error) {
	// Not with IF NOT EXISTS alone, which asks for the right to create a schema even
	// where it exists and the role owns nothing but that.
	var exists bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", schema).Scan(&exists); err != nil {
		return nil, err
	}
	quoted := pgx.Identifier{schema}.Sanitize()
	if !exists {
		if _, err := tx.Exec(ctx, "CREATE SCHEMA "+quoted); err != nil {
			return nil, err
		}
	}
	_, err := tx.Exec(ctx, "CREATE TABLE IF NOT EXISTS "+quoted+`.migrations (
		number integer CONSTRAINT migrations_key PRIMARY KEY,
		name text NOT NULL,
		checksum bytea NOT NULL,
		applied_at timestamptz NOT NULL DEFAULT now())`)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, "SELECT number, checksum FROM "+quoted+".migrations")
	if err != nil {
		return nil, err
	}
	applied := map[int][]byte{}
	var number int
	var checksum []byte
	_, err = pgx.ForEachRow(rows, []any{&number, &checksum}, func() error {
		applied[number] = append([]byte(nil), checksum...)
		return nil
	})
	return applied, err
}

func (m migration) apply(ctx context.Context, tx pgx.Tx, schema string) error {
	quoted := pgx.Identifier{schema}.Sanitize()
	// Recorded first: who waited for the lock while another did it finds it done.
	tag, err := tx.Exec(ctx, "INSERT INTO "+quoted+".migrations (number, name, checksum) VALUES ($1, $2, $3) ON CONFLICT (number) DO NOTHING",
		m.number, m.name, m.checksum[:])
	if err != nil || tag.RowsAffected() == 0 {
		return err
	}
	return ExecScript(ctx, tx, schema, m.sql)
}

// ExecScript runs statements that are separated by semicolons, with the schema as
// search_path for the rest of the transaction.
func ExecScript(ctx context.Context, tx pgx.Tx, schema, script string) error {
	if _, err := tx.Exec(ctx, "SET LOCAL search_path = "+pgx.Identifier{schema}.Sanitize()); err != nil {
		return err
	}
	_, err := tx.Conn().PgConn().Exec(ctx, script).ReadAll()
	return err
}
