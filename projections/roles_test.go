package projections

import (
	"context"
	"net/url"
	"os"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/projections/pgdb"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// roles prepares a database as an operator does, and opens it as each role.
func roles(t *testing.T) map[string]*pgxpool.Pool {
	t.Helper()
	script, err := os.ReadFile("../deploy/postgres/roles.sql")
	if err != nil {
		t.Fatal(err)
	}
	// Roles are the server's: it is one of this test's own.
	server := pgtest.Server(t)
	admin := openPool(t, server.URL())
	const password = "of-the-test"
	pools := map[string]*pgxpool.Pool{"admin": admin}
	execScript := func(text string) {
		t.Helper()
		conn, err := admin.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
		if _, err := conn.Conn().PgConn().Exec(t.Context(), text).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	execScript(string(script))
	execScript(string(script)) // again does no harm
	for _, role := range []string{"claimledger_projector", "claimledger_relay", "claimledger_api"} {
		execScript("ALTER ROLE " + role + " PASSWORD '" + password + "'")
		u, err := url.Parse(server.URL())
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		q.Set("user", role)
		q.Set("password", password)
		u.RawQuery = q.Encode()
		pools[role] = openPool(t, u.String())
	}
	return pools
}

func TestRoles(t *testing.T) {
	t.Parallel()
	pools := roles(t)
	projector, relay, api := pools["claimledger_projector"], pools["claimledger_relay"], pools["claimledger_api"]
	ctx, cancel := context.WithTimeout(t.Context(), patienceOfTests)
	defer cancel()

	// Each can do its job.
	if err := Setup(ctx, projector); err != nil {
		t.Fatal(err)
	}
	if err := pgdb.Migrate(ctx, relay, "webhookrelay", os.DirFS("../webhookrelay/migrations")); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, 40)
	w.steps(100)
	defer run(NewProjectors(w.log, projector, nil))()
	reader := newReader(t, api)
	var waits sync.WaitGroup
	for _, m := range Models() {
		waits.Go(func() {
			if err := reader.Wait(ctx, m.Name, w.last()); err != nil {
				t.Error(err)
			}
		})
	}
	waits.Wait()
	foldLog(t, w.log, w.last()).checkAgainst(t, reader, w.last())
	if _, err := api.Exec(ctx, "LISTEN "+channel); err != nil {
		t.Error(err)
	}

	// The api reads a generation that is made later, and how deliveries go.
	if _, err := projector.Exec(ctx, "CREATE SCHEMA model_later; CREATE TABLE model_later.x AS SELECT 1"); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"SELECT FROM model_later.x", "SELECT FROM webhookrelay.webhooks",
		"INSERT INTO webhookrelay.requests (request_id, webhook_id, kind, fingerprint) VALUES ('q', 'w', 'ping', '') ON CONFLICT ON CONSTRAINT requests_pkey DO NOTHING",
		"SELECT pg_notify('webhookrelay_tasks', '')",
	} {
		if _, err := api.Exec(ctx, sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}

	// None can do another's.
	for _, c := range []struct {
		pool *pgxpool.Pool
		sql  string
	}{
		{api, "UPDATE projections.generations SET position = 0"},
		{api, "DELETE FROM model_claims_v1_g1.claims"},
		{api, "INSERT INTO model_feed_v1_g1.inactive_namespaces VALUES ('x')"},
		{api, "CREATE SCHEMA mine"},
		{api, "CREATE TABLE public.mine ()"},
		{api, "CREATE TABLE projections.mine ()"},
		{api, "CREATE TEMPORARY TABLE mine ()"},
		{api, "DELETE FROM webhookrelay.webhooks"},
		{api, "CREATE TABLE webhookrelay.mine ()"},
		{api, "UPDATE webhookrelay.requests SET done_at = now()"},
		{api, "DELETE FROM webhookrelay.requests"},
		{api, "INSERT INTO webhookrelay.tasks VALUES ('w', 'cancel')"},
		{projector, "INSERT INTO webhookrelay.requests (request_id, webhook_id, kind, fingerprint) VALUES ('p', 'w', 'ping', '')"},
		{relay, "SELECT FROM projections.generations"},
		{relay, "SELECT FROM model_claims_v1_g1.claims"},
		{relay, "DELETE FROM model_claims_v1_g1.claims"},
		{relay, "CREATE SCHEMA mine"},
		{projector, "SELECT FROM webhookrelay.webhooks"},
		{projector, "DROP SCHEMA webhookrelay CASCADE"},
		{projector, "CREATE TABLE public.mine ()"},
	} {
		if _, err := c.pool.Exec(ctx, c.sql); !pgdb.Forbidden(err) {
			t.Errorf("%s: %v", c.sql, err)
		}
	}
	if err := Setup(ctx, api); err == nil {
		t.Error("the api may set up the read models")
	}
	if _, _, err := NewReader(relay).Claim(ctx, "claim_x"); domain.ErrorCode(err) != domain.CodeServiceUnavailable {
		t.Errorf("the relay reads: %v", err)
	}
}
