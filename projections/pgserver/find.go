package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// minMajor is the oldest PostgreSQL that the read models are written for.
const minMajor = 14

// versionPatience bounds `postgres --version`, which takes milliseconds.
const versionPatience = 10 * time.Second

const howToInstall = "install PostgreSQL 14 or newer (Debian, Ubuntu: apt-get install postgresql; " +
	"Fedora: dnf install postgresql-server; macOS: brew install postgresql@17), " +
	"say where it is with --postgres-bin, or use a server that runs already with --database-url"

// wellKnown are the places where packages put the server's binaries; many keep
// them off the PATH, because users have no use for them.
var wellKnown = []string{
	"/usr/lib/postgresql/*/bin", // Debian, Ubuntu
	"/usr/pgsql-*/bin",          // PostgreSQL's own packages for Fedora and RHEL
	"/usr/lib/postgresql*/bin",  // SUSE
	"/usr/libexec/postgresql*",  // Alpine
	"/usr/lib64/postgresql-*/bin",
	"/opt/homebrew/opt/postgresql*/bin",
	"/usr/local/opt/postgresql*/bin",
	"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
	"/opt/local/lib/postgresql*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
	"/opt/homebrew/bin",
	"/usr/local/bin",
	"/usr/local/pgsql/bin",
	"/usr/bin",
}

// binaries are one installed version of the server.
type binaries struct {
	dir     string
	version string // like "15.18"
	major   int
}

func (b binaries) postgres() string { return filepath.Join(b.dir, "postgres") }
func (b binaries) initdb() string   { return filepath.Join(b.dir, "initdb") }

// Find looks for initdb and postgres of a version that will do: in binDir
// alone if it is given, else on the PATH and then where packages put them,
// highest version first.
func Find(binDir string) (dir string, version string, err error) {
	b, err := findMajor(binDir, 0)
	return b.dir, b.version, err
}

// findFor finds binaries for a cluster of this major version; 0 is no cluster.
func findFor(binDir, data string, major int) (binaries, error) {
	if major != 0 && major < minMajor {
		return binaries{}, fmt.Errorf("the cluster in %s is of PostgreSQL %d, and claimledger needs %d or newer: "+
			"upgrade it with pg_upgrade", data, major, minMajor)
	}
	b, err := findMajor(binDir, major)
	var other *otherMajorError
	if errors.As(err, &other) {
		return binaries{}, fmt.Errorf("the cluster in %s is of PostgreSQL %d, and the binaries in %s are of %s: "+
			"install PostgreSQL %d beside them, point --postgres-bin at it, or upgrade the cluster with pg_upgrade; "+
			"nothing was changed", data, major, other.found.dir, other.found.version, major)
	}
	return b, err
}

// otherMajorError means that there are binaries, but not of the wanted version.
type otherMajorError struct{ found binaries }

func (e *otherMajorError) Error() string {
	return "found only PostgreSQL " + e.found.version + " in " + e.found.dir
}

// findMajor takes the first binaries of the major version; 0 is any.
func findMajor(binDir string, major int) (binaries, error) {
	if binDir != "" {
		abs, err := filepath.Abs(binDir)
		if err != nil {
			return binaries{}, err
		}
		b, err := probe(abs)
		if err != nil {
			return binaries{}, fmt.Errorf("--postgres-bin: %w", err)
		}
		return firstOf([]binaries{b}, major)
	}
	return firstOf(installed(), major)
}

func firstOf(found []binaries, major int) (binaries, error) {
	if len(found) == 0 {
		return binaries{}, errors.New("no PostgreSQL server on this machine: " + howToInstall)
	}
	for _, b := range found {
		if major == 0 && b.major >= minMajor || major != 0 && b.major == major {
			return b, nil
		}
	}
	if major != 0 {
		return binaries{}, &otherMajorError{found[0]}
	}
	return binaries{}, fmt.Errorf("PostgreSQL %s in %s is too old: %s", found[0].version, found[0].dir, howToInstall)
}

// installed are the binaries on the PATH in its order, then the others from the
// highest version down.
func installed() []binaries {
	var onPath, packaged []binaries
	seen := map[string]bool{}
	look := func(dir string, into *[]binaries) {
		if seen[dir] || !filepath.IsAbs(dir) {
			return
		}
		seen[dir] = true
		if b, err := probe(dir); err == nil {
			*into = append(*into, b)
		}
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		look(dir, &onPath)
	}
	for _, pattern := range wellKnown {
		dirs, _ := filepath.Glob(pattern) // fails for a malformed pattern alone
		for _, dir := range dirs {
			look(dir, &packaged)
		}
	}
	slices.SortStableFunc(packaged, func(a, b binaries) int { return b.major - a.major })
	return append(onPath, packaged...)
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) ((\d+)[^ \n]*)`)

// probe asks the binaries in dir for their version.
func probe(dir string) (binaries, error) {
	b := binaries{dir: dir}
	for _, program := range []string{b.initdb(), b.postgres()} {
		if _, err := exec.LookPath(program); err != nil {
			return b, fmt.Errorf("%s has no initdb and postgres that can be run: %w", dir, err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), versionPatience)
	defer cancel()
	out, err := home{}.command(ctx, b.postgres(), "--version").Output()
	if err != nil {
		return b, fmt.Errorf("%s --version: %w", b.postgres(), err)
	}
	m := versionPattern.FindStringSubmatch(string(out))
	if m == nil {
		return b, fmt.Errorf("%s --version: unexpected answer %q", b.postgres(), strings.TrimSpace(string(out)))
	}
	b.version = m[1]
	b.major, err = strconv.Atoi(m[2])
	return b, err
}
