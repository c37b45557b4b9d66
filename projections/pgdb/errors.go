package pgdb

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATEs, from appendix A of PostgreSQL's manual.
const (
	classConnection = "08"
	classResources  = "53" // disk, memory or connections used up

	codeReadOnly         = "25006" // a failover's former leader
	codeIdleTxTimeout    = "25P03"
	codeSerialization    = "40001"
	codeDeadlock         = "40P01"
	codeLockNotAvailable = "55P03"
	codeQueryCanceled    = "57014" // statement_timeout
	codeAdminShutdown    = "57P01"
	codeCrashShutdown    = "57P02"
	codeCannotConnectNow = "57P03" // starting up, shutting down
	codeIdleTimeout      = "57P05"
	codeUndefinedTable   = "42P01"
	codeUndefinedSchema  = "3F000"
	codeNoPrivilege      = "42501"
	classDataException   = "22"
	classConstraint      = "23"
	classProgramLimit    = "54"
)

// Unavailable reports whether an error means that the database cannot be used just
// now, and that the same may well succeed later: it cannot be reached, it is
// starting or stopping, it is out of connections, memory or disk, it took too long.
func Unavailable(err error) bool {
	var version *VersionError
	if err == nil || errors.As(err, &version) || errors.Is(err, context.Canceled) {
		return false
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return temporary(pg.Code)
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) ||
		errors.Is(err, pgconn.ErrConnClosed) || pgconn.SafeToRetry(err) || pgconn.Timeout(err) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

func temporary(code string) bool {
	switch code {
	case codeReadOnly, codeIdleTxTimeout, codeSerialization, codeDeadlock, codeLockNotAvailable, codeQueryCanceled,
		codeAdminShutdown, codeCrashShutdown, codeCannotConnectNow, codeIdleTimeout:
		return true
	}
	return strings.HasPrefix(code, classConnection) || strings.HasPrefix(code, classResources)
}

// Missing reports whether an error means that a table or schema does not exist.
func Missing(err error) bool {
	code := state(err)
	return code == codeUndefinedTable || code == codeUndefinedSchema
}

// Forbidden reports whether an error means that the database's role may not do that.
func Forbidden(err error) bool { return state(err) == codeNoPrivilege }

// Refused reports whether an error means that the database will never take these
// values: they violate a constraint, or cannot be represented.
func Refused(err error) bool {
	code := state(err)
	return strings.HasPrefix(code, classDataException) || strings.HasPrefix(code, classConstraint) ||
		strings.HasPrefix(code, classProgramLimit)
}

func state(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}
