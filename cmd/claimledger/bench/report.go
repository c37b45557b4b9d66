package bench

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

// Report is what a run found.
type Report struct {
	Machine Machine  `json:"machine"`
	Results []Result `json:"results"`
	// MostConnections is set where workloads were kept from having as many as they want.
	MostConnections int `json:"most_connections,omitempty"`
}

// Machine is what the figures depend on.
type Machine struct {
	System string `json:"system"`
	CPUs   int    `json:"cpus"`
	Go     string `json:"go"`
	Disk   string `json:"disk"` // the file system below the data; empty: not known
}

func describeMachine(c Config) Machine {
	return Machine{System: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0), Go: runtime.Version(), Disk: FileSystem(c.Dir)}
}

// Result is one workload with its yardstick.
type Result struct {
	Workload string `json:"workload"`
	What     string `json:"what"`    // is asked of the ledger
	Against  string `json:"against"` // what it is held
	Unit     unit   `json:"unit"`

	Ledger    Series  `json:"ledger"`
	Yardstick Series  `json:"yardstick"`
	Ratio     float64 `json:"ratio"` // of the two medians
	// Wanted is the least ratio for rates and the most for latencies; 0 where none is.
	Wanted  float64 `json:"wanted,omitempty"`
	Reached bool    `json:"reached"`

	Bytes   int     `json:"message_bytes,omitempty"`            // of each stored message, on both sides
	Rate    float64 `json:"rate,omitempty"`                     // at which both sides were loaded
	Checked int     `json:"acknowledged_and_in_log,omitempty"`  // commits
	Lag     float64 `json:"read_models_behind_after,omitempty"` // seconds, after the worst round
}

// Series is one side's figures, a round each.
type Series struct {
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	Rounds []float64 `json:"rounds"`
	// CPU is what the measured process used of the CPUs for one operation, and LoadCPU
	// the load generator beside it, in microseconds; the ledger's PostgreSQL is in neither.
	CPU     float64 `json:"cpu_us"`
	LoadCPU float64 `json:"load_cpu_us,omitempty"`

	unit      unit
	done      int
	cpu, load time.Duration
}

func newSeries(u unit) *Series { return &Series{unit: u} }

// add takes a round.
func (s *Series) add(o Outcome, err error) error {
	if err != nil {
		return err
	}
	if o.Done == 0 {
		return fmt.Errorf("nothing was done within a round")
	}
	s.Rounds = append(s.Rounds, s.unit.of(o))
	s.done += o.Done
	s.cpu += o.CPU
	s.load += o.LoadCPU
	return nil
}

func (s *Series) last() float64 { return s.Rounds[len(s.Rounds)-1] }

func (s *Series) sum() Series {
	sorted := slices.Sorted(slices.Values(s.Rounds))
	n := len(sorted)
	s.Median = (sorted[(n-1)/2] + sorted[n/2]) / 2
	s.Min, s.Max = sorted[0], sorted[n-1]
	s.CPU = float64(s.cpu.Microseconds()) / float64(s.done)
	s.LoadCPU = float64(s.load.Microseconds()) / float64(s.done)
	return *s
}

// spread is how far the rounds lie apart, as a share of their median.
func (s Series) spread() float64 { return (s.Max - s.Min) / s.Median }

func newResult(w workload, p *pair, ledger, yardstick *Series) Result {
	r := Result{
		Workload: w.name, What: w.what, Against: w.yardstick, Unit: w.unit,
		Ledger: ledger.sum(), Yardstick: yardstick.sum(), Wanted: w.wanted, Bytes: p.bytes, Rate: math.Round(p.rate),
	}
	r.Ratio = r.Ledger.Median / r.Yardstick.Median
	r.Reached = w.wanted == 0 || cmp.Compare(r.Ratio, w.wanted) >= 0
	if w.unit.lessIsBetter() {
		r.Reached = w.wanted == 0 || r.Ratio <= w.wanted
	}
	if p.wrote != nil {
		r.Checked, r.Lag = p.wrote.checked, p.wrote.lag.Seconds()
	}
	return r
}

// Missed are the workloads whose wanted ratio was not reached.
func (r Report) Missed() []string {
	var names []string
	for _, result := range r.Results {
		if !result.Reached {
			names = append(names, result.Workload)
		}
	}
	return names
}

// Print writes the table.
func (r Report) Print(out io.Writer) error {
	disk := r.Machine.Disk
	if disk == "" {
		disk = "an unknown file system"
	}
	fmt.Fprintf(out, "%s, %d CPUs, %s, data on %s; medians and (spread) of %d rounds by turns\n\n",
		r.Machine.System, r.Machine.CPUs, r.Machine.Go, disk, len(r.Results[0].Ledger.Rounds))
	if r.MostConnections > 0 {
		fmt.Fprintf(out, "No workload had more than %d connections, whatever its name says.\n\n", r.MostConnections)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "workload\tunit\tledger\tyardstick\tratio\twanted\t\tCPU µs: ledger, load, yardstick")
	for _, result := range r.Results {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%.2f\t%s\t%s\t%.0f, %.0f, %.0f\n", result.Workload, result.Unit,
			result.Ledger.text(), result.Yardstick.text(), result.Ratio, result.wanted(), result.mark(),
			result.Ledger.CPU, result.Ledger.LoadCPU, result.Yardstick.CPU)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	for _, result := range r.Results {
		fmt.Fprintf(out, "%s: %s; beside it: %s%s\n", result.Workload, result.What, result.Against, result.details())
	}
	return nil
}

func (s Series) text() string {
	digits := 0
	if s.unit.lessIsBetter() {
		digits = 2
	}
	return fmt.Sprintf("%.*f (±%.0f%%)", digits, s.Median, 100*s.spread()/2)
}

func (r Result) wanted() string {
	switch {
	case r.Wanted == 0:
		return "–"
	case r.Unit.lessIsBetter():
		return fmt.Sprintf("≤ %.1f", r.Wanted)
	}
	return fmt.Sprintf("≥ %.1f", r.Wanted)
}

func (r Result) mark() string {
	switch {
	case r.Wanted == 0:
		return ""
	case r.Reached:
		return "reached"
	}
	return "missed"
}

// details are what is the same on both sides, and what was checked.
func (r Result) details() string {
	var text string
	if r.Bytes > 0 {
		text += fmt.Sprintf(", %d bytes a message", r.Bytes)
	}
	if r.Rate > 0 {
		text += fmt.Sprintf(", %.0f a second", r.Rate)
	}
	if r.Checked > 0 {
		text += fmt.Sprintf("; all %d acknowledged commits are in the log; the read models had them %.1f s after a round", r.Checked, r.Lag)
	}
	return text
}
