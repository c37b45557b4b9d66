package client

import (
	"iter"
	"net/url"
	"strconv"
	"time"
)

// Page selects a page of a list. A Limit of 0 is the operation's own default.
type Page struct {
	Limit, Offset int
}

func (p Page) add(query url.Values) {
	if p.Limit != 0 {
		query.Set("limit", strconv.Itoa(p.Limit))
	}
	if p.Offset != 0 {
		query.Set("offset", strconv.Itoa(p.Offset))
	}
}

// Pagination is where in a list a page is.
type Pagination struct {
	Limit   int  `json:"limit"` // as applied
	Offset  int  `json:"offset"`
	Total   int  `json:"total"` // in the whole list
	HasMore bool `json:"has_more"`
}

// Moment is a position or a time; empty: none.
type Moment string

// AtPosition is just after the commit at a position.
func AtPosition(position uint64) Moment { return Moment(strconv.FormatUint(position, 10)) }

// AtTime is a time, to the microsecond.
func AtTime(t time.Time) Moment {
	return Moment(t.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano))
}

func set(query url.Values, name, value string) {
	if value != "" {
		query.Set(name, value)
	}
}

// byOffset reads a list page by page, to its end or to the first error.
func byOffset[T any](from Page, read func(Page) ([]T, bool, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for at := from; ; {
			items, more, err := read(at)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if !more || len(items) == 0 {
				return
			}
			at.Offset += len(items)
		}
	}
}
