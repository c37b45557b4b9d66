package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/claimledger/claimledger/domain"
)

const (
	positionHeader    = "Ledger-Position"
	minPositionHeader = "Ledger-Min-Position"
	idempotencyHeader = "Idempotency-Key"

	// maxAnswer bounds an answer. The longest is of changes: a commit that takes a whole
	// namespace out of a feed comes in one piece.
	maxAnswer = 256 << 20
	maxError  = 64 << 10

	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
	// maxRetryAfter is how long the client waits when the ledger asks it to. Longer is for
	// the caller to decide.
	maxRetryAfter = 30 * time.Second
)

// needs is what an operation has to show.
type needs int

const (
	nothing         needs = iota
	signature             // of the namespace that it is about
	signatureAndKey       // and a service key
	signatureMaybeKey
	ownership // a management key or a session
	inSession // a session
)

// call is one operation on its way.
type call struct {
	operation string // as the API's description calls it
	method    string
	path      []string // segments, between which the slashes are
	shows     needs
	namespace string // to sign for; empty: the signer's own
	query     url.Values
	body      any
	header    http.Header
	into      any
	// longer is what the answer may take by the caller's own wish.
	longer time.Duration
	once   bool // never sent again

	key    string // its Idempotency-Key
	least  uint64
	answer *Answer
}

// Answer is what is known of an answer beside what it holds.
type Answer struct {
	// Position is that of a command's own commit, or of the state that a read reflects.
	Position  uint64
	Status    int
	RequestID string
	ETag      string
}

// Option changes a call.
type Option func(*call)

// AtLeast has a read wait until it reflects a position, as an Answer told it. The ledger
// waits 2 seconds, and the client asks again as often as it tries.
func AtLeast(position uint64) Option { return func(c *call) { c.least = position } }

// IdempotencyKey makes a command one that may be sent again: within 24 hours the ledger
// answers the same command under the same key as it did the first time. The client makes a
// key for each call by itself; one of the caller's own outlives the call.
func IdempotencyKey(key string) Option { return func(c *call) { c.key = key } }

// Into keeps what is known of the answer.
func Into(answer *Answer) Option { return func(c *call) { c.answer = answer } }

// command tells what changes something from what does not. Commands under /v1/auth take no
// Idempotency-Key.
func (c *call) command() bool { return c.method != http.MethodGet && c.path[1] != "auth" }

func (c *call) read() bool { return c.method == http.MethodGet }

// repeatable tells whether it does no harm to send it twice.
func (c *call) repeatable() bool { return !c.once && (c.read() || c.command()) }

// do sends a call until it is answered for good, and reads the answer.
func (c *Client) do(ctx context.Context, call call, options []Option) (Answer, error) {
	body, err := c.prepare(&call, options)
	if err != nil {
		return Answer{}, fmt.Errorf("%s: %w", call.operation, err)
	}
	for attempt := 1; ; attempt++ {
		answer, err := c.attempt(ctx, &call, body)
		if err == nil {
			if call.command() {
				c.noteWrite(answer.Position)
			}
			if call.answer != nil {
				*call.answer = answer
			}
			return answer, nil
		}
		if attempt >= c.config.Attempts || !call.worthAnother(ctx, err) {
			return answer, err
		}
		pause, ok := backoff(attempt, err)
		if deadline, bounded := ctx.Deadline(); !ok || bounded && time.Until(deadline) < pause {
			return answer, err
		}
		if c.wait(ctx, pause) != nil {
			return answer, err // which says more than that the caller's time is up
		}
	}
}

// prepare does once what is the same for all attempts: the body above all, for the ledger
// recognises a repeated command by its bytes.
func (c *Client) prepare(call *call, options []Option) (body []byte, err error) {
	for _, o := range options {
		o(call)
	}
	switch {
	case call.key != "" && !call.command():
		return nil, errors.New("it takes no IdempotencyKey")
	case call.least > 0 && !call.read():
		return nil, errors.New("it is no read, and AtLeast has no meaning for it")
	}
	switch call.shows {
	case signature, signatureMaybeKey, signatureAndKey:
		if c.signers.own == nil {
			return nil, fmt.Errorf("%w: a Signer", ErrCredential)
		}
		if call.shows == signatureAndKey && c.config.ServiceKey == "" {
			return nil, fmt.Errorf("%w: a ServiceKey", ErrCredential)
		}
	case ownership:
		if c.config.ManagementKey == "" && c.config.Session == "" {
			return nil, fmt.Errorf("%w: a ManagementKey or a Session", ErrCredential)
		}
	case inSession:
		if c.config.Session == "" {
			return nil, fmt.Errorf("%w: a Session", ErrCredential)
		}
	case nothing:
	}
	for _, segment := range call.path {
		if !plain(segment) {
			return nil, fmt.Errorf("%q is nothing that the ledger has given a name", segment)
		}
	}
	if call.command() && call.key == "" {
		call.key = rand.Text()
	}
	if call.read() && call.least == 0 && c.config.ReadYourWrites {
		call.least = c.last.Load()
	}
	if call.body == nil {
		return nil, nil
	}
	return json.Marshal(call.body)
}

// plain tells whether a path is taken for one with this segment in it. No name of the
// ledger's needs an escape, and a slash or a dot would lead elsewhere.
func plain(segment string) bool {
	return segment != "" && strings.Trim(segment, ".") != "" && !strings.ContainsFunc(segment, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_' || r == '.')
	})
}

// worthAnother tells whether an attempt that failed may be followed by one more.
func (c *call) worthAnother(ctx context.Context, err error) bool {
	if ctx.Err() != nil || errors.Is(err, errTooLarge) {
		return false
	}
	var refused *Error
	if !errors.As(err, &refused) {
		var unsent *requestError
		return c.repeatable() && !errors.As(err, &unsent)
	}
	switch {
	case refused.Status == http.StatusTooManyRequests:
		return !c.once // nothing was done
	case refused.Code == domain.CodeSignatureNonceReplay:
		// The transport has sent the same bytes again after a connection broke. Signed
		// anew it is another request.
		return c.repeatable()
	}
	switch refused.Status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return c.repeatable()
	}
	return false
}

// backoff is how long to wait after an attempt, and whether to wait at all.
func backoff(attempt int, err error) (time.Duration, bool) {
	most := min(maxBackoff, firstBackoff<<(attempt-1))
	pause := most/2 + mathrand.N(most/2)
	var refused *Error
	if errors.As(err, &refused) && refused.RetryAfter > 0 {
		// All that were turned away at the same moment are not to come back at one.
		pause = refused.RetryAfter + mathrand.N(refused.RetryAfter/4+1)
		return pause, refused.RetryAfter <= maxRetryAfter
	}
	return pause, true
}

// requestError is a request that could not be made at all.
type requestError struct{ error }

func (e *requestError) Unwrap() error { return e.error }

// attempt sends a call once.
func (c *Client) attempt(ctx context.Context, call *call, body []byte) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout+call.longer)
	defer cancel()
	sent, err := c.send(ctx, call, body)
	if err != nil {
		return Answer{}, err
	}
	defer sent.Body.Close()
	read, err := io.ReadAll(io.LimitReader(sent.Body, maxAnswer+1))
	if err == nil && len(read) > maxAnswer {
		err = errTooLarge
	}
	if err != nil {
		return Answer{}, fmt.Errorf("%s: %w", call.operation, err)
	}
	answer := answerOf(sent)
	if sent.StatusCode == http.StatusNotModified || call.into == nil {
		return answer, nil
	}
	if err := json.Unmarshal(read, call.into); err != nil {
		return answer, &requestError{fmt.Errorf("%s: %w: %w", call.operation, errOther, err)}
	}
	return answer, nil
}

// send sends a call once and gives what is answered to it, or why that is no answer.
func (c *Client) send(ctx context.Context, call *call, body []byte) (*http.Response, error) {
	r, err := c.request(ctx, call, body)
	if err != nil {
		return nil, &requestError{fmt.Errorf("%s: %w", call.operation, err)}
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", call.operation, err)
	}
	if answer.StatusCode < http.StatusMultipleChoices || answer.StatusCode == http.StatusNotModified {
		return answer, nil
	}
	defer answer.Body.Close()
	read, _ := io.ReadAll(io.LimitReader(answer.Body, maxError)) // a cut one tells less
	refused := refusal(call.operation, answer, read)
	if call.operation == readyOperation && json.Valid(read) {
		_ = json.Unmarshal(read, call.into) // what it lacks stands in the error
	}
	return nil, refused
}

func (c *Client) request(ctx context.Context, call *call, body []byte) (*http.Request, error) {
	target := c.base + "/" + strings.Join(call.path, "/")
	if len(call.query) > 0 {
		target += "?" + call.query.Encode()
	}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, call.method, target, reader)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", c.config.UserAgent)
	r.Header.Set("Accept", "application/json")
	for name, values := range call.header {
		r.Header[name] = values
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if call.command() {
		r.Header.Set(idempotencyHeader, call.key)
	}
	if call.least > 0 && call.read() {
		r.Header.Set(minPositionHeader, strconv.FormatUint(call.least, 10))
	}
	return r, c.show(r, call, body)
}

// show adds the credentials.
func (c *Client) show(r *http.Request, call *call, body []byte) error {
	switch call.shows {
	case signature:
		return c.signers.of(call.namespace).Sign(r, body)
	case signatureAndKey, signatureMaybeKey:
		if c.config.ServiceKey != "" {
			r.Header.Set("Authorization", "Bearer "+c.config.ServiceKey)
		}
		return c.signers.of(call.namespace).Sign(r, body)
	case ownership:
		if c.config.ManagementKey != "" {
			r.Header.Set("X-Sigma-ApiKey", c.config.ManagementKey)
			return nil
		}
		r.Header.Set("Authorization", "Bearer "+c.config.Session)
	case inSession:
		r.Header.Set("Authorization", "Bearer "+c.config.Session)
	case nothing:
	}
	return nil
}

func answerOf(r *http.Response) Answer {
	a := Answer{Status: r.StatusCode, RequestID: r.Header.Get("X-Request-ID"), ETag: r.Header.Get("ETag")}
	a.Position, _ = strconv.ParseUint(r.Header.Get(positionHeader), 10, 64)
	return a
}

// noteWrite keeps the highest position of the client's own commands.
func (c *Client) noteWrite(position uint64) {
	for {
		last := c.last.Load()
		if position <= last || c.last.CompareAndSwap(last, position) {
			return
		}
	}
}

// fetch does a call whose answer is one value.
func fetch[T any](ctx context.Context, c *Client, call call, options []Option) (T, error) {
	var v T
	call.into = &v
	_, err := c.do(ctx, call, options)
	return v, err
}
