// Package audit tells of a log, commit by commit, whether a ledger can have made it, and
// whether it is the one that was signed for. It asks nobody and reads nothing itself:
// what it is given is all that it goes by.
package audit

import (
	"errors"
	"fmt"

	"github.com/claimledger/claimledger/domain"
)

// Scope is which commits of a log are given whole; of the others there are only the
// hashes of their stored bytes.
type Scope struct {
	Namespace string // empty: all namespaces
	From, To  uint64 // positions, both included
}

// Has reports whether the commit of a namespace at a position is given whole.
func (s Scope) Has(position uint64, namespace string) bool {
	return s.From <= position && position <= s.To && (s.Namespace == "" || s.Namespace == namespace)
}

// Entry is what is given of one position of the log.
type Entry struct {
	Position uint64
	Hash     domain.Hash // of the stored bytes
	// Running is the running hash over the log up to here, as whoever gives the entry
	// says it is; zero where he says nothing.
	Running domain.Hash
	Stored  []byte         // nil: only Hash is known
	Commit  *domain.Commit // what Stored says, where it was read already
	// Boundary is where the commit is said to stand, for a finding about one that cannot
	// be read.
	Boundary domain.Boundary
}

// Finding is the first thing that is wrong with a log. What comes after it is not
// looked at: nothing can be said of it.
type Finding struct {
	Position uint64          // where it shows; 0: at no commit
	Boundary domain.Boundary // of the commit there; zero where there is no telling
	CommitID string          // likewise
	What     string          // in an auditor's words, without secrets
}

func (f *Finding) Error() string {
	switch {
	case f.Position == 0:
		return f.What
	case f.Boundary == domain.Boundary{}:
		return fmt.Sprintf("position %d: %s", f.Position, f.What)
	case f.CommitID == "":
		return fmt.Sprintf("position %d, in %s: %s", f.Position, f.Boundary, f.What)
	}
	return fmt.Sprintf("position %d, commit %s of %s: %s", f.Position, f.CommitID, f.Boundary, f.What)
}

// Incomplete means that nothing is wrong with what is given, and that it does not come as
// far as what the auditor has, or is not covered by it: it may be older, or cut off.
type Incomplete struct{ What string }

func (e *Incomplete) Error() string { return e.What }

// Auditor checks a log that it is given from one position on without a gap. It keeps the
// state of every namespace in memory, as a ledger does.
type Auditor struct {
	scope  Scope
	start  domain.Chain
	chain  domain.Chain
	spaces map[string]*space
	all    everywhere
	pins   []Pin // that are still ahead, by position
	// told is the last position of which the running hash was given, and right.
	told uint64

	tally   Tally
	signed  *domain.LogHead
	kept    *domain.LogHead
	earlier *domain.LogHead // the last that was kept of what is before
}

// New makes an Auditor of a log of which start is known: the zero Chain for one that is
// given from its beginning.
func New(scope Scope, start domain.Chain) *Auditor {
	return &Auditor{
		scope: scope, start: start, chain: start, told: start.Position, spaces: map[string]*space{},
		all:   everywhere{services: map[string]string{}, keys: map[string]string{}},
		tally: Tally{Claims: map[domain.Status]int{}},
	}
}

// Chain is the log that was given so far.
func (a *Auditor) Chain() domain.Chain { return a.chain }

// fromStart reports whether nothing of the log is missing before what is given.
func (a *Auditor) fromStart() bool { return a.start.Position == 0 }

// Add takes the next position. The error is a *Finding where the log is at fault, and
// wraps a *domain.UnknownEventError where this program is too old for it.
func (a *Auditor) Add(e Entry) error {
	next := a.chain.Then(e.Position, e.Hash)
	if e.Position != a.chain.Position+1 {
		return e.finding("it follows position %d: what stood between is missing, or the order was changed", a.chain.Position)
	}
	// Before anything is made of the bytes: what they say now is of no interest if they
	// are not those that were hashed.
	if !e.Running.IsZero() && e.Running != next.Hash {
		if a.told+1 < e.Position {
			return e.finding("the running hash beside it was not made of its bytes and what stands before it; either it was altered, or a hash after position %d", a.told)
		}
		return e.finding("the running hash beside it was not made of its bytes; it was altered")
	}
	if e.Stored == nil {
		if a.scope.Namespace == "" && a.scope.Has(e.Position, "") {
			return e.finding("the commit is missing, only its hash is there")
		}
		a.tally.Others++
	} else if err := a.commit(e); err != nil {
		return err
	}
	a.chain = next
	if !e.Running.IsZero() {
		a.told = e.Position
	}
	return a.pass()
}

// finding names the commit where its bytes say which it is.
func (e Entry) finding(format string, args ...any) *Finding {
	f := &Finding{Position: e.Position, Boundary: e.Boundary, What: fmt.Sprintf(format, args...)}
	c := e.Commit
	if c == nil {
		c, _ = domain.DecodeCommit(e.Stored)
	}
	if c != nil {
		f.Boundary, f.CommitID = c.Boundary(), c.ID
	}
	return f
}

func (a *Auditor) commit(e Entry) error {
	if e.Commit == nil {
		c, err := domain.DecodeCommit(e.Stored)
		var newer *domain.UnknownEventError
		if errors.As(err, &newer) {
			return fmt.Errorf("position %d: %w", e.Position, err)
		}
		if err != nil {
			return e.finding("it cannot be read: %v", err)
		}
		e.Commit = c
	}
	c := e.Commit
	if !a.scope.Has(e.Position, c.Namespace) {
		return e.finding("it does not belong to what was asked for")
	}
	for i, event := range c.Events {
		if want := domain.EventID(c.ID, i); event.ID != want {
			return e.finding("its event %d has the id %s, not %s", i+1, event.ID, want)
		}
	}
	s := a.spaces[c.Namespace]
	if s == nil {
		s = newSpace(c.Namespace, a.fromStart())
		a.spaces[c.Namespace] = s
	}
	if err := s.take(c, e.Hash); err != nil {
		return e.finding("%v", err)
	}
	if a.fromStart() {
		if err := a.all.check(s, c, a.scope); err != nil {
			return e.finding("%v", err)
		}
	}
	a.tally.Commits++
	a.tally.Events += uint64(len(c.Events))
	return nil
}

// Tally is what a log holds, as far as it was given.
type Tally struct {
	Commits    uint64                `json:"commits"` // that were given whole
	Others     uint64                `json:"others"`  // of which only the hashes were
	Events     uint64                `json:"events"`
	Namespaces int                   `json:"namespaces"`
	Unfolded   int                   `json:"unfolded"` // boundaries that began before what was given
	Claims     map[domain.Status]int `json:"claims"`   // of the boundaries that did not
}

// count completes the tally with what the states say at the end.
func (a *Auditor) count() Tally {
	t := a.tally
	t.Namespaces = len(a.spaces)
	for _, s := range a.spaces {
		for kind := range s.tips {
			if !s.folds(kind) {
				t.Unfolded++
			}
		}
	}
	a.Each(func(_, _ string, status domain.Status) { t.Claims[status]++ })
	return t
}

// Each calls f with every claim, its namespace and its state as the log that was given so
// far has it, in no order. Claims of boundaries that began before are not among them.
func (a *Auditor) Each(f func(namespace, id string, status domain.Status)) {
	for namespace, s := range a.spaces {
		s.claims.Each(func(id string, status domain.Status) { f(namespace, id, status) })
	}
}
