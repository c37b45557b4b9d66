package webhookrelay_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/webhookrelay"
)

// relaysSeen is how many relays are connected.
func (w *world) relaysSeen() (n int) {
	w.t.Helper()
	err := w.pool.QueryRow(context.Background(), `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND objsubid = 1
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&n)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// TestKilledAmongOthers: a webhook that a relay had that was killed is delivered to by another
// one before its lease runs out; what one has that is there, or was never seen, is not.
func TestKilledAmongOthers(t *testing.T) {
	w := newRealWorld(t)
	rc := w.receiver()
	holders := map[string]string{"claim_gone": "@gone", "claim_there": "@there", "claim_unseen": "unseen"}
	there, err := pgx.Connect(t.Context(), w.url)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close(context.WithoutCancel(t.Context()))
	if _, err := there.Exec(t.Context(), `SELECT pg_advisory_lock_shared(hashtextextended('claimledger webhook relay there', 0))`); err != nil {
		t.Fatal(err)
	}
	for claim := range holders {
		w.webhook("hook_"+claim, "svc_"+claim, rc.URL)
		w.submit(claim, "svc_"+claim)
	}
	r := w.relay(nil)
	w.assign(r)
	for claim, holder := range holders {
		w.exec(`UPDATE webhookrelay.endpoints SET owner = $2, owned_until = now() + interval '1 hour' WHERE webhook_id = $1`, "hook_"+claim, holder+"/1")
	}
	w.start(r)
	rc.wait(1)
	eventually(t, "it is delivered", func() bool { return w.count("hook_claim_gone", webhookrelay.StateDelivered) == 1 })
	if got := rc.all(); len(got) != 1 || got[0].event.claim() != "claim_gone" {
		t.Errorf("%d were sent, %s first", len(got), got[0].event.claim())
	}
}

// TestSeenToTheEnd: a relay that stops is seen for as long as it has something in flight,
// which nobody else sends meanwhile.
func TestSeenToTheEnd(t *testing.T) {
	w := newRealWorld(t)
	rc := w.receiver()
	inFlight, release := make(chan struct{}), make(chan struct{})
	rc.set(func(event, int, http.ResponseWriter) { close(inFlight); <-release })
	w.webhook("hook", "svc", rc.URL)
	r := w.relay(nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	eventually(t, "it is seen", func() bool { return w.relaysSeen() == 1 })
	w.submit("claim_1", "svc")
	<-inFlight
	cancel()
	eventually(t, "it stops assigning", func() bool {
		var assigning bool
		err := w.pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock'
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`).Scan(&assigning)
		return err == nil && !assigning
	})
	if n := w.relaysSeen(); n != 1 {
		t.Errorf("%d relays are seen while one has something in flight", n)
	}
	close(release)
	<-ended
	if n := w.count("hook", webhookrelay.StateDelivered); n != 1 {
		t.Errorf("%d are delivered", n)
	}
	eventually(t, "it is gone", func() bool { return w.relaysSeen() == 0 })
}
