package audit

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// Trust is what an auditor has that does not come with the log.
type Trust struct {
	Keys  []string         // ids of keys that the ledger signs its heads with
	Heads []domain.LogHead // that he kept

	Signed bool // all that is given has to be covered by a head of his, or of such a key
	All    bool // what is given is all that there is now: it comes as far as every head
}

// Pin is a head that comes with the log. The error is a *Finding where it was not signed
// with the key that it shows.
func (t Trust) Pin(h domain.LogHead, source string) (Pin, error) {
	if err := h.Verify(); err != nil {
		return Pin{}, &Finding{Position: h.Position, What: fmt.Sprintf("%s is no head that anybody signed: %v", source, err)}
	}
	return Pin{Head: h, Source: source, Signed: slices.Contains(t.Keys, h.KeyID)}, nil
}

// Begin makes an auditor that compares the log with the heads that were kept.
func (t Trust) Begin(scope Scope, start domain.Chain) (*Auditor, error) {
	a := New(scope, start)
	for _, h := range t.Heads {
		p, err := t.Pin(h, "the head that you kept")
		if err == nil {
			p.Kept = true
			err = a.Expect(p)
		}
		if err != nil {
			return nil, err
		}
	}
	return a, nil
}

// End ends an audit. The error is an *Incomplete, beside the report, where what is given
// shows less than what the auditor has would tell: leaving the heads out, or what they
// are of, is the easiest way to pass.
func (t Trust) End(a *Auditor) (Report, error) {
	r, err := a.End(t.All)
	switch {
	case err != nil:
		return Report{}, err
	case r.Later != nil && r.fromStart():
		// A part that begins later is one of which the auditor knows that it is.
		err = &Incomplete{fmt.Sprintf("it ends at position %d, before the head of position %d, signed at %s, that you keep: it is older than that head, or was cut off; export again",
			r.End.Position, r.Later.Position, r.Later.Time.Format(time.RFC3339Nano))}
	case len(t.Keys) > 0 && r.Signed == nil:
		err = &Incomplete{"no head of anything in it is signed with " + strings.Join(t.Keys, " or ") + ": it is older than the first that covers it, or another made it"}
	case len(t.Heads) > 0 && r.Sure() == 0:
		err = &Incomplete{fmt.Sprintf("it is of positions %d to %d, and none of the heads that you keep is: there is nothing to compare them with", r.Start.Position+1, r.End.Position)}
	case t.Signed && r.Sure() < r.End.Position:
		err = &Incomplete{fmt.Sprintf("no head that you trust covers what comes after position %d: export with --signed, or with a head that you take before", r.Sure())}
	}
	return r, err
}
