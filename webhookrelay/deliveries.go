package webhookrelay

import (
	"context"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimledger/claimledger/domain"
)

// State is where a delivery stands.
type State string

const (
	StatePending   State = "pending"   // queued, or waiting for a retry
	StateHeld      State = "held"      // pending, and its webhook is not active
	StateDelivered State = "delivered" // a receiver answered 2xx
	StateDead      State = "dead"      // its retries are used up
	StateCancelled State = "cancelled" // its webhook was deleted
)

// Delivery is one event for one webhook.
type Delivery struct {
	WebhookID   string
	ID          string // the event's id, and the delivery's within the webhook
	Sequence    uint64 // of a ping, that of the last event before it
	Ping        bool   // it is a test, and neither counted nor about a claim
	Position    uint64
	EventType   string // its public name
	ClaimID     string
	State       State
	Attempts    int
	DueAt       *time.Time // when it is attempted next, where it is pending
	OccurredAt  time.Time
	CreatedAt   time.Time
	DeliveredAt *time.Time
	Last        *Attempt // the last attempt, where there was one
}

// Attempt is one try at a delivery.
type Attempt struct {
	N        int // from 1
	BegunAt  time.Time
	Duration time.Duration
	Status   int    // 0: no answer came
	Response []byte // its first 4 KiB, as it was sent
	Error    string // empty: it succeeded; safe to show to the webhook's owner
}

// WebhookHealth is how a webhook's receiver has been doing.
type WebhookHealth struct {
	FailureCount    int64 // failed attempts, ever
	LastTriggeredAt *time.Time
	LastFailureAt   *time.Time
	FailingSince    *time.Time // since when every attempt has failed; nil: the last one did not
}

const (
	// MaxListed is how many deliveries or events are listed at a time at most.
	MaxListed = 201 // one more than a page, which tells whether there is another
	// maxAttempts is how many attempts at one delivery are shown, of up to 4 KiB each.
	maxAttempts = 50
)

// Deliveries reads what the relay has done, for the owners of webhooks. Who may see a
// webhook is the caller's to check.
type Deliveries struct{ pool *pgxpool.Pool }

// NewDeliveries makes a reader.
func NewDeliveries(pool *pgxpool.Pool) *Deliveries { return &Deliveries{pool} }

// stateConditions choose the deliveries in a state.
var stateConditions = map[State]string{
	"":             "true",
	StatePending:   "d.state = 'pending' AND NOT webhook.held",
	StateHeld:      "d.state = 'pending' AND webhook.held",
	StateDelivered: "d.state = 'delivered'",
	StateDead:      "d.state = 'dead'",
	StateCancelled: "d.state = 'cancelled'",
}

// List is the webhook's deliveries, the last event first, each with its last attempt:
// those in the state, or in any where it is empty; and those before the one with the
// id, or from the newest on where it is empty. There are none where there is no such
// webhook; that there is no such state or delivery is CodeInvalidRequest.
func (r *Deliveries) List(ctx context.Context, webhookID string, state State, beforeID string, limit int) ([]Delivery, error) {
	condition, ok := stateConditions[state]
	if !ok {
		return nil, domain.Errorf(domain.CodeInvalidRequest, "There is no state %s.", state)
	}
	sequence, ping := int64(math.MaxInt64), int32(math.MaxInt32)
	if beforeID != "" {
		err := r.pool.QueryRow(ctx, findDeliverySQL, webhookID, beforeID).Scan(&sequence, &ping)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil, domain.Errorf(domain.CodeInvalidRequest, "There is no such delivery of this webhook.")
		}
		if err != nil {
			return nil, err
		}
	}
	sql := strings.Replace(listDeliveriesSQL, "{state}", condition, 1)
	rows, err := r.pool.Query(ctx, sql, webhookID, sequence, ping, min(max(limit, 1), MaxListed))
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, scanDelivery)
	if err != nil {
		return nil, err
	}
	return list, r.addLastAttempts(ctx, webhookID, list)
}

func (r *Deliveries) addLastAttempts(ctx context.Context, webhookID string, list []Delivery) error {
	byID := make(map[string]*Delivery, len(list))
	var ids []string
	for i := range list {
		ids = append(ids, list[i].ID)
		byID[list[i].ID] = &list[i]
	}
	rows, err := r.pool.Query(ctx, lastAttemptsSQL, webhookID, ids)
	if err != nil {
		return err
	}
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (Attempt, error) {
		id, a, err := scanAttempt(row)
		if d := byID[id]; d != nil {
			d.Last = &a
		}
		return a, err
	})
	return err
}

// Get is one delivery and the last attempts at it, oldest first.
func (r *Deliveries) Get(ctx context.Context, webhookID, id string) (Delivery, []Attempt, error) {
	rows, err := r.pool.Query(ctx, getDeliverySQL, webhookID, id)
	if err != nil {
		return Delivery{}, nil, err
	}
	found, err := pgx.CollectRows(rows, scanDelivery)
	if err != nil {
		return Delivery{}, nil, err
	}
	if len(found) == 0 {
		return Delivery{}, nil, domain.Errorf(domain.CodeNotFound, "There is no such delivery of this webhook.")
	}
	d := found[0]
	if rows, err = r.pool.Query(ctx, listAttemptsSQL, webhookID, id, maxAttempts); err != nil {
		return Delivery{}, nil, err
	}
	attempts, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Attempt, error) {
		_, a, err := scanAttempt(row)
		return a, err
	})
	if len(attempts) > 0 {
		d.Last = &attempts[len(attempts)-1]
	}
	return d, attempts, err
}

// Events are the bodies of the webhook's events after a sequence number, in order.
func (r *Deliveries) Events(ctx context.Context, webhookID string, after uint64, limit int) ([][]byte, error) {
	rows, err := r.pool.Query(ctx, listEventsSQL, webhookID, int64(min(after, math.MaxInt64)), min(max(limit, 1), MaxListed))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[[]byte])
}

// Position is up to where in the log deliveries are assigned.
func (r *Deliveries) Position(ctx context.Context) (position uint64, err error) {
	err = r.pool.QueryRow(ctx, positionSQL).Scan(&position)
	return position, err
}

// Health is how the webhooks' receivers have been doing. What is not in the answer is
// not known yet: the relay has not read of it.
func (r *Deliveries) Health(ctx context.Context, webhookIDs []string) (map[string]WebhookHealth, error) {
	rows, err := r.pool.Query(ctx, healthSQL, webhookIDs)
	if err != nil {
		return nil, err
	}
	health := make(map[string]WebhookHealth, len(webhookIDs))
	var id string
	var h WebhookHealth
	_, err = pgx.ForEachRow(rows, []any{&id, &h.FailureCount, &h.LastTriggeredAt, &h.LastFailureAt, &h.FailingSince}, func() error {
		health[id] = h
		return nil
	})
	return health, err
}

func scanDelivery(row pgx.CollectableRow) (Delivery, error) {
	var d Delivery
	var due time.Time
	var held bool
	var ping int
	err := row.Scan(&d.WebhookID, &d.ID, &d.Sequence, &ping, &d.Position, &d.EventType, &d.ClaimID, &d.State, &d.Attempts,
		&due, &d.OccurredAt, &d.CreatedAt, &d.DeliveredAt, &held)
	d.Ping = ping > 0
	if d.State == StatePending {
		d.DueAt = &due
		if held {
			d.State, d.DueAt = StateHeld, nil
		}
	}
	return d, err
}

func scanAttempt(row pgx.CollectableRow) (eventID string, a Attempt, err error) {
	err = row.Scan(&eventID, &a.N, &a.BegunAt, &a.Duration, &a.Status, &a.Response, &a.Error)
	return eventID, a, err
}
