// Package claimledger_test holds the tree to its shape: which part may import
// which, and what domain may touch at all. It reads the sources of every platform
// and builds none of them.
package claimledger_test

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "github.com/claimledger/claimledger"

// arrows are the parts of the tree and, for each, the others that it may import,
// tests included. A name stands for everything below it. The arrows form no
// circle, so what a part cannot import it does not reach by a detour either.
var arrows = map[string][]string{
	"domain":      nil,
	"eventstore":  {"domain"},
	"projections": {"domain", "eventstore"},
	"api":         {"domain", "eventstore", "projections"},
	// The connection to PostgreSQL is shared; the read models are not the relay's.
	"webhookrelay": {"domain", "eventstore", "projections/pgdb", "projections/pgserver"},
	"cmd":          {"domain", "eventstore", "projections", "api", "webhookrelay"},
}

// leaves are packages that others, or other programs, import without the rest of their
// part, and for each what it may import of ours beside itself and domain.
var leaves = map[string][]string{
	"projections/pgdb":     {"projections/pgserver"},
	"projections/pgserver": {"projections/pgdb"},
	"api/httpsig":          nil,
	"api/client":           {"api/httpsig"},
}

// lean are packages that bring their importers nothing foreign by their own imports.
var lean = []string{"api/client"}

// drivers belong to the parts that know the technology; cmd wires them.
var drivers = map[string][]string{
	"github.com/nats-io":     {"eventstore", "cmd"},
	"github.com/jackc":       {"projections", "webhookrelay", "cmd"},
	"github.com/gorilla/mux": {"api"},
}

// What domain may use. Time, randomness and ids are arguments of what it decides.
var (
	domainNeeds      = []string{"github.com/oklog/ulid/v2"}
	domainTestsNeed  = []string{"pgregory.net/rapid"}
	impure           = []string{"os", "net", "database/sql", "log", "syscall", "crypto/rand", "math/rand"}
	pureAllTheSame   = []string{"net/netip", "net/url"}
	domainNeverCalls = map[string][]string{
		"time":                     {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer"},
		"github.com/oklog/ulid/v2": {"Make", "Now", "DefaultEntropy"},
	}
)

// topLevel are the directories beside those of arrows; make puts the last two
// there, and git does not see them.
var topLevel = []string{"deploy", "docs", "bin", "data"}

// Such a name says that nobody knew where the code belongs.
var emptyNames = []string{"util", "utils", "common", "helper", "helpers", "manager", "managers", "misc"}

// maxLines is where a file has long been two.
const maxLines = 600

func TestImportArrows(t *testing.T) {
	found, files := violations(t, os.DirFS("."))
	for _, v := range found {
		t.Error(v)
	}
	if files < len(arrows) {
		t.Errorf("only %d Go files found: is this the root of the module?", files)
	}
}

// A planted violation is found, and what only looks like one is not.
func TestImportArrowsAreFound(t *testing.T) {
	const ours, ulid = module + "/", "github.com/oklog/ulid/v2"
	tests := []struct {
		file, imports, body string
		want                string // part of the violation; empty: none
	}{
		{"domain/a.go", ours + "eventstore", "", "domain may not import eventstore"},
		{"domain/sub/a.go", ours + "eventstore", "", "domain may not import eventstore"},
		{"domain/a_test.go", ours + "eventstore/logtest", "", "domain may not import eventstore/logtest"},
		{"domain/a.go", "github.com/x/y", "", "domain may not import github.com/x/y"},
		{"domain/a.go", "pgregory.net/rapid", "", "domain may not import pgregory.net/rapid"},
		{"domain/a_test.go", "pgregory.net/rapid", "", ""},
		{"domain/a.go", ulid, "", ""},
		{"domain/a.go", "net/netip", "", ""},
		{"domain/a.go", "net/http/httptest", "", "does no I/O"},
		{"domain/a.go", "os/exec", "", "does no I/O"},
		{"domain/a_test.go", "os", "", ""},
		{"domain/a.go", "time", "var _ = time.Now()", "is told the time"},
		{"domain/a.go", "clock time", "var _ = clock.Now", "is told the time"},
		{"domain/a.go", ulid, "var _ = ulid.Make()", "is told the time"},
		{"domain/a.go", "time", "var _ = time.Unix(0, 0)", ""},
		{"domain/a_test.go", "time", "var _ = time.Now()", ""},

		{"eventstore/a.go", ours + "domain", "", ""},
		{"eventstore/a.go", ours + "projections", "", "eventstore may not import projections"},
		{"eventstore/a.go", "github.com/nats-io/nats.go/jetstream", "", ""},
		{"eventstore/a.go", "github.com/jackc/pgx/v5", "", "eventstore may not import github.com/jackc/pgx/v5"},

		{"projections/a.go", ours + "eventstore", "", ""},
		{"projections/a.go", ours + "api", "", "projections may not import api"},
		{"projections/a_test.go", ours + "webhookrelay", "", "projections may not import webhookrelay"},
		{"projections/a.go", "github.com/nats-io/nats.go", "", "projections may not import github.com/nats-io"},
		{"projections/pgdb/a.go", "github.com/jackc/pgx/v5/pgxpool", "", ""},
		{"projections/pgdb/a.go", ours + "projections", "", "projections/pgdb may not import projections:"},
		{"projections/pgserver/a_test.go", ours + "projections/pgserver/pgtest", "", ""},

		{"api/a.go", "github.com/gorilla/mux", "", ""},
		{"api/a.go", ours + "projections", "", ""},
		{"api/httpsig/a.go", ours + "webhookrelay/attempt", "", "api may not import webhookrelay/attempt"},
		{"api/httpsig/a.go", "github.com/x/y", "", ""},
		{"api/client/a.go", ours + "api/httpsig", "", ""},
		{"api/client/a.go", ours + "projections/pgdb", "", "api/client may not import projections/pgdb"},
		{"api/client/a_test.go", ours + "api", "", "api/client may not import api:"},
		{"api/client/a.go", "github.com/x/y", "", "only the standard library"},
		{"api/a_test.go", ours + "webhookrelay", "", "api may not import webhookrelay"},
		{"api/a.go", "github.com/jackc/pgx/v5", "", "api may not import github.com/jackc/pgx/v5"},

		{"webhookrelay/a.go", ours + "projections/pgdb", "", ""},
		{"webhookrelay/a.go", ours + "projections", "", "webhookrelay may not import projections"},
		{"webhookrelay/a.go", ours + "projections/pgdbx", "", "webhookrelay may not import projections/pgdbx"},
		{"webhookrelay/a_test.go", ours + "api", "", "webhookrelay may not import api"},
		{"webhookrelay/a.go", "github.com/gorilla/mux", "", "webhookrelay may not import github.com/gorilla/mux"},

		{"cmd/claimledger/a.go", ours + "webhookrelay", "", ""},
		{"cmd/claimledger/a.go", "github.com/gorilla/mux", "", "cmd may not import github.com/gorilla/mux"},
		{"api/a.go", ours + "cmd/claimledger", "", "api may not import cmd/claimledger"},
		{"cmd/a.go", module, "", "cmd may not import ."},

		{"api/a.go", ours + "eventstore/logtest", "", "for tests only"},
		{"cmd/claimledger/a.go", ours + "projections/pgserver/pgtest", "", "for tests only"},
		{"api/a_test.go", ours + "eventstore/logtest", "", ""},
		{"api/apitest/a.go", ours + "projections/pgserver/pgtest", "", ""},

		{"internal/a.go", "fmt", "", "internal is no part of the tree"},
		{"deploy/a.go", "fmt", "", "deploy has no place for Go"},
		{"a.go", "fmt", "", "the root has no place for Go"},
		{"api/util/a.go", "fmt", "", "util says nothing"},
		{"api/long.go", "fmt", strings.Repeat("\n", maxLines), "lines"},
		{".hidden/a.go", ours + "api", "", ""},
		{"domain/testdata/a.go", ours + "api", "", ""},
		{"data/a.go", "fmt", "", ""},
	}
	for _, tc := range tests {
		name, imported, renamed := strings.Cut(tc.imports, " ")
		if !renamed {
			name, imported = "", tc.imports
		}
		pkg := strings.TrimLeft(path.Base(path.Dir(tc.file)), ".")
		source := fmt.Sprintf("package %s\n\nimport %s %q\n%s\n", cmp.Or(pkg, "root"), name, imported, tc.body)
		found, _ := violations(t, fstest.MapFS{tc.file: {Data: []byte(source)}})
		all := strings.Join(found, "\n")
		if tc.want == "" && all != "" || !strings.Contains(all, tc.want) {
			t.Errorf("%s importing %q, with %q: found %q, want %q", tc.file, tc.imports, tc.body, all, tc.want)
		}
	}
}

// file is one Go source, and where it stands.
type file struct {
	dir    string // below the root of the module; "." is the root
	part   string // the first element of dir
	test   bool
	syntax *ast.File
	lines  int
}

// violations reads a tree, and also returns how many Go files it has.
func violations(t *testing.T, tree fs.FS) (found []string, files int) {
	t.Helper()
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if entry.IsDir() {
			switch {
			case name == ".":
				return nil
			case strings.HasPrefix(base, "."), base == "testdata", name == "bin", name == "data":
				return fs.SkipDir
			case !strings.Contains(name, "/") && !isPart(name) && !slices.Contains(topLevel, name):
				found = append(found, name+" is no part of the tree")
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		files++
		f, err := readFile(tree, name)
		if err != nil {
			return err
		}
		for _, v := range f.violations() {
			found = append(found, name+": "+v)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found, files
}

func readFile(tree fs.FS, name string) (file, error) {
	source, err := fs.ReadFile(tree, name)
	if err != nil {
		return file{}, err
	}
	syntax, err := parser.ParseFile(token.NewFileSet(), name, source, parser.SkipObjectResolution)
	dir := path.Dir(name)
	part, _, _ := strings.Cut(dir, "/")
	return file{
		dir: dir, part: part, test: strings.HasSuffix(name, "_test.go"),
		syntax: syntax, lines: bytes.Count(source, []byte("\n")),
	}, err
}

func (f file) violations() []string {
	var found []string
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }

	if f.lines > maxLines {
		add("%d lines; more than %d are two files", f.lines, maxLines)
	}
	if name := strings.TrimSuffix(f.syntax.Name.Name, "_test"); slices.Contains(emptyNames, name) {
		add("the package name %s says nothing", name)
	}
	switch {
	case f.dir == "." && !f.test:
		add("the root has no place for Go but this test")
	case f.dir != "." && !isPart(f.part):
		add("%s has no place for Go", f.part)
	}
	for _, spec := range f.syntax.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			add("%v", err)
			continue
		}
		found = append(found, f.importing(imported)...)
		found = append(found, f.calling(imported, spec.Name)...)
	}
	return found
}

// importing judges one import by its path.
func (f file) importing(imported string) []string {
	if isBelow(imported, module) {
		return f.importingOurs(strings.TrimPrefix(strings.TrimPrefix(imported, module), "/"))
	}
	var found []string
	for driver, parts := range drivers {
		if isBelow(imported, driver) && !slices.Contains(parts, f.part) {
			found = append(found, fmt.Sprintf("%s may not import %s: only %s", f.part, imported, strings.Join(parts, ", ")))
		}
	}
	foreign := strings.Contains(strings.Split(imported, "/")[0], ".")
	if foreign && isBelowAny(f.dir, lean) {
		found = append(found, fmt.Sprintf("%s may not import %s: only the standard library", f.dir, imported))
	}
	if f.part != "domain" || len(found) > 0 {
		return found
	}
	allowed := slices.Contains(domainNeeds, imported) || f.test && slices.Contains(domainTestsNeed, imported)
	switch {
	case foreign && !allowed:
		found = append(found, fmt.Sprintf("domain may not import %s: only the standard library and ulid", imported))
	case !foreign && !f.test && isBelowAny(imported, impure) && !slices.Contains(pureAllTheSame, imported):
		found = append(found, fmt.Sprintf("domain may not import %s: it does no I/O", imported))
	}
	return found
}

// importingOurs judges an import of another package of this module.
func (f file) importingOurs(imported string) []string {
	var found []string
	part, _, _ := strings.Cut(imported, "/")
	if part != f.part && !isBelowAny(imported, arrows[f.part]) {
		if imported == "" {
			imported = "."
		}
		found = append(found, fmt.Sprintf("%s may not import %s", f.part, imported))
	}
	for leaf, others := range leaves {
		if isBelow(f.dir, leaf) && part != "domain" && !isBelow(imported, leaf) && !isBelowAny(imported, others) {
			found = append(found, fmt.Sprintf("%s may not import %s: others use it without the rest of %s", f.dir, imported, f.part))
		}
	}
	if isForTests(imported) && !f.test && !isForTests(f.dir) {
		found = append(found, fmt.Sprintf("%s is for tests only", imported))
	}
	return found
}

// calling judges what domain uses of a package that it may import.
func (f file) calling(imported string, rename *ast.Ident) []string {
	if f.part != "domain" || f.test || domainNeverCalls[imported] == nil {
		return nil
	}
	local := path.Base(strings.TrimSuffix(imported, "/v2"))
	if rename != nil {
		local = rename.Name
	}
	var found []string
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		use, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := use.X.(*ast.Ident); ok && x.Name == local && slices.Contains(domainNeverCalls[imported], use.Sel.Name) {
			found = append(found, fmt.Sprintf("%s.%s: domain is told the time, and ids", local, use.Sel.Name))
		}
		return true
	})
	return found
}

func isPart(name string) bool {
	_, ok := arrows[name]
	return ok
}

// isForTests tells packages like pgtest, which no program may contain.
func isForTests(dir string) bool { return strings.HasSuffix(dir, "test") }

func isBelow(name, tree string) bool {
	return name == tree || strings.HasPrefix(name, tree+"/")
}

func isBelowAny(name string, trees []string) bool {
	return slices.ContainsFunc(trees, func(tree string) bool { return isBelow(name, tree) })
}
