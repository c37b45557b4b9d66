package projections

import (
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/claimledger/claimledger/eventstore"
)

// SignerStatus says how signing the log's heads goes.
type SignerStatus struct {
	// Active says that it is this process's turn. Elsewhere there may be another.
	Active   bool
	Position uint64    // of the newest head; 0: none is known
	Signed   time.Time // when that was signed
	// Covered is when a look last found, or left, everything signed that was in the read
	// model: less than the interval ago when all is well.
	Covered time.Time
	// Contradiction says what does not go together with what was signed before. Nothing
	// is signed while there is something.
	Contradiction error
	// Waiting says what keeps it from signing for now; it tries again by itself.
	Waiting error
}

// signerBoard is a status that one goroutine writes and others read.
type signerBoard struct {
	mu sync.Mutex
	s  SignerStatus
}

// Status says how signing goes now.
func (s *Signer) Status() SignerStatus {
	b := &s.board
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.s
}

func (b *signerBoard) seen(head eventstore.StoredHead) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.s.Position, b.s.Signed = head.Position, head.Time
}

// standBy is that it is another's turn. What contradicted remains to be seen by him.
func (b *signerBoard) standBy() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.s = SignerStatus{Covered: time.Now()}
}

// outcome keeps what came of a look, and reports whether it is another trouble than
// before.
func (b *signerBoard) outcome(err error) (news bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := errors.Join(b.s.Contradiction, b.s.Waiting)
	b.s.Active, b.s.Contradiction, b.s.Waiting = true, nil, nil
	var lies *ContradictionError
	switch {
	case err == nil:
		b.s.Covered = time.Now()
		return false
	case errors.As(err, &lies):
		b.s.Contradiction = err
	default:
		b.s.Waiting = err
	}
	return before == nil || before.Error() != err.Error()
}

// SignerMetrics tells Prometheus how signing goes.
type SignerMetrics struct {
	signer                               *Signer
	position, age, lag, contradicted, on *prometheus.Desc
}

var _ prometheus.Collector = (*SignerMetrics)(nil)

// NewSignerMetrics makes the collector; the caller registers it.
func NewSignerMetrics(s *Signer) *SignerMetrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("claimledger_log_head_"+name, help, nil, nil)
	}
	return &SignerMetrics{
		signer: s,
		on: desc("active", "1 where this process is the one that signs the log's heads, 0 where it stands by. "+
			"The sum over all processes is 1; if it stays 0, look at claimledger_projector_active of the model chain."),
		position: desc("position", "Position of the newest signed head of the log, where this process signs. "+
			"It never goes back; if it stays while positions grow, look at claimledger_log_head_lag_seconds."),
		age: desc("age_seconds", "Seconds since the newest head was signed, where this process signs. "+
			"It also grows while nothing is recorded: alert on claimledger_log_head_lag_seconds."),
		lag: desc("lag_seconds", "Seconds since everything in the read model chain was signed for, where this process signs; below --head-interval and a second when all is well. "+
			"Alert above ten times that: look at claimledger_log_head_contradicted, then whether NATS and PostgreSQL can be reached. Commands go on meanwhile."),
		contradicted: desc("contradicted", "1 when the log or the read model chain is not what was signed for before. "+
			"Alert at once: the log was altered or lost commits, or the database is of another ledger; the log line says at which position. "+
			"Keep copies of NATS's and PostgreSQL's files before anything else, and compare with a backup. No head is signed meanwhile."),
	}
}

// Describe implements prometheus.Collector.
func (m *SignerMetrics) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.on, m.position, m.age, m.lag, m.contradicted} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (m *SignerMetrics) Collect(metrics chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	s := m.signer.Status()
	gauge(m.on, number(s.Active))
	gauge(m.contradicted, number(s.Contradiction != nil))
	if !s.Active {
		return
	}
	gauge(m.lag, time.Since(s.Covered).Seconds())
	if s.Position > 0 {
		gauge(m.position, float64(s.Position))
		gauge(m.age, time.Since(s.Signed).Seconds())
	}
}
