package commands

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/claimledger/claimledger/domain"
)

// Metrics count what commands lead to.
type Metrics struct {
	commands      *prometheus.CounterVec
	appendSeconds prometheus.Histogram
	conflicts     prometheus.Counter
	snapshots     *prometheus.CounterVec
	claimsMemory  prometheus.Gauge
}

// NewMetrics makes the collectors and registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "claimledger_commands_total",
			Help: "Commands by name and outcome: ok, or the code of the refusal. SERVICE_UNAVAILABLE growing means the log cannot be written: look at the NATS server and its disk.",
		}, []string{"command", "outcome"}),
		appendSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "claimledger_append_seconds",
			Help:    "Time from handing a commit to the log until it was durable. It is mostly the disk's fsync, of its own and of the commits of its namespace that are on their way before it: if it grows, look at the disk of the NATS server.",
			Buckets: []float64{.0002, .0005, .001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "claimledger_append_conflicts_total",
			Help: "Commits decided again because another process was first. Some are normal with several api processes; many mean that they work on the same namespace, and one process would serve it better.",
		}),
		snapshots: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "claimledger_snapshots_total",
			Help: "Snapshots of claims and of the registries by operation (load, save) and outcome (used, none, ignored, saved, failed). They are a cache: failed means that more of the log is read when something is loaded; look at the bucket snapshots of the NATS server, and make it again with claimledger setup if it is gone.",
		}, []string{"operation", "outcome"}),
		claimsMemory: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "claimledger_claims_memory_bytes",
			Help: "About what the claims in memory take; --claims-memory bounds it. If it stays at the bound and claimledger_snapshots_total{operation=\"load\"} grows with every request, allow more.",
		}),
	}
	r.MustRegister(m.commands, m.appendSeconds, m.conflicts, m.snapshots, m.claimsMemory)
	return m
}

func (m *Metrics) snapshot(operation, outcome string) {
	m.snapshots.WithLabelValues(operation, outcome).Inc()
}

// outcome counts how a command ended and gives its error back.
func (m *Metrics) outcome(command string, err error) error {
	result := "ok"
	if err != nil {
		result = string(domain.ErrorCode(err))
	}
	m.commands.WithLabelValues(command, result).Inc()
	return err
}
