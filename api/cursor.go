package api

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"regexp"

	"github.com/claimledger/claimledger/projections"
)

var claimIDPattern = regexp.MustCompile(`^` + claimIDPrefix + `[0-9a-z]{26}$`)

// historyCursor begins every cursor of a history, so that one of another list, or of
// another form some day, is not taken for it.
const historyCursor = 'h'

// formatCursor writes a place in a history as clients get it. It is the same whatever
// the history is filtered by.
func formatCursor(p projections.HistoryPlace) string {
	raw := binary.AppendUvarint([]byte{historyCursor}, p.Position)
	return base64.RawURLEncoding.EncodeToString(binary.AppendUvarint(raw, uint64(p.Index)))
}

// parseCursor reads what formatCursor wrote, and nothing else.
func parseCursor(text string) (p projections.HistoryPlace, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) == 0 || raw[0] != historyCursor {
		return p, false
	}
	position, n := binary.Uvarint(raw[1:])
	if n <= 0 {
		return p, false
	}
	index, m := binary.Uvarint(raw[1+n:])
	if m <= 0 || position > math.MaxInt64 || index > math.MaxInt32 {
		return p, false
	}
	p = projections.HistoryPlace{Position: position, Index: int(index)}
	return p, formatCursor(p) == text
}

func (q *query) cursor(name string) *projections.HistoryPlace {
	if !q.values.Has(name) {
		return nil
	}
	p, ok := parseCursor(q.text(name))
	if !ok {
		q.Add(name, "must be a cursor, as an answer gave it")
		return nil
	}
	return &p
}
