package api_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// What a list said at a position is what it says of that position for ever.
func TestListAsOf(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	weather, news := o.service("weather"), o.service("news")
	queries := []string{"?limit=200", "?status=pending", "?status=approved&service=weather", "?service=news&limit=1&offset=1"}
	const list = "/v1/namespaces/acme/claims"
	said := map[string]string{}
	var moments []string
	look := func() {
		for _, query := range queries {
			r := o.ask("GET", list+query, nil, set("Ledger-Min-Position", fmt.Sprint(l.last()))).want(200)
			said[fmt.Sprint(query, " ", r.position())] = string(r.body)
		}
		moments = append(moments, fmt.Sprint(l.last()))
	}
	look()
	started := url.QueryEscape(l.at(1).Time.Add(-time.Hour).Format(time.RFC3339Nano))
	for i := range 4 {
		s := []*service{weather, news}[i%2]
		id := s.pending(l.agent(t, "acme"))
		look()
		for _, verb := range [][]string{{"approve", "revoke"}, {"reject"}, {"approve"}, {"expire"}}[i] {
			o.decide(id, verb, map[string]any{"reason": "because"}).want(200)
			look()
		}
	}
	for _, position := range moments {
		for _, query := range queries {
			r := o.ask("GET", list+query+"&as_of="+position, nil).want(200)
			if want := said[query+" "+position]; string(r.body) != want || fmt.Sprint(r.position()) != position {
				t.Errorf("%s as of %s, at %d: %s\nwant %s", query, position, r.position(), r.body, want)
			}
		}
		var at uint64
		if _, err := fmt.Sscan(position, &at); err != nil {
			t.Fatal(err)
		}
		if c := l.at(at); c.Kind == domain.KindClaims {
			moment := url.QueryEscape(c.Time.Format(time.RFC3339Nano))
			r := o.ask("GET", list+queries[0]+"&as_of="+moment, nil).want(200)
			if want := said[queries[0]+" "+position]; string(r.body) != want || r.position() != at {
				t.Errorf("as of %s, at %d: %s\nwant %s", moment, r.position(), r.body, want)
			}
		}
	}
	for _, before := range []string{"0", started} {
		if r := o.ask("GET", list+"?as_of="+before, nil).want(200); r.position() != 0 || r.at("pagination.total") != 0.0 {
			t.Errorf("as of %s, at %d: %s", before, r.position(), r.body)
		}
	}
	future := url.QueryEscape(l.clock.Now().Add(time.Hour).Format(time.RFC3339))
	if r := o.refused(400, domain.CodeInvalidRequest, "GET", list+"?as_of="+future, nil); r.fields() != "as_of" || !strings.Contains(r.text("error"), "future") {
		t.Errorf("the future: %s", r.body)
	}
	o.refused(503, domain.CodeStaleRead, "GET", list+"?as_of="+fmt.Sprint(l.last()+7), nil)
	o.refused(403, domain.CodeForbidden, "GET", "/v1/namespaces/globex/claims?as_of=1", nil)
}
