package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/projections/pgserver"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// external is what roles that run apart share: a NATS server in a process of its own,
// with the configuration and the users that operators get; a PostgreSQL; and the keys.
type external struct {
	t        testing.TB
	nats     *process
	address  string // of NATS
	env      []string
	database *pgserver.Server
	dir      string
	secrets  map[string]string // users' passwords and the keys' contents
}

func newExternal(t testing.TB) *external {
	e := &external{t: t, address: freeAddress(t), dir: t.TempDir(), secrets: map[string]string{}}
	e.env = []string{"NATS_SERVER_NAME=nats-1", "NATS_STORE_DIR=" + filepath.Join(e.dir, "nats")}
	for _, user := range []string{"ROUTE", "SYS", "ADMIN", "CLAIMLEDGER"} {
		e.secrets[user] = "s" + hexText(24)
		e.env = append(e.env, "NATS_"+user+"_PASSWORD="+e.secrets[user])
	}
	for n := range 3 {
		e.env = append(e.env, fmt.Sprintf("NATS_ROUTE_%d=nats-route://127.0.0.1:1", n+1)) // nobody goes there
	}
	for _, key := range []string{"session.key", "secret.key", "head.key"} {
		e.secrets[key] = hexText(32)
		if err := os.WriteFile(filepath.Join(e.dir, key), []byte(e.secrets[key]+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e.database = pgtest.Server(t)
	e.makeRoles()
	e.startNATS()
	return e
}

// makeRoles gives each of the ledger's roles its own in PostgreSQL, as operators do.
func (e *external) makeRoles() {
	e.t.Helper()
	script, err := os.ReadFile("../../deploy/postgres/roles.sql")
	if err != nil {
		e.t.Fatal(err)
	}
	statements := []string{string(script)}
	for _, role := range []string{"api", "projector", "relay"} {
		e.secrets[role] = hexText(16)
		statements = append(statements, fmt.Sprintf("ALTER ROLE claimledger_%s PASSWORD '%s'", role, e.secrets[role]))
	}
	ctx := e.t.Context()
	conn, err := pgx.Connect(ctx, e.database.URL())
	if err != nil {
		e.t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, s := range statements {
		if _, err := conn.PgConn().Exec(ctx, s).ReadAll(); err != nil {
			e.t.Fatal(err)
		}
	}
}

// databaseURL is the database as a role of the ledger reaches it.
func (e *external) databaseURL(role string) string {
	u, err := url.Parse(e.database.URL())
	if err != nil {
		e.t.Fatal(err)
	}
	q := u.Query()
	q.Del("passfile")
	q.Set("user", "claimledger_"+role)
	q.Set("password", e.secrets[role])
	u.RawQuery = q.Encode()
	return u.String()
}

func hexText(bytes int) string {
	raw := make([]byte, bytes)
	rand.Read(raw)
	return hex.EncodeToString(raw)
}

// startNATS starts the server, for the first time or again, and waits until it answers.
func (e *external) startNATS() {
	e.t.Helper()
	config, err := filepath.Abs("../../deploy/nats/ledger.conf")
	if err != nil {
		e.t.Fatal(err)
	}
	e.nats = launch(e.t, beNATS, e.env, config, e.address)
	eventually(e.t, patience, func() error {
		if !e.nats.alive() {
			e.t.Fatalf("the NATS server ended:\n%s", e.nats.log.tail(4000))
		}
		conn, err := (&net.Dialer{}).DialContext(e.t.Context(), "tcp", e.address)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

func (e *external) natsURL(user string) string {
	return fmt.Sprintf("nats://%s:%s@%s", user, e.secrets[strings.ToUpper(user)], e.address)
}

// place are the flags with which operator commands find the log.
func (e *external) place() []string {
	return []string{"--nats-url", e.natsURL("claimledger"), "--replicas", "1"}
}

func (e *external) setup() string {
	e.t.Helper()
	return must(e.t, "setup", "--nats-url", e.natsURL("admin"), "--replicas", "1")
}

// flags are what a process with one role is started with.
func (e *external) flags(role, address string) []string {
	return append(e.place(), "--roles", role, "--listen", address, "--database-url", e.databaseURL(role),
		"--session-key-file", filepath.Join(e.dir, "session.key"), "--secret-key-file", filepath.Join(e.dir, "secret.key"),
		"--head-key-file", filepath.Join(e.dir, "head.key"), "--head-interval", "200ms",
		"--webhook-allow-private", "--webhook-retries", "1s,1s,1s,1s", "--stale-after", "5s")
}

// role starts a process with one role.
func (e *external) role(role, address string) *process {
	e.t.Helper()
	return serve(e.t, e.flags(role, address)...)
}

// restartDatabase starts PostgreSQL anew, at the same URL.
func (e *external) restartDatabase() {
	e.t.Helper()
	e.database = pgtest.Restart(e.t, e.database)
}
