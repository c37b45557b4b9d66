package sim

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/claimledger/claimledger/domain"
)

// gate is where every operation on the log waits until the simulation lets it go on, so
// that between any two of them anything may happen.
type gate struct {
	mu      sync.Mutex
	waiting []*operation
}

// operation is one call of the log that has not begun, or of which the rest has not.
type operation struct {
	kind     string
	boundary domain.Boundary // zero: all of the log
	name     string          // of a snapshot; empty: it is about the log
	node     *node
	life     int // of the node
	command  int // whose call it is; background: the process's own
	verdict  chan verdict
}

func (o *operation) String() string {
	text := fmt.Sprintf("%s of node %d", o.kind, o.node.id)
	if of := o.of(); of != "" {
		text += " on " + of
	}
	if o.command != background {
		text += fmt.Sprintf(" for command %d", o.command)
	}
	return text
}

// of is what an operation is about.
func (o *operation) of() string {
	if o.boundary.Namespace != "" {
		return o.boundary.String()
	}
	return o.name
}

const (
	opAppend  = "append"
	opTail    = "tail"
	opLast    = "last"
	opRead    = "read"
	opReadOn  = "read on" // the second half of what was found
	opReadAll = "read all"
	opSave    = "save a snapshot"
	opLoad    = "load a snapshot"
)

// verdict is how an operation ends.
type verdict string

const (
	works       verdict = "works"
	unreachable verdict = "fails"                   // and changes nothing
	lostApplied verdict = "is recorded, ack lost"   // fails but persists
	lostNothing verdict = "is not recorded, no ack" // fails, and nobody can tell
	lostLate    verdict = "is on its way, no ack"   // and may arrive much later

	// Of snapshots alone.
	halved  verdict = "is torn"
	damaged verdict = "has a bit flipped"
	older   verdict = "is an older one"
	missing verdict = "is gone"
)

// enter waits for the verdict. The process may be gone by then: what it is told does not
// matter any more, but what becomes of the append does.
func (g *gate) enter(o *operation) verdict {
	if o.life != o.node.life {
		return unreachable
	}
	o.verdict = make(chan verdict)
	g.mu.Lock()
	g.waiting = append(g.waiting, o)
	g.mu.Unlock()
	return <-o.verdict
}

// all are the operations that wait, in an order that does not depend on which of them
// came first.
func (g *gate) all() []*operation {
	g.mu.Lock()
	defer g.mu.Unlock()
	slices.SortFunc(g.waiting, func(a, b *operation) int {
		return cmp.Or(cmp.Compare(a.node.id, b.node.id), cmp.Compare(a.command, b.command),
			cmp.Compare(a.kind, b.kind), cmp.Compare(a.of(), b.of()))
	})
	return slices.Clone(g.waiting)
}

// release lets an operation go on.
func (g *gate) release(o *operation, v verdict) {
	g.mu.Lock()
	g.waiting = slices.DeleteFunc(g.waiting, func(w *operation) bool { return w == o })
	g.mu.Unlock()
	o.verdict <- v
}

// background is who calls the log when no command does.
const background = -1

type callerKey struct{}

// as marks a context with the command that calls with it.
func as(ctx context.Context, command int) context.Context {
	return context.WithValue(ctx, callerKey{}, command)
}

func callerOf(ctx context.Context) int {
	if n, ok := ctx.Value(callerKey{}).(int); ok {
		return n
	}
	return background
}
