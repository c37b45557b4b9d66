package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// consumed is a webhook with a consumer, which is a process of its own.
type consumed struct {
	*tenant
	path string
	env  []string
	db   *pgx.Conn

	process *process
	events  int // that there have to be
	lost    int // answers, of consumers that were killed
}

func newConsumed(tn *tenant) *consumed {
	t := tn.t
	t.Helper()
	address, database, secret := freeAddress(t), pgtest.New(t), "the secret of this consumer"
	var made struct{ ID string }
	tn.expect(201, "POST", "/v1/services/"+tn.service+"/webhooks",
		map[string]any{"url": "http://" + address + "/", "secret": secret}, tn.asOwner).decode(t, &made)
	c := &consumed{tenant: tn, path: "/v1/services/" + tn.service + "/webhooks/" + made.ID}
	for name, value := range map[string]string{
		consumerLedger: tn.base, consumerSession: tn.session, consumerService: tn.service, consumerWebhook: made.ID,
		consumerSecret: secret, consumerDatabase: database, consumerAddress: address,
	} {
		c.env = append(c.env, name+"="+value)
	}
	var err error
	if c.db, err = pgx.Connect(t.Context(), database); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.db.Close(context.WithoutCancel(t.Context())) })
	if _, err := c.db.Exec(t.Context(), consumerTables); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *consumed) start() {
	c.t.Helper()
	c.process = launch(c.t, beConsumer, c.env)
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if _, err := c.process.log.await(ctx, c.process.ended, consumerReady); err != nil {
		c.t.Fatalf("the consumer: %v\n%s", err, c.process.log.tail(4000))
	}
}

func (c *consumed) kill() {
	c.process.kill()
	c.lost += c.losing()
}

// losing is how many answers this consumer has lost.
func (c *consumed) losing() int { return strings.Count(c.process.log.String(), consumerForgetful) }

// live lets so many claims be asked for and approved, and half of them revoked.
func (c *consumed) live(claims int) {
	c.t.Helper()
	for n := range claims {
		id, _ := c.mustSubmit()
		c.expect(200, "POST", "/v1/claims/"+id+"/approve", nil, c.asOwner)
		c.events += 2
		if n%2 == 0 {
			c.expect(200, "POST", "/v1/claims/"+id+"/revoke", nil, c.asOwner)
			c.events++
		}
	}
}

// awaitDead waits until deliveries were given up.
func (c *consumed) awaitDead() {
	c.t.Helper()
	eventually(c.t, patience, func() error {
		var page struct{ Deliveries []record }
		c.expect(200, "GET", c.path+"/deliveries?state=dead&limit=5", nil, c.asOwner).decode(c.t, &page)
		if len(page.Deliveries) < 5 {
			return fmt.Errorf("%d are dead", len(page.Deliveries))
		}
		return nil
	})
}

// told are the ids of all of the webhook's events, in order.
func (c *consumed) told() (ids []string) {
	c.t.Helper()
	for {
		var page struct{ Events []json.RawMessage }
		c.expect(200, "GET", fmt.Sprintf("%s/events?after=%d&limit=200", c.path, len(ids)), nil, c.asOwner).decode(c.t, &page)
		if len(page.Events) == 0 {
			return ids
		}
		for _, body := range page.Events {
			var e hook
			if err := json.Unmarshal(body, &e); err != nil {
				c.t.Fatal(err)
			}
			ids = append(ids, e.ID)
		}
	}
}

// effects are the ids of the events that had an effect, in its order.
func (c *consumed) effects() []string {
	c.t.Helper()
	rows, err := c.db.Query(c.t.Context(), "SELECT event_id FROM effects ORDER BY n")
	if err != nil {
		c.t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		c.t.Fatal(err)
	}
	return ids
}

// A consumer is away until deliveries are given up, is killed in the middle of others, and
// loses answers, so that events come again; each has its effect once, and in order.
func TestEachEventHasItsEffectOnce(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	p := serve(t, "--data-dir", dir, "--listen", freeAddress(t), "--webhook-allow-private", "--webhook-retries", "100ms,200ms")
	c := newConsumed(newTenant(t, newClient(t, p.address), "acme", "--data-dir", dir))

	c.live(4) // before the consumer has ever been there
	c.awaitDead()
	c.start()
	for range 4 {
		c.live(5)
		c.kill() // whatever it is doing
		c.live(2)
		c.start()
	}
	c.live(3)
	for have := 0; have < c.events; {
		eventually(t, patience, func() error {
			if effects := c.effects(); len(effects) > have {
				have = len(effects)
				return nil
			}
			return fmt.Errorf("%d of %d events had their effect", have, c.events)
		})
	}
	// What was pulled has its effect before its delivery comes.
	eventually(t, patience, func() error {
		if c.lost+c.losing() == 0 {
			return errors.New("no answer was lost")
		}
		return nil
	})
	told := c.told()
	c.kill()
	if effects := c.effects(); len(told) != c.events || !slices.Equal(effects, told) {
		t.Errorf("of %d events the effects are\n%v\nand the ledger tells\n%v", c.events, effects, told)
	}
	t.Logf("%d events, %d answers lost", len(told), c.lost)
}
