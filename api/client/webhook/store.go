package webhook

import (
	"context"
	"encoding/json"
	"sync"
)

// Mark is up to where a webhook's events took effect: all up to the one with this
// Sequence and ID, and none after it. The zero Mark is before the first.
type Mark struct {
	Sequence uint64
	EventID  string
}

// Store is the receiver's own database, and T is what a transaction in it is.
type Store[T any] interface {
	// Update begins a transaction, calls do with it and the webhook's mark, the zero Mark
	// where it has none yet, and stores the mark that do returns. It commits all of that
	// together, or nothing where do or anything else fails, and then returns the error.
	//
	// Of two Updates of a webhook at once, in whatever process, the second must read its
	// mark after the first has ended: read it with a lock, as SELECT … FOR UPDATE. A
	// database that settles such things by letting one fail may do that too: that delivery
	// comes again. What fails may be tried again with do called anew.
	Update(ctx context.Context, webhookID string, do func(tx T, at Mark) (Mark, error)) error
}

// Source is where what did not come is pulled from: a client's EventsOf a webhook.
type Source interface {
	// EventsAfter are the bodies of a webhook's events after a sequence number, in order,
	// as many as come at once, and none where there are none.
	EventsAfter(ctx context.Context, sequence uint64) ([]json.RawMessage, error)
}

// Memory keeps marks in memory, for tests and examples: with the process, they are gone,
// and all events take effect anew. Its transactions undo nothing by themselves.
type Memory struct {
	mu    sync.Mutex
	marks map[string]Mark
}

// Update is Store's.
func (m *Memory) Update(_ context.Context, webhookID string, do func(tx struct{}, at Mark) (Mark, error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, err := do(struct{}{}, m.marks[webhookID])
	if err != nil {
		return err
	}
	if m.marks == nil {
		m.marks = map[string]Mark{}
	}
	m.marks[webhookID] = at
	return nil
}

// Mark is where a webhook's events are.
func (m *Memory) Mark(webhookID string) Mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.marks[webhookID]
}
