package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"text/tabwriter"
	"time"
)

// statusPoll is how often status looks while it waits.
const statusPoll = 200 * time.Millisecond

// runningSettings say which running ledger is meant.
type runningSettings struct {
	DataDir   string `default:"./data" help:"Of a ledger on this machine, which says there where it is." placeholder:"DIR"`
	Listen    string `help:"Or where it listens. Default, where no ledger runs on the data directory: 127.0.0.1:8787." placeholder:"HOST:PORT"`
	PublicURL string `help:"Or its URL." placeholder:"URL"`
}

type statusCommand struct {
	runningSettings
	Wait time.Duration `help:"Wait this long for it to be ready." placeholder:"DURATION"`
	JSON bool          `help:"Print JSON."`
}

// Help is shown below the flags.
func (statusCommand) Help() string {
	return "Exits 0 when the ledger is ready, or ready with something degraded, and 1 when it is not.\n\nExample: claimledger status --wait 30s"
}

func (c *statusCommand) Run(w *world) error {
	deadline := time.Now().Add(c.Wait)
	for {
		url := c.base() // a ledger that starts says where it is
		result, err := readReadiness(w.ctx, url)
		ready := err == nil && result.Status != "unready"
		if !ready && time.Now().Before(deadline) && sleep(w.ctx, statusPoll) == nil {
			continue
		}
		if err != nil {
			return fmt.Errorf("no ledger answers at %s: %w", url, err)
		}
		if err := c.print(w.stdout, result); err != nil {
			return err
		}
		if !ready {
			return errors.New("the ledger is not ready")
		}
		return nil
	}
}

// base is the URL of the ledger that is meant.
func (r runningSettings) base() string {
	if r.PublicURL == "" && r.Listen == "" {
		if url := toldURL(r.DataDir); url != "" {
			return url
		}
	}
	return publicURL(r.PublicURL, cmp.Or(r.Listen, defaultListen))
}

// defaultListen is where a ledger listens that is not told otherwise.
const defaultListen = "127.0.0.1:8787"

func (c *statusCommand) print(out io.Writer, r readiness) error {
	if c.JSON {
		return json.NewEncoder(out).Encode(r)
	}
	fmt.Fprintln(out, r.Status)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, name := range slices.Sorted(maps.Keys(r.Checks)) {
		fmt.Fprintf(table, "  %s\t%s\n", name, r.Checks[name].Status)
	}
	if err := table.Flush(); err != nil || len(r.Models) == 0 {
		return err
	}
	fmt.Fprintln(out)
	table = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  read model\tposition\tbehind, commits\tseconds\tprojector")
	for _, m := range r.Models {
		fmt.Fprintf(table, "  %s\t%s\t%d\t%s\t%s\n", m.Model, m.Position, m.LagCommits, m.lag(), m.projector())
	}
	return table.Flush()
}

// lag is how old the model's rows are, for people.
func (m modelStatus) lag() string {
	if m.LagSeconds == nil {
		return "never caught up"
	}
	return fmt.Sprintf("%.1f", *m.LagSeconds)
}

func (m modelStatus) projector() string {
	switch {
	case m.Active == nil:
		return "elsewhere"
	case *m.Active:
		return "works here"
	}
	return "stands by here"
}

func readReadiness(ctx context.Context, url string) (readiness, error) {
	var r readiness
	ctx, cancel := context.WithTimeout(ctx, 2*checkTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/health/ready", nil)
	if err != nil {
		return r, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&r); err != nil {
		return r, fmt.Errorf("what answers there is not a ledger: %w", err)
	}
	return r, nil
}
