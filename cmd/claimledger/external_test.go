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

// external is what roles that run apart share: NATS servers in processes of their own,
// with the configuration and the users that operators get; a PostgreSQL; and the keys.
type external struct {
	t        testing.TB
	nodes    []*natsNode // one, or the three of a cluster
	env      []string    // of all nodes
	database *pgserver.Server
	dir      string
	secrets  map[string]string // users' passwords and the keys' contents
	retries  string            // of webhook deliveries
}

// natsNode is a NATS server. Its process is another after each start.
type natsNode struct {
	*process
	name    string
	address string
	route   string // where the others reach it; empty: it is alone
}

// newExternal has one NATS server.
func newExternal(t testing.TB) *external {
	return newExternalOn(t, &natsNode{name: "nats-1", address: freeAddress(t)})
}

// newCluster has three.
func newCluster(t testing.TB) *external {
	var nodes []*natsNode
	for n := range 3 {
		nodes = append(nodes, &natsNode{name: fmt.Sprintf("nats-%d", n+1), address: freeAddress(t), route: freeAddress(t)})
	}
	return newExternalOn(t, nodes...)
}

func newExternalOn(t testing.TB, nodes ...*natsNode) *external {
	e := &external{t: t, nodes: nodes, dir: t.TempDir(), secrets: map[string]string{}, retries: "1s,1s,1s,1s"}
	for _, user := range []string{"ROUTE", "SYS", "ADMIN", "CLAIMLEDGER"} {
		e.secrets[user] = "s" + hexText(24)
		e.env = append(e.env, "NATS_"+user+"_PASSWORD="+e.secrets[user])
	}
	for n := range 3 {
		route := "127.0.0.1:1" // nobody goes there
		if n < len(nodes) && nodes[n].route != "" {
			route = "route:" + e.secrets["ROUTE"] + "@" + nodes[n].route
		}
		e.env = append(e.env, fmt.Sprintf("NATS_ROUTE_%d=nats-route://%s", n+1, route))
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

// startNATS starts the servers that do not run, for the first time or again, and waits
// until they answer.
func (e *external) startNATS() {
	e.t.Helper()
	config := natsConfig(e.t)
	for _, n := range e.nodes {
		if n.process == nil || !n.alive() {
			env := append([]string{"NATS_SERVER_NAME=" + n.name, "NATS_STORE_DIR=" + filepath.Join(e.dir, n.name)}, e.env...)
			n.process = launch(e.t, beNATS, env, config, n.address, n.route)
		}
	}
	for _, n := range e.nodes {
		eventually(e.t, patience, func() error {
			if !n.alive() {
				e.t.Fatalf("the NATS server ended:\n%s", n.log.tail(4000))
			}
			conn, err := (&net.Dialer{}).DialContext(e.t.Context(), "tcp", n.address)
			if err == nil {
				conn.Close()
			}
			return err
		})
	}
}

// natsConfig is what operators get.
func natsConfig(t testing.TB) string {
	t.Helper()
	config, err := filepath.Abs("../../deploy/nats/ledger.conf")
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// killNATS ends all servers as a power cut would.
func (e *external) killNATS() {
	for _, n := range e.nodes {
		n.kill()
	}
}

func (e *external) natsURL(user string) string {
	var urls []string
	for _, n := range e.nodes {
		urls = append(urls, fmt.Sprintf("nats://%s:%s@%s", user, e.secrets[strings.ToUpper(user)], n.address))
	}
	return strings.Join(urls, ",")
}

func (e *external) replicas() string { return fmt.Sprint(len(e.nodes)) }

// place are the flags with which operator commands find the log.
func (e *external) place() []string {
	return []string{"--nats-url", e.natsURL("claimledger"), "--replicas", e.replicas()}
}

// setup sets the log up, which a cluster lets it do once it has a leader.
func (e *external) setup() (out string) {
	e.t.Helper()
	eventually(e.t, patience, func() error {
		r := run(e.t, "setup", "--nats-url", e.natsURL("admin"), "--replicas", e.replicas())
		if out = r.out; r.code != 0 {
			return fmt.Errorf("setup ended with %d: %s", r.code, r.err)
		}
		return nil
	})
	return out
}

// flags are what a process with one role is started with.
func (e *external) flags(role, address string) []string {
	return append(e.common(address), "--roles", role, "--database-url", e.databaseURL(role))
}

// allInOne are what a process with all roles is started with.
func (e *external) allInOne(address string) []string {
	return append(e.common(address), "--database-url", e.database.URL())
}

func (e *external) common(address string) []string {
	return append(e.place(), "--listen", address,
		"--session-key-file", filepath.Join(e.dir, "session.key"), "--secret-key-file", filepath.Join(e.dir, "secret.key"),
		"--head-key-file", filepath.Join(e.dir, "head.key"), "--head-interval", "200ms",
		"--webhook-allow-private", "--webhook-retries", e.retries, "--stale-after", "5s")
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
