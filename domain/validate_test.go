package domain

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestValidNamespace(t *testing.T) {
	for name, good := range map[string]bool{
		"abc": true, "a-c": true, "a1c": true, "123": true, "Acme": true, "a--c": true,
		strings.Repeat("a", 64): true, strings.Repeat("a", 65): false,
		"": false, "ab": false, "-ab": false, "ab-": false, "a.c": false, "a_c": false, "a c": false, "äbc": false,
		"abc\n": false, "a*c": false, "a>c": false, "a/c": false,
	} {
		if got := ValidNamespace(name); got != good {
			t.Errorf("%q: %t", name, got)
		}
	}
	if CanonicalNamespace("Acme-Corp") != "acme-corp" || DID("acme") != "did:sigilum:acme" {
		t.Error("canonical form or DID")
	}
}

func TestValidSlug(t *testing.T) {
	for slug, good := range map[string]bool{
		"a": true, "a1": true, "my-service": true, "1": true, strings.Repeat("a", 64): true, strings.Repeat("a", 65): false,
		"": false, "-a": false, "a-": false, "-": false, "A": false, "a_b": false, "a.b": false, "a\n": false, "ü": false,
	} {
		if got := ValidSlug(slug); got != good {
			t.Errorf("%q: %t", slug, got)
		}
	}
}

func TestValidAgentIP(t *testing.T) {
	for text, good := range map[string]bool{
		"203.0.113.7": true, "::1": true, "2001:db8::1": true, "::ffff:203.0.113.7": true,
		"": false, "203.0.113": false, "203.0.113.07": false, "203.0.113.7/32": false, "203.0.113.7:80": false, "[::1]": false,
		"fe80::1%eth0": false, " 203.0.113.7": false, "example.com": false, "fe80::1%" + strings.Repeat("x", 100): false,
	} {
		if got := ValidAgentIP(text); got != good {
			t.Errorf("%q: %t", text, got)
		}
	}
}

func TestText(t *testing.T) {
	for _, c := range []struct {
		text        string
		least, most int
		good        bool
	}{
		{"", 0, 3, true}, {"", 1, 3, false}, {"abc", 1, 3, true}, {"abcd", 1, 3, false}, {"ab", 3, 4, false},
		{"äöü", 1, 3, true}, {"äöüß", 1, 3, false}, {"\xff", 1, 3, false}, {"a\nb", 1, 3, false}, {"a\x00", 1, 3, false}, {"\u0085", 1, 3, false},
	} {
		var v Violations
		v.Text("field", c.text, c.least, c.most)
		expectFields(t, fmt.Sprintf("%q", c.text), v.Err(), map[bool][]string{false: {"field"}}[c.good]...)
	}
}

func TestErrorCode(t *testing.T) {
	cause := errors.New("cause")
	refusal := &Error{Code: CodeConflict, Message: "no", Err: cause}
	for _, c := range []struct {
		err  error
		code Code
	}{
		{nil, ""}, {cause, CodeInternal}, {refusal, CodeConflict}, {fmt.Errorf("wrapped: %w", refusal), CodeConflict},
	} {
		if got := ErrorCode(c.err); got != c.code {
			t.Errorf("%v: %s", c.err, got)
		}
	}
	if !errors.Is(refusal, cause) || refusal.Error() != "CONFLICT: no: cause" || Errorf(CodeConflict, "%d", 1).Error() != "CONFLICT: 1" {
		t.Error("an Error drops its cause or its text")
	}
}

func TestParseTime(t *testing.T) {
	for text, want := range map[string]bool{
		"2030-01-31T12:00:00Z": true, "2030-01-31T12:00:00.5+01:00": true, "0000-01-01T00:00:00Z": true, "9999-12-31T23:59:59.999Z": true,
		"2030-01-31T2:00:00Z": false, "2030-01-31T12:00:00,5Z": false, "2030-01-31T12:00:00+24:00": false, "2030-02-30T12:00:00Z": false,
		"2030-01-31T12:00:00": false, "2030-01-31": false, "": false, "0000-01-01T00:00:00+01:00": false, "9999-12-31T23:59:59-00:01": false,
	} {
		if at, err := ParseTime(text); (err == nil) != want {
			t.Errorf("%q: %v, %v", text, at, err)
		}
	}
}
