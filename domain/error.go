package domain

import (
	"errors"
	"fmt"
)

// Code is a machine-readable reason for a refusal. The values are part of the
// public API: clients switch on them, so a code is never renamed or reused.
type Code string

// The codes of the public API. Package api owns the one table that maps them to
// HTTP statuses, and a test there proves that none is missing from it.
const (
	CodeInvalidRequest    Code = "INVALID_REQUEST"
	CodeInvalidJSON       Code = "INVALID_JSON"
	CodeInvalidWebhookURL Code = "INVALID_WEBHOOK_URL"

	CodeUnauthorized               Code = "UNAUTHORIZED"
	CodeSignatureMissing           Code = "SIGNATURE_MISSING"
	CodeSignatureInvalid           Code = "SIGNATURE_INVALID"
	CodeSignatureExpired           Code = "SIGNATURE_EXPIRED"
	CodeSignatureComponentsInvalid Code = "SIGNATURE_COMPONENTS_INVALID"
	CodeSignatureDigestMismatch    Code = "SIGNATURE_DIGEST_MISMATCH"

	CodeForbidden                  Code = "FORBIDDEN"
	CodeSignatureNamespaceMismatch Code = "SIGNATURE_NAMESPACE_MISMATCH"
	CodeSignatureKeyMismatch       Code = "SIGNATURE_KEY_MISMATCH"
	CodePermissionRequired         Code = "PERMISSION_REQUIRED"

	CodeNotFound             Code = "NOT_FOUND"
	CodeMethodNotAllowed     Code = "METHOD_NOT_ALLOWED"
	CodeUnsupportedMediaType Code = "UNSUPPORTED_MEDIA_TYPE"
	CodeBodyTooLarge         Code = "BODY_TOO_LARGE"

	CodeConflict             Code = "CONFLICT"
	CodeNonceReplay          Code = "NONCE_REPLAY"
	CodeSignatureNonceReplay Code = "SIGNATURE_NONCE_REPLAY"
	CodeIdempotencyMismatch  Code = "IDEMPOTENCY_MISMATCH"
	CodeAgentLimitReached    Code = "AGENT_LIMIT_REACHED"
	CodeServiceLimitReached  Code = "SERVICE_LIMIT_REACHED"
	CodeAmbiguousService     Code = "AMBIGUOUS_SERVICE"

	CodeResync             Code = "RESYNC"
	CodeRateLimited        Code = "RATE_LIMITED"
	CodeServiceUnavailable Code = "SERVICE_UNAVAILABLE"
	CodeStaleRead          Code = "STALE_READ"

	// CodeInternal is a defect of ours. Its detail goes to the log alone.
	CodeInternal Code = "INTERNAL"
)

// FieldError says what is wrong with one field of a request.
type FieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Error is the only error type that crosses a package border with a meaning for
// the caller. Message is for a person and may be shown to anyone: it never holds
// a secret, a path, SQL or the text of Err. Err is the cause, for the log.
type Error struct {
	Code    Code
	Message string
	Details []FieldError
	Err     error
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error with a formatted message.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// ErrorCode is the code of the first Error in err's chain, CodeInternal for any
// other error, and empty for nil.
func ErrorCode(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}
