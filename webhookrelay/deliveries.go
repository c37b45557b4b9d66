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

// listSQL lists the deliveries in a state.
var listSQL = map[State]string{
	"":             listing(pageOfAllSQL, ""),
	StatePending:   listing(pageOfPendingSQL, "false"),
	StateHeld:      listing(pageOfPendingSQL, "true"),
	StateDelivered: listing(pageOfEndedSQL, "'delivered'"),
	StateDead:      listing(pageOfDeadSQL, ""),
	StateCancelled: listing(pageOfEndedSQL, "'cancelled'"),
}

func listing(page, which string) string {
	return strings.Replace(listDeliveriesSQL, "{page}", strings.Replace(page, "{which}", which, 1), 1)
}

// List is the webhook's deliveries, the last event first, each with its last attempt:
// those in the state, or in any where it is empty; and those before the one with the
// id, or from the newest on where it is empty. There are none where there is no such
// webhook; that there is no such state or delivery is CodeInvalidRequest.
func (r *Deliveries) List(ctx context.Context, webhookID string, state State, beforeID string, limit int) ([]Delivery, error) {
	statement, ok := listSQL[state]
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
	return page(ctx, r.pool, scanDelivery, statement, webhookID, sequence, ping, min(max(limit, 1), MaxListed))
}

// page reads what is a small part of much: see begin.
func page[T any](ctx context.Context, pool *pgxpool.Pool, scan pgx.RowToFunc[T], statement string, args ...any) (all []T, err error) {
	err = pgx.BeginTxFunc(ctx, pool, begin, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, statement, args...)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, scan)
		return err
	})
	return all, err
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
	if d.Last == nil {
		return d, nil, nil
	}
	if rows, err = r.pool.Query(ctx, listAttemptsSQL, webhookID, id, d.Last.N, maxAttempts-1); err != nil {
		return Delivery{}, nil, err
	}
	attempts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Attempt])
	return d, append(attempts, *d.Last), err
}

// Events are the bodies of the webhook's events after a sequence number, in order.
func (r *Deliveries) Events(ctx context.Context, webhookID string, after uint64, limit int) ([][]byte, error) {
	return page(ctx, r.pool, pgx.RowTo[[]byte], listEventsSQL, webhookID, int64(min(after, math.MaxInt64)), min(max(limit, 1), MaxListed))
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
	var due, ended, begun *time.Time
	var took *time.Duration
	var status *int
	var response []byte
	var failure *string
	var held bool
	var ping int
	err := row.Scan(&d.WebhookID, &d.ID, &d.Sequence, &ping, &d.Position, &d.EventType, &d.ClaimID, &d.State, &d.Attempts,
		&due, &d.OccurredAt, &d.CreatedAt, &ended, &begun, &took, &status, &response, &failure, &held)
	if err != nil {
		return d, err
	}
	d.Ping = ping > 0
	switch {
	case d.State == StatePending && held:
		d.State = StateHeld
	case d.State == StatePending:
		d.DueAt = due
	case d.State == StateDelivered:
		d.DeliveredAt = ended
	}
	if begun != nil {
		d.Last = &Attempt{N: d.Attempts, BegunAt: *begun, Duration: *took, Status: *status, Response: response}
		if failure != nil {
			d.Last.Error = *failure
		}
	}
	return d, nil
}
