package attempt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/claimledger/claimledger/webhookrelay/dialguard"
)

// What a tenant is told of an attempt that got no answer. None says which address or
// port was involved. Only targets that the guard lets through are ever connected to,
// so none can be used to find out what listens on the operator's own network.
const (
	ReasonTimeout     = "timeout"
	ReasonRefused     = "refused target"
	ReasonName        = "name not resolved"
	ReasonConnection  = "connection failed"
	ReasonTLS         = "tls failed"
	ReasonResponse    = "invalid response"
	ReasonInterrupted = "interrupted"
	ReasonNotSent     = "not sent"
)

// maxRetryAfter bounds what a receiver can ask for: past the sum of the default
// retries, waiting longer is the same as never.
const maxRetryAfter = 24 * time.Hour

// Outcome is what one attempt came to.
type Outcome struct {
	// Status is the HTTP status, or 0 where no answer came.
	Status int
	// Duration is the time taken, body included.
	Duration time.Duration
	// Response is the beginning of the answer's body as it was sent, but for our secrets.
	Response []byte
	// Error is why the attempt failed, safe to show to the tenant; empty on success.
	Error string
	// Err is the cause of a failure without an answer, for the operator's log alone:
	// it may hold addresses, but neither the URL nor a secret.
	Err error
	// RetryAfter is how long a 429 or 503 asks to wait, bounded; 0 where it does not.
	RetryAfter time.Duration
}

// OK tells whether the delivery succeeded: a 2xx answer that was complete, or as long
// as is read of one, within the deadline. A 2xx that breaks off is a failure: sending
// twice is allowed, losing is not.
func (o Outcome) OK() bool { return isSuccess(o.Status) && o.Error == "" }

// Gone tells that the receiver wants no more deliveries.
func (o Outcome) Gone() bool { return o.Status == http.StatusGone }

// Interrupted tells that the caller ended the attempt, which says nothing about the
// receiver.
func (o Outcome) Interrupted() bool { return o.Error == ReasonInterrupted }

func isSuccess(status int) bool { return status >= 200 && status < 300 }

// statusError is the tenant's text for an answer other than success.
func statusError(status int) string {
	switch {
	case isSuccess(status):
		return ""
	case status >= 300 && status < 400:
		return fmt.Sprintf("status %d, redirects are not followed", status)
	default:
		return fmt.Sprintf("status %d", status)
	}
}

// reason puts an error of the exchange into the tenant's words. The order matters:
// the guard's refusal, the caller's end and the deadline all arrive wrapped in errors
// of the network.
func reason(err error, caller context.Context, handshakeFailed bool) string {
	var (
		timeout net.Error
		name    *net.DNSError
		network *net.OpError
	)
	switch {
	case errors.Is(err, dialguard.ErrRefused):
		return ReasonRefused
	case caller.Err() != nil:
		return ReasonInterrupted
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return ReasonTimeout
	case errors.As(err, &name):
		return ReasonName
	case handshakeFailed:
		return ReasonTLS
	case errors.As(err, &network):
		return networkReason(network)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ReasonConnection
	default:
		return ReasonResponse
	}
}

// networkReason tells apart the alerts that crypto/tls passes off as network errors:
// in TLS 1.3 a server that wants a client's certificate says so after the handshake.
func networkReason(err *net.OpError) string {
	if err.Op == "remote error" || err.Op == "local error" {
		return ReasonTLS
	}
	return ReasonConnection
}

// withoutURL drops the URL that net/http puts into its errors: its query may hold a
// credential.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// retryAfter reads RFC 9110, section 10.2.3: seconds, or a date.
func retryAfter(status int, h http.Header, now time.Time) time.Duration {
	if status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable {
		return 0
	}
	value := h.Get("Retry-After")
	if date, err := http.ParseTime(value); err == nil {
		return min(max(date.Sub(now), 0), maxRetryAfter)
	}
	seconds, err := strconv.ParseUint(value, 10, 64)
	if errors.Is(err, strconv.ErrRange) || err == nil && seconds > uint64(maxRetryAfter/time.Second) {
		return maxRetryAfter
	}
	return time.Duration(seconds) * time.Second
}
