package eventstore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/logtest"
)

// The time of a commit may be over before it is handed over.
func TestBeginWhenTimeIsOver(t *testing.T) {
	t.Parallel()
	stream, _ := logtest.Embedded(t)
	for range 300 {
		ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		c := domain.NewCommit("01J", domain.ClaimsOf("acme"), time.Now().UTC(), domain.Actor{Kind: domain.ActorClock},
			domain.CommandRef{Name: "expire"}, &domain.Basis{}, []domain.Payload{domain.ClaimExpired{ClaimID: "claim"}})
		if _, err := stream.Begin(ctx, eventstore.Head{}, c).Wait(); !errors.Is(err, eventstore.ErrUnavailable) {
			t.Fatalf("begin: %v", err)
		}
		cancel()
	}
}
