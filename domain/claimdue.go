package domain

import (
	"bytes"
	"container/heap"
	"time"
)

// wait is for the end of a claim's state.
type wait struct {
	until instant
	claim uint32
}

const waitSize = 16 // bytes

// await puts the end of the claim's state in the place of what was waited for before.
func (s *claimStore) await(claim uint32) {
	if at := s.places[claim]; at != 0 {
		heap.Remove((*dueOrder)(s), int(at-1))
	}
	if now := &s.standings[claim]; now.active() && !now.until.none() {
		heap.Push((*dueOrder)(s), wait{now.until, claim})
	}
}

// dueOrder is what is waited for as a heap, ordered by time, and at one time by the claims'
// ids: a decision has to come out the same whatever way the state came about.
type dueOrder claimStore

func (h *dueOrder) Len() int { return len(h.due) }

func (h *dueOrder) Less(i, j int) bool {
	if c := h.due[i].until.compare(h.due[j].until); c != 0 {
		return c < 0
	}
	return bytes.Compare(h.texts.at(h.facts[h.due[i].claim].id), h.texts.at(h.facts[h.due[j].claim].id)) < 0
}

func (h *dueOrder) Swap(i, j int) {
	h.due[i], h.due[j] = h.due[j], h.due[i]
	h.places[h.due[i].claim], h.places[h.due[j].claim] = uint32(i)+1, uint32(j)+1
}

// Push is for the heap.
func (h *dueOrder) Push(x any) {
	h.due = append(h.due, x.(wait))
	h.places[x.(wait).claim] = uint32(len(h.due))
}

// Pop is for the heap; nobody needs what was taken out.
func (h *dueOrder) Pop() any {
	last := len(h.due) - 1
	h.places[h.due[last].claim] = 0
	h.due = h.due[:last]
	const slack = 64 // room for this many costs nothing
	if cap(h.due) > 4*last+slack {
		h.due = append(make([]wait, 0, 2*last), h.due...)
	}
	return nil
}

// overdue lists the active claims that are past their time, those first that were due
// first, but at most limit of them. It looks only where something is due.
func (s *claimStore) overdue(now time.Time, limit int) (found []uint32) {
	next := dueNodes{dueOrder: (*dueOrder)(s)}
	at := instantOf(now)
	next.offer(0, at)
	for len(next.nodes) > 0 && len(found) < limit {
		i := heap.Pop(&next).(int)
		found = append(found, s.due[i].claim)
		next.offer(2*i+1, at)
		next.offer(2*i+2, at)
	}
	return found
}

// dueNodes are places in the heap that are to be looked at.
type dueNodes struct {
	*dueOrder
	nodes []int
}

func (n *dueNodes) offer(i int, now instant) {
	if i < len(n.due) && n.due[i].until.compare(now) <= 0 {
		heap.Push(n, i)
	}
}

func (n *dueNodes) Len() int           { return len(n.nodes) }
func (n *dueNodes) Less(i, j int) bool { return n.dueOrder.Less(n.nodes[i], n.nodes[j]) }
func (n *dueNodes) Swap(i, j int)      { n.nodes[i], n.nodes[j] = n.nodes[j], n.nodes[i] }
func (n *dueNodes) Push(i any)         { n.nodes = append(n.nodes, i.(int)) }
func (n *dueNodes) Pop() any {
	last := n.nodes[len(n.nodes)-1]
	n.nodes = n.nodes[:len(n.nodes)-1]
	return last
}
