// Package signature signs webhook deliveries and verifies what claims to be one, in
// both of the schemes that every delivery carries. It never sends, stores or logs
// anything, and no error of it holds a secret.
package signature

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// The headers of a delivery. The first signs the body alone; the other three are
// the Standard Webhooks specification's, and also sign which event this is and when
// the attempt was made.
const (
	HeaderBody      = "X-Sigilum-Signature"
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

const (
	bodyScheme     = "sha256="
	standardScheme = "v1,"

	// DefaultTolerance is how far an attempt's time may be from the receiver's
	// clock, the figure of the specification's own libraries.
	DefaultTolerance = 5 * time.Minute

	// maxSignatures bounds the work that one unauthenticated header can cause. A
	// rotation needs two.
	maxSignatures = 16
)

// Why a delivery is not believed. What is returned says more, ErrMissing for one which
// header it is about.
var (
	ErrNoSecret  = errors.New("webhook signature: no secret to verify with")
	ErrMissing   = errors.New("webhook signature: a signature header is missing, repeated or malformed")
	ErrTimestamp = errors.New("webhook signature: the time is too far from now")
	ErrMismatch  = errors.New("webhook signature: no signature matches")
)

// Body is the value of HeaderBody: the HMAC-SHA256 of the body, keyed with the
// secret's text as it was shown, prefix included.
func Body(secret string, body []byte) string {
	return bodyText(newMAC([]byte(secret)).sum("", body))
}

// Timestamp is the value of HeaderTimestamp.
func Timestamp(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

// Standard is the value of HeaderSignature: one v1 signature for each secret, the
// current one first, so that a receiver that knows any of them can verify.
func Standard(secrets []string, id string, at time.Time, body []byte) (string, error) {
	s, err := NewSigner(secrets)
	if err != nil {
		return "", err
	}
	return s.Standard(id, at, body), nil
}

// Header is an http.Header, of which a delivery's signatures are read.
type Header interface {
	Values(name string) []string
}

// Verify checks the Standard Webhooks headers of a delivery against any of the
// secrets, and that its time is within the tolerance of now. A nil answer means that
// the holder of a secret sent this body under this id at about this time; the same
// delivery may still arrive more than once.
func Verify(h Header, body []byte, secrets []string, now time.Time, tolerance time.Duration) error {
	id, err := single(h, HeaderID)
	if err != nil {
		return err
	}
	timestamp, at, err := attemptTime(h)
	if err != nil {
		return err
	}
	macs, err := standardMACs(h)
	if err != nil {
		return err
	}
	if age := now.Sub(at); age > tolerance || age < -tolerance {
		return fmt.Errorf("%w: it was sent %s", ErrTimestamp, whenSent(age))
	}
	var expected [][]byte
	for _, secret := range secrets {
		key, err := domain.WebhookSecretKey(secret)
		if err != nil {
			return err
		}
		expected = append(expected, newMAC(key).sum(standardPrefix(id, timestamp), body))
	}
	return matchAny(macs, expected)
}

// attemptTime is when the attempt was made, as it is signed and as a time.
func attemptTime(h Header) (text string, at time.Time, err error) {
	if text, err = single(h, HeaderTimestamp); err != nil {
		return "", time.Time{}, err
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		return "", time.Time{}, fmt.Errorf("%w: %s is not a number of seconds", ErrMissing, HeaderTimestamp)
	}
	return text, time.Unix(seconds, 0), nil
}

func whenSent(age time.Duration) string {
	if age < 0 {
		return (-age).Round(time.Second).String() + " from now"
	}
	return age.Round(time.Second).String() + " ago"
}

// standardMACs are the v1 signatures that are claimed. Other versions may stand beside
// them; they are not ours to judge.
func standardMACs(h Header) ([][]byte, error) {
	claimed := strings.Fields(strings.Join(h.Values(HeaderSignature), " "))
	switch {
	case len(claimed) == 0:
		return nil, fmt.Errorf("%w: there is no %s", ErrMissing, HeaderSignature)
	case len(claimed) > maxSignatures:
		return nil, fmt.Errorf("%w: %s has more than %d signatures", ErrMissing, HeaderSignature, maxSignatures)
	}
	var macs [][]byte
	for _, signature := range claimed {
		encoded, ours := strings.CutPrefix(signature, standardScheme)
		if mac, err := base64.StdEncoding.DecodeString(encoded); ours && err == nil {
			macs = append(macs, mac)
		}
	}
	return macs, nil
}

// VerifyBody checks HeaderBody against any of the secrets. It says nothing about
// when the body was sent, so a captured delivery passes for ever: a receiver that can
// should use Verify.
func VerifyBody(h Header, body []byte, secrets []string) error {
	text, err := single(h, HeaderBody)
	if err != nil {
		return err
	}
	encoded, ours := strings.CutPrefix(text, bodyScheme)
	mac, err := hex.DecodeString(encoded)
	if !ours || err != nil {
		return fmt.Errorf("%w: %s is not %s and hexadecimal digits", ErrMissing, HeaderBody, bodyScheme)
	}
	expected := make([][]byte, len(secrets))
	for i, secret := range secrets {
		expected[i] = newMAC([]byte(secret)).sum("", body)
	}
	return matchAny([][]byte{mac}, expected)
}

// matchAny compares every pair in constant time and without stopping early, so that
// the time taken does not tell which secret or how much of it was right.
func matchAny(macs, expected [][]byte) error {
	if len(expected) == 0 {
		return ErrNoSecret
	}
	matched := false
	for _, mac := range macs {
		for _, want := range expected {
			equal := hmac.Equal(mac, want)
			matched = matched || equal
		}
	}
	if !matched {
		return ErrMismatch
	}
	return nil
}

// single is the header's value where there is exactly one: of two, a proxy and a
// receiver could each believe another.
func single(h Header, name string) (string, error) {
	values := h.Values(name)
	switch {
	case len(values) > 1:
		return "", fmt.Errorf("%w: %s is there %d times", ErrMissing, name, len(values))
	case len(values) == 0 || values[0] == "":
		return "", fmt.Errorf("%w: there is no %s", ErrMissing, name)
	}
	return values[0], nil
}
