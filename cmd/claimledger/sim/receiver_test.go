package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/claimledger/claimledger/domain/signature"
)

// receivers are the endpoints of all webhooks.
type receivers struct {
	d       *derived
	seed    uint64
	trouble float64 // share of the attempts that fail

	mu     sync.Mutex
	healed bool
	got    map[string]bool // webhook and event that were answered 2xx
	bodies map[string][]byte
	tries  map[string]int
}

// carrier takes requests from a process to the receivers, without a network.
type carrier struct {
	d *derived
	p *process
}

func (c *carrier) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if c.d.plant.carry != nil && c.d.plant.carry(c.d, r, body) {
		return answered(http.StatusOK), nil
	}
	status, die := c.d.receivers.take(r, body)
	if die {
		c.p.pool.Close() // the process is killed before it hears the answer
	}
	if status == 0 {
		return nil, errCut
	}
	return answered(status), nil
}

func answered(status int) *http.Response {
	return &http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewReader(nil)), Header: http.Header{}}
}

type delivered struct {
	Data struct {
		ClaimID string `json:"claim_id"`
	} `json:"data"`
	ID       string `json:"id"`
	Sequence uint64 `json:"sequence"`
}

// take checks a request and answers it. What it answers depends on the seed alone, for
// many come at a time.
func (r *receivers) take(req *http.Request, body []byte) (status int, die bool) {
	webhook := strings.TrimPrefix(req.URL.Path, "/")
	var e delivered
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := json.Unmarshal(body, &e); err != nil {
		r.d.fail("webhook %s was sent what is no event: %v", webhook, err)
		return http.StatusOK, false
	}
	if err := signature.Verify(req.Header, body, []string{webhookSecret}, r.d.now, time.Minute); err != nil {
		r.d.fail("webhook %s was sent an event whose signature does not verify: %v", webhook, err)
	}
	key := webhook + " " + e.ID
	if before, again := r.bodies[key]; again && !bytes.Equal(before, body) {
		r.d.fail("webhook %s was sent event %s with another body", webhook, e.ID)
	}
	if r.bodies == nil {
		r.bodies, r.tries = map[string][]byte{}, map[string]int{}
	}
	r.bodies[key] = body
	r.tries[key]++
	luck := chance(r.seed, fmt.Sprint(key, r.tries[key]))
	if !r.healed && luck < r.trouble {
		return pick2(luck/r.trouble, 0, http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusFound), luck < r.trouble/8
	}
	if !r.got[key] {
		r.d.judgeOrder(webhook, e)
		r.got[key] = true
	}
	return http.StatusOK, !r.healed && luck > 0.97
}

func pick2(luck float64, values ...int) int { return values[int(luck*float64(len(values)))] }
