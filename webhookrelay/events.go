package webhookrelay

import (
	"strconv"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// event is what is delivered, whichever webhooks it goes to.
type event struct {
	id, kind, claimID string
	occurredAt        time.Time
	body              []byte // up to the sequence; of a ping, all of it
}

// bodyFor gives the bytes that are sent on every attempt.
func (e *event) bodyFor(p place) []byte {
	if p.ping > 0 {
		return e.body
	}
	b := make([]byte, 0, len(e.body)+len("9223372036854775807}"))
	return append(strconv.AppendInt(append(b, e.body...), p.sequence, 10), '}')
}

// keptEvents is how many events a process keeps, of about 1 KiB each: those of the last
// seconds, which many webhooks may wait for.
const keptEvents = 8192

// eventCache is the events that were assigned or read last. It is safe for concurrent use.
type eventCache struct{ *lru.Cache[string, *event] }

func newEventCache() eventCache {
	c, err := lru.New[string, *event](keptEvents)
	if err != nil {
		panic(err) // of a size below one
	}
	return eventCache{c}
}

func (c eventCache) add(events []*event) {
	for _, e := range events {
		c.Add(e.id, e)
	}
}
