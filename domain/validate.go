package domain

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bounds of names and texts, in characters unless said otherwise.
const (
	MinNamespace, MaxNamespace = 3, 64
	MinSlug, MaxSlug           = 1, 64
	MinNonce, MaxNonce         = 8, 256
	MaxSubject                 = 256
	MaxAgentID, MaxAgentName   = 128, 128
	MaxName                    = 128
	MaxDescription             = 1024
	MaxReason                  = 1024
	maxAgentIP, maxKeyText     = 64, 128
	MaxEmail                   = 254 // RFC 5321, 4.5.3.1.3, less the angle brackets
)

// maxViolations is as many as anyone reads. A body can name tens of thousands of fields.
const maxViolations = 100

// Violations collects what is wrong with a request, one entry a field.
type Violations struct{ fields []FieldError }

// Add records that a field is wrong, unless that is known: what was found first says
// it best.
func (v *Violations) Add(field, message string) {
	if len(v.fields) >= maxViolations || slices.ContainsFunc(v.fields, func(f FieldError) bool { return f.Field == field }) {
		return
	}
	v.fields = append(v.fields, FieldError{Field: field, Message: message})
}

// Text checks the length of a text in characters, and that it is UTF-8 without
// control characters. An empty text passes when least is 0.
func (v *Violations) Text(field, text string, least, most int) {
	switch n := utf8.RuneCountInString(text); {
	case !utf8.ValidString(text):
		v.Add(field, "must be valid UTF-8")
	case text == "" && least > 0:
		v.Add(field, "is required")
	case n < least || n > most:
		v.Add(field, fmt.Sprintf("must have %d to %d characters", max(least, 1), most))
	case strings.ContainsFunc(text, unicode.IsControl):
		v.Add(field, "must not contain control characters")
	}
}

// Merge adds what another check found; an error that is not about fields is not for here
// and is dropped, so only hand over the outcome of checks of fields.
func (v *Violations) Merge(err error) {
	var e *Error
	if errors.As(err, &e) {
		for _, d := range e.Details {
			v.Add(d.Field, d.Message)
		}
	}
}

// Nested adds what is wrong inside a field.
func (v *Violations) Nested(field string, inner *Violations) {
	for _, f := range inner.fields {
		v.Add(field+"."+f.Field, f.Message)
	}
}

// Err is nil when nothing is wrong.
func (v *Violations) Err() error {
	if len(v.fields) == 0 {
		return nil
	}
	return &Error{
		Code:    CodeInvalidRequest,
		Message: "The request is not valid: " + v.fields[0].Field + " " + v.fields[0].Message + ".",
		Details: v.fields,
	}
}

var (
	namespacePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{1,62}[A-Za-z0-9]$`)
	slugPattern      = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$`)
)

// ValidNamespace reports whether a name has the form of a namespace, in either case.
func ValidNamespace(name string) bool { return namespacePattern.MatchString(name) }

// CanonicalNamespace is the lower-case form under which a namespace is registered:
// two names that differ in case are one namespace.
func CanonicalNamespace(name string) string { return strings.ToLower(name) }

// ValidSlug reports whether a name has the form of a service slug.
func ValidSlug(slug string) bool { return slugPattern.MatchString(slug) }

// DID is the decentralized identifier of a namespace.
func DID(namespace string) string { return "did:sigilum:" + namespace }

// ParseTime reads a time as RFC 3339 has it, and refuses what time.Parse takes besides (an
// hour of one digit, a comma for the point) and what has a year of more or less than four
// digits in UTC, in which times are stored.
func ParseTime(text string) (time.Time, error) {
	if !timePattern.MatchString(text) {
		return time.Time{}, errors.New("not a time as in RFC 3339")
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, err
	}
	if year := t.UTC().Year(); year < 0 || year > 9999 {
		return time.Time{}, fmt.Errorf("the year %d in UTC", year)
	}
	return t, nil
}

var timePattern = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// ValidAgentIP reports whether a text is an IP address, without a zone: that would mean
// something on one machine only.
func ValidAgentIP(text string) bool {
	if len(text) > maxAgentIP {
		return false
	}
	addr, err := netip.ParseAddr(text)
	return err == nil && addr.Zone() == ""
}
