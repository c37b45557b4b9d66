package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"time"

	"github.com/claimledger/claimledger/domain"
)

var (
	// ErrGap says that events that did not come cannot be pulled either. Where the ledger
	// has none after them, they may be there a moment later. Where it has, they are too old
	// for it to have them still, and Config.Lost is what lets the receiver go on.
	ErrGap = errors.New("webhook: events in between cannot be had")
	// ErrDiverged says that at the mark's sequence the ledger has another event than the
	// one that took effect here: the mark is another webhook's, or the ledger has lost what
	// it had told. No further event takes effect until somebody has looked into it.
	ErrDiverged = errors.New("webhook: the ledger has another event at this sequence than the one that took effect")
	// ErrOtherWebhook says that a delivery is for another webhook than the receiver's.
	ErrOtherWebhook = errors.New("webhook: the delivery is for another webhook")
)

// Config is what a Receiver needs. Lost, Logger and Now may be nil.
type Config[T any] struct {
	WebhookID string
	// Secrets are the webhook's: one, and while it is being rotated two.
	Secrets []string
	Store   Store[T]
	Source  Source
	// Apply gives an event its effect in the transaction, and nowhere else, or the event
	// could take it twice. An error undoes it; the event, and those after it, wait until it
	// is delivered again or CatchUp is called. A kind of event that is of no interest is
	// passed over by returning nil.
	Apply func(ctx context.Context, tx T, e Event) error
	// Lost is told, before an event takes effect and in the same transaction, that the ledger
	// no longer has the events between the one with the sequence number after and this one:
	// the receiver was away for longer than it keeps them, or is new at an old webhook. Read
	// the claims as they are now. An error undoes it, and is met again. Where it is nil, the
	// receiver stops there with ErrGap.
	Lost func(ctx context.Context, tx T, after uint64, e Event) error

	Logger *slog.Logger     // nil: nothing is logged
	Now    func() time.Time // nil: the system's clock
}

// Receiver is the endpoint of one webhook. Any number of them, in any number of
// processes, may share a Store.
type Receiver[T any] struct {
	c Config[T]
	// turn is had by who fills a gap; others that notice the same one wait for it.
	turn chan struct{}
}

// NewReceiver makes a Receiver.
func NewReceiver[T any](c Config[T]) (*Receiver[T], error) {
	switch {
	case c.WebhookID == "" || c.Store == nil || c.Source == nil || c.Apply == nil:
		return nil, errors.New("webhook: a Receiver needs WebhookID, Store, Source and Apply")
	case len(c.Secrets) == 0:
		return nil, ErrNoSecret
	}
	for _, secret := range c.Secrets {
		if _, err := domain.WebhookSecretKey(secret); err != nil {
			return nil, fmt.Errorf("webhook: %w", err)
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Receiver[T]{c: c, turn: make(chan struct{}, 1)}, nil
}

// ServeHTTP answers a delivery: 204 when it is verified and its effect is committed, now
// or before. A server in front of it should bound how long a request may take to come.
func (r *Receiver[T]) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "deliveries are posted", http.StatusMethodNotAllowed)
		return
	}
	e, err := Read(req, r.c.Secrets, r.c.Now())
	if id := req.Header.Get(webhookHeader); err == nil && id != r.c.WebhookID {
		err = ErrOtherWebhook
	}
	if err != nil {
		r.c.Logger.InfoContext(req.Context(), "a webhook delivery was refused", "err", err)
		http.Error(w, err.Error(), refusal(err))
		return
	}
	if err := r.Receive(req.Context(), e); err != nil {
		r.c.Logger.WarnContext(req.Context(), "a webhook event has not taken effect", "event_id", e.ID, "sequence", e.Sequence, "err", err)
		// Why is the receiver's own business.
		http.Error(w, "the event has not taken effect", http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// refusal is the status for a delivery that is not one.
func refusal(err error) int {
	switch {
	case errors.Is(err, ErrTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrMissing), errors.Is(err, ErrTimestamp), errors.Is(err, ErrMismatch):
		return http.StatusUnauthorized
	case errors.Is(err, ErrOtherWebhook):
		return http.StatusForbidden
	default:
		return http.StatusBadRequest
	}
}

// Receive has an event take effect that was verified. No error means that it has, and all
// events before it.
func (r *Receiver[T]) Receive(ctx context.Context, e Event) error {
	if e.Event == Ping {
		return nil
	}
	at, err := r.take(ctx, e, false)
	if err != nil || at.Sequence >= e.Sequence {
		return err
	}
	done, err := r.await(ctx)
	if err != nil {
		return err
	}
	defer done()
	// Who had the turn before may have filled the gap.
	if at, err = r.take(ctx, e, false); err != nil {
		return err
	}
	if at, err = r.fill(ctx, at, e.Sequence); err == nil && at.Sequence < e.Sequence {
		err = fmt.Errorf("%w: after %d", ErrGap, at.Sequence)
	}
	return err
}

// CatchUp has all events take effect that the ledger has and that did not come.
func (r *Receiver[T]) CatchUp(ctx context.Context) error {
	done, err := r.await(ctx)
	if err != nil {
		return err
	}
	defer done()
	at, err := r.take(ctx, Event{}, false) // which is none, and tells the mark
	if err == nil {
		_, err = r.fill(ctx, at, math.MaxUint64)
	}
	return err
}

func (r *Receiver[T]) await(ctx context.Context) (done func(), err error) {
	select {
	case r.turn <- struct{}{}:
		return func() { <-r.turn }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// take has the event that comes after the mark take effect, and of pulled ones the next
// that there is, where Lost takes care of those before it. Any other one changes nothing.
// It gives the mark as it is then.
func (r *Receiver[T]) take(ctx context.Context, e Event, pulled bool) (Mark, error) {
	var at Mark
	err := r.c.Store.Update(ctx, r.c.WebhookID, func(tx T, mark Mark) (Mark, error) {
		at = mark
		next := mark.Sequence + 1
		lost := pulled && e.Sequence > next && r.c.Lost != nil
		switch {
		case e.Sequence == mark.Sequence && e.ID != mark.EventID && e.ID != "":
			return mark, fmt.Errorf("%w: %s and not %s at %d", ErrDiverged, e.ID, mark.EventID, mark.Sequence)
		case e.Sequence != next && !lost:
			return mark, nil
		}
		if lost {
			if err := r.c.Lost(ctx, tx, mark.Sequence, e); err != nil {
				return mark, fmt.Errorf("events from %d to %d, which are lost: %w", next, e.Sequence-1, err)
			}
		}
		if err := r.c.Apply(ctx, tx, e); err != nil {
			return mark, fmt.Errorf("event %s, sequence %d: %w", e.ID, e.Sequence, err)
		}
		at = Mark{e.Sequence, e.ID}
		return at, nil
	})
	return at, err
}

// fill pulls what comes after the mark and has it take effect, until the mark is at a
// sequence number or there is no more. The event at the mark is pulled with it, to see
// that it is the one that took effect.
func (r *Receiver[T]) fill(ctx context.Context, at Mark, until uint64) (Mark, error) {
	for after := max(at.Sequence, 1) - 1; at.Sequence < until; {
		bodies, err := r.c.Source.EventsAfter(ctx, after)
		if err != nil {
			return at, fmt.Errorf("webhook: pull the events after %d: %w", after, err)
		}
		if len(bodies) == 0 {
			return at, nil
		}
		for _, body := range bodies {
			e, err := Parse(body)
			if err == nil && e.Sequence <= after {
				err = fmt.Errorf("%w: %d was pulled after %d", ErrNotEvent, e.Sequence, after)
			}
			if err != nil {
				return at, err
			}
			if at, err = r.take(ctx, e, true); err != nil {
				return at, err
			}
			if at.Sequence < e.Sequence {
				return at, fmt.Errorf("%w: after %d comes %d", ErrGap, at.Sequence, e.Sequence)
			}
			after = e.Sequence
		}
	}
	return at, nil
}
