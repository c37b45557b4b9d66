package api_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/claimledger/claimledger/domain"
)

// pages reads a feed to its end by cursor, and calls between before each page but the
// first.
func (s *service) pages(a *agent, limit int, between func()) []string {
	a.t.Helper()
	var ids []string
	query := fmt.Sprintf("?limit=%d", limit)
	for {
		r := s.feed(a, query)
		ids = append(ids, fed(r)...)
		next := r.text("pagination.next_cursor")
		if more := r.at("pagination.has_more"); more != (next != "") {
			a.t.Fatalf("more: %v, with the cursor %q", more, next)
		}
		if next == "" {
			return ids
		}
		between()
		query = fmt.Sprintf("?limit=%d&cursor=%s", limit, next)
	}
}

func TestCursorPaging(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	o.policy(map[string]any{"max_agents": 1000, "max_pending": 1000})
	s, other := o.service("weather"), o.service("news")
	a := l.agent(t, "acme")
	var ids []string
	for _, id := range s.seed(40) {
		o.decide(id, "approve", nil).want(200)
		ids = append(ids, id)
	}
	s.feed(a, "", l.latest()).want(200)
	if got := s.pages(a, 7, func() {}); !slices.Equal(got, ids) {
		t.Errorf("by cursor %v, want %v", got, ids)
	}
	first := s.feed(a, "?limit=1").want(200)
	cursor := first.text("pagination.next_cursor")
	other.feed(a, "?cursor="+cursor).want(400, domain.CodeInvalidRequest)
	s.feed(a, "?offset=0&cursor="+cursor).want(400, domain.CodeInvalidRequest)
	if tag := s.feed(a, "?limit=1&cursor="+cursor).want(200).header.Get("ETag"); tag == first.header.Get("ETag") {
		t.Error("two pages have one tag")
	}
	// A place outlives the claim that it was told with.
	o.decide(ids[0], "revoke", nil).want(200)
	if got := fed(s.feed(a, "?limit=3&cursor="+cursor, l.latest())); !slices.Equal(got, ids[1:4]) {
		t.Errorf("after a place that is gone: %v", got)
	}
}

// Paging by cursor while claims come and go neither skips nor repeats what was approved
// throughout.
func TestCursorPagingUnderChange(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	o.policy(map[string]any{"max_agents": 1000, "max_pending": 1000})
	s := o.service("weather")
	a := l.agent(t, "acme")
	ids := s.seed(120)
	var throughout []string
	for i, id := range ids[:60] {
		o.decide(id, "approve", nil).want(200)
		if i%2 == 0 {
			throughout = append(throughout, id)
		}
	}
	s.feed(a, "", l.latest()).want(200)
	stop, page := make(chan struct{}), make(chan struct{}, 1)
	var changing sync.WaitGroup
	changing.Go(func() {
		for i := range 60 {
			select {
			case <-stop:
				return
			case <-page: // there is a change between any two pages, and often more
			}
			if i < 30 {
				o.decide(ids[2*i+1], "revoke", nil).want(200)
			}
			o.decide(ids[60+i], "approve", nil).want(200)
		}
	})
	for range 4 {
		got := s.pages(a, 5, func() {
			select {
			case page <- struct{}{}:
			default:
			}
		})
		seen := map[string]int{}
		for _, id := range got {
			seen[id]++
		}
		for id, times := range seen {
			if times > 1 {
				t.Errorf("%s came %d times", id, times)
			}
		}
		for _, id := range throughout {
			if seen[id] != 1 {
				t.Errorf("%s, approved throughout, came %d times", id, seen[id])
			}
		}
	}
	close(stop)
	changing.Wait()
}
