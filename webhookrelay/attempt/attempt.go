// Package attempt makes one attempt to deliver one event to one endpoint and says
// what came of it. It never retries, waits, stores or decides what happens next.
package attempt

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/claimledger/claimledger/domain/signature"
)

const (
	// defaultTimeout is the contract's: an answer within it, or a failure.
	defaultTimeout = 10 * time.Second
	// maxRead is how much of an answer is read before the connection is closed. A
	// receiver that says more than this is not listened to, and not failed for it.
	maxRead = 16 << 10
	// maxKept is how much of it is kept for the webhook's owner to look at.
	maxKept = 4 << 10
)

// Request is one delivery, as it is recorded.
type Request struct {
	URL       string
	WebhookID string
	EventID   string
	EventType string
	// Body is sent as it is.
	Body []byte
	// Secrets sign, the current one first; older ones during a rotation.
	Secrets []string
	// AuthHeader and AuthValue are the owner's own header, both empty for none.
	AuthHeader, AuthValue string
	// At is the time of the attempt, which is signed.
	At time.Time
}

// Sender makes attempts. It is safe for concurrent use.
type Sender struct {
	// Transport is the guarded one of package dialguard. It is asked without an http.Client:
	// there is nothing to follow, and nothing to keep.
	Transport http.RoundTripper
	// Version is the product's, for the User-Agent.
	Version string
	// Timeout is the deadline of a whole exchange; zero means ten seconds.
	Timeout time.Duration
	// Now measures durations and reads dates; nil means time.Now.
	Now func() time.Time

	prepared prepared
}

// Send makes the attempt and returns when it is over, at the latest when the timeout
// has passed or ctx ends. The endpoint may have got the event whatever the outcome is,
// and in rare cases more than once.
func (s *Sender) Send(ctx context.Context, r Request) Outcome {
	now := s.Now
	if now == nil {
		now = time.Now
	}
	timeout := s.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	begun := now()
	deadline, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	httpRequest, err := s.newRequest(deadline, r)
	if err != nil {
		return Outcome{Error: ReasonNotSent, Err: withoutURL(err), Duration: now().Sub(begun)}
	}

	var handshakeFailed atomic.Bool
	if httpRequest.URL.Scheme == "https" {
		httpRequest = httpRequest.WithContext(httptrace.WithClientTrace(deadline, &httptrace.ClientTrace{
			// crypto/tls has no type for most of its errors; that the handshake ended in
			// one is what can be known for certain.
			TLSHandshakeDone: func(_ tls.ConnectionState, err error) { handshakeFailed.Store(err != nil) },
		}))
	}
	var o Outcome
	response, err := s.Transport.RoundTrip(httpRequest)
	if err == nil {
		o.Status = response.StatusCode
		o.Error = statusError(response.StatusCode)
		o.RetryAfter = retryAfter(response.StatusCode, response.Header, now())
		o.Response, err = readSome(response.Body, r.redact)
	}
	if err != nil {
		o.Err = withoutURL(err)
	}
	if err != nil && o.Error == "" {
		o.Error = reason(err, ctx, handshakeFailed.Load())
	}
	o.Duration = now().Sub(begun)
	return o
}

// readSome reads the answer up to maxRead and closes it, which ends the connection
// where there was more. What is kept is redacted as a whole before it is cut.
func readSome(body io.ReadCloser, redact func([]byte) []byte) ([]byte, error) {
	defer body.Close()
	if body == http.NoBody {
		return nil, nil
	}
	read, err := io.ReadAll(io.LimitReader(body, maxRead))
	read = redact(read)
	return bytes.Clone(read[:min(len(read), maxKept)]), err
}

func (s *Sender) newRequest(ctx context.Context, r Request) (*http.Request, error) {
	t, err := s.prepared.target(r)
	if err != nil {
		return nil, err
	}
	headers := [...]struct{ name, value string }{
		{"Content-Type", "application/json"},
		{"User-Agent", "claimledger/" + s.Version},
		{"X-Sigilum-Event", r.EventType},
		{"X-Sigilum-Webhook-Id", r.WebhookID},
		{signature.HeaderBody, t.signer.Body(r.Body)},
		{signature.HeaderID, r.EventID},
		{signature.HeaderTimestamp, signature.Timestamp(r.At)},
		{signature.HeaderSignature, t.signer.Standard(r.EventID, r.At, r.Body)},
	}
	h := make(http.Header, len(headers)+2)
	if r.AuthHeader != "" {
		// First, so that whatever it is called, it replaces none of ours.
		h.Set(r.AuthHeader, r.AuthValue)
	}
	values := make([]string, len(headers))
	for i, header := range headers {
		values[i] = header.value
		h[header.name] = values[i : i+1 : i+1]
	}
	// Tells net/http that the request may go again, and is not sent: a kept connection
	// may turn out to be dead only after the body was written, and an attempt lost to
	// that would hold the claim's next events back until the retry. Receivers get
	// each event at least once and tell repeats apart by webhook-id.
	h["Idempotency-Key"] = nil
	request := new(http.Request).WithContext(ctx)
	request.Method, request.URL, request.Host, request.Header = http.MethodPost, t.url, t.url.Host, h
	request.Proto, request.ProtoMajor, request.ProtoMinor = "HTTP/1.1", 1, 1
	request.ContentLength = int64(len(r.Body))
	request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(r.Body)), nil }
	request.Body, err = request.GetBody()
	return request, err
}
