package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/claimledger/claimledger/eventstore"
)

// setupCommand makes what the ledger needs on an external cluster, as an act of its own:
// a process that serves never makes a stream, so that one that was lost is noticed
// and not replaced by an empty one.
type setupCommand struct {
	placeSettings
}

// Help is shown below the flags.
func (setupCommand) Help() string {
	return `Needs a NATS user that may create streams; the processes that serve need none. What
is there already is checked and left as it is, so setup can be run again. Schemas in
PostgreSQL are made by the processes that own them, when they start.

Example: claimledger setup --nats-url nats://admin@nats-1:4222 --replicas 3`
}

func (c *setupCommand) Run(w *world) error {
	if c.embedded() {
		return usageError{errors.New("setup is for --nats-url; the embedded ledger sets itself up when it starts")}
	}
	replicas, err := c.replicas()
	if err != nil {
		return err
	}
	logger := quiet(c.logger(w.stderr))
	ctx, cancel := context.WithTimeout(w.ctx, openTimeout)
	defer cancel()
	nc, err := eventstore.Connect(c.NATSURL, c.NATSCreds, logger)
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := eventstore.Create(ctx, nc, replicas); err != nil {
		return err
	}
	if _, err := eventstore.Open(ctx, nc, replicas, logger); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w.stdout, "the ledger's streams are ready, with %d replica(s)\n", replicas)
	return err
}
