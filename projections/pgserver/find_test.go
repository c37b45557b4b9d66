package pgserver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeBin is a directory whose postgres says that it is of this version.
func fakeBin(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\necho 'postgres (PostgreSQL) %s'\n", version)
	for _, name := range []string{"initdb", "postgres"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestProbe(t *testing.T) {
	for version, major := range map[string]int{
		"15.18 (Debian 15.18-0+deb12u1)": 15,
		"9.6.24":                         9,
		"19beta1":                        19,
	} {
		b, err := probe(fakeBin(t, version))
		if want, _, _ := strings.Cut(version, " "); err != nil || b.major != major || b.version != want {
			t.Errorf("%s: %+v, %v", version, b, err)
		}
	}
	if _, err := probe(fakeBin(t, "unknown")); err == nil {
		t.Error("a version that is none was taken")
	}
}

func TestFindMajor(t *testing.T) {
	fifteen := binaries{dir: "/15", version: "15.18", major: 15}
	seventeen := binaries{dir: "/17", version: "17.2", major: 17}
	thirteen := binaries{dir: "/13", version: "13.9", major: 13}
	for _, c := range []struct {
		found   []binaries
		major   int
		want    string // dir
		message string
	}{
		{found: []binaries{seventeen, fifteen}, want: "/17"},
		{found: []binaries{thirteen, fifteen}, want: "/15"},
		{found: []binaries{seventeen, fifteen}, major: 15, want: "/15"},
		{found: []binaries{seventeen}, major: 15, message: "only PostgreSQL 17.2 in /17"},
		{found: []binaries{thirteen}, message: "too old"},
		{message: "apt-get install postgresql"},
		{major: 15, message: "--database-url"},
	} {
		got, err := firstOf(c.found, c.major)
		if got.dir != c.want {
			t.Errorf("%v for %d: got %q", c.found, c.major, got.dir)
		}
		if c.message == "" && err != nil || c.message != "" && (err == nil || !strings.Contains(err.Error(), c.message)) {
			t.Errorf("%v for %d: %v", c.found, c.major, err)
		}
	}
}

func TestFindPrefersThePath(t *testing.T) {
	old, relative, mine := fakeBin(t, "13.1"), "bin", fakeBin(t, "98.1")
	t.Setenv("PATH", strings.Join([]string{old, relative, "", mine, os.Getenv("PATH")}, string(os.PathListSeparator)))
	if dir, version, err := Find(""); dir != mine || version != "98.1" || err != nil {
		t.Errorf("%s, %s, %v", dir, version, err)
	}
	if dir, _, err := Find(old); dir != "" || err == nil {
		t.Errorf("an old version was taken: %s", dir)
	}
}

func TestOtherMajorIsExplained(t *testing.T) {
	_, err := findFor(fakeBin(t, "98.1"), "/the/cluster", 97)
	if err == nil {
		t.Fatal("binaries of another version were taken")
	}
	for _, part := range []string{"/the/cluster is of PostgreSQL 97", "are of 98.1", "install PostgreSQL 97", "pg_upgrade"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v: does not mention %q", err, part)
		}
	}
}
