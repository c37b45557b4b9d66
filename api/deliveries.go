package api

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// DeliveryStore is what the API knows of deliveries, and where it puts what owners ask
// for. That the webhook is the caller's own was checked before. What cannot be read now
// is CodeServiceUnavailable.
type DeliveryStore interface {
	// Position is up to where in the ledger deliveries are known.
	Position(ctx context.Context) (uint64, error)
	// Deliveries are a webhook's in a state, or all where it is empty: the last event
	// first, from the one after before on where that is not empty.
	Deliveries(ctx context.Context, webhookID, state, before string, limit int) ([]Delivery, error)
	Delivery(ctx context.Context, webhookID, id string) (Delivery, []Attempt, error)
	// Events are the bodies of a webhook's events after a sequence number, in order.
	Events(ctx context.Context, webhookID string, after uint64, limit int) ([]json.RawMessage, error)
	// Ask has something done within moments, once for each id. It answers the id of
	// the delivery that the request is about, or its own where there are many.
	Ask(ctx context.Context, r DeliveryRequest) (id string, err error)
}

// Delivery is one event, or a test, for one webhook.
type Delivery struct {
	ID          string     `json:"id"`
	Event       string     `json:"event"`
	Sequence    *uint64    `json:"sequence"` // of a test none, nor any of the next two
	Position    *string    `json:"position"`
	ClaimID     *string    `json:"claim_id"`
	State       string     `json:"state"`
	Attempts    int        `json:"attempt_count"`
	DueAt       *time.Time `json:"due_at"`
	OccurredAt  time.Time  `json:"occurred_at"`
	CreatedAt   time.Time  `json:"created_at"`
	DeliveredAt *time.Time `json:"delivered_at"`
	LastAttempt *Attempt   `json:"last_attempt"`
}

// Attempt is one try at a delivery.
type Attempt struct {
	N          int       `json:"n"`
	BegunAt    time.Time `json:"begun_at"`
	DurationMS int64     `json:"duration_ms"`
	Status     *int      `json:"status"` // nil: no answer came
	Response   string    `json:"response"`
	Error      string    `json:"error"` // empty: it succeeded
}

// DeliveryRequest is what an owner asks for. Kind is redeliver, replay or ping.
type DeliveryRequest struct {
	ID          string
	Fingerprint []byte // of the whole request: another with the same id is refused
	Kind        string
	WebhookID   string

	DeliveryID   string // redeliver
	FromPosition *uint64
	FromTime     *time.Time
}

var deliveryStates = []string{"pending", "held", "delivered", "dead", "cancelled"}

// relayPoll is how often a read looks whether deliveries have come to the position that
// it was asked to reflect.
const relayPoll = 20 * time.Millisecond

// What a path names is not repeated in an error: where it is nothing that there is, it may
// be a key that was put into the wrong place.
var (
	errNoWebhook   = domain.Errorf(domain.CodeNotFound, "There is no such webhook.")
	errNoNamespace = domain.Errorf(domain.CodeNotFound, "There is no such namespace.")
)

// ownWebhook makes sure that the webhook is the caller's.
func (s *Server) ownWebhook(c *call) error {
	found := false
	s.commands.Directory().View(c.owner.namespace, func(r *domain.Registry) {
		w, ok := r.Webhook(c.path("webhook"))
		found = ok && w.ServiceID == c.path("service")
	})
	if !found {
		return errNoWebhook
	}
	return nil
}

// readDeliveries prepares a read about the caller's webhook. The answer's position is
// read before the rest, so that the rest has all up to it.
func (s *Server) readDeliveries(c *call, load func(ctx context.Context, webhookID string) (any, error)) (action, error) {
	wait, err := s.readLog(c, c.owner.namespace)
	if err != nil {
		return nil, err
	}
	least, err := c.minPosition()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		if err := wait(ctx); err != nil {
			return answer{}, err
		}
		if err := s.ownWebhook(c); err != nil {
			return answer{position: s.commands.Position()}, err
		}
		position, err := s.relayedTo(ctx, least)
		if err != nil {
			return answer{}, err
		}
		body, err := load(ctx, c.path("webhook"))
		return answer{body: body, position: position}, err
	}, nil
}

// relayedTo waits until deliveries are known up to a position.
func (s *Server) relayedTo(ctx context.Context, least uint64) (uint64, error) {
	deadline := time.NewTimer(minPositionWait)
	defer deadline.Stop()
	poll := time.NewTicker(relayPoll)
	defer poll.Stop()
	for {
		position, err := s.config.Deliveries.Position(ctx)
		if err != nil || position >= least {
			return position, err
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-deadline.C:
			return 0, domain.Errorf(domain.CodeStaleRead, "Deliveries are known up to position %d, before position %d.", position, least)
		}
	}
}

func (s *Server) listDeliveries(c *call) (action, error) {
	q, err := readQuery(c.r)
	if err != nil {
		return nil, err
	}
	limit, state, cursor := q.number("limit", defaultListLimit, 1, maxListLimit), q.text("state"), q.text("cursor")
	if q.values.Has("state") && !slices.Contains(deliveryStates, state) {
		q.Add("state", "must be one of "+strings.Join(deliveryStates, ", "))
	}
	if q.values.Has("cursor") && cursor == "" {
		q.Add("cursor", "must be a next_cursor")
	}
	act, err := s.readDeliveries(c, func(ctx context.Context, webhookID string) (any, error) {
		list, err := s.config.Deliveries.Deliveries(ctx, webhookID, state, cursor, limit+1)
		if err != nil {
			return nil, err
		}
		page := deliveriesBody{Deliveries: list[:min(limit, len(list))], HasMore: len(list) > limit}
		if page.HasMore {
			page.NextCursor = &list[limit-1].ID
		}
		return page, nil
	})
	return act, allWrong(q.Err(), err)
}

type deliveriesBody struct {
	Deliveries []Delivery `json:"deliveries"`
	HasMore    bool       `json:"has_more"`
	NextCursor *string    `json:"next_cursor"`
}

type deliveryBody struct {
	Delivery
	Attempts []Attempt `json:"attempts"`
}

func (s *Server) getDelivery(c *call) (action, error) {
	return s.readDeliveries(c, func(ctx context.Context, webhookID string) (any, error) {
		d, attempts, err := s.config.Deliveries.Delivery(ctx, webhookID, c.path("delivery"))
		return deliveryBody{d, attempts}, err
	})
}

type eventsBody struct {
	Events  []json.RawMessage `json:"events"`
	HasMore bool              `json:"has_more"`
}

// pullEvents answers with what the webhook is sent, as bytes that are the same.
func (s *Server) pullEvents(c *call) (action, error) {
	q, err := readQuery(c.r)
	if err != nil {
		return nil, err
	}
	limit, after := q.number("limit", defaultListLimit, 1, maxListLimit), q.number("after", 0, 0, math.MaxInt)
	act, err := s.readDeliveries(c, func(ctx context.Context, webhookID string) (any, error) {
		events, err := s.config.Deliveries.Events(ctx, webhookID, uint64(after), limit+1)
		if err != nil {
			return nil, err
		}
		return eventsBody{events[:min(limit, len(events))], len(events) > limit}, nil
	})
	return act, allWrong(q.Err(), err)
}
