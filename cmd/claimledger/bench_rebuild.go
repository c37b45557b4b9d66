package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/cmd/claimledger/bench"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections"
)

// rebuildAll does what claimledger rebuild does.
func rebuildAll(ctx context.Context, _ bench.Config, dataDir string) (rows bench.Rows, err error) {
	w := &world{ctx, io.Discard, io.Discard}
	err = placeSettings{DataDir: dataDir}.withModels(w, func(ctx context.Context, log eventstore.Log, pool *pgxpool.Pool) error {
		compared := 0
		r := &projections.Rebuild{Log: log, Pool: pool, Tell: func(s projections.RebuildStep) {
			if s.Comparison != nil && s.Comparison.Equal() {
				compared++
				rows.Rows += s.Comparison.Rows
			}
		}}
		began := time.Now()
		if err := r.Run(ctx, nil); err != nil {
			return err
		}
		rows.Took = time.Since(began)
		if compared != len(projections.Models()) {
			return errors.New("not every read model was compared")
		}
		generations, err := projections.Generations(ctx, pool)
		if err != nil {
			return err
		}
		for _, g := range generations {
			if g.State == projections.GenerationKept {
				if err := projections.Drop(ctx, pool, g.Model, g.Number); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return rows, err
}

// copyAll copies what is in the read models to a file, and measures how long it takes to
// copy it into tables like theirs, with their indexes.
func copyAll(ctx context.Context, c bench.Config, dataDir string) (rows bench.Rows, err error) {
	url, stop, err := placeSettings{DataDir: dataDir}.joinDatabase(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		return rows, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return rows, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "SET synchronous_commit = off; CREATE SCHEMA bench_copy"); err != nil {
		return rows, err
	}
	defer func() {
		_, dropped := conn.Exec(context.WithoutCancel(ctx), "DROP SCHEMA bench_copy CASCADE")
		err = errors.Join(err, dropped)
	}()
	found, _ := conn.Query(ctx, `SELECT schema_name, tablename FROM projections.generations JOIN pg_tables ON schemaname = schema_name WHERE serving ORDER BY 1, 2`)
	tables, err := pgx.CollectRows(found, pgx.RowToStructByPos[tableName])
	for i, table := range tables {
		if err == nil {
			err = copyTable(ctx, conn, c.Dir, table, fmt.Sprintf("t%d", i), &rows)
		}
	}
	return rows, err
}

type tableName struct{ Schema, Table string }

func copyTable(ctx context.Context, conn *pgx.Conn, dir string, from tableName, to string, rows *bench.Rows) error {
	file, err := os.CreateTemp(dir, "rows-")
	if err != nil {
		return err
	}
	defer func() { file.Close(); os.Remove(file.Name()) }()
	source, target := pgx.Identifier{from.Schema, from.Table}.Sanitize(), pgx.Identifier{"bench_copy", to}.Sanitize()
	if _, err := conn.PgConn().CopyTo(ctx, file, "COPY "+source+" TO STDOUT (FORMAT binary)"); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "CREATE TABLE "+target+" (LIKE "+source+" INCLUDING ALL)"); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	began := time.Now()
	tag, err := conn.PgConn().CopyFrom(ctx, file, "COPY "+target+" FROM STDIN (FORMAT binary)")
	rows.Took += time.Since(began)
	rows.Rows += tag.RowsAffected()
	return err
}
