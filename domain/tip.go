package domain

import (
	"fmt"
	"time"
)

// Tip is the last commit of a boundary, as far as the next one has to follow it. The
// zero Tip is of a boundary without commits.
type Tip struct {
	Version uint64
	Hash    Hash
	Time    time.Time
}

// TipOf is the tip of a boundary once it has the commit, whose stored bytes have the hash.
func TipOf(c *Commit, stored Hash) Tip { return Tip{c.Version, stored, c.Time} }

// Then is the tip after the next commit of the boundary, whose stored bytes have the
// hash. The error says how the commit does not follow: its version is not the next, its
// prev is not the hash of the one before, or it was made before that.
func (t Tip) Then(c *Commit, stored Hash) (Tip, error) {
	b := c.Boundary()
	switch {
	case c.Version != t.Version+1:
		return t, fmt.Errorf("version %d of %s follows version %d", c.Version, b, t.Version)
	case c.Prev != t.Hash:
		return t, fmt.Errorf("version %d of %s does not follow what stands before it (it names the hash %s, not %s)", c.Version, b, c.Prev, t.Hash)
	case c.Time.Before(t.Time):
		return t, fmt.Errorf("version %d of %s was made before the version that it follows", c.Version, b)
	}
	return TipOf(c, stored), nil
}
