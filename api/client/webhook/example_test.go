package webhook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/claimledger/claimledger/api/client/webhook"
	"github.com/claimledger/claimledger/domain/signature"
)

// An endpoint whose events take effect once and in order. Here a few lines stand for the
// ledger, and the effect is a line of output; with a database, Store's transaction is the
// one in which Apply writes.
func ExampleReceiver() {
	ledger := exampleLedger{
		`{"event":"request.submitted","data":{"claim_id":"claim_1"},"id":"evt_1","position":"7","sequence":1}`,
		`{"event":"request.approved","data":{"claim_id":"claim_1"},"id":"evt_2","position":"9","sequence":2}`,
		`{"event":"request.revoked","data":{"claim_id":"claim_1"},"id":"evt_3","position":"12","sequence":3}`,
	}
	receiver, err := webhook.NewReceiver(webhook.Config[struct{}]{
		WebhookID: "webhook-1",
		Secrets:   []string{"a secret that both sides know"},
		Store:     &webhook.Memory{},
		Source:    ledger, // client.EventsOf(serviceID, webhookID)
		Apply: func(_ context.Context, _ struct{}, e webhook.Event) error {
			fmt.Println(e.Sequence, e.Event, e.Data.ClaimID)
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(receiver)
	defer server.Close()

	ledger.deliver(server.URL, 1)
	ledger.deliver(server.URL, 3) // the second did not come, and is pulled
	ledger.deliver(server.URL, 2) // it comes late
	ledger.deliver(server.URL, 3) // and one again
	// Output:
	// 1 request.submitted claim_1
	// delivery of 1: 204
	// 2 request.approved claim_1
	// 3 request.revoked claim_1
	// delivery of 3: 204
	// delivery of 2: 204
	// delivery of 3: 204
}

type exampleLedger []string

func (l exampleLedger) EventsAfter(_ context.Context, sequence uint64) (events []json.RawMessage, err error) {
	for _, body := range l[sequence:] {
		events = append(events, json.RawMessage(body))
	}
	return events, nil
}

func (l exampleLedger) deliver(url string, sequence int) {
	body := l[sequence-1]
	id, now := fmt.Sprint("evt_", sequence), time.Now()
	signed, err := signature.Standard([]string{"a secret that both sides know"}, id, now, []byte(body))
	if err != nil {
		log.Fatal(err)
	}
	r, err := http.NewRequest("POST", url, strings.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	r.Header.Set("X-Sigilum-Webhook-Id", "webhook-1")
	r.Header.Set("webhook-id", id)
	r.Header.Set("webhook-timestamp", signature.Timestamp(now))
	r.Header.Set("webhook-signature", signed)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		log.Fatal(err)
	}
	answer.Body.Close()
	fmt.Printf("delivery of %d: %d\n", sequence, answer.StatusCode)
}
