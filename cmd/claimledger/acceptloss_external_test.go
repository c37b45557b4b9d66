package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/claimledger/claimledger/eventstore"
)

// On servers that run elsewhere the command does what it may, and says what is left to
// NATS's administrator.
func TestAcceptLossElsewhere(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	e.setup()
	addresses := map[string]string{}
	for _, role := range roles {
		addresses[role] = freeAddress(t)
	}
	var running []*process
	begin := func() *client {
		running = nil
		for _, role := range roles {
			running = append(running, e.role(role, addresses[role]))
		}
		return newClient(t, addresses[roleAPI])
	}
	stop := func() {
		for _, p := range running {
			p.stop()
		}
	}
	tn := newTenant(t, begin(), "acme", e.place()...)
	receiver := newHooks(t)
	tn.webhook(receiver, nil)
	var position uint64
	for range 20 {
		_, position = tn.mustSubmit()
	}
	tn.list(position)
	tn.headOf(position)
	receiver.awaitEvents(patience, 20)
	at := append(e.place(), "--database-url", e.databaseURL("relay"))
	if r := run(t, append([]string{"log", "accept-loss"}, at...)...); r.code != exitFailure || !strings.Contains(r.err, "stop all processes") {
		t.Errorf("beside a running ledger it ended with %d: %s%s", r.code, r.out, r.err)
	}
	stop()
	e.killNATS()
	loseTail(t, blockOf(t, filepath.Join(e.dir, "nats-1")))
	e.startNATS()

	if r := run(t, append([]string{"log", "accept-loss"}, at...)...); r.code != exitFailure || !strings.Contains(r.err, "a role that owns the schemas") {
		t.Errorf("as a role that may not see all it ended with %d: %s%s", r.code, r.out, r.err)
	}
	at[len(at)-1] = e.database.URL()
	look, r := acceptLoss(t, at...)
	if r.code != exitFailure || len(look.holders()) != 8 || len(look.ToDo) != 2 || len(look.Left) != 1 ||
		look.Command != "claimledger log accept-loss --nats-url … --replicas 1 --database-url … --confirm "+look.End.Position {
		t.Fatalf("unconfirmed it ended with %d: %s%s", r.code, r.out, r.err)
	}
	for what, secret := range e.secrets {
		if strings.Contains(r.out+r.err, secret) {
			t.Errorf("it shows the secret %s", what)
		}
	}
	at = append(at, "--confirm", look.End.Position)
	done, r := acceptLoss(t, at...)
	if r.code != exitFailure || !done.Accepted || len(done.Done) != 2 || !strings.Contains(r.err, "NATS's administrator") {
		t.Fatalf("confirmed it ended with %d: %s%s", r.code, r.out, r.err)
	}
	left, r := acceptLoss(t, at...)
	if r.code != exitFailure || !slices.Equal(left.holders(), []string{eventstore.HeadsHolder}) || len(left.Done) != 0 || !strings.Contains(left.Left[0], "nats stream rm LEDGER_HEADS") {
		t.Errorf("once more it ended with %d: %s%s", r.code, r.out, r.err)
	}
	e.deleteStream(eventstore.HeadsStreamName)
	e.setup()
	if nothing, r := acceptLoss(t, at...); r.code != 0 || len(nothing.Contradictions) > 0 {
		t.Errorf("after that it ended with %d: %s%s", r.code, r.out, r.err)
	}

	receiver.forget()
	tn = tn.at(begin())
	tn.awaitStatus("ready")
	_, position = tn.mustSubmit()
	if last := fmt.Sprint(position - 1); last != look.End.Position {
		t.Errorf("the log ended at %s, and the next commit is at %d", look.End.Position, position)
	}
	derivedIs(t, tn, receiver, placeSettings{NATSURL: e.natsURL("claimledger"), Replicas: 1}, e.database.URL(), position)
	a := &auditor{t: t, pinned: headKeyID(t, filepath.Join(e.dir, "head.key"))}
	head := tn.headOf(position)
	a.exportFrom(e.place()...)
	a.check(head)
	stop()
}

// deleteStream is what only NATS's administrator may do.
func (e *external) deleteStream(name string) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	nc, err := nats.Connect(e.natsURL("admin"))
	if err != nil {
		e.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err == nil {
		err = js.DeleteStream(ctx, name)
	}
	if err != nil {
		e.t.Fatal(err)
	}
}
