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
	}
	r.MustRegister(m.commands, m.appendSeconds, m.conflicts)
	return m
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
