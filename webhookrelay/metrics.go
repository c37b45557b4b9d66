package webhookrelay

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/claimledger/claimledger/webhookrelay/attempt"
)

// Metrics are what an operator watches the relay by.
type Metrics struct {
	assigned  prometheus.Counter
	delivered prometheus.Counter
	dead      prometheus.Counter
	attempts  *prometheus.CounterVec
	duration  prometheus.Histogram
	start     prometheus.Histogram
	inFlight  prometheus.Gauge
	unopened  prometheus.Gauge

	pending         prometheus.Gauge
	oldestDue       prometheus.Gauge
	tasks           prometheus.Gauge
	lagCommits      prometheus.Gauge
	lagSeconds      prometheus.Gauge
	assignerStopped prometheus.Gauge

	all []prometheus.Collector
}

func newMetrics() *Metrics {
	m := &Metrics{}
	outcomes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "claimledger_webhook_deliveries_total",
		Help: "Webhook deliveries that ended, by outcome. Dead ones used up their retries: their owners find them in the " +
			"webhook's delivery list, and enabling the webhook again sends them. A rise over many webhooks points at this side's network.",
	}, []string{"outcome"})
	m.delivered, m.dead = outcomes.WithLabelValues("delivered"), outcomes.WithLabelValues("dead")
	m.assigned = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "claimledger_webhook_deliveries_assigned_total",
		Help: "Webhook deliveries made from commits by this process. Zero on all but one of the relays is as it should be.",
	})
	m.attempts = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "claimledger_webhook_attempts_total",
		Help: "Attempts to deliver, by what came of them. Timeouts and statuses are the receivers' trouble; " +
			"'name not resolved', 'connection failed' or 'tls failed' for all of them at once is this side's DNS, network or certificates.",
	}, []string{"outcome"})
	m.duration = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "claimledger_webhook_attempt_seconds", Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		Help: "How long attempts took. Many near ten seconds are receivers that hang; they do not delay others.",
	})
	m.start = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "claimledger_webhook_start_seconds", Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60},
		Help: "From what happened to the beginning of its first attempt, where nothing had failed before. Above a second the relay " +
			"is behind: look at the assigner's lag, at PostgreSQL, and at the attempts in flight.",
	})
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		m.all = append(m.all, g)
		return g
	}
	m.inFlight = gauge("claimledger_webhook_attempts_in_flight",
		"Attempts that this process is making, at most "+strconv.Itoa(maxInFlight)+". Near that, start more relays.")
	m.unopened = gauge("claimledger_webhook_secrets_unopened",
		"Webhooks whose secret could not be opened when this process last tried. Above zero for a minute, its secret key file lacks the "+
			"key that the log of the process names: give it the right file. Nothing is lost meanwhile.")
	m.pending = gauge("claimledger_webhook_deliveries_pending",
		"Deliveries that are queued, wait for a retry, or wait for their webhook to be enabled; counted up to "+strconv.Itoa(maxCounted)+".")
	m.oldestDue = gauge("claimledger_webhook_oldest_due_seconds",
		"How long the delivery that waits longest has been due. Minutes mean a receiver that is down; if deliveries_total does not "+
			"move either, look at the log of the relay and at PostgreSQL.")
	m.tasks = gauge("claimledger_webhook_tasks",
		"Webhooks whose deliveries are being queued again or cancelled. Above zero for minutes: look at the log of the relay.")
	m.lagCommits = gauge("claimledger_webhook_assigner_lag_commits",
		"Commits in the log whose deliveries are not assigned yet. Growing means that no relay assigns: see assigner_stopped.")
	m.lagSeconds = gauge("claimledger_webhook_assigner_lag_seconds",
		"How long this process has seen commits without assigned deliveries. Alert above 60.")
	m.assignerStopped = gauge("claimledger_webhook_assigner_stopped",
		"1 where this process cannot assign deliveries until a person does something; its log and status say what. Nothing is skipped.")
	m.all = append(m.all, outcomes, m.assigned, m.attempts, m.duration, m.start)
	return m
}

// Describe is for prometheus.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all {
		c.Describe(ch)
	}
}

// Collect is for prometheus.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.all {
		c.Collect(ch)
	}
}

func (m *Metrics) attempted(r result) {
	m.attempts.WithLabelValues(outcomeLabel(r.outcome)).Inc()
	m.duration.Observe(r.outcome.Duration.Seconds())
	if r.delivery.attempts == 0 {
		m.start.Observe(r.begun.Sub(r.occurredAt).Seconds())
	}
}

// outcomeLabel has few values, whatever receivers answer.
func outcomeLabel(o attempt.Outcome) string {
	switch {
	case o.OK():
		return "ok"
	case o.Status == 0 || o.Status >= 200 && o.Status < 300:
		return o.Error
	default:
		return "status " + strconv.Itoa(o.Status/100) + "xx"
	}
}
