// Package sim runs the ledger's parts together, deterministically: a seed chooses the
// commands, what happens between any two operations on the log, the crashes, the clocks
// and the faults, and after each step what must always hold is compared with a model that
// knows the log alone. It never measures time, and has no part in the program.
package sim

import (
	"flag"
	"fmt"
	"testing"
	"time"
)

var (
	seed  = flag.Uint64("seed", 0, "the one seed to run; 0: as many as -seeds says")
	seeds = flag.Int("seeds", 60, "how many seeds to run, from 1")
	steps = flag.Int("steps", 150, "how many steps a seed takes")

	derivedSeeds = flag.Int("derived-seeds", 2, "how many seeds of what needs a database to run, from 1")
	derivedSteps = flag.Int("derived-steps", 80, "how many steps each takes")
)

func TestSimulation(t *testing.T) {
	first, last := uint64(1), uint64(*seeds)
	if *seed != 0 {
		first, last = *seed, *seed
	}
	began, total := time.Now(), 0
	for s := first; s <= last; s++ {
		o := simulate(t, s, upTo(*steps), plant{})
		if total += o.steps; o.failed == nil {
			continue
		}
		report(t, s, plant{})
	}
	t.Logf("%d seeds, %d steps, %v", last-first+1, total, time.Since(began).Round(time.Millisecond))
}

// report says how a seed fails, in as few steps as it takes.
func report(t *testing.T, s uint64, p plant) {
	t.Helper()
	kept, o := shrink(t, s, upTo(*steps), p)
	t.Fatalf("seed %d: %v\nmake sim SEED=%d STEPS=%d shows it again. It takes the steps %v:\n%s", s, o.failed, s, *steps, kept, o)
}

// A seed leads to the same run every time.
func TestDeterminism(t *testing.T) {
	for s := uint64(1); s <= 20; s++ {
		a, b := simulate(t, s, upTo(*steps), plant{}), simulate(t, s, upTo(*steps), plant{})
		if fmt.Sprint(a) != fmt.Sprint(b) {
			t.Fatalf("seed %d led to two runs:\n%v\n\n%v", s, a, b)
		}
	}
}

// What is made from the log equals it, whatever happens to those who make it.
func TestDerived(t *testing.T) {
	first, last := uint64(1), uint64(*derivedSeeds)
	if *seed != 0 {
		first, last = *seed, *seed
	}
	began, total := time.Now(), 0
	for s := first; s <= last; s++ {
		o := derive(t, s, upTo(*derivedSteps), derivedPlant{})
		if total += o.steps; o.failed != nil {
			t.Fatalf("seed %d, after %d steps: %v\nmake sim SEED=%d DERIVED_STEPS=%d shows it again:\n%s", s, o.steps, o.failed, s, *derivedSteps, o)
		}
	}
	t.Logf("%d seeds, %d steps, %v", last-first+1, total, time.Since(began).Round(time.Millisecond))
}
