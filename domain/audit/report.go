package audit

import (
	"fmt"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// Report is of a log with which nothing is wrong, and says how much that means.
type Report struct {
	Scope      Scope
	Start, End domain.Chain
	Tally      Tally
	Signed     *domain.LogHead // the last that was met and signed with a key that is trusted
	Kept       *domain.LogHead // the last that was met of those that the auditor had

	// Of those that he had and that were not compared: the last of what is before, and the
	// last of what would come after.
	Earlier, Later *domain.LogHead
}

// Sure is up to which position the log is the one that was signed for, or that was there
// when the auditor took the head that he kept; 0: of none that can be said.
func (r Report) Sure() uint64 {
	var sure uint64
	for _, h := range []*domain.LogHead{r.Signed, r.Kept} {
		if h != nil {
			sure = max(sure, h.Position)
		}
	}
	return sure
}

// Proven lists, in sentences, what has been shown.
func (r Report) Proven() []string {
	if r.End.Position == r.Start.Position {
		return nil
	}
	list := []string{"Each commit follows the one before it in its boundary, by version, hash and time; positions have no gap."}
	switch {
	case r.Tally.Commits == 0:
		// of no decision anything was seen
	case r.Tally.Unfolded == 0:
		list = append(list, "Each decision could be made on the state that the commits before it give: every transition, limit and time holds.")
	default:
		list = append(list, fmt.Sprintf("In boundaries that begin here each decision could be made on the state that the commits before it give; %d began before.", r.Tally.Unfolded))
	}
	if h := r.Signed; h != nil {
		list = append(list, fmt.Sprintf("Up to position %d it is, byte for byte, the log that was signed for at %s with the key %s.", h.Position, h.Time.Format(time.RFC3339Nano), h.KeyID))
	}
	if h := r.Kept; h != nil {
		list = append(list, fmt.Sprintf("Up to position %d it is, byte for byte, the log of the head that you kept, of %s.", h.Position, h.Time.Format(time.RFC3339Nano)))
	}
	return list
}

// NotProven lists, in sentences, what nobody may take for shown.
func (r Report) NotProven() []string {
	var list []string
	sure := r.Sure()
	switch {
	case sure == 0:
		list = append(list, "That this is the ledger's log, and all of it: whoever holds it could have made another that is as consistent, or have cut it off. "+
			"Give the id of the ledger's key (--head-key), or a head that you kept (--head).")
	case sure < r.End.Position:
		list = append(list, fmt.Sprintf("What comes after position %d: no head that you trust covers it, so it could be altered or cut off.", sure))
	}
	switch {
	case r.Later != nil:
		list = append(list, fmt.Sprintf("What came after position %d: the log went on to position %d at least, as a head that you keep says. Heads that you keep of what is not here were not compared.",
			r.End.Position, r.Later.Position))
	case sure > 0:
		list = append(list, fmt.Sprintf("That nothing came after position %d: an older log, with the head that it had then, passes for a newer one. "+
			"Only a newer head that you have from elsewhere (--head) tells.", max(sure, r.End.Position)))
	}
	if r.Earlier != nil {
		list = append(list, fmt.Sprintf("That the log before agrees with the heads that you keep of positions up to %d: they say nothing of what is here.", r.Earlier.Position))
	}
	if !r.fromStart() {
		list = append(list, fmt.Sprintf("What was before position %d, which is not here, and that decisions in boundaries that began there kept to their state.", r.Start.Position+1))
	}
	if ns := r.Scope.Namespace; ns != "" {
		if r.Nothing() {
			list = append(list, fmt.Sprintf("Anything of %s: no commit of it is here. Whatever it recorded could be among those of others.", ns))
		}
		list = append(list,
			fmt.Sprintf("What is in the commits that are said to be of other namespaces: only their hashes are here. Any number of the last ones of %s in a boundary could be among them, even all: "+
				"a revocation may be missing. One in the middle could not.", ns),
			"That services of other namespaces, and their keys, were what claims on them say.")
	}
	return list
}

// Nothing reports whether no commit is given whole: then nothing is said of anybody.
func (r Report) Nothing() bool { return r.Tally.Commits == 0 && r.Tally.Others > 0 }

func (r Report) fromStart() bool { return r.Start.Position == 0 }
