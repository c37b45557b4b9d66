package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/claimledger/claimledger/domain"
)

// Trust is what an auditor has that does not come with the log.
type Trust struct {
	Keys  []string         // ids of keys that the ledger signs its heads with
	Heads []domain.LogHead // that he kept
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

// End ends an audit, and finds a log at fault that shows nothing of what it was to be
// compared with: leaving the heads out is the easiest way to pass.
func (t Trust) End(a *Auditor) (Report, error) {
	r, err := a.End()
	switch {
	case err != nil:
		return Report{}, err
	case len(t.Keys) > 0 && r.Signed == nil:
		return Report{}, &Finding{What: "no head of it is signed with " + strings.Join(t.Keys, " or ")}
	case len(t.Heads) > 0 && r.Kept == nil:
		return Report{}, &Finding{What: fmt.Sprintf("it begins after position %d, and the heads that you kept are of earlier ones: there is nothing to compare them with", r.Start.Position)}
	}
	return r, nil
}
