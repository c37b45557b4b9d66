package domain

import (
	"slices"
	"time"
)

// step is one commit that was applied, as far as taking it back needs it.
type step struct {
	before, time time.Time     // of the state before it, and its own
	extent       extent        // of the claims before it
	changes      []claimChange // in their order

	answered     bool // something is remembered of it
	answerBefore seen // when something was under the same key
}

// claimChange is what one event did to a claim.
type claimChange struct {
	claim uint32
	made  bool     // and what follows it is set; else was is
	was   standing // before

	latest                uint32 // claim of its service and key before, +1; 0: none
	nonce, signatureNonce seen   // before
}

// ApplyAhead is Apply for a commit that is on its way to the record and may come to
// nothing. Decisions go on from it; before they are known to anyone, Settle has to
// confirm what they rest on.
func (s *Claims) ApplyAhead(c *Commit) error {
	done, err := s.apply(c)
	if err == nil {
		s.ahead = append(s.ahead, done)
	}
	return err
}

// Ahead is how many commits were applied that may come to nothing.
func (s *Claims) Ahead() int { return len(s.ahead) }

// Settled is the version of the last commit that cannot come to nothing any more.
func (s *Claims) Settled() uint64 { return s.version - uint64(len(s.ahead)) }

// Settle confirms that the oldest commit that is ahead was recorded.
func (s *Claims) Settle() {
	s.prune(s.ahead[0].time)
	s.ahead[0] = step{}
	s.ahead = s.ahead[1:]
}

// Withdraw brings the state back to what is settled.
func (s *Claims) Withdraw() {
	for _, done := range slices.Backward(s.ahead) {
		s.takeBack(done)
	}
	s.ahead = nil
}

func (s *Claims) takeBack(done step) {
	if done.answered {
		s.answers.takeBack(done.answerBefore)
	}
	for _, ch := range slices.Backward(done.changes) {
		s.undo(ch)
	}
	s.claims.cut(done.extent)
	s.version--
	s.time = done.before
}

// undo takes back a change. A claim that was made stays until it is cut off, and counts and
// waits for nothing.
func (s *Claims) undo(ch claimChange) {
	s.count(ch.claim, -1)
	s.stand(ch.claim, ch.was)
	if ch.made {
		s.claims.forget(ch.claim, ch.latest)
		s.signatureNonces.takeBack(ch.signatureNonce)
		s.nonces.takeBack(ch.nonce)
	}
}
