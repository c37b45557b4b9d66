package webhook

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/claimledger/claimledger/domain/signature"
)

const (
	// Tolerance is how far the time of an attempt may be from the receiver's clock.
	Tolerance = signature.DefaultTolerance
	// MaxBody is how much of a request is read. The longest event is a fraction of it.
	MaxBody = 256 << 10

	webhookHeader = "X-Sigilum-Webhook-Id"
)

// Why a delivery is not believed; the errors say more.
var (
	ErrNoSecret  = signature.ErrNoSecret  // there is none to verify with
	ErrMissing   = signature.ErrMissing   // a header is missing, repeated or malformed
	ErrTimestamp = signature.ErrTimestamp // it was sent too long ago, or is from the future
	ErrMismatch  = signature.ErrMismatch  // another secret signed, or something was altered
	ErrTooLarge  = errors.New("webhook: the body is larger than any event")
)

// Verify checks webhook-signature, as in Standard Webhooks, against any of the secrets:
// of two while a secret is being rotated. No error means that who knows a secret sent
// this body under this id within Tolerance of now. It may still come more than once.
func Verify(h http.Header, body []byte, secrets []string, now time.Time) error {
	return signature.Verify(h, body, secrets, now, Tolerance)
}

// VerifyBody checks X-Sigilum-Signature, which the present secret alone signs. It says
// nothing about when the body was sent, so that what was once overheard passes for ever:
// a receiver that can should use Verify.
func VerifyBody(h http.Header, body []byte, secrets []string) error {
	return signature.VerifyBody(h, body, secrets)
}

// Read reads a delivery, verifies it with Verify, and parses it.
func Read(r *http.Request, secrets []string, now time.Time) (Event, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	switch {
	case err != nil:
		return Event{}, fmt.Errorf("webhook: read the body: %w", err)
	case len(body) > MaxBody:
		return Event{}, ErrTooLarge
	}
	if err := Verify(r.Header, body, secrets, now); err != nil {
		return Event{}, err
	}
	e, err := Parse(body)
	if err == nil && r.Header.Get(signature.HeaderID) != e.ID {
		err = fmt.Errorf("%w: it has another id than the delivery", ErrNotEvent)
	}
	return e, err
}
