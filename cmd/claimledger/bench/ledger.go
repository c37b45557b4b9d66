package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/claimledger/claimledger/eventstore"
)

const (
	pollEvery = 50 * time.Millisecond
	// catchUpPatience bounds how long read models take to hold what a round wrote.
	catchUpPatience = 10 * time.Minute
)

// ledger is a ledger in a process of its own, with all its parts.
type ledger struct {
	*process
	dir, base, address string
	commits            eventstore.Log
	closeLog           func() error
	profile            string // where the next load's profiles go; empty: nowhere
}

func startLedger(ctx context.Context, c Config) (_ *ledger, err error) {
	l := &ledger{dir: filepath.Join(c.Dir, "ledger")}
	args := append(c.Program.Ledger, "--data-dir", l.dir, "--listen", "127.0.0.1:0", "--log-level", "warn",
		"--roles", strings.Join(c.Roles, ","), "--webhook-allow-private", "--max-webhooks", strconv.Itoa(hookedEndpoints))
	if l.process, err = startProcess("ledger", filepath.Join(c.Dir, "ledger.log"), append(args, c.ServeFlags...)); err != nil {
		return nil, err
	}
	if err := l.await(ctx, c.Program); err != nil {
		return nil, errors.Join(err, l.stop())
	}
	return l, nil
}

// await waits until the ledger is ready and joins its log.
func (l *ledger) await(ctx context.Context, program Program) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience, errors.New("it was not ready in time"))
	defer cancel()
	for ready := false; !ready; {
		select {
		case <-l.ended:
			return l.failed(errors.New("it ended"))
		case <-ctx.Done():
			return l.failed(context.Cause(ctx))
		case <-time.After(pollEvery):
		}
		if l.base = program.URL(l.dir); l.base == "" {
			continue
		}
		// Also where it is degraded: a ledger of the role api alone is, without read models.
		ready = call(ctx, http.MethodGet, l.base+"/health/ready", "", nil, nil) == nil
	}
	l.address = strings.TrimPrefix(l.base, "http://")
	var err error
	l.commits, l.closeLog, err = program.OpenLog(ctx, l.dir)
	return err
}

func (l *ledger) stop() error {
	var err error
	if l.closeLog != nil {
		err = l.closeLog()
	}
	return errors.Join(err, l.process.stop())
}

// during runs a load, notes the CPU time that the ledger used for it, and profiles it
// where that was asked for.
func (l *ledger) during(ctx context.Context, load func() (Outcome, error)) (Outcome, error) {
	path := l.profile
	if path != "" {
		if err := l.control(ctx, command{Start: path}); err != nil {
			return Outcome{}, err
		}
	}
	before, err := l.metrics(ctx)
	if err != nil {
		return Outcome{}, err
	}
	o, err := load()
	if err != nil {
		return Outcome{}, err
	}
	after, err := l.metrics(ctx)
	if err != nil {
		return Outcome{}, err
	}
	o.LoadCPU = o.CPU
	o.CPU = time.Duration((after[cpuMetric] - before[cpuMetric]) * float64(time.Second))
	if path != "" {
		err = l.control(ctx, command{Stop: true})
	}
	return o, err
}

func (l *ledger) control(ctx context.Context, c command) error {
	var answer obeyed
	if err := l.ask(ctx, c, &answer); err != nil {
		return err
	}
	if answer.Error != "" {
		return fmt.Errorf("profile: %s", answer.Error)
	}
	return nil
}

// What the ledger tells of itself.
const (
	cpuMetric        = "process_cpu_seconds_total"
	memoryMetric     = "process_resident_memory_bytes"
	heapMetric       = "go_memstats_heap_inuse_bytes"
	claimsMetric     = "claimledger_claims_memory_bytes"
	appliedMetrics   = "claimledger_projector_applied_commits_total{"
	assignerLag      = "claimledger_webhook_assigner_lag_commits"
	inFlightMetric   = "claimledger_webhook_attempts_in_flight"
	metricsPath      = "/metrics"
	metricsSeparator = ' '
)

// metrics reads the ledger's metrics, by name with labels.
func (l *ledger) metrics(ctx context.Context) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.base+metricsPath, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	values := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		line := lines.Text()
		if at := strings.LastIndexByte(line, metricsSeparator); at > 0 && line[0] != '#' {
			if v, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
				values[line[:at]] = v
			}
		}
	}
	return values, lines.Err()
}

// settle waits until everything that is derived from the log holds all of it, so that
// what one side has left to do is no burden on the other. It tells how long the read
// models took; the relay tells of itself every few seconds only.
func (l *ledger) settle(ctx context.Context) (models time.Duration, err error) {
	begun := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, catchUpPatience, errors.New("the read models do not catch up"))
	defer cancel()
	last, err := l.commits.Last(ctx)
	if err != nil {
		return 0, err
	}
	for {
		values, err := l.metrics(ctx)
		if err != nil {
			return 0, err
		}
		projected := projected(values, last)
		if projected && models == 0 {
			models = time.Since(begun)
		}
		if projected && values[assignerLag] == 0 {
			return models, nil
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// projected tells whether every projector of a ledger that began empty in this process
// has applied everything. A process without projectors has none to wait for.
func projected(values map[string]float64, last uint64) bool {
	for name, v := range values {
		if strings.HasPrefix(name, appliedMetrics) && v < float64(last) {
			return false
		}
	}
	return true
}
