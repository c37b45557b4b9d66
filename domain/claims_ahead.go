package domain

import (
	"slices"
	"time"
)

// step is one commit that was applied, as far as taking it back needs it.
type step struct {
	before, time time.Time     // of the state before it, and its own
	changes      []claimChange // in their order
	answer       *memory
}

// claimChange is what one event did to a claim.
type claimChange struct {
	claim *claim
	was   *standing // before; nil: the claim was made, and what follows is set

	latest                *claim    // of its service and key before
	nonce, signatureNonce time.Time // when they were seen before
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
	if done.answer != nil {
		s.answers.takeBack(done.answer)
	}
	for _, ch := range slices.Backward(done.changes) {
		s.undo(ch)
	}
	s.version--
	s.time = done.before
	s.due.compact(s.pending + s.approved)
}

func (s *Claims) undo(ch claimChange) {
	c := ch.claim
	s.count(c, -1)
	if ch.was != nil {
		s.stand(c, ch.was) // what waited for the end of that state may be gone from the heap
		return
	}
	c.wait = 0
	delete(s.claims, c.id)
	s.all[c.number], s.standings[c.number] = nil, nil
	s.all, s.standings = s.all[:c.number], s.standings[:c.number]
	s.signatureNonces.takeBack(ch.signatureNonce)
	s.nonces.takeBack(ch.nonce)
	if ch.latest != nil {
		s.latest[c.pair] = ch.latest
		return
	}
	delete(s.latest, c.pair)
	of := s.services[c.pair.key]
	if s.services[c.pair.key] = of[:len(of)-1]; len(of) == 1 {
		delete(s.services, c.pair.key)
	}
}
