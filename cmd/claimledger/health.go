package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/claimledger/claimledger/api"
	"github.com/claimledger/claimledger/domain"
)

// checkTimeout bounds one look at everything.
const checkTimeout = 2 * time.Second

// check looks at one thing that the process needs. What is not vital makes the
// process degraded and not unready: its main job goes on without it.
type check struct {
	name  string
	vital bool
	look  func(context.Context) error
}

type checkResult struct {
	Status string `json:"status"` // ok, or what is wrong
	Vital  bool   `json:"vital"`
}

type readiness struct {
	Status string                 `json:"status"` // ready, degraded or unready
	Roles  []string               `json:"roles"`
	Checks map[string]checkResult `json:"checks"`
	Models []modelStatus          `json:"read_models,omitempty"`
}

// modelStatus is how far a read model is.
type modelStatus struct {
	Model      string   `json:"model"`
	Generation int      `json:"generation,omitempty"` // 0: not known here
	Version    int      `json:"version"`              // that this process knows
	Position   string   `json:"position"`
	LagCommits uint64   `json:"lag_commits"`
	LagSeconds *float64 `json:"lag_seconds"`      // since it held everything; null: it never did
	Active     *bool    `json:"active,omitempty"` // whether this process updates it; not there: it has no projector
}

// health answers for the process as a whole.
type health struct {
	roles   []string
	started atomic.Bool

	mu     sync.Mutex
	checks []check
	models func(context.Context) []modelStatus // nil: this process has nothing to do with them
}

// add adds a check, while the process starts.
func (h *health) add(name string, vital bool, look func(context.Context) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, check{name, vital, look})
}

// lookAtModels says how to find out how far the read models are, while the process starts.
func (h *health) lookAtModels(models func(context.Context) []modelStatus) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.models = models
}

func (h *health) readModels(ctx context.Context) []modelStatus {
	h.mu.Lock()
	models := h.models
	h.mu.Unlock()
	if models == nil {
		return nil
	}
	return models(ctx)
}

// all are the checks that there are by now.
func (h *health) all() []check {
	h.mu.Lock()
	defer h.mu.Unlock()
	checks := slices.Clone(h.checks)
	if !h.started.Load() {
		checks = append(checks, check{"start", true, func(context.Context) error { return errStarting }})
	}
	return checks
}

var errStarting = domain.Errorf(domain.CodeServiceUnavailable, "The ledger is starting.")

// starting answers as long as there is nothing else that could.
func (h *health) starting(metrics prometheus.Gatherer, origins []string) http.Handler {
	router := api.NewRouter()
	router.AllowOrigins(origins)
	router.Otherwise(errStarting)
	h.routes(router, metrics)
	return router
}

func (h *health) look(ctx context.Context) readiness {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	r := readiness{Status: "ready", Roles: h.roles, Checks: map[string]checkResult{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	wg.Go(func() { r.Models = h.readModels(ctx) })
	for _, c := range h.all() {
		wg.Go(func() {
			err := c.look(ctx)
			mu.Lock()
			defer mu.Unlock()
			result := checkResult{Status: "ok", Vital: c.vital}
			if err != nil {
				result.Status = public(err)
				if c.vital {
					r.Status = "unready"
				} else if r.Status == "ready" {
					r.Status = "degraded"
				}
			}
			r.Checks[c.name] = result
		})
	}
	wg.Wait()
	return r
}

// Where operators and their machines look.
const (
	healthPath  = "/health"
	readyPath   = "/health/ready"
	metricsPath = "/metrics"
)

// isHealth tells whether a request is one of theirs.
func isHealth(r *http.Request) bool {
	return r.URL.Path == healthPath || r.URL.Path == readyPath || r.URL.Path == metricsPath
}

// routes adds what operators and their machines look at.
func (h *health) routes(r *api.Router, metrics prometheus.Gatherer) {
	r.Handle(http.MethodGet, healthPath, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": "ok", "version": version()})
	}))
	r.Handle(http.MethodGet, readyPath, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		result := h.look(req.Context())
		status := http.StatusOK
		if result.Status == "unready" {
			status = http.StatusServiceUnavailable
			w.Header().Set("Retry-After", "1")
		}
		answer(w, status, result)
	}))
	r.Handle(http.MethodGet, metricsPath, promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone: nobody to tell
}

// public is what anyone may be told of a failed check.
func public(err error) string {
	var known *domain.Error
	if errors.As(err, &known) {
		return known.Message
	}
	return "It does not work; the log of this process says why."
}
