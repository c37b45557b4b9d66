package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

const (
	// pauseCovers is longer than the longest pause of a command that tries again. The
	// pauses' jitter is the one thing that the seed does not choose, so after every step
	// all of them end.
	pauseCovers = 25 * time.Millisecond
	// mostInFlight bounds the commands that a node executes at a time.
	mostInFlight = 4
)

var (
	// begin is when every run begins.
	begin      = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	namespaces = []string{"acme", "globex", "initech"}
)

// world is one run: the nodes and the log between them, the clients, and the model that
// all is compared with.
type world struct {
	profile
	plant  plant
	dir    string // of the mark files
	limits domain.OwnerLimits

	rng      *rand.Rand // of the present step
	now      time.Time
	latest   time.Time // that any node's clock ever showed
	ledger   *ledger
	gate     gate
	nodes    []*node
	commands []*command
	claims   map[string][]string // by namespace, as the clients know them
	services []service
	secrets  []string // raw keys
	ids      int
	model    *model
	torn     bool
	kept     map[string][][]byte // snapshots by name, all that ever were

	trace  []string
	failed error
	kind   string // of the violation
}

// service is one that somebody asked for.
type service struct{ id, namespace string }

// profile is what a seed makes of a run as a whole: some runs know no trouble of one sort,
// in some there is much of it.
type profile struct {
	nodes    int
	faults   float64 // share of the operations that end badly
	weights  map[string]int
	tearing  bool
	hurry    float64 // how likely an operation goes on at once
	keyed    float64 // share of the commands with an Idempotency-Key
	fewNames int     // namespaces in use
}

func newProfile(rng *rand.Rand) profile {
	often := func(values ...int) int { return values[rng.IntN(len(values))] }
	return profile{
		nodes:    2 + rng.IntN(2),
		faults:   pick(rng, 0, 0.03, 0.1, 0.25),
		hurry:    pick(rng, 0.2, 0.5, 0.8),
		keyed:    pick(rng, 0.1, 0.5),
		tearing:  rng.IntN(5) == 0,
		fewNames: 1 + rng.IntN(len(namespaces)),
		weights: map[string]int{
			"command": often(30, 60), "release": often(60, 120), "hand over": often(5, 20, 40),
			"wait": often(5, 10), "jump": often(0, 1, 3), "skew": often(0, 0, 3),
			"crash": often(0, 1, 4), "start": 30, "cancel": often(0, 0, 2), "arrive": 5,
			"watch": often(1, 5), "verify": often(5, 15), "sweep": often(2, 8),
		},
	}
}

func pick[T any](rng *rand.Rand, values ...T) T { return values[rng.IntN(len(values))] }

// newWorld makes a world in which the namespaces and their services exist already.
func newWorld(dir string, seed uint64, p plant) *world {
	profileOf := rand.New(rand.NewPCG(seed, 0))
	w := &world{
		plant: p, dir: dir, limits: domain.OwnerLimits{Services: 3, KeysPerService: 2, WebhooksPerService: 2, ManagementKeys: 2},
		now: begin, latest: begin, ledger: &ledger{memory: eventstore.NewMemory()}, claims: map[string][]string{}, kept: map[string][][]byte{},
		profile: newProfile(profileOf), rng: profileOf,
	}
	w.model = newModel(w)
	w.found()
	for id := range w.profile.nodes {
		n := newNode(w, id)
		w.nodes = append(w.nodes, n)
		w.start(n)
	}
	w.settle()
	return w
}

// found sets the namespaces up, on a log that has no trouble yet.
func (w *world) found() {
	x := commands.NewExecutor(commands.Config{
		Log: w.ledger.memory, Limits: w.limits, Logger: discard, NewID: w.newID,
		Metrics: newMetrics(), Now: func() time.Time { return w.now },
	})
	for _, ns := range namespaces[:w.fewNames] {
		w.execute(x, ns, domain.RegisterNamespace{OwnerID: "owner-of-" + ns, Token: domain.LoginToken{Hash: domain.HashOf([]byte(ns)), ExpiresAt: begin}})
		w.execute(x, ns, domain.ChangePolicy{MaxPending: new(1 + w.rng.IntN(4)), MaxAgents: new(1 + w.rng.IntN(3)), MaxServices: new(1 + w.rng.IntN(2)), PendingExpiryHours: new(w.rng.IntN(3))})
		for range 2 {
			w.execute(x, ns, w.createService(ns))
		}
	}
	w.check()
}

func (w *world) newID() string {
	w.ids++
	return fmt.Sprintf("01J%023d", w.ids)
}

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

// fail keeps the first violation.
func (w *world) fail(format string, args ...any) {
	if w.failed == nil {
		w.failed, w.kind = fmt.Errorf(format, args...), format
		w.note("VIOLATION: %v", w.failed)
	}
}

// settle waits until nothing moves any more but what waits for the simulation.
func (w *world) settle() {
	synctest.Wait()
	timer := time.NewTimer(pauseCovers) // of the bubble's time, which costs none
	<-timer.C
	synctest.Wait()
}

// close ends all that runs.
func (w *world) close() {
	for _, n := range w.nodes {
		if n.state != down {
			w.crash(n)
		}
	}
	w.settle()
}

// outcome is what a run led to.
type outcome struct {
	failed error
	kind   string // empty: none
	trace  []string
	steps  int
}

// simulate runs the chosen steps of a seed, in a bubble of its own. Each step draws from
// its own source, so that those that are left make much the same choices without the
// others.
func simulate(t *testing.T, seed uint64, steps []int, p plant) (o outcome) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t.TempDir(), seed, p)
		defer w.close()
		for _, i := range steps {
			if w.failed != nil {
				break
			}
			w.rng = rand.New(rand.NewPCG(seed, uint64(i)+1))
			w.step()
			w.check()
			o.steps++
		}
		if w.failed == nil {
			w.finish()
		}
		o.failed, o.kind, o.trace = w.failed, w.kind, w.trace
	})
	return o
}

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// shrink drops steps for as long as the run still fails in the same way, the largest
// pieces first.
func shrink(t *testing.T, seed uint64, steps []int, p plant) ([]int, outcome) {
	smallest := simulate(t, seed, steps, p)
	steps = steps[:smallest.steps]
	for size := len(steps) / 2; size > 0; {
		dropped := false
		for at := 0; at < len(steps); {
			without := append(append([]int{}, steps[:at]...), steps[min(at+size, len(steps)):]...)
			if o := simulate(t, seed, without, p); o.kind == smallest.kind {
				steps, smallest, dropped = without[:o.steps], o, true
			} else {
				at += size
			}
		}
		if !dropped || size > len(steps) {
			size /= 2
		}
	}
	return steps, smallest
}

func (o outcome) String() string { return strings.Join(o.trace, "\n") }
