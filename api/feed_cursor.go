package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"math"
	"regexp"

	"github.com/claimledger/claimledger/projections"
)

// A cursor is, in base64url, its version, the service that it belongs to, and a place in
// that service's feed. It is a place and not a right: whoever makes one up sees nothing
// but a part of a feed that is the caller's own anyway.
const (
	cursorVersion = 1
	cursorHeader  = 1 + 8 + 8
	invalidCursor = "must be a next_cursor that this service's feed has answered"
)

var cursorClaim = regexp.MustCompile(`^claim_[0-9a-z]{26}$`)

func serviceMark(serviceID string) [8]byte {
	sum := sha256.Sum256([]byte(serviceID))
	return [8]byte(sum[:8])
}

func encodeCursor(serviceID string, c projections.FeedCursor) string {
	mark := serviceMark(serviceID)
	b := append([]byte{cursorVersion}, mark[:]...)
	b = binary.BigEndian.AppendUint64(b, c.Position)
	return base64.RawURLEncoding.EncodeToString(append(b, c.ClaimID...))
}

// decodeCursor takes exactly what encodeCursor makes for the service.
func decodeCursor(serviceID, text string) (projections.FeedCursor, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < cursorHeader || b[0] != cursorVersion || [8]byte(b[1:9]) != serviceMark(serviceID) {
		return projections.FeedCursor{}, false
	}
	c := projections.FeedCursor{Position: binary.BigEndian.Uint64(b[9:cursorHeader]), ClaimID: string(b[cursorHeader:])}
	// Line breaks, which the decoder ignores, do not come back.
	ok := c.Position > 0 && c.Position <= math.MaxInt64 && cursorClaim.MatchString(c.ClaimID) && encodeCursor(serviceID, c) == text
	return c, ok
}

// feedCursor reads a place in a service's feed, nil for none. It takes the place of offset.
func (q *query) feedCursor(serviceID string) *projections.FeedCursor {
	if !q.values.Has("cursor") {
		return nil
	}
	if q.values.Has("offset") {
		q.Add("cursor", "must not be given together with offset")
	}
	c, ok := decodeCursor(serviceID, q.text("cursor"))
	if !ok {
		q.Add("cursor", invalidCursor)
	}
	return &c
}
