package pgserver

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// port is part of the socket's name and of nothing else: there is no TCP.
const port = "5432"

// maxSocketPath is what every system takes: macOS has room for 103 bytes, Linux
// for 107.
const maxSocketPath = 103

// awkward are the characters that PostgreSQL or pgx take for a list's comma or
// a quote in the name of a socket's directory.
const awkward = `,"'\`

// shortRoot is where a socket goes whose own path is too long. Only the socket:
// nothing durable is kept there.
const shortRoot = "/tmp"

// makeSocketDir makes the directory that only the server's account, and root,
// can enter. Whatever a server before left there is gone after: PostgreSQL
// takes an old socket's lock file for a running server's if its process id is
// in use again.
func (h home) makeSocketDir() (string, error) {
	dir := filepath.Join(h.base, socketName)
	if len(filepath.Join(dir, ".s.PGSQL."+port)) > maxSocketPath || strings.ContainsAny(dir, awkward) {
		dir = filepath.Join(shortRoot, fmt.Sprintf("claimledger-%d-%s", os.Geteuid(), pathHash(h.base)))
	}
	if err := h.account.removeOwn(dir); err != nil {
		return "", fmt.Errorf("the directory of PostgreSQL's socket: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("the directory of PostgreSQL's socket: %w", err)
	}
	if err := h.account.own(dir); err != nil {
		return "", fmt.Errorf("the directory of PostgreSQL's socket: %w", err)
	}
	return dir, nil
}

// removeOwn removes a directory that we or the server's account made. In a
// directory that everyone may write to, someone else may have been there first.
func (a *account) removeOwn(dir string) error {
	info, err := os.Lstat(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	uid := ownerOf(info)
	if !info.IsDir() || uid != os.Geteuid() && (a == nil || uid != a.uid) {
		return fmt.Errorf("%s is not ours (%s, uid %d): remove it, or use a data directory with a shorter path", dir, info.Mode(), uid)
	}
	return os.RemoveAll(dir)
}

func ownerOf(info os.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

// envOverrides answer variables of the caller's environment that pgx reads and
// that would lead it astray. They are added only when a variable is set,
// because older versions of psql do not know them in a URL.
var envOverrides = map[string]url.Values{
	"PGTZ":                 {"timezone": {"UTC"}},
	"PGMINPROTOCOLVERSION": {"min_protocol_version": {"3.0"}},
	"PGMAXPROTOCOLVERSION": {"max_protocol_version": {"3.0"}},
	"PGREQUIREAUTH":        {"require_auth": {""}},
	"PGSSLCERTMODE":        {"sslcertmode": {"allow"}},
	"PGSSLNEGOTIATION":     {"sslnegotiation": {"postgres"}},
}

// endpointURL leaves nothing to the environment's PG variables. The empty
// password is there against PGPASSWORD: it sends the client to the file.
func endpointURL(dir, socketDir string) string {
	q := url.Values{
		"host":                 {socketDir},
		"port":                 {port},
		"user":                 {superuser},
		"password":             {""},
		"passfile":             {filepath.Join(dir, passFile)},
		"sslmode":              {"disable"},
		"channel_binding":      {"disable"},
		"target_session_attrs": {"any"},
		"connect_timeout":      {"10"},
		"application_name":     {"claimledger"},
		"options":              {""},
	}
	for name, override := range envOverrides {
		if _, set := os.LookupEnv(name); set {
			for key, values := range override {
				q[key] = values
			}
		}
	}
	if os.Getenv("PGSERVICE") != "" {
		q.Set("service", superuser)
		q.Set("servicefile", filepath.Join(dir, serviceFile))
	}
	// Encode writes a space as a plus sign, which libpq takes for one.
	return "postgres:///" + databaseName + "?" + strings.ReplaceAll(q.Encode(), "+", "%20")
}
