package commands

import (
	"errors"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// troubleLasts is how long after an append that failed the log counts as one that takes
// no commits, unless one succeeds: long enough for those who watch to see it, and short
// enough that a process which is sent no commands for it comes back by itself.
const troubleLasts = 30 * time.Second

// noteAppend remembers how the last append ended. A conflict is a success of the log.
func (x *Executor) noteAppend(err error) {
	var conflict *eventstore.ConflictError
	switch {
	case err == nil || errors.As(err, &conflict):
		x.refusedAt.Store(0)
	case errors.Is(err, eventstore.ErrFell) && !errors.Is(err, eventstore.ErrOutcomeUnknown):
		// Nobody asked the log: it says no more than what it fell with.
	case errors.Is(err, eventstore.ErrOutcomeUnknown) || errors.Is(err, eventstore.ErrUnavailable):
		x.refusedAt.Store(x.Now().UnixNano())
	}
}

// Trouble tells why commands cannot be recorded, as far as the last of them shows; nil
// when they can. A log that can be read may be one that cannot be written: after its
// disk was full, a NATS server has to be started again.
func (x *Executor) Trouble() error {
	at := x.refusedAt.Load()
	if at == 0 || x.Now().Sub(time.Unix(0, at)) > troubleLasts {
		return nil
	}
	return domain.Errorf(domain.CodeServiceUnavailable,
		"The log took no commit at %s. Look at the NATS server and its disk; after a full disk, free space and start it again.",
		time.Unix(0, at).UTC().Format(time.RFC3339))
}
