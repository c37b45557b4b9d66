package api

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// httpMetrics count requests by route.
type httpMetrics struct {
	seconds *prometheus.HistogramVec
}

func newHTTPMetrics(r prometheus.Registerer) *httpMetrics {
	m := &httpMetrics{prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "claimledger_http_request_seconds",
		Help:    "Time to answer requests by route and status. 5xx growing: look at the log under the request id, and at /health/ready.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"method", "route", "status"})}
	r.MustRegister(m.seconds)
	return m
}

func (m *httpMetrics) observe(method, route string, status int, took time.Duration) {
	m.seconds.WithLabelValues(method, route, strconv.Itoa(status)).Observe(took.Seconds())
}
