package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// told is an event as a history tells it.
type told struct {
	ID, Type, Position, Cursor, Namespace, Summary string
	ClaimID                                        string `json:"claim_id"`
	Version                                        int
	Actor                                          domain.Actor
	Time                                           time.Time
	Data                                           json.RawMessage
	Commit                                         struct {
		ID, Boundary, Prev, Hash string
		Version                  uint64
	}
}

type toldPage struct {
	Events     []told
	Pagination struct {
		Limit                 int
		Order, Next, Previous string
	}
}

// history reads a page of a history.
func (o *owner) history(path string, parameters ...string) (p toldPage) {
	o.t.Helper()
	o.ask("GET", path+"?"+strings.Join(parameters, "&"), nil, set("Ledger-Min-Position", fmt.Sprint(o.last()))).want(200).into(&p)
	return p
}

// lines reads a history as NDJSON.
func (o *owner) lines(path string, parameters ...string) (events []told) {
	o.t.Helper()
	r := o.ask("GET", path+"?"+strings.Join(parameters, "&"), nil, set("Accept", "application/x-ndjson"), set("Ledger-Min-Position", fmt.Sprint(o.last()))).want(200)
	if r.header.Get("Content-Type") != "application/x-ndjson" || r.header.Get("Cache-Control") != "no-store" || r.position() == 0 {
		o.t.Errorf("%s: the headers are %v", r.what, r.header)
	}
	return readLines(o.t, r.body)
}

func readLines(t *testing.T, body []byte) (events []told) {
	t.Helper()
	for line := range bytes.Lines(body) {
		var e told
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		events = append(events, e)
	}
	return events
}

// recorded are the ids of a namespace's events in the log.
func (l *ledger) recorded(namespace string) (ids []string) {
	l.t.Helper()
	err := l.log.ReadAll(l.t.Context(), "", 0, func(rec eventstore.Record) error {
		for _, e := range rec.Commit.Events {
			if rec.Commit.Namespace == namespace {
				ids = append(ids, e.ID)
			}
		}
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return ids
}

func idsOf(events []told) (ids []string) {
	for _, e := range events {
		ids = append(ids, e.ID)
	}
	return ids
}

const acmeEvents = "/v1/namespaces/acme/events"

// The history is the log: every event of both boundaries, in order, without a secret.
func TestHistoryOfANamespace(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	s := o.service("weather")
	hook := o.ask("POST", "/v1/services/"+s.id+"/webhooks", map[string]any{"url": "https://example.com/", "auth_header": "X-Auth", "auth_value": "of the test"}).want(201)
	show, keyID := o.key("update-data")
	id := s.pending(l.agent(t, "acme"))
	n.send(t, "POST", "/v1/claims/"+id+"/approve", map[string]any{"reason": "known"}, show).want(200)
	o.decide(id, "revoke", nil).want(200)
	s.pending(l.agent(t, n.owner(t, "globex").namespace)) // another's is not in it
	o.policy(map[string]any{"max_pending": 5, "auto_approve": map[string]any{"service_ids": []string{s.id}, "cidrs": []string{}}})
	s.submit(l.agent(t, "acme")).want(201) // approved at once: two events in one commit
	o.ask("DELETE", "/v1/services/"+s.id+"/keys/"+s.keyID, nil).want(200)

	page := o.history(acmeEvents)
	if got, want := idsOf(page.Events), l.recorded("acme"); !slices.Equal(got, want) {
		t.Fatalf("the history is %q\nwant %q", got, want)
	}
	for i, e := range page.Events {
		var position uint64
		if _, err := fmt.Sscan(e.Position, &position); err != nil {
			t.Fatal(err)
		}
		rec, err := l.log.At(t.Context(), position)
		if err != nil {
			t.Fatal(err)
		}
		c := rec.Commit
		at := slices.IndexFunc(c.Events, func(recorded domain.Event) bool { return recorded.ID == e.ID })
		if want := domain.Summary(c.Actor, "acme", c.Events[at].Payload); e.Summary != want || e.Actor != c.Actor || !e.Time.Equal(c.Time.Truncate(time.Microsecond)) ||
			e.Commit.Hash != rec.Hash.String() || e.Commit.Version != c.Version || e.Commit.Boundary != string(c.Kind) || e.Cursor == "" {
			t.Errorf("event %d is %+v, recorded %+v", i, e, c)
		}
		if strings.Contains(e.Type, "key") && strings.Contains(string(e.Data), "hash") {
			t.Errorf("event %d shows %s", i, e.Data)
		}
	}
	text := string(o.ask("GET", acmeEvents, nil).body)
	for _, secret := range []string{s.key, o.session, hook.text("secret"), "of the test"} {
		if strings.Contains(text, secret) {
			t.Error("the history shows a secret")
		}
	}
	if approved := o.history(acmeEvents, "type=claim.approved").Events; len(approved) != 2 || approved[0].Summary != fmt.Sprintf(`Management key %s approved claim %s, because "known".`, keyID, id) {
		t.Errorf("approved: %+v", approved)
	}
	n.refuse(t, 403, domain.CodeForbidden, "GET", "/v1/namespaces/globex/events", nil, bearer(o.session))
	o.refused(403, domain.CodeForbidden, "GET", "/v1/namespaces/nobody/events", nil)
	n.refuse(t, 403, domain.CodePermissionRequired, "GET", acmeEvents, nil, show)
	filters(t, o, id, page.Events)
	pages(t, o, page.Events)
}

// filters looks for parts of a history.
func filters(t *testing.T, o *owner, claimID string, all []told) {
	t.Helper()
	middle := all[len(all)/2]
	moment := url.QueryEscape(middle.Time.In(time.FixedZone("", 5400)).Format(time.RFC3339Nano))
	for query, keep := range map[string]func(told) bool{
		"type=claim.approved,claim.revoked&type=service.created": func(e told) bool {
			return slices.Contains([]string{"claim.approved", "claim.revoked", "service.created"}, e.Type)
		},
		"claim_id=" + claimID:                           func(e told) bool { return e.ClaimID == claimID },
		"from=" + moment:                                func(e told) bool { return !e.Time.Before(middle.Time) },
		"to=" + moment:                                  func(e told) bool { return !e.Time.After(middle.Time) },
		"from=" + middle.Position:                       func(e told) bool { return position(e) >= position(middle) },
		"to=" + middle.Position:                         func(e told) bool { return position(e) <= position(middle) },
		"from=2999-01-01T00:00:00Z":                     func(told) bool { return false },
		"from=0&to=" + moment + "&type=claim.submitted": func(e told) bool { return !e.Time.After(middle.Time) && e.Type == "claim.submitted" },
		"claim_id=claim_00000000000000000000000000":     func(told) bool { return false },
	} {
		var want []string
		for _, e := range all {
			if keep(e) {
				want = append(want, e.ID)
			}
		}
		if got := idsOf(o.history(acmeEvents, query).Events); !slices.Equal(got, want) {
			t.Errorf("%s: %q\nwant %q", query, got, want)
		}
		slices.Reverse(want)
		if got := idsOf(o.lines(acmeEvents, query, "order=desc")); !slices.Equal(got, want) {
			t.Errorf("%s, newest first in lines: %q\nwant %q", query, got, want)
		}
	}
}

func position(e told) (n uint64) {
	_, _ = fmt.Sscan(e.Position, &n) // 0 where it is none, which no commit has
	return n
}

// pages goes through a history there and back while more is recorded.
func pages(t *testing.T, o *owner, all []told) {
	t.Helper()
	for _, order := range []string{"asc", "desc"} {
		want := idsOf(all)
		if order == "desc" {
			slices.Reverse(want)
		}
		p := o.history(acmeEvents, "limit=4", "order="+order, "to="+all[len(all)-1].Position)
		if p.Pagination.Limit != 4 || p.Pagination.Order != order || p.Pagination.Previous != "" {
			t.Errorf("the pagination is %+v", p.Pagination)
		}
		there, back := idsOf(p.Events), []string(nil)
		for p.Pagination.Next != "" {
			o.policy(map[string]any{"max_pending": len(there) + 100})
			p = o.history(acmeEvents, "limit=4", "order="+order, "to="+all[len(all)-1].Position, "after="+p.Pagination.Next)
			there = append(there, idsOf(p.Events)...)
		}
		for last := p; ; {
			back = append(idsOf(last.Events), back...)
			if last.Pagination.Previous == "" {
				break
			}
			last = o.history(acmeEvents, "limit=4", "order="+order, "to="+all[len(all)-1].Position, "before="+last.Pagination.Previous)
		}
		if !slices.Equal(there, want) || !slices.Equal(back, want) {
			t.Errorf("%s: there %q\nback %q\nwant %q", order, there, back, want)
		}
	}
	// What is new comes after the last cursor of all.
	end := o.history(acmeEvents, "order=desc", "limit=1").Events[0].Cursor
	if p := o.history(acmeEvents, "after="+end); len(p.Events) != 0 || p.Pagination.Next != "" || p.Pagination.Previous != "" {
		t.Errorf("after the end: %+v", p)
	}
	o.policy(map[string]any{"max_pending": 99})
	if p := o.history(acmeEvents, "after="+end); len(p.Events) != 1 || p.Events[0].Type != "policy.changed" || p.Pagination.Previous == "" {
		t.Errorf("after the end: %+v", p)
	}
}

// A history that is longer than what is read at once, as lines.
func TestLongHistory(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	for i := range 520 {
		most := 10 + i
		n.operator("acme", domain.ChangePolicy{MaxPending: &most})
	}
	want := l.recorded("acme")
	all := o.lines(acmeEvents)
	if !slices.Equal(idsOf(all), want) {
		t.Fatalf("%d lines, %d events", len(all), len(want))
	}
	for query, part := range map[string][]string{
		"after=" + all[9].Cursor:                    want[10:],
		"before=" + all[510].Cursor:                 want[:510],
		"limit=3":                                   want[:3],
		"limit=3&before=" + all[510].Cursor:         want[507:510],
		"from=" + all[515].Position:                 want[515:],
		"type=namespace.registered,owner.logged_in": {all[0].ID, all[2].ID},
	} {
		if got := idsOf(o.lines(acmeEvents, query)); !slices.Equal(got, part) {
			t.Errorf("%s: %d lines, want %d", query, len(got), len(part))
		}
	}
	if r := o.ask("HEAD", acmeEvents, nil, set("Accept", "application/x-ndjson")).want(200); r.header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("HEAD: %v", r.header)
	}
	if r := o.ask("GET", acmeEvents+"?limit=2", nil, set("Accept", "application/xml")).want(200); r.header.Get("Content-Type") != "application/json" {
		t.Errorf("for XML: %v", r.header)
	}
	brokenOff(t, n, o, want)
}

// flushed is a client that does something whenever a part has come.
type flushed struct {
	*httptest.ResponseRecorder
	then func()
}

func (f *flushed) FlushError() error                { f.then(); return nil }
func (f *flushed) SetReadDeadline(time.Time) error  { return nil }
func (f *flushed) SetWriteDeadline(time.Time) error { return nil }

// A long answer ends with the key that it is for, in the middle of what it holds; and
// what is recorded while it goes on is not in it.
func brokenOff(t *testing.T, n *node, o *owner, want []string) {
	t.Helper()
	show, keyID := o.key("read")
	for _, end := range []bool{false, true} {
		w := &flushed{httptest.NewRecorder(), func() {
			most := 5000 + int(n.last())
			n.operator("acme", domain.ChangePolicy{MaxPending: &most})
			if end {
				o.ask("POST", "/v1/api-keys/"+keyID+"/deactivate", nil).want(200)
			}
		}}
		r := n.prepare(t, "GET", acmeEvents+"?to="+fmt.Sprint(n.last()+1000), nil, []option{show, set("Accept", "application/x-ndjson"), set("Ledger-Min-Position", fmt.Sprint(n.last()))})
		r.Body = http.NoBody // as a server has it
		before := n.last()
		aborted := func() (p any) {
			defer func() { p = recover() }()
			n.router.ServeHTTP(w, r)
			return nil
		}()
		lines := readLines(t, w.Body.Bytes())
		if end {
			if aborted != http.ErrAbortHandler || len(lines) != 500 {
				t.Errorf("with an ended key: %v after %d lines", aborted, len(lines))
			}
			continue
		}
		if aborted != nil || len(lines) < len(want) || position(lines[len(lines)-1]) > before {
			t.Errorf("%v after %d lines, the last at %s of %d", aborted, len(lines), lines[len(lines)-1].Position, before)
		}
	}
}
