package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/claimledger/claimledger/domain"
)

// statuses is the only place that says which status a code has.
var statuses = map[domain.Code]int{
	domain.CodeInvalidRequest:    http.StatusBadRequest,
	domain.CodeInvalidJSON:       http.StatusBadRequest,
	domain.CodeInvalidWebhookURL: http.StatusBadRequest,

	domain.CodeUnauthorized:               http.StatusUnauthorized,
	domain.CodeSignatureMissing:           http.StatusUnauthorized,
	domain.CodeSignatureInvalid:           http.StatusUnauthorized,
	domain.CodeSignatureExpired:           http.StatusUnauthorized,
	domain.CodeSignatureComponentsInvalid: http.StatusUnauthorized,
	domain.CodeSignatureDigestMismatch:    http.StatusUnauthorized,

	domain.CodeForbidden:                  http.StatusForbidden,
	domain.CodeSignatureNamespaceMismatch: http.StatusForbidden,
	domain.CodeSignatureKeyMismatch:       http.StatusForbidden,
	domain.CodePermissionRequired:         http.StatusForbidden,

	domain.CodeNotFound:             http.StatusNotFound,
	domain.CodeMethodNotAllowed:     http.StatusMethodNotAllowed,
	domain.CodeUnsupportedMediaType: http.StatusUnsupportedMediaType,
	domain.CodeBodyTooLarge:         http.StatusRequestEntityTooLarge,

	domain.CodeConflict:             http.StatusConflict,
	domain.CodeNonceReplay:          http.StatusConflict,
	domain.CodeSignatureNonceReplay: http.StatusConflict,
	domain.CodeIdempotencyMismatch:  http.StatusConflict,
	domain.CodeAgentLimitReached:    http.StatusConflict,
	domain.CodeServiceLimitReached:  http.StatusConflict,
	domain.CodeAmbiguousService:     http.StatusConflict,

	domain.CodeResync:             http.StatusGone,
	domain.CodeRateLimited:        http.StatusTooManyRequests,
	domain.CodeServiceUnavailable: http.StatusServiceUnavailable,
	domain.CodeStaleRead:          http.StatusServiceUnavailable,

	domain.CodeInternal: http.StatusInternalServerError,
}

// retryAfter is what a caller is told to wait, in seconds, when trying again can help.
const retryAfter = 1

type errorBody struct {
	Error     string              `json:"error"`
	Code      domain.Code         `json:"code"`
	Details   []domain.FieldError `json:"details,omitempty"`
	RequestID string              `json:"request_id"`
}

// writeError answers with an error. Whatever is not a domain.Error is a defect of
// ours: the caller is told nothing but the request id, under which it is logged.
func writeError(w http.ResponseWriter, requestID string, err error) int {
	var known *domain.Error
	if !errors.As(err, &known) {
		known = domain.Errorf(domain.CodeInternal, "Something went wrong here. The operator can find it under the request id.")
	}
	status := statuses[known.Code]
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	if status == http.StatusUnauthorized {
		// RFC 9110, 15.5.2: a 401 says how to authenticate.
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	writeJSON(w, status, errorBody{known.Message, known.Code, known.Details, requestID})
	return status
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	var encoded bytes.Buffer
	e := json.NewEncoder(&encoded)
	e.SetEscapeHTML(false) // the bodies of events are to be the bytes that webhooks get
	if err := e.Encode(body); err != nil {
		encoded.Reset()
		status = http.StatusInternalServerError
		encoded.WriteString(`{"error":"The answer could not be encoded.","code":"INTERNAL"}` + "\n")
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(encoded.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(encoded.Bytes()) // the client is gone: nobody to tell
}
