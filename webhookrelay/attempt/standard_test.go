package attempt_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/claimledger/claimledger/domain/signature"
)

// What is sent is what receivers verify that have the specification's own library, and
// none of our code.
func TestTheSpecificationsLibraryVerifies(t *testing.T) {
	type message struct {
		header http.Header
		body   []byte
	}
	got := make(chan message, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- message{r.Header, body}
	}))
	defer server.Close()
	current, err := standardwebhooks.NewWebhook(newSecret)
	if err != nil {
		t.Fatal(err)
	}
	older, err := standardwebhooks.NewWebhookRaw([]byte(oldSecret))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := standardwebhooks.NewWebhookRaw([]byte("another secret, of nobody here"))
	if err != nil {
		t.Fatal(err)
	}

	request := delivery(server.URL)
	request.At = time.Now() // the library has no clock but the system's
	if o := sender(nil).Send(t.Context(), request); !o.OK() {
		t.Fatalf("got %+v", o)
	}
	m := <-got
	if err := current.Verify(m.body, m.header); err != nil {
		t.Errorf("the current secret: %v", err)
	}
	if err := older.Verify(m.body, m.header); err != nil {
		t.Errorf("the older secret: %v", err)
	}
	if err := stranger.Verify(m.body, m.header); !errors.Is(err, standardwebhooks.ErrNoMatchingSignature) {
		t.Errorf("another secret: %v", err)
	}
	if err := current.Verify(append(m.body, '\n'), m.header); !errors.Is(err, standardwebhooks.ErrNoMatchingSignature) {
		t.Errorf("another body: %v", err)
	}

	request.At = time.Now().Add(-signature.DefaultTolerance - time.Minute)
	if o := sender(nil).Send(t.Context(), request); !o.OK() {
		t.Fatalf("got %+v", o)
	}
	m = <-got
	if err := current.Verify(m.body, m.header); !errors.Is(err, standardwebhooks.ErrMessageTooOld) {
		t.Errorf("an old delivery: %v", err)
	}
}

// And what the library signs, this module's receivers verify.
func TestWhatTheSpecificationsLibrarySigns(t *testing.T) {
	library, err := standardwebhooks.NewWebhook(newSecret)
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(`{"event":"request.approved"}`)
	signed, err := library.Sign("evt_1", at, body)
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	h.Set(signature.HeaderID, "evt_1")
	h.Set(signature.HeaderTimestamp, signature.Timestamp(at))
	h.Set(signature.HeaderSignature, signed)
	if err := signature.Verify(h, body, []string{oldSecret, newSecret}, at, 0); err != nil {
		t.Error(err)
	}
	if ours, err := signature.Standard([]string{newSecret}, "evt_1", at, body); err != nil || ours != signed {
		t.Errorf("we sign %s, %v, and the library %s", ours, err, signed)
	}
}
