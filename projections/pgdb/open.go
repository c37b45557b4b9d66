// Package pgdb opens PostgreSQL databases, migrates schemas and classifies the
// database's errors. It never knows what the tables are for, and never lets a
// password into an error.
package pgdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// MinVersion is the oldest major version of PostgreSQL that is supported.
const MinVersion = 14

const (
	// connectTimeout bounds one attempt to connect. A server that is there answers
	// within milliseconds, from another continent within one second.
	connectTimeout = 5 * time.Second

	// statementTimeout ends a statement that went astray, on the server too. The
	// slowest regular one, a batch of a projector that catches up, takes about a
	// second.
	statementTimeout = 30 * time.Second

	// idleTxTimeout ends a transaction whose client hangs: it would hold locks and
	// keep vacuum from its work.
	idleTxTimeout = 30 * time.Second

	// With these a peer that vanished without a word (power, network) is noticed
	// within 25 s by either side; the defaults take hours on the server, which would
	// keep a dead projector's lock as long.
	keepAliveIdle     = 10 * time.Second
	keepAliveInterval = 5 * time.Second
	keepAliveCount    = 3

	// statementCache is how many prepared statements a connection keeps. Each read
	// model has about ten, and a new generation its own.
	statementCache = 512
)

// Options say how a pool of connections is opened. The zero value is good.
type Options struct {
	// ApplicationName is shown in pg_stat_activity. Empty: what the URL says, or else
	// "claimledger".
	ApplicationName string

	// MaxConns is how many connections the pool has at most. 0: what the URL says in
	// pool_max_conns, or else the larger of 4 and the number of processors.
	MaxConns int32

	// Lazy makes a server that cannot be reached now no error: the pool connects
	// when it is used. Everything else that is wrong is reported all the same.
	Lazy bool
}

// Open opens a pool of connections and makes sure that the server can be used. The
// URL may be a PostgreSQL URL or a keyword=value string. The caller closes the pool.
//
// A pooler between must pool by session: advisory locks and LISTEN live there.
func Open(ctx context.Context, url string, o Options) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		// The cause quotes parts of the URL, and what is quoted of a malformed one
		// may be the password.
		return nil, errors.New("the database URL cannot be read: it must look like " +
			"postgres://user:password@host:5432/database, with special characters in the password percent-encoded")
	}
	configure(cfg, o)
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	if err := pool.Ping(ctx); err != nil && !(o.Lazy && Unavailable(err)) {
		pool.Close()
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return pool, nil
}

func configure(cfg *pgxpool.Config, o Options) {
	c := cfg.ConnConfig
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	c.RuntimeParams["application_name"] = cmp.Or(o.ApplicationName, c.RuntimeParams["application_name"], defaultName)
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
	}}
	c.DialFunc = dialer.DialContext
	c.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	c.StatementCacheCapacity = statementCache
	if o.MaxConns > 0 {
		cfg.MaxConns = o.MaxConns
	}
	cfg.AfterConnect = prepareSession
}

// VersionError says that the server is older than MinVersion.
type VersionError struct {
	Version string // as the server reports it
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("the server is PostgreSQL %s; version %d or later is needed", e.Version, MinVersion)
}

// prepareSession checks every new connection's server, which may be another one after
// a failover, and sets its limits.
func prepareSession(ctx context.Context, conn *pgx.Conn) error {
	if err := checkVersion(conn.PgConn().ParameterStatus("server_version")); err != nil {
		return err
	}
	// As statements and not as startup parameters, most of which poolers refuse.
	_, err := conn.PgConn().Exec(ctx, fmt.Sprintf(`
		SET statement_timeout = %d;
		SET idle_in_transaction_session_timeout = %d;
		SET tcp_keepalives_idle = %d;
		SET tcp_keepalives_interval = %d;
		SET tcp_keepalives_count = %d`,
		statementTimeout.Milliseconds(), idleTxTimeout.Milliseconds(),
		int(keepAliveIdle.Seconds()), int(keepAliveInterval.Seconds()), keepAliveCount)).ReadAll()
	return err
}

// checkVersion reads what servers report: "14.2", "17beta1", "15.18 (Debian 15.18-0)".
func checkVersion(reported string) error {
	digits := 0
	for digits < len(reported) && reported[digits] >= '0' && reported[digits] <= '9' {
		digits++
	}
	major, err := strconv.Atoi(reported[:digits])
	if err != nil || major < MinVersion {
		return &VersionError{Version: reported}
	}
	return nil
}
