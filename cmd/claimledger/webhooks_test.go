package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// endpointOf is a webhook as its owner has it.
type endpointOf struct {
	*tenant
	receiver *hooks
	path     string
}

func newEndpoint(tn *tenant) *endpointOf {
	tn.t.Helper()
	e := &endpointOf{tenant: tn, receiver: newHooks(tn.t)}
	var made struct{ ID string }
	tn.expect(201, "POST", "/v1/services/"+tn.service+"/webhooks",
		map[string]any{"url": e.receiver.url, "secret": e.receiver.secret}, tn.asOwner).decode(tn.t, &made)
	e.path = "/v1/services/" + tn.service + "/webhooks/" + made.ID
	return e
}

// record is a delivery in a list.
type record struct {
	ID           string
	Event        string
	Sequence     *int
	State        string
	AttemptCount int `json:"attempt_count"`
	Attempts     []struct {
		Status     int
		DurationMS int `json:"duration_ms"`
		Error      string
	}
}

// await waits until a delivery has so many attempts and is delivered.
func (e *endpointOf) awaitDelivered(id string, attempts int) (r record) {
	e.t.Helper()
	eventually(e.t, patience, func() error {
		resp, err := e.send("GET", e.path+"/deliveries/"+id, nil, e.asOwner)
		if err != nil {
			return err
		}
		if resp.status != http.StatusOK {
			return fmt.Errorf("%s", resp)
		}
		if resp.decode(e.t, &r); r.State != "delivered" || r.AttemptCount != attempts {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	return r
}

func (e *endpointOf) list(query string, position uint64) (deliveries []record, next string) {
	e.t.Helper()
	var page struct {
		Deliveries []record
		NextCursor *string `json:"next_cursor"`
	}
	e.expect(200, "GET", e.path+"/deliveries?"+query, nil, e.asOwner, after(position)).decode(e.t, &page)
	if page.NextCursor != nil {
		next = *page.NextCursor
	}
	return page.Deliveries, next
}

func (e *endpointOf) ask(what string, body any) (id string) {
	e.t.Helper()
	var asked struct{ ID string }
	e.expect(202, "POST", e.path+what, body, e.asOwner).decode(e.t, &asked)
	return asked.ID
}

// An owner finds out what became of the events, has them sent again, and changes what
// the webhook is, and everything that arrives is signed.
func TestWebhooksOfAnOwner(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	p := serve(t, "--data-dir", dir, "--listen", freeAddress(t), "--webhook-allow-private")
	c := newClient(t, p.address)
	e := newEndpoint(newTenant(t, c, "acme", "--data-dir", dir))

	first, position := e.mustSubmit()
	e.receiver.await(patience, "request.submitted", []string{first})
	all, _ := e.list("", position)
	if len(all) != 1 || all[0].Event != "request.submitted" || *all[0].Sequence != 1 {
		t.Fatalf("%+v", all)
	}
	id := all[0].ID
	if d := e.awaitDelivered(id, 1); len(d.Attempts) != 1 || d.Attempts[0].Status != 204 || d.Attempts[0].Error != "" {
		t.Errorf("%+v", d)
	}
	if again := e.ask("/deliveries/"+id+"/redeliver", nil); again != id {
		t.Errorf("redelivering %s, not %s", again, id)
	}
	e.awaitDelivered(id, 2)
	e.expect(404, "POST", e.path+"/deliveries/evt_x/redeliver", nil, e.asOwner)

	ping := e.ask("/ping", nil)
	if d := e.awaitDelivered(ping, 1); d.Event != "ping" || d.Sequence != nil {
		t.Errorf("%+v", d)
	}
	e.pull(first)
	e.rotate()
	other := newTenant(t, c, "globex", "--data-dir", dir)
	for _, path := range []string{"", "/deliveries", "/deliveries/" + id, "/events"} {
		e.expect(404, "GET", e.path+path, nil, other.asOwner)
	}
	for _, path := range []string{"/ping", "/rotate-secret", "/deliveries/" + id + "/redeliver"} {
		e.expect(404, "POST", e.path+path, nil, other.asOwner)
	}
}

// pull stops the webhook, pulls what happens meanwhile, and starts it again.
func (e *endpointOf) pull(first string) {
	t := e.t
	t.Helper()
	e.expect(200, "PATCH", e.path, map[string]any{"active": false}, e.asOwner)
	held, position := e.mustSubmit()
	list, _ := e.list("state=held", position)
	if len(list) != 1 || *list[0].Sequence != 2 {
		t.Fatalf("held: %+v", list)
	}
	e.expect(409, "POST", e.path+"/ping", nil, e.asOwner)
	var pulled struct {
		Events  []json.RawMessage
		HasMore bool `json:"has_more"`
	}
	e.expect(200, "GET", e.path+"/events?after=0&limit=1", nil, e.asOwner, after(position)).decode(t, &pulled)
	if len(pulled.Events) != 1 || !pulled.HasMore || !strings.Contains(string(pulled.Events[0]), first) {
		t.Errorf("the first event: %+v", pulled)
	}
	e.expect(200, "GET", e.path+"/events?after=1", nil, e.asOwner).decode(t, &pulled)
	if len(pulled.Events) != 1 || pulled.HasMore {
		t.Fatalf("the second event: %+v", pulled)
	}
	e.expect(200, "PATCH", e.path, map[string]any{"active": true}, e.asOwner)
	e.receiver.await(patience, "request.submitted", []string{held})
	if sent := e.receiver.body(held); sent != string(pulled.Events[0]) {
		t.Errorf("pulled %s, sent %s", pulled.Events[0], sent)
	}
	e.awaitDelivered(list[0].ID, 1) // the receiver has it before the relay knows
	page, next := e.list("limit=1", position)
	rest, end := e.list("limit=2&cursor="+next, position)
	if len(page) != 1 || *page[0].Sequence != 2 || len(rest) != 2 || rest[0].Event != "ping" || end != "" {
		t.Errorf("pages: %+v, %+v, %q", page, rest, end)
	}
}

// rotate gives the webhook another secret and has everything sent again with it.
func (e *endpointOf) rotate() {
	t := e.t
	t.Helper()
	var rotated struct{ Secret string }
	answer := e.expect(200, "POST", e.path+"/rotate-secret", nil, e.asOwner)
	answer.decode(t, &rotated)
	e.receiver.takeSecret(rotated.Secret)
	list, _ := e.list("", answer.position)
	e.ask("/replay", map[string]any{"from_position": "0"})
	for _, d := range list {
		if d.Event != "ping" {
			e.awaitDelivered(d.ID, d.AttemptCount+1)
		}
	}
	headers := e.receiver.last(2)
	for _, h := range headers {
		if n := len(strings.Fields(h.Get("Webhook-Signature"))); n != 2 {
			t.Errorf("%d signatures", n)
		}
	}
	if err := e.receiver.fault(); err != nil {
		t.Error(err)
	}
}
