package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// roundsVariable makes the crash tests thorough: each crash comes so many times, what is
// away stays away for a minute, and more is asked meanwhile.
const roundsVariable = "CLAIMLEDGER_CRASH_ROUNDS"

// plan is how thorough the crash tests are.
type plan struct {
	rounds int
	away   time.Duration
	pace   time.Duration // of each of the traffic's workers
}

func crashPlan(t testing.TB) plan {
	text := os.Getenv(roundsVariable)
	if text == "" {
		return plan{1, 3 * time.Second, 50 * time.Millisecond}
	}
	rounds, err := strconv.Atoi(text)
	if err != nil || rounds < 1 {
		t.Fatalf("%s is %q, not a number of rounds", roundsVariable, text)
	}
	return plan{rounds, time.Minute, 20 * time.Millisecond}
}

// crashTest is a ledger with all roles in one process, traffic on it, and what checks it.
type crashTest struct {
	*client
	plan    plan
	flags   []string
	ledger  *process
	traffic *traffic
	checker *checker
}

// newCrashTest has the embedded log and the private PostgreSQL in a directory.
func newCrashTest(t testing.TB, dir string) *crashTest {
	t.Helper()
	place := []string{"--data-dir", dir}
	return startCrashTest(t, append(place, "--listen", freeAddress(t)), place, placeSettings{DataDir: dir}, embeddedDatabase(dir))
}

// newExternalCrashTest has them elsewhere.
func newExternalCrashTest(t testing.TB, e *external) *crashTest {
	t.Helper()
	e.setup()
	return startCrashTest(t, e.allInOne(freeAddress(t)), e.place(),
		placeSettings{NATSURL: e.natsURL("claimledger"), Replicas: len(e.nodes)}, e.database.URL())
}

func startCrashTest(t testing.TB, flags, place []string, settings placeSettings, database string) *crashTest {
	t.Helper()
	c := &crashTest{plan: crashPlan(t), flags: append(flags, "--webhook-allow-private", "--webhook-retries", "1s,1s,1s")}
	c.ledger = serve(t, c.flags...)
	c.client = newClient(t, c.ledger.address)
	c.awaitStatus("ready")
	c.traffic = newTraffic(t, c.ledger.address, place...)
	c.paceIs(c.plan.pace)
	c.checker = &checker{t: t, place: settings, database: database, traffic: c.traffic}
	return c
}

func (c *crashTest) paceIs(pace time.Duration) {
	for _, l := range c.traffic.loads {
		l.pace = pace
	}
}

// restart starts the ledger anew.
func (c *crashTest) restart() {
	c.t.Helper()
	c.ledger = serve(c.t, c.flags...)
}

// rounds has something happen under load, again and again, and makes sure each time that
// nothing that was answered is lost and that everything comes right.
func (c *crashTest) rounds(what string, crash func()) {
	c.t.Helper()
	for round := range c.plan.rounds {
		c.traffic.begin()
		if round == 0 {
			c.traffic.awaitLimit() // on a slow machine it takes a while
		}
		c.traffic.await(5 + rand.N(20)) // a random moment
		crash()
		c.awaitStatus("ready")
		c.traffic.await(5) // it is served again
		c.traffic.settle()
		c.checker.check()
		if c.t.Failed() {
			c.t.FailNow()
		}
	}
	c.t.Logf("%s, %d times; %d commits are in the log: %s", what, c.plan.rounds, c.checker.commits, c.traffic)
}

// end stops the ledger.
func (c *crashTest) end() {
	c.t.Helper()
	c.ledger.stop()
}

// loseMemory removes what the killed server had of its store in memory, as a machine does
// that goes down.
func loseMemory(t *testing.T, dir string) {
	t.Helper()
	link := filepath.Join(dir, "nats", "jetstream", "$G", "streams", eventstore.StreamName, "batches")
	to, err := os.Readlink(link)
	if err != nil {
		return // it had nothing there
	}
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
}

// A ledger that is killed again and again loses nothing that it answered for, and does
// nothing twice. Its PostgreSQL does not survive it; killed by itself, it comes back, and
// costs no command.
func TestCrashOfTheLedger(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	c := newCrashTest(t, dir)
	c.rounds("the ledger is killed", func() {
		pid := postmaster(dir)
		c.ledger.kill()
		if rand.N(2) == 0 {
			loseMemory(t, dir)
		}
		c.restart()
		if now := postmaster(dir); now == pid || now == 0 {
			t.Errorf("PostgreSQL was process %d and is %d after the ledger was killed", pid, now)
		}
		if running(pid) {
			t.Errorf("PostgreSQL, process %d, survived the ledger that was killed and its successor's start", pid)
		}
	})
	c.rounds("PostgreSQL is killed", func() {
		pid := postmaster(dir)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, patience, func() error {
			if now := postmaster(dir); now == pid || now == 0 {
				return errors.New("PostgreSQL was not started again")
			}
			return nil
		})
	})
	c.end()
}

// Of two projectors either may be killed at any time: the other one goes on where it was,
// and the read models are what the log makes.
func TestCrashOfAProjector(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	e.setup()
	var projectors [2]*process
	for i := range projectors {
		projectors[i] = e.role(roleProjector, freeAddress(t))
	}
	c := startCrashTest(t, append(e.allInOne(freeAddress(t)), "--roles", "api,relay"), e.place(),
		placeSettings{NATSURL: e.natsURL("claimledger"), Replicas: 1}, e.database.URL())
	if c.plan.rounds > 1 {
		c.plan.rounds *= 10 // it takes little
		c.paceIs(100 * time.Millisecond)
	}
	down := -1
	c.rounds("one of two projectors is killed", func() {
		if down >= 0 {
			projectors[down] = e.role(roleProjector, freeAddress(t))
		}
		down = rand.N(len(projectors))
		projectors[down].kill() // and is missing when the read models are checked
	})
	c.end()
}

// One of three NATS servers may be killed at any time, and comes back with what it missed.
func TestCrashOfANATSNode(t *testing.T) {
	t.Parallel()
	e := newCluster(t)
	c := newExternalCrashTest(t, e)
	c.rounds("one of three NATS servers is killed", func() {
		victim := pick(e.nodes...)
		victim.kill()
		c.traffic.await(5) // two are enough
		e.startNATS()
	})
	c.end()
}

// stays waits for as long as something is to be away.
func stays(away time.Duration) { <-time.After(away) }

// While NATS is away nothing is recorded, and nothing is said to be.
func TestNATSAway(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	c := newExternalCrashTest(t, e)
	c.rounds("NATS is away", func() {
		e.killNATS()
		c.awaitStatus("unready")
		c.traffic.halt() // for answers that are on their way
		before := c.traffic.position()
		c.traffic.begin()
		stays(c.plan.away)
		if now := c.traffic.position(); now != before {
			t.Errorf("without NATS, position %d was answered", now)
		}
		e.startNATS()
	})
	c.end()
}

// While PostgreSQL is away commands go on; reads and deliveries catch up after.
func TestPostgreSQLAway(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	c := newExternalCrashTest(t, e)
	c.paceIs(100 * time.Millisecond) // a minute's worth is read and sent in a few seconds
	c.rounds("PostgreSQL is away", func() {
		if err := e.database.Stop(context.Background()); err != nil {
			t.Fatal(err)
		}
		c.awaitStatus("degraded")
		stays(c.plan.away)
		c.traffic.await(5)
		e.restartDatabase()
	})
	c.end()
}
