package projections

import "github.com/prometheus/client_golang/prometheus"

// Metrics tells Prometheus how projectors are doing. It looks when it is asked, so a
// projector that hangs does not show its last good figures for ever.
type Metrics struct {
	projectors *Projectors

	lagCommits, lagSeconds, applied, active, stopped *prometheus.Desc
}

var _ prometheus.Collector = (*Metrics)(nil)

// NewMetrics makes the collector; the caller registers it.
func NewMetrics(ps *Projectors) *Metrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("claimledger_projector_"+name, help, []string{"model"}, nil)
	}
	return &Metrics{
		projectors: ps,
		lagCommits: desc("lag_commits", "Commits that are in the log and not in the read model. "+
			"Alert when it keeps growing: look at claimledger_projector_stopped, then at the load of PostgreSQL."),
		lagSeconds: desc("lag_seconds", "Seconds since the read model held everything in the log; below 2 when all is well. "+
			"Alert above 10: reads are that old, and past --stale-after the feed refuses. "+
			"If lag_commits is 0, the log cannot be reached: check NATS."),
		applied: desc("applied_commits_total", "Commits that this process applied to the read model. "+
			"When its rate is 0 in every process while lag_commits is not, no projector works: check that one runs with the role projector."),
		active: desc("active", "1 where this process is the one that updates the read model, 0 where it stands by. "+
			"The sum over all processes is 1; if it stays 0, no projector can reach PostgreSQL and NATS."),
		stopped: desc("stopped", "1 when a commit cannot be applied; it is never skipped. "+
			"Alert at once: the log line and `claimledger status` name the commit. "+
			"If another version of the program wrote it, run that version."),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.lagCommits, m.lagSeconds, m.applied, m.active, m.stopped} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(metrics chan<- prometheus.Metric) {
	for _, s := range m.projectors.Status() {
		gauge := func(d *prometheus.Desc, v float64) {
			metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, s.Model)
		}
		gauge(m.lagCommits, float64(s.LagCommits))
		gauge(m.lagSeconds, s.LagSeconds)
		gauge(m.active, number(s.Active))
		gauge(m.stopped, number(s.Stopped != ""))
		metrics <- prometheus.MustNewConstMetric(m.applied, prometheus.CounterValue, float64(s.Applied), s.Model)
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
