package main

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/claimledger/claimledger/api"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/projections/pgdb"
	"github.com/claimledger/claimledger/webhookrelay"
)

// deliveryStore shows the API how deliveries go, and hands on what owners ask for.
type deliveryStore struct{ relay *webhookrelay.Deliveries }

// unreadable is what the API's callers are told of a database that does not answer, or
// in which no relay has started yet. A refusal stays what it is.
func unreadable(err error) error {
	var refusal *domain.Error
	if err == nil || errors.As(err, &refusal) {
		return err
	}
	return &domain.Error{Code: domain.CodeServiceUnavailable, Message: "How deliveries go cannot be read just now.", Err: err}
}

func (d deliveryStore) WebhookHealth(ctx context.Context, webhookIDs []string) (map[string]api.Health, error) {
	found, err := d.relay.Health(ctx, webhookIDs)
	if err != nil && !pgdb.Missing(err) { // no relay has started yet, so none has delivered
		return nil, unreadable(err)
	}
	health := make(map[string]api.Health, len(found))
	for id, h := range found {
		health[id] = api.Health{
			FailureCount: int(h.FailureCount), LastTriggeredAt: h.LastTriggeredAt, LastFailureAt: h.LastFailureAt, FailingSince: h.FailingSince,
		}
	}
	return health, nil
}

func (d deliveryStore) Position(ctx context.Context) (uint64, error) {
	position, err := d.relay.Position(ctx)
	return position, unreadable(err)
}

func (d deliveryStore) Deliveries(ctx context.Context, webhookID, state, before string, limit int) ([]api.Delivery, error) {
	found, err := d.relay.List(ctx, webhookID, webhookrelay.State(state), before, limit)
	list := make([]api.Delivery, len(found))
	for i, f := range found {
		list[i] = apiDelivery(f)
	}
	return list, unreadable(err)
}

func (d deliveryStore) Delivery(ctx context.Context, webhookID, id string) (api.Delivery, []api.Attempt, error) {
	found, tries, err := d.relay.Get(ctx, webhookID, id)
	attempts := make([]api.Attempt, len(tries))
	for i, a := range tries {
		attempts[i] = apiAttempt(a)
	}
	return apiDelivery(found), attempts, unreadable(err)
}

func (d deliveryStore) Events(ctx context.Context, webhookID string, after uint64, limit int) ([]json.RawMessage, error) {
	bodies, err := d.relay.Events(ctx, webhookID, after, limit)
	events := make([]json.RawMessage, len(bodies))
	for i, b := range bodies {
		events[i] = b
	}
	return events, unreadable(err)
}

func (d deliveryStore) Ask(ctx context.Context, r api.DeliveryRequest) (string, error) {
	id, err := d.relay.Ask(ctx, webhookrelay.Request{
		ID: r.ID, Fingerprint: r.Fingerprint, Kind: webhookrelay.RequestKind(r.Kind), WebhookID: r.WebhookID,
		DeliveryID: r.DeliveryID, FromPosition: r.FromPosition, FromTime: r.FromTime,
	})
	return id, unreadable(err)
}

func apiDelivery(d webhookrelay.Delivery) api.Delivery {
	out := api.Delivery{
		ID: d.ID, Event: d.EventType, State: string(d.State), Attempts: d.Attempts,
		DueAt: d.DueAt, OccurredAt: d.OccurredAt.UTC(), CreatedAt: d.CreatedAt.UTC(), DeliveredAt: d.DeliveredAt,
	}
	if !d.Ping {
		position := strconv.FormatUint(d.Position, 10)
		out.Sequence, out.Position, out.ClaimID = &d.Sequence, &position, &d.ClaimID
	}
	if d.Last != nil {
		last := apiAttempt(*d.Last)
		out.LastAttempt = &last
	}
	return out
}

func apiAttempt(a webhookrelay.Attempt) api.Attempt {
	out := api.Attempt{N: a.N, BegunAt: a.BegunAt.UTC(), DurationMS: a.Duration.Milliseconds(), Response: string(a.Response), Error: a.Error}
	if a.Status != 0 {
		out.Status = &a.Status
	}
	return out
}
