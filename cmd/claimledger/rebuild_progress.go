package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/claimledger/claimledger/projections"
)

const (
	// barEvery, linesEvery and eventsEvery are how far apart signs of progress are, on a
	// terminal, in a file, and for a program.
	barEvery    = 100 * time.Millisecond
	linesEvery  = 5 * time.Second
	eventsEvery = time.Second
)

// rebuildProgress shows how far a rebuild is: with a bar on a terminal, else in lines, or
// in JSON. Several models are loaded together, as fast as the slowest.
type rebuildProgress struct {
	out, err io.Writer
	json     bool
	terminal bool
	now      func() time.Time

	mu     sync.Mutex
	models map[string]*loading
	began  time.Time // the loading
	told   time.Time // how far it is, last
	bar    *progressbar.ProgressBar
}

// loading is how far a model is.
type loading struct{ from, at, upTo uint64 }

func newRebuildProgress(w *world, asJSON bool, now func() time.Time) *rebuildProgress {
	return &rebuildProgress{out: w.stdout, err: w.stderr, json: asJSON, terminal: isTerminal(w.stderr), now: now, models: map[string]*loading{}, began: now()}
}

// rebuildEvent is a line of --json.
type rebuildEvent struct {
	projections.RebuildStep
	Rate float64 `json:"commits_per_second,omitempty"`
	Left float64 `json:"seconds_left,omitempty"`
}

// tell hears each step.
func (p *rebuildProgress) tell(s projections.RebuildStep) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.Step == projections.StepLoading {
		p.loading(s)
		return
	}
	if s.Step == projections.StepBegun || s.Step == projections.StepResumed {
		p.models[s.Model] = &loading{from: s.Position, at: s.Position}
	}
	if p.json {
		p.event(rebuildEvent{RebuildStep: s})
		return
	}
	p.clear()
	p.line(s)
}

// event prints a line of JSON. Where nobody reads it any more there is nobody to tell.
func (p *rebuildProgress) event(e rebuildEvent) { _ = json.NewEncoder(p.out).Encode(e) }

func (p *rebuildProgress) line(s projections.RebuildStep) {
	say := func(format string, args ...any) { fmt.Fprintf(p.out, s.Model+": "+format+"\n", args...) }
	switch s.Step {
	case projections.StepBegun:
		say("generation %d is begun", s.Generation)
	case projections.StepResumed:
		say("generation %d is taken up again at position %d", s.Generation, s.Position)
	case projections.StepIndexing:
		say("loaded up to position %d; making indexes", s.Position)
	case projections.StepComparing:
		say("comparing")
	case projections.StepCompared:
		p.compared(*s.Comparison)
	case projections.StepServes:
		say("generation %d serves, from position %d on", s.Generation, s.Position)
	}
}

// compared says what a comparison found.
func (p *rebuildProgress) compared(c projections.Comparison) {
	if c.Equal() {
		fmt.Fprintf(p.out, "%s: equal to generation %d at position %d, %d rows\n", c.Model, c.Old, c.Position, c.Rows)
		return
	}
	fmt.Fprintf(p.out, "%s: generation %d (version %d) differs from generation %d (version %d), which serves, at position %d\n",
		c.Model, c.New, c.NewVersion, c.Old, c.OldVersion, c.Position)
	for _, d := range c.Differences {
		fmt.Fprintf(p.out, "  %s:", d.Table)
		if d.Shape != "" {
			fmt.Fprintf(p.out, " %s;", d.Shape)
		}
		fmt.Fprintf(p.out, " %d rows changed, %d gone, %d new\n", d.Changed, d.OnlyOld, d.OnlyNew)
		for _, row := range d.Examples {
			fmt.Fprintf(p.out, "    old %s\n    new %s\n", cmp.Or(row.Old, "–"), cmp.Or(row.New, "–"))
		}
	}
}

// loading shows how far everything is that is being loaded.
func (p *rebuildProgress) loading(s projections.RebuildStep) {
	m := p.models[s.Model]
	m.at, m.upTo = s.Position, s.UpTo
	every := linesEvery
	switch {
	case p.json:
		every = eventsEvery
	case p.terminal:
		every = barEvery
	}
	if p.now().Sub(p.told) < every {
		return
	}
	p.told = p.now()
	done, total := p.slowest()
	rate := float64(done) / p.now().Sub(p.began).Seconds()
	left := float64(total-done) / rate
	switch {
	case p.json:
		p.event(rebuildEvent{RebuildStep: s, Rate: rate, Left: left})
	case p.terminal:
		p.draw(done, total)
	default:
		fmt.Fprintf(p.out, "loading: %d of %d commits, %.0f a second, %v left\n", done, total, rate, time.Duration(left*float64(time.Second)).Round(time.Second))
	}
}

// slowest is how many commits of how many the model has that has most left.
func (p *rebuildProgress) slowest() (done, total uint64) {
	slow := slices.MaxFunc(slices.Collect(maps.Values(p.models)), func(a, b *loading) int {
		return cmp.Compare(int64(a.upTo)-int64(a.at), int64(b.upTo)-int64(b.at))
	})
	return slow.at - slow.from, max(slow.upTo, slow.at) - slow.from
}

func (p *rebuildProgress) draw(done, total uint64) {
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(int64(total), progressbar.OptionSetWriter(p.err), progressbar.OptionSetDescription("loading"),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("commits"),
			progressbar.OptionFullWidth(), progressbar.OptionClearOnFinish())
	}
	p.bar.ChangeMax64(int64(total))
	_ = p.bar.Set64(int64(done)) // a terminal that is gone has nobody to tell
}

// clear takes the bar away, for a line.
func (p *rebuildProgress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear() // as above
	}
}

func (p *rebuildProgress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}
