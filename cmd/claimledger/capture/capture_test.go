package capture_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/cmd/claimledger/capture"
	"github.com/claimledger/claimledger/domain/signature"
)

const (
	secret = "whsec_+wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAP8="
	older  = "a secret of one's own, of before"
	id     = "evt_01kjpzqz7w1n8t5r4e3d2c1b0a_1"
	body   = `{"event":"request.rejected","timestamp":"2026-03-02T11:00:00Z","data":{"claim_id":"claim_1","namespace":"acme","service":"mail",` +
		`"public_key":"ed25519:A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=","agent_ip":"203.0.113.45","reason":"<Ünlikely> & odd"},` +
		`"id":"` + id + `","position":"45","sequence":19}`
)

var sent = time.Unix(1772449200, 0)

// raw is the request as it came over the connection, with another body where there is one.
func raw(t *testing.T, body string, secrets ...string) string {
	t.Helper()
	standard, err := signature.Standard(secrets, id, sent, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join([]string{
		"POST /hook HTTP/1.1", "Host: receiver.example", "User-Agent: claimledger/1.0", fmt.Sprint("Content-Length: ", len(body)),
		"Content-Type: application/json", "Webhook-Id: " + id, "Webhook-Signature: " + standard, "Webhook-Timestamp: " + signature.Timestamp(sent),
		"X-Sigilum-Event: request.rejected", "X-Sigilum-Signature: " + signature.Body(secrets[0], []byte(body)),
		"X-Sigilum-Webhook-Id: 0f0e0d0c-0b0a-4908-8706-050403020100", "", body,
	}, "\r\n")
}

func check(t *testing.T, raw, secret string, at time.Time) capture.Report {
	t.Helper()
	r, err := capture.Parse([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return capture.Check(r, secret, at)
}

// without takes the lines of some headers out.
func without(raw string, names ...string) string {
	for _, name := range names {
		begin := strings.Index(raw, name+": ")
		end := begin + strings.Index(raw[begin:], "\r\n") + 2
		raw = raw[:begin] + raw[end:]
	}
	return raw
}

func TestWhatIsWrong(t *testing.T) {
	good := raw(t, body, secret)
	// altered has another body than was signed, and no Content-Length that tells.
	altered := func(change func(string) string) string {
		head, text, _ := strings.Cut(without(good, "Content-Length"), "\r\n\r\n")
		return head + "\r\n\r\n" + change(text)
	}
	replaced := func(old, new string) func(string) string {
		return func(text string) string { return strings.Replace(text, old, new, 1) }
	}
	const standard, ofBody = 0, 1
	for _, c := range []struct {
		name, raw, secret string
		at                time.Time
		verified          bool
		problems          [2]string
	}{
		{name: "as sent", verified: true},
		{name: "sent with line feeds alone", raw: strings.ReplaceAll(good, "\r\n", "\n"), verified: true},
		{name: "saved by an editor", raw: good + "\n", verified: true},
		{name: "without a request line", raw: good[strings.Index(good, "\n")+1:], verified: true},
		{name: "in chunks", raw: strings.Replace(strings.Replace(good, fmt.Sprint("Content-Length: ", len(body)), "Transfer-Encoding: chunked", 1),
			body, fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body), 1), verified: true},
		{name: "the Standard Webhooks headers alone", raw: without(good, "X-Sigilum-Signature"), verified: true, problems: [2]string{ofBody: "there is no X-Sigilum-Signature"}},
		{name: "the body's signature alone", raw: without(good, "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"), verified: true,
			problems: [2]string{standard: "there is no Webhook-Id"}},
		{name: "during a rotation, with the newer secret", raw: raw(t, body, secret, older), verified: true},
		{name: "during a rotation, with the older secret", raw: raw(t, body, secret, older), secret: older, verified: true, problems: [2]string{ofBody: "newer secret of a rotation"}},

		{name: "too old", at: sent.Add(12 * time.Minute), problems: [2]string{standard: "right, but it was sent 12m0s before it came, and 5m0s is allowed"}},
		{name: "from the future", at: sent.Add(-time.Hour), problems: [2]string{standard: "right, but it was sent 1h0m0s after"}},
		{name: "no id", raw: without(good, "Webhook-Id"), problems: [2]string{standard: "there is no Webhook-Id"}},
		{name: "no time", raw: without(good, "Webhook-Timestamp"), problems: [2]string{standard: "there is no Webhook-Timestamp"}},
		{name: "no signature", raw: without(good, "Webhook-Signature"), problems: [2]string{standard: "there is no Webhook-Signature"}},
		{name: "two ids", raw: strings.Replace(good, "Webhook-Id: ", "Webhook-Id: evt_2\r\nWebhook-Id: ", 1), problems: [2]string{standard: "Webhook-Id is there 2 times"}},
		{name: "another id", raw: strings.Replace(good, "Webhook-Id: evt", "Webhook-Id: evil", 1), problems: [2]string{standard: "webhook-id is not the event's"}},
		{name: "another time", raw: strings.Replace(good, signature.Timestamp(sent), signature.Timestamp(sent.Add(time.Second)), 1),
			problems: [2]string{standard: "webhook-timestamp, or the signature itself, was altered"}},
		{name: "no secret of this webhook", secret: older, problems: [2]string{"the secret is another one, or the body was altered", "the secret is another one, or the body was altered"}},
		{name: "altered text", raw: altered(replaced("acme", "evil")), problems: [2]string{"the secret is another one, or the body was altered", "the secret is another one, or the body was altered"}},
		{name: "cut off", raw: good[:len(good)-10], problems: [2]string{"lacks its last 10 bytes", "lacks its last 10 bytes"}},
		{name: "more than its length", raw: good + "GET / HTTP/1.1\r\n\r\n", problems: [2]string{"the same without the 18 bytes beyond its Content-Length", "the same without the 18 bytes beyond its Content-Length"}},
		{name: "laid out, with the old length", raw: strings.Replace(good, body, strings.ReplaceAll(body, `,"`, ", \""), 1),
			problems: [2]string{"white space between its parts: something has parsed it and written it anew; it has 10 bytes more than its Content-Length", "it has 10 bytes more"}},
		{name: "written anew, with the old length", raw: strings.Replace(good, body, rewritten(t)(body), 1),
			problems: [2]string{"in the ledger's order: something has parsed it and written it anew; it has 15 bytes more", "it has 15 bytes more"}},
		{name: "written anew and shorter, with the old length", raw: strings.Replace(raw(t, rewritten(t)(body), secret), rewritten(t)(body), body, 1),
			problems: [2]string{"it has 15 bytes less than its Content-Length", "it has 15 bytes less than its Content-Length"}},
		{name: "other and longer, with the old length", raw: strings.Replace(good, `:"mail"`, `:"maillist"`, 1),
			problems: [2]string{"the secret is another one, or the body was altered: it has 4 bytes more than its Content-Length", "it has 4 bytes more"}},
		{name: "cut off without a length", raw: altered(func(text string) string { return text[:len(text)-10] }), problems: [2]string{"no JSON any more", "no JSON any more"}},
		{name: "a line break too many", raw: altered(func(text string) string { return text + "\n" }),
			problems: [2]string{"the same without the line break at its end", "the same without the line break at its end"}},
		{name: "a byte order mark", raw: altered(func(text string) string { return "\xef\xbb\xbf" + text }), problems: [2]string{"byte order mark", "byte order mark"}},
		{name: "white space around", raw: altered(func(text string) string { return "  " + text + " " }), problems: [2]string{"white space around it", "white space around it"}},
		{name: "laid out", raw: altered(func(text string) string { return strings.ReplaceAll(text, `,"`, ",\n  \"") }),
			problems: [2]string{"white space between its parts", "white space between its parts"}},
		{name: "written anew", raw: altered(rewritten(t)), problems: [2]string{"in the ledger's order", "in the ledger's order"}},
		{name: "a secret without its prefix", secret: strings.TrimPrefix(secret, "whsec_"), problems: [2]string{"with whsec_ in front of it", "with whsec_ in front of it"}},
		{name: "a secret with space", secret: " " + older + " ", raw: raw(t, body, older), problems: [2]string{"white space around it", "white space around it"}},
		{name: "a quoted secret", secret: `"` + older + `"`, raw: raw(t, body, older), problems: [2]string{"quotation marks", "quotation marks"}},
	} {
		if c.raw == "" {
			c.raw = good
		}
		if c.secret == "" {
			c.secret = secret
		}
		if c.at.IsZero() {
			c.at = sent.Add(time.Second)
		}
		report := check(t, c.raw, c.secret, c.at)
		if report.Verified != c.verified {
			t.Errorf("%s: got %+v", c.name, report)
		}
		for i, want := range c.problems {
			got := report.Findings[i]
			if got.Verified != (want == "") || !strings.Contains(got.Problem, want) || want == "" && got.Problem != "" {
				t.Errorf("%s: %s: got %q, want %q", c.name, got.Header, got.Problem, want)
			}
			if strings.Contains(got.Problem, strings.Trim(c.secret, `" `)) {
				t.Errorf("%s: a secret is in %q", c.name, got.Problem)
			}
		}
	}
	if r := check(t, good, secret, sent); r.ID != id || r.Event != "request.rejected" || r.Sequence != 19 {
		t.Errorf("got %+v", r)
	}
}

// rewritten is what a framework sends on that parses JSON: sorted, and escaped for HTML.
func rewritten(t *testing.T) func(string) string {
	return func(text string) string {
		var event map[string]any
		if err := json.Unmarshal([]byte(text), &event); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		return string(again)
	}
}

func TestWhatIsNoRequest(t *testing.T) {
	for _, text := range []string{
		"", body, "POST / HTTP/1.1\r\n", "POST / HTTP/1.1\r\nHost: a\r\n", "no header\r\n\r\n{}",
		"Transfer-Encoding: chunked\r\n\r\nff\r\n{}", strings.Repeat("a", capture.MaxSize+1),
	} {
		if r, err := capture.Parse([]byte(text)); !errors.Is(err, capture.ErrUnreadable) {
			t.Errorf("%.60q: got %+v, %v", text, r, err)
		}
	}
	if _, err := capture.New([]string{"no colon"}, nil); !errors.Is(err, capture.ErrUnreadable) {
		t.Errorf("got %v", err)
	}
	for text, want := range map[string]capture.Request{
		"{}": {}, "{": {Missing: 1}, "{}\n": {}, "{}}": {Extra: 1},
	} {
		r, err := capture.New([]string{"Content-Length: 2"}, []byte(text))
		if err != nil || r.Missing != want.Missing || r.Extra != want.Extra || string(r.Body) != text {
			t.Errorf("%q: got %+v, %v", text, r, err)
		}
	}
	r, err := capture.New([]string{"webhook-id: a", "Webhook-Id:b"}, []byte(body))
	if want := (http.Header{"Webhook-Id": {"a", "b"}}); err != nil || fmt.Sprint(r.Header) != fmt.Sprint(want) || string(r.Body) != body {
		t.Errorf("got %+v, %v", r, err)
	}
}
