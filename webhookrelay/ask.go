package webhookrelay

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/domain"
)

// RequestKind is what an owner can ask of a relay.
type RequestKind string

const (
	RequestRedeliver RequestKind = "redeliver" // attempt a finished delivery once more
	RequestReplay    RequestKind = "replay"    // attempt all from some point on once more
	RequestPing      RequestKind = "ping"      // send a test
)

// Request is what an owner asks of a relay.
type Request struct {
	ID           string // repeated with the same Fingerprint, it is done once
	Fingerprint  []byte
	Kind         RequestKind
	WebhookID    string
	DeliveryID   string     // of a redeliver
	FromPosition *uint64    // of a replay, one of the two
	FromTime     *time.Time // counted by when the events happened
}

// deliveryID is what the request brings about or is about; of a replay, which has many
// deliveries, the request's own id.
func (q Request) deliveryID() string {
	switch q.Kind {
	case RequestRedeliver:
		return q.DeliveryID
	case RequestPing:
		return pingID(q.ID)
	}
	return q.ID
}

func pingID(requestID string) string { return "ping_" + requestID }

// Ask puts a request into the relays' table, and tells them. It needs no right but to
// read there and to add to that table. It is done within moments; what can be refused
// is refused here: CodeNotFound, CodeConflict, CodeIdempotencyMismatch. That the
// webhook is the caller's own is his to know.
func (r *Deliveries) Ask(ctx context.Context, q Request) (id string, err error) {
	err = pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		if repeated, err := q.repeated(ctx, tx); repeated || err != nil {
			return err
		}
		added, refusal := false, q.possible(ctx, tx)
		if refusal == nil {
			tag, err := tx.Exec(ctx, askSQL, q.ID, q.WebhookID, q.Kind, q.Fingerprint, q.DeliveryID, q.FromPosition, q.FromTime)
			if err != nil {
				return err
			}
			added = tag.RowsAffected() > 0
		}
		if !added {
			// One with the same id may have come in between, which is what is in the way.
			if repeated, err := q.repeated(ctx, tx); repeated || err != nil {
				return err
			}
			return refusal
		}
		_, err := tx.Exec(ctx, notifySQL, channelTasks)
		return err
	})
	return q.deliveryID(), err
}

func (q Request) repeated(ctx context.Context, tx pgx.Tx) (bool, error) {
	var before []byte
	switch err := tx.QueryRow(ctx, askedSQL, q.ID).Scan(&before); {
	case errors.Is(err, pgx.ErrNoRows):
		return false, nil
	case err != nil:
		return false, err
	case !bytes.Equal(before, q.Fingerprint):
		return false, domain.Errorf(domain.CodeIdempotencyMismatch, "This Idempotency-Key was used for another request.")
	}
	return true, nil
}

// possible looks without a lock: a state that changes in the moment after makes the
// request one that has nothing to do.
func (q Request) possible(ctx context.Context, tx pgx.Tx) error {
	var held, replaying bool
	var state State
	if err := tx.QueryRow(ctx, askPossibleSQL, q.WebhookID, q.DeliveryID).Scan(&held, &replaying, &state); err != nil {
		return err
	}
	switch {
	case q.Kind == RequestRedeliver && state == "":
		return domain.Errorf(domain.CodeNotFound, "There is no such delivery of this webhook.")
	case q.Kind == RequestRedeliver && state == StatePending:
		return domain.Errorf(domain.CodeConflict, "This delivery is queued already.")
	case held:
		return domain.Errorf(domain.CodeConflict, "This webhook is not active; enabling it sends what it missed.")
	case q.Kind == RequestReplay && replaying:
		return domain.Errorf(domain.CodeConflict, "A replay of this webhook is not finished yet.")
	}
	return nil
}
