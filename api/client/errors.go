package client

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// Error is an answer of the ledger, or of something in front of it, that is not the one
// that was asked for.
type Error struct {
	Operation string      // as the API's description calls it
	Status    int         // of HTTP
	Code      domain.Code // empty where it was not the ledger that answered
	Message   string      // for a person
	Details   []domain.FieldError
	RequestID string // under which the ledger's operator finds it
	// RetryAfter is what the ledger asked to wait; 0 where it asked for nothing.
	RetryAfter time.Duration
	// Position is that of the state that the refusal rests on; 0 where it rests on none.
	Position uint64
}

// Error is for a person, and for a log: it shows no secret.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s: %d", e.Operation, e.Status)
	if e.Code != "" {
		text += " " + string(e.Code)
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	for _, d := range e.Details {
		text += fmt.Sprintf(" (%s: %s)", d.Field, d.Message)
	}
	if e.RequestID != "" {
		text += " [" + e.RequestID + "]"
	}
	return text
}

// ErrorCode is the code of an Error, empty for everything else.
func ErrorCode(err error) domain.Code {
	var refused *Error
	if errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}

var (
	// ErrSecretLost says that a key or secret was made, and that the one answer that
	// showed it was lost on its way. What was made comes with it: end it and make another.
	ErrSecretLost = errors.New("it was made, but the answer with its secret was lost")
	// ErrCredential says that the Config lacks what an operation has to show.
	ErrCredential = errors.New("a credential is missing")

	// errOther is of an answer that can be read, and is another than was asked for.
	errOther    = errors.New("the answer is not what the ledger sends")
	errTooLarge = errors.New("the answer is larger than anything that the ledger sends")
)

// refusal reads an answer that is not the one that was asked for.
func refusal(operation string, answer *http.Response, body []byte) *Error {
	e := &Error{Operation: operation, Status: answer.StatusCode, RequestID: answer.Header.Get("X-Request-ID"), RetryAfter: retryAfter(answer.Header)}
	e.Position, _ = strconv.ParseUint(answer.Header.Get(positionHeader), 10, 64)
	var read struct {
		Error   string              `json:"error"`
		Code    domain.Code         `json:"code"`
		Details []domain.FieldError `json:"details"`
		ID      string              `json:"request_id"`
	}
	if json.Unmarshal(body, &read) == nil {
		e.Message, e.Code, e.Details = read.Error, read.Code, read.Details
		e.RequestID = cmp.Or(e.RequestID, read.ID)
	}
	if e.Message == "" {
		e.Message = http.StatusText(answer.StatusCode)
	}
	return e
}

// retryAfter is in seconds, or a date where a proxy says it (RFC 9110, 10.2.3).
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil && seconds > 0 {
		return time.Duration(min(seconds, int(time.Hour/time.Second))) * time.Second
	}
	at, err := http.ParseTime(text)
	sent, dateErr := http.ParseTime(h.Get("Date"))
	if err != nil || dateErr != nil {
		return 0
	}
	return min(max(0, at.Sub(sent)), time.Hour)
}
