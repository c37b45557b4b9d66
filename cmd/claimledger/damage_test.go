package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// damages are what may become of the files that hold the log's messages.
var damages = map[string]func(t testing.TB, block string){
	"a flipped bit": func(t testing.TB, block string) {
		raw, err := os.ReadFile(block)
		if err != nil {
			t.Fatal(err)
		}
		at, bit := rand.N(len(raw)), rand.N(8)
		raw[at] ^= 1 << bit
		if err := os.WriteFile(block, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Logf("bit %d of byte %d of %d is flipped", bit, at, len(raw))
	},
	"a truncated block": func(t testing.TB, block string) {
		info, err := os.Stat(block)
		if err != nil {
			t.Fatal(err)
		}
		size := rand.N(info.Size())
		if err := os.Truncate(block, size); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d of %d bytes are left", size, info.Size())
	},
}

// A ledger that was killed and whose log's files are not what they were afterwards takes no
// command, and says why. Once they are, it goes on as if nothing had been.
func TestDamageAfterACrash(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	c := newCrashTest(t, dir)
	nats, saved := filepath.Join(dir, "nats"), filepath.Join(dir, "saved")
	c.rounds("the log is damaged after a kill", func() {
		c.traffic.halt()
		c.awaitMark(filepath.Join(dir, "log.mark"))
		c.ledger.kill()
		if err := os.Rename(nats, saved); err != nil {
			t.Fatal(err)
		}
		for name, damage := range damages {
			if err := os.CopyFS(nats, os.DirFS(saved)); err != nil {
				t.Fatal(err)
			}
			damage(t, blockOf(t, nats))
			t.Logf("%s: %s", name, c.refuses())
			if err := os.RemoveAll(nats); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Rename(saved, nats); err != nil {
			t.Fatal(err)
		}
		c.restart()
		c.traffic.begin()
	})
	c.end()
}

// awaitMark waits until all that was answered is known beside the log. What a store loses
// before anybody has seen it cannot be told from what never was.
func (c *crashTest) awaitMark(file string) {
	c.t.Helper()
	eventually(c.t, patience, func() error {
		mark, err := eventstore.MarkFile(file).Read()
		if position := c.traffic.position(); err == nil && mark.Position < position {
			err = fmt.Errorf("the mark is at %d, not %d", mark.Position, position)
		}
		return err
	})
}

// blockOf is the file that holds the messages of a small log.
func blockOf(t testing.TB, store string) string {
	t.Helper()
	pattern := filepath.Join(store, "jetstream", "*", "streams", eventstore.StreamName, "msgs", "*.blk")
	blocks, err := filepath.Glob(pattern)
	if err != nil || len(blocks) != 1 {
		t.Fatalf("block files: %v, %v", blocks, err)
	}
	return blocks[0]
}

// refuses starts the ledger on a log that is damaged, and makes sure that it takes no
// command and says what is wrong. It gives what an operator is told.
func (c *crashTest) refuses() string {
	c.t.Helper()
	l := c.traffic.loads[0]
	refusesToDecide(c.t, l.tenant, l.claims()[0], c.flags, "at position ")
	check := run(c.t, "log", "check", "--data-dir", c.checker.place.DataDir)
	if check.code != exitFailure || !strings.Contains(check.out, "The log is broken") {
		c.t.Errorf("log check ended with %d: %s", check.code, check.out)
	}
	return check.out
}
