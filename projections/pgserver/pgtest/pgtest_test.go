package pgtest_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func exec(t *testing.T, conn *pgx.Conn, statement string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// TestNew leaves its connections open, as a careless test would: the database
// must go all the same.
func TestNew(t *testing.T) {
	for range 3 {
		t.Run("each its own", func(t *testing.T) {
			t.Parallel()
			conn := connect(t, pgtest.New(t))
			exec(t, conn, "CREATE TABLE t (a int)")
			var encoding, collate string
			row := conn.QueryRow(t.Context(), `SELECT pg_encoding_to_char(encoding), datcollate
				FROM pg_database WHERE datname = current_database()`)
			if err := row.Scan(&encoding, &collate); err != nil {
				t.Fatal(err)
			}
			if encoding != "UTF8" || collate != "C" {
				t.Errorf("encoding %s, collation %s", encoding, collate)
			}
		})
	}
}

func TestServerRestartsAtTheSameURL(t *testing.T) {
	s := pgtest.Server(t)
	exec(t, connect(t, s.URL()), "CREATE TABLE kept AS SELECT 42 AS a")
	again := pgtest.Restart(t, s)
	if s.URL() != again.URL() {
		t.Errorf("%s, then %s", s.URL(), again.URL())
	}
	exec(t, connect(t, again.URL()), "SELECT a FROM kept")
}
