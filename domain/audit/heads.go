package audit

import (
	"fmt"
	"slices"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// Pin is a head that the log has to lead to.
type Pin struct {
	Head   domain.LogHead
	Source string // where it is from, in an auditor's words
	Signed bool   // with a key that the auditor was told of
	Kept   bool   // by the auditor, apart from the log
}

// Expect has the log compared with a head when it comes there. Of a head of what was
// before nothing can be said, and it is passed over.
func (a *Auditor) Expect(p Pin) error {
	at := p.Head.Position
	if p.Kept && !a.covers(p.Head) && (a.earlier == nil || at > a.earlier.Position) {
		a.earlier = &p.Head
	}
	if at < a.chain.Position {
		return nil
	}
	i, _ := slices.BinarySearchFunc(a.pins, at, func(q Pin, at uint64) int {
		if q.Head.Position <= at { // behind those of the same position
			return -1
		}
		return 1
	})
	a.pins = slices.Insert(a.pins, i, p)
	return a.pass()
}

// pass compares the log with the heads of the position that it has come to.
func (a *Auditor) pass() error {
	for len(a.pins) > 0 && a.pins[0].Head.Position <= a.chain.Position {
		p := a.pins[0]
		a.pins = a.pins[1:]
		if p.Head.Chain() != a.chain {
			return &Finding{Position: a.chain.Position, What: fmt.Sprintf(
				"the log up to here has the hash %s, and %s, signed at %s, says %s: %s was altered",
				a.chain.Hash, p.Source, p.Head.Time.Format(time.RFC3339Nano), p.Head.Hash, a.since())}
		}
		if p.Signed && a.covers(p.Head) {
			a.signed = &p.Head
		}
		if p.Kept && a.covers(p.Head) {
			a.kept = &p.Head
		}
	}
	return nil
}

// covers reports whether a head speaks of anything that is given: one of where that begins
// agrees with whatever comes after it.
func (a *Auditor) covers(h domain.LogHead) bool {
	return a.fromStart() || h.Position > a.start.Position
}

// since tells how early what a head contradicts may begin.
func (a *Auditor) since() string {
	last := a.start.Position
	for _, h := range []*domain.LogHead{a.signed, a.kept} {
		if h != nil {
			last = max(last, h.Position)
		}
	}
	if last == 0 {
		return "something in it"
	}
	return fmt.Sprintf("something after position %d", last)
}

// End tells that nothing more comes. A log that ends before a head of its own was cut off;
// all of it means that nothing can have come since either, so that it has to come as far
// as those that the auditor kept.
func (a *Auditor) End(all bool) (Report, error) {
	r := Report{Scope: a.scope, Start: a.start, End: a.chain, Tally: a.count(), Signed: a.signed, Kept: a.kept, Earlier: a.earlier}
	for _, p := range a.pins {
		if all || !p.Kept {
			return Report{}, &Finding{Position: a.chain.Position, What: fmt.Sprintf(
				"nothing comes after it, and %s, signed at %s, is of position %d: what came after was cut off",
				p.Source, p.Head.Time.Format(time.RFC3339Nano), p.Head.Position)}
		}
		r.Later = &p.Head
	}
	return r, nil
}
