package capture

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/claimledger/claimledger/api/client/webhook"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/domain/signature"
)

// Finding is what became of a signature.
type Finding struct {
	Header   string `json:"header"`
	Verified bool   `json:"verified"`
	Problem  string `json:"problem,omitempty"` // why not
}

// Report is what there is to say about a request.
type Report struct {
	// Verified tells whether a receiver may believe the request: webhook-signature decides,
	// and where none of its headers is there, X-Sigilum-Signature does.
	Verified bool      `json:"verified"`
	Findings []Finding `json:"signatures"`
	Event    string    `json:"event,omitempty"` // of a body that can be read
	ID       string    `json:"id,omitempty"`
	Sequence uint64    `json:"sequence,omitempty"`
}

// Check verifies both signatures of a request, at the time at which it came.
func Check(r Request, secret string, at time.Time) Report {
	c := checker{r, secret, at}
	standard, body := c.standard(), c.body()
	// Each says something about the other.
	if errors.Is(standard.err, signature.ErrMismatch) {
		standard.Problem = c.whyStandard(body.Verified)
	}
	if errors.Is(body.err, signature.ErrMismatch) {
		body.Problem = c.whyBody(standard.signed)
	}
	report := Report{Verified: standard.Verified, Findings: []Finding{standard.Finding, body.Finding}}
	if !c.hasStandard() {
		report.Verified = body.Verified
	}
	if e, err := webhook.Parse(r.Body); err == nil {
		report.Event, report.ID, report.Sequence = e.Event, e.ID, e.Sequence
	}
	return report
}

type checker struct {
	Request
	secret string
	at     time.Time
}

type finding struct {
	Finding
	err    error
	signed bool // but maybe too long ago
}

func newFinding(header string, err error) finding {
	f := finding{Finding: Finding{Header: header, Verified: err == nil}, err: err, signed: err == nil}
	if err != nil {
		f.Problem = strings.TrimPrefix(err.Error(), "webhook signature: ")
	}
	return f
}

func (c checker) hasStandard() bool {
	for _, name := range []string{signature.HeaderID, signature.HeaderTimestamp, signature.HeaderSignature} {
		if len(c.Header.Values(name)) > 0 {
			return true
		}
	}
	return false
}

// standard verifies what is signed first, and its age then: of a request that was captured
// long ago, both are of interest.
func (c checker) standard() finding {
	const header = "webhook-signature"
	sent, err := strconv.ParseInt(c.Header.Get(signature.HeaderTimestamp), 10, 64)
	if err == nil {
		if err := c.verify(c.secret, c.Body, time.Unix(sent, 0)); err != nil {
			return newFinding(header, err)
		}
	}
	f := newFinding(header, c.verify(c.secret, c.Body, c.at))
	if errors.Is(f.err, signature.ErrTimestamp) {
		f.signed = true
		f.Problem = fmt.Sprintf("what it signs is right, but %s, and %s is allowed", age(c.at.Sub(time.Unix(sent, 0))), signature.DefaultTolerance)
	}
	return f
}

func age(d time.Duration) string {
	if d < 0 {
		return "it was sent " + (-d).Round(time.Second).String() + " after the time at which it came"
	}
	return "it was sent " + d.Round(time.Second).String() + " before it came"
}

func (c checker) body() finding {
	return newFinding("x-sigilum-signature", signature.VerifyBody(c.Header, c.Body, []string{c.secret}))
}

func (c checker) verify(secret string, body []byte, at time.Time) error {
	return signature.Verify(c.Header, body, []string{secret}, at, signature.DefaultTolerance)
}

// whyStandard is why webhook-signature does not verify.
func (c checker) whyStandard(bodyVerified bool) string {
	sent, _ := strconv.ParseInt(c.Header.Get(signature.HeaderTimestamp), 10, 64) // or it were another error
	verifies := func(secret string, body []byte) bool { return c.verify(secret, body, time.Unix(sent, 0)) == nil }
	if !bodyVerified {
		return c.why(verifies)
	}
	if e, err := webhook.Parse(c.Body); err == nil && e.ID != c.Header.Get(signature.HeaderID) {
		return "the body and the secret are right, and webhook-id is not the event's, which is " + e.ID
	}
	return "the body and the secret are right: webhook-timestamp, or the signature itself, was altered"
}

// whyBody is why X-Sigilum-Signature does not verify.
func (c checker) whyBody(standardSigned bool) string {
	if standardSigned {
		return "the body and the secret are right: it is signed with the newer secret of a rotation, or was altered itself"
	}
	return c.why(func(secret string, body []byte) bool {
		return signature.VerifyBody(c.Header, body, []string{secret}) == nil
	})
}

// why tries what is known to go wrong between a signature and its verification.
func (c checker) why(verifies func(secret string, body []byte) bool) string {
	for _, v := range bodies(c.Body) {
		if verifies(c.secret, v.body) {
			return "the body was altered: the signature is of the same " + v.difference + c.length("; ")
		}
	}
	if length := len(c.Body) - c.Extra; c.Extra > 0 && verifies(c.secret, c.Body[:length]) {
		return fmt.Sprintf("the body was altered: the signature is of the same without the %d bytes beyond its Content-Length", c.Extra)
	}
	if c.Missing > 0 && !json.Valid(c.Body) {
		return fmt.Sprintf("the body lacks its last %d bytes", c.Missing)
	}
	for _, v := range secrets(c.secret) {
		if _, err := domain.WebhookSecretKey(v.secret); err == nil && verifies(v.secret, c.Body) {
			return "the secret is not as it was shown: it verifies " + v.difference
		}
	}
	if !json.Valid(c.Body) {
		return "the body was altered (it is no JSON any more), and the secret may be another one too" + c.length("; ")
	}
	if different := c.length(": "); different != "" {
		return "the secret is another one, or the body was altered" + different
	}
	return "the secret is another one, or the body was altered: compare what the receiver read with what the ledger sent, byte for byte"
}

// length says how the body's length differs from its Content-Length, if it does.
func (c checker) length(separator string) string {
	switch {
	case c.Extra > 0:
		return fmt.Sprintf("%sit has %d bytes more than its Content-Length", separator, c.Extra)
	case c.Missing > 0:
		return fmt.Sprintf("%sit has %d bytes less than its Content-Length", separator, c.Missing)
	}
	return ""
}

type altered struct {
	body       []byte
	difference string
}

// bodies are what a body may have been before tools and frameworks got at it.
func bodies(body []byte) []altered {
	trimmed := bytes.TrimSpace(body)
	variants := []altered{
		{bytes.TrimRight(body, "\r\n"), "without the line break at its end"},
		{append(bytes.Clone(body), '\n'), "with a line break at its end"},
		{trimmed, "without the white space around it"},
		{bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), "without the byte order mark"},
		{bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n")), "with \\n for each \\r\\n"},
		{bytes.ReplaceAll(body, []byte("\n"), []byte("\r\n")), "with \\r\\n for each \\n"},
	}
	var compact bytes.Buffer
	if json.Compact(&compact, trimmed) == nil {
		variants = append(variants, altered{compact.Bytes(), "without white space between its parts: something has parsed it and written it anew"})
		if rewritten, err := reordered(trimmed); err == nil {
			variants = append(variants, altered{rewritten, "with its fields in the ledger's order: something has parsed it and written it anew"})
		}
	}
	return variants
}

type otherSecret struct{ secret, difference string }

// secrets are what somebody may have made of the secret on the way here.
func secrets(secret string) []otherSecret {
	return []otherSecret{
		{strings.TrimSpace(secret), "without the white space around it"},
		{strings.Trim(secret, `"'`), "without the quotation marks"},
		{"whsec_" + secret, "with whsec_ in front of it"},
		{strings.TrimPrefix(secret, "whsec_"), "without whsec_ in front of it"},
		{secret + "\n", "with a line break at its end, which seems to be a part of it"},
	}
}
