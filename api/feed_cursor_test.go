package api

import (
	"strings"
	"testing"

	"github.com/claimledger/claimledger/projections"
)

const cursorClaimID = "claim_01kjpzk4m8q0a4v6h3t9c2xw7e"

func TestFeedCursor(t *testing.T) {
	place := projections.FeedCursor{Position: 43, ClaimID: cursorClaimID}
	good := encodeCursor("one", place)
	if got, ok := decodeCursor("one", good); !ok || got != place {
		t.Errorf("%s leads to %v, %t", good, got, ok)
	}
	if _, ok := decodeCursor("two", good); ok {
		t.Error("another service takes it too")
	}
	for _, bad := range []string{
		"", "x", good + "A", good + "=", good + "\n", good[:20] + "\r\n" + good[20:], " " + good, good[:len(good)-1], strings.ToUpper(good),
		encodeCursor("one", projections.FeedCursor{Position: 0, ClaimID: cursorClaimID}),
		encodeCursor("one", projections.FeedCursor{Position: 1 << 63, ClaimID: cursorClaimID}),
		encodeCursor("one", projections.FeedCursor{Position: 1, ClaimID: "claim_1"}),
		encodeCursor("one", projections.FeedCursor{Position: 1, ClaimID: cursorClaimID + "\n"}),
	} {
		if c, ok := decodeCursor("one", bad); ok {
			t.Errorf("%q leads to %v", bad, c)
		}
	}
}

// FuzzFeedCursor: a text is refused, or it is the one way to write a place.
func FuzzFeedCursor(f *testing.F) {
	f.Add("one", encodeCursor("one", projections.FeedCursor{Position: 43, ClaimID: cursorClaimID}))
	f.Add("one", encodeCursor("two", projections.FeedCursor{Position: 1, ClaimID: cursorClaimID}))
	f.Add("", "AQ")
	f.Add("one", "=\x00\n")
	f.Fuzz(func(t *testing.T, service, text string) {
		c, ok := decodeCursor(service, text)
		if !ok {
			return
		}
		if again := encodeCursor(service, c); again != text || c.Position == 0 || len(c.ClaimID) != len(cursorClaimID) {
			t.Errorf("%q leads to %v, which is %q", text, c, again)
		}
	})
}
