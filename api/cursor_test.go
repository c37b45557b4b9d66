package api

import (
	"math"
	"net/http"
	"net/url"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/projections"
)

func TestCursors(t *testing.T) {
	for _, p := range []projections.HistoryPlace{{}, {Position: 1}, {Position: 300, Index: 499}, {Position: math.MaxInt64, Index: math.MaxInt32}} {
		if got, ok := parseCursor(formatCursor(p)); !ok || got != p {
			t.Errorf("%+v is read as %+v, %t", p, got, ok)
		}
	}
	for _, bad := range []string{"", "a", "aA", "aAE", "eCwA", "aCwA=", "aCwA\n", "aCwAAA", "aCwB gA", "aKwAAA", "aP___________38A", "aAH_____fw", "aP____________AQA"} {
		if p, ok := parseCursor(bad); ok && formatCursor(p) != bad {
			t.Errorf("%q is read as %+v", bad, p)
		} else if ok {
			t.Errorf("%q is a cursor: %+v", bad, p)
		}
	}
}

// A cursor that is taken is one that was given: each place has one, in bounds.
func FuzzCursor(f *testing.F) {
	for _, seed := range []string{"", "aCwA", "aAAA", "aP__________fwA", "aCwAAA", "aKwAAA", "!", "aAH_____fw"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, ok := parseCursor(text)
		if ok && (formatCursor(p) != text || p.Position > math.MaxInt64 || p.Index < 0 || p.Index > math.MaxInt32) {
			t.Errorf("%q is read as %+v", text, p)
		}
	})
}

// Whatever a query says, it is either understood or refused with what is wrong.
func FuzzHistoryQuery(f *testing.F) {
	for _, seed := range []string{
		"", "limit=500&order=desc&after=aCwA", "before=aCwA&type=claim.approved,claim.revoked&type=policy.changed", "from=12&to=2030-01-31T12:00:00.5%2B01:00",
		"limit=501", "after=aCwA&before=aCwA", "from=5&to=4", "claim_id=claim_01kjpzk4m8q0a4v6h3t9c2xw7e", "from=18446744073709551615", "%", "type=,&order=",
	} {
		f.Add(seed, "application/x-ndjson, */*;q=0.1")
	}
	f.Fuzz(func(t *testing.T, raw, accept string) {
		r := &http.Request{URL: &url.URL{RawQuery: raw}, Header: http.Header{"Accept": {accept}}}
		q, err := readQuery(r)
		if err != nil {
			return
		}
		h := readHistory(&call{r: r}, q)
		h.query.ClaimID = q.claimID("claim_id")
		if err := q.Err(); err != nil {
			if domain.ErrorCode(err) != domain.CodeInvalidRequest {
				t.Errorf("refused with %v", err)
			}
			return
		}
		if h.query.Limit < 1 || h.query.Limit > maxHistoryLimit || h.query.After != nil && h.query.Before != nil || h.query.FromEnd != (h.query.Before != nil) {
			t.Errorf("%q is read as %+v", raw, h)
		}
	})
}

func TestWhoGetsLines(t *testing.T) {
	for accept, want := range map[string]bool{
		"": false, "*/*": false, "application/*": false, "application/json": false, "text/html": false, "nonsense/": false,
		"application/x-ndjson": true, "Application/X-NDJSON": true, "application/x-ndjson, */*": true,
		"application/x-ndjson;q=0": false, "application/x-ndjson;q=x": false, "application/x-ndjson, application/json": false,
		"application/x-ndjson;q=0.5, application/json;q=0.4": true, "application/x-ndjson;q=0.5, application/json": false,
	} {
		if got := wantsLines(&http.Request{Header: http.Header{"Accept": {accept}}}); got != want {
			t.Errorf("%q: %t", accept, got)
		}
	}
}
