package api

import (
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/claimledger/claimledger/domain"
)

// fields reads a JSON object field by field, so that every wrong one is reported
// and not only the first. Fields that nobody asks for are ignored.
type fields struct {
	raw map[string]json.RawMessage
	domain.Violations
}

// readFields reads a body as a JSON object. An empty one counts as {} where a body is
// optional.
func readFields(c *call, optional bool) (*fields, error) {
	f := &fields{}
	if len(c.body) == 0 && optional {
		return f, nil
	}
	if t := c.r.Header.Get("Content-Type"); t != "" {
		if media, _, err := mime.ParseMediaType(t); err != nil || media != "application/json" {
			return nil, domain.Errorf(domain.CodeUnsupportedMediaType, "The body must be application/json.")
		}
	}
	// encoding/json replaces what is not UTF-8; what is recorded must be what was sent.
	if !utf8.Valid(c.body) || json.Unmarshal(c.body, &f.raw) != nil || f.raw == nil {
		return nil, domain.Errorf(domain.CodeInvalidJSON, "The body must be one JSON object, in UTF-8.")
	}
	return f, nil
}

// get reads a field into v; false when it is absent, null or of another type.
func (f *fields) get(name, wanted string, v any) bool {
	raw, ok := f.raw[name]
	if !ok || string(raw) == "null" {
		return false
	}
	if json.Unmarshal(raw, v) != nil {
		f.Add(name, "must be "+wanted)
		return false
	}
	if text, ok := v.(*string); ok && strings.ContainsRune(*text, utf8.RuneError) && !namesRuneError.Match(raw) {
		// A lone surrogate (\ud800) names no character, and is replaced in decoding.
		f.Add(name, "must be valid Unicode")
		return false
	}
	return true
}

// namesRuneError matches a text that means U+FFFD itself.
var namesRuneError = regexp.MustCompile("\uFFFD|\\\\u[fF]{3}[dD]")

// required reads a text that must be there, of a length in characters.
func (f *fields) required(name string, least, most int) string {
	var s string
	if f.get(name, "a string", &s) {
		f.Text(name, s, least, most)
	} else if !f.has(name) {
		f.Add(name, "is required")
	}
	return s
}

// optional reads a text that may be absent; one that is there has a character at least.
func (f *fields) optional(name string, most int) string {
	var s string
	if f.get(name, "a string", &s) {
		f.Text(name, s, 0, most)
		if s == "" {
			f.Add(name, "must not be empty; leave it out instead")
		}
	}
	return s
}

// text reads a text that may be absent or empty.
func (f *fields) text(name string, most int) *string {
	var s string
	if !f.get(name, "a string", &s) {
		return nil
	}
	f.Text(name, s, 0, most)
	return &s
}

func (f *fields) number(name string) *int {
	var n int
	if !f.get(name, "a whole number", &n) {
		return nil
	}
	return &n
}

func (f *fields) texts(name string) *[]string {
	list := []string{}
	if !f.get(name, "a list of strings", &list) {
		return nil
	}
	return &list
}

// time reads a time as in RFC 3339, to the millisecond.
func (f *fields) time(name string) *time.Time {
	var s string
	if !f.get(name, "a string", &s) {
		return nil
	}
	t, err := domain.ParseTime(s)
	if err != nil {
		f.Add(name, "must be a time such as 2030-01-31T12:00:00Z")
		return nil
	}
	t = t.UTC().Truncate(time.Millisecond)
	return &t
}

// has reports whether a field is there, whatever it is; null counts as absent.
func (f *fields) has(name string) bool {
	raw, ok := f.raw[name]
	return ok && string(raw) != "null"
}

// allWrong joins what several checks of a request's fields found.
func allWrong(checks ...error) error {
	var v domain.Violations
	for _, err := range checks {
		v.Merge(err)
	}
	return v.Err()
}

// query reads query parameters. A parameter given twice is as wrong as a bad one:
// guessing which was meant would be a silent correction.
type query struct {
	values url.Values
	domain.Violations
}

func readQuery(r *http.Request) (*query, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, domain.Errorf(domain.CodeInvalidRequest, "The query string is malformed.")
	}
	return &query{values: values}, nil
}

func (q *query) text(name string) string {
	if len(q.values[name]) > 1 {
		q.Add(name, "must be given once")
	}
	return q.values.Get(name)
}

// slug reads the slug of a service, empty for none.
func (q *query) slug() string {
	slug := q.text("service")
	if q.values.Has("service") && !domain.ValidSlug(slug) {
		q.Add("service", "must be a service's slug")
	}
	return slug
}

// number reads a whole number in decimal digits.
func (q *query) number(name string, unset, least, most int) int {
	if !q.values.Has(name) {
		return unset
	}
	text := q.text(name)
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most || strconv.Itoa(n) != text {
		q.Add(name, "must be a whole number from "+strconv.Itoa(least)+" to "+strconv.Itoa(most))
		return unset
	}
	return n
}

// maxOffset bounds offset paging: what lies behind it is for cursors.
const maxOffset = 1_000_000_000

// page reads limit and offset.
func (q *query) page(unset, most int) (limit, offset int) {
	return q.number("limit", unset, 1, most), q.number("offset", 0, 0, maxOffset)
}

type pagination struct {
	Limit   int  `json:"limit"`
	Offset  int  `json:"offset"`
	Total   int  `json:"total"`
	HasMore bool `json:"has_more"`
}

func paginate(limit, offset, total, got int) pagination {
	return pagination{limit, offset, total, offset+got < total}
}
