package webhookrelay

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// A relay that is always a little behind a log that grows is not further behind with time:
// only what was in the log a while ago and still is not assigned makes it so.
func TestBehindIsOfWhatIsNotAssigned(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := begin
	s := &sampler{metrics: newMetrics(), clock: func() time.Time { return now }}
	steps := []struct {
		at             time.Duration
		position, last uint64
		behind         time.Duration
		lag            float64
	}{
		{0, 10, 10, 0, 0},
		{5 * time.Second, 95, 100, 0, 5},
		{10 * time.Second, 195, 200, 0, 5}, // another five
		{15 * time.Second, 199, 300, 5 * time.Second, 101},
		{20 * time.Second, 199, 400, 10 * time.Second, 201},
		{25 * time.Second, 200, 500, 0, 300}, // what it was behind with is done
		{30 * time.Second, 499, 600, 5 * time.Second, 101},
		{35 * time.Second, 601, 600, 0, 0}, // it went on while the two were read
	}
	for _, step := range steps {
		now = begin.Add(step.at)
		s.note(step.position, step.last, now)
		if _, behind := s.seen(); behind != step.behind {
			t.Errorf("at %v, %d of %d are assigned and it is %v behind, not %v", step.at, step.position, step.last, behind, step.behind)
		}
		if lag := testutil.ToFloat64(s.metrics.lagCommits); lag != step.lag {
			t.Errorf("at %v, %d of %d are assigned and the lag is %v commits, not %v", step.at, step.position, step.last, lag, step.lag)
		}
	}
}
