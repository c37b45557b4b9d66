package domain

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// ClaimsFold is the version of what folding commits into Claims gives, and of how that is
// written down. A snapshot of another version is worth nothing, so it changes with every
// change of what the state holds or of what an event does to it; a test notices that it
// should.
const ClaimsFold = 3

// ClaimsSnapshot is what a Claims knows for certain at a moment. It stays as it is while
// the state goes on, and shares with it what never changes: columns only grow, and what is
// taken back stands behind all that is here.
type ClaimsSnapshot struct {
	namespace string
	version   uint64
	time      time.Time

	chunks          arena // its texts
	facts           []fact
	standings       []standing
	pairs           []pair
	keys            []place
	services, slugs []string

	nonces, signatureNonces, answered []sighting
	told                              []place
	answers                           arena
}

// Snapshot takes what is settled, leaving out the commits that may come to nothing. That
// costs 40 bytes a claim to copy, half a millisecond for 100,000: whoever locks the state need not
// hold the lock while it is written down.
func (s *Claims) Snapshot() *ClaimsSnapshot {
	to, answered, settled := s.claims.extent(), 0, s.time
	if len(s.ahead) > 0 {
		to, settled = s.ahead[0].extent, s.ahead[0].before
	}
	for _, a := range s.ahead {
		if a.answered {
			answered++
		}
	}
	made := s.claims.len() - to.claims // each with a nonce and a signature's
	snap := &ClaimsSnapshot{
		namespace: s.namespace, version: s.Settled(), time: settled,
		chunks: s.claims.texts.share(), facts: s.claims.facts[:to.claims], standings: slices.Clone(s.claims.standings[:to.claims]),
		pairs: s.claims.pairs[:to.pairs], keys: s.claims.keys[:to.agents],
		services: s.claims.services.list[:to.services], slugs: s.claims.slugs.list[:to.slugs],
		nonces: s.nonces.remembered(made), signatureNonces: s.signatureNonces.remembered(made),
		answered: s.answers.remembered(answered), told: s.answers.told[:len(s.answers.told)-answered], answers: s.answers.texts.share(),
	}
	for _, a := range slices.Backward(s.ahead) {
		for _, ch := range slices.Backward(a.changes) {
			if int(ch.claim) < to.claims {
				snap.standings[ch.claim] = ch.was
			}
		}
	}
	return snap
}

// Version is that of the last commit in it.
func (s *ClaimsSnapshot) Version() uint64 { return s.version }

// Claims is how many there are in it.
func (s *ClaimsSnapshot) Claims() int { return len(s.facts) }

// Parts of the byte that says what follows of a claim's standing.
const (
	statusMask     = 1<<3 - 1
	flagUntil      = 1 << 3
	flagApprovedAt = 1 << 4
)

// The least that is written of things, in bytes.
const (
	leastClaim    = 6
	leastSighting = 28
	leastAnswer   = leastSighting + 34
)

// Encode writes the snapshot down, for RestoreClaims of the same ClaimsFold. Two that know
// the same give the same bytes. The claims come in the order in which they were submitted, and
// an agent, a service or a slug with the first claim of it; what follows from the rest (the
// latest claims, counts, waits) is worked out again.
func (s *ClaimsSnapshot) Encode() ([]byte, error) {
	const aClaim = 128 // about what one takes with its key
	seen := len(s.nonces) + len(s.signatureNonces) + len(s.answered)
	out := make([]byte, 0, 256+len(s.facts)*aClaim+seen*leastSighting)
	out = appendText(out, s.namespace)
	out = binary.AppendUvarint(out, s.version)
	if s.version > 0 {
		at := instantOf(s.time)
		out = append(out, at[:]...)
	}
	out = s.appendClaims(out)
	for _, seen := range [][]sighting{s.nonces, s.signatureNonces, s.answered} {
		out = appendSightings(out, seen)
	}
	for _, told := range s.told {
		out = appendText(out, s.answers.at(told))
	}
	return out, nil
}

func (s *ClaimsSnapshot) appendClaims(out []byte) []byte {
	var agents, services, slugs uint32 // written so far
	for _, n := range []int{len(s.facts), len(s.keys), len(s.pairs)} {
		out = binary.AppendUvarint(out, uint64(n))
	}
	for i, f := range s.facts {
		of, now := s.pairs[f.pair], &s.standings[i]
		out = appendText(out, s.chunks.at(f.id))
		if out = binary.AppendUvarint(out, uint64(of.agent)); of.agent == agents {
			out = appendText(out, s.chunks.at(s.keys[of.agent]))
			agents++
		}
		if out = binary.AppendUvarint(out, uint64(of.service)); of.service == services {
			out = appendText(out, s.services[of.service])
			services++
		}
		if out = binary.AppendUvarint(out, uint64(f.slug)); f.slug == slugs {
			out = appendText(out, s.slugs[f.slug])
			slugs++
		}
		out = appendStanding(out, now)
	}
	return out
}

func appendStanding(out []byte, now *standing) []byte {
	flags := byte(now.status)
	if !now.until.none() {
		flags |= flagUntil
	}
	if !now.approvedAt.none() {
		flags |= flagApprovedAt
	}
	out = binary.AppendUvarint(append(out, flags), now.version)
	if !now.until.none() {
		out = append(out, now.until[:]...)
	}
	if !now.approvedAt.none() {
		out = append(out, now.approvedAt[:]...)
	}
	return out
}

func appendSightings(out []byte, seen []sighting) []byte {
	out = binary.AppendUvarint(out, uint64(len(seen)))
	for i := range seen {
		out = append(append(out, seen[i].key[:]...), seen[i].at[:]...)
	}
	return out
}

// RestoreClaims reads what Encode wrote. The error is of bytes that it cannot have
// written; whether they are of the log at hand is for the caller to know.
func RestoreClaims(namespace string, raw []byte) (*Claims, error) {
	w := &written{rest: raw}
	s := NewClaims(namespace)
	if err := w.restore(s); err != nil {
		return nil, fmt.Errorf("read a snapshot: %w", err)
	}
	return s, nil
}

func (w *written) restore(s *Claims) error {
	if of := w.text(); w.err == nil && string(of) != s.namespace {
		return fmt.Errorf("it is of %q, not of %q", of, s.namespace)
	}
	if s.version = w.number(); s.version > 0 {
		s.time = w.instant().time()
	}
	if err := w.claims(s); err != nil {
		return err
	}
	w.window(&s.nonces)
	w.window(&s.signatureNonces)
	w.answers(&s.answers)
	if w.err == nil && len(w.rest) > 0 {
		return fmt.Errorf("%d bytes follow it", len(w.rest))
	}
	return w.err
}

func (w *written) claims(s *Claims) error {
	n := w.count(leastClaim)
	agents, pairs := w.below(n+1), w.below(n+1)
	s.claims.room(n, agents, pairs)
	for range n {
		id := string(w.text())
		at := s.claims.texts.add([]byte(id))
		agent, service, slug := w.agent(&s.claims), w.name(&s.claims.services), w.name(&s.claims.slugs)
		now := w.standing()
		if w.err != nil {
			return w.err
		}
		if s.Has(id) {
			return fmt.Errorf("claim %s is there twice", id)
		}
		claim, before := s.claims.put(at, agent, service, slug)
		if before != 0 && s.claims.standings[before-1].active() {
			return fmt.Errorf("claim %s is active, and so is %s for the same service and key", id, s.claims.id(before-1))
		}
		s.stand(claim, now)
	}
	if agents != len(s.claims.keys) || pairs != len(s.claims.pairs) {
		w.fail()
	}
	return w.err
}

// agent reads the number of an agent, and its key where it is the next.
func (w *written) agent(s *claimStore) uint32 {
	n := w.below(len(s.keys) + 1)
	if n < len(s.keys) || w.err != nil {
		return uint32(n)
	}
	if int(s.agentWith(string(w.text()))) != n {
		w.fail() // it had another number before
	}
	return uint32(n)
}

// name reads the number of a name, and the name where it is the next.
func (w *written) name(of *names) uint32 {
	n := w.below(len(of.list) + 1)
	if n < len(of.list) || w.err != nil {
		return uint32(n)
	}
	if int(of.of(string(w.text()))) != n {
		w.fail()
	}
	return uint32(n)
}

func (w *written) standing() (now standing) {
	flags := w.bytes(1)
	now.version = w.number()
	if w.err != nil {
		return standing{}
	}
	now.status = statusCode(flags[0] & statusMask)
	if now.status < codePending || now.status > codeExpired || flags[0] > statusMask|flagUntil|flagApprovedAt {
		w.fail()
	}
	if flags[0]&flagUntil != 0 {
		now.until = w.instant()
	}
	if flags[0]&flagApprovedAt != 0 {
		now.approvedAt = w.instant()
	}
	if !now.until.none() && !now.active() {
		w.fail() // what has ended does not end
	}
	return now
}

func (w *written) window(of *window) {
	seen := w.sightings(leastSighting)
	of.room(len(seen))
	for _, s := range seen {
		of.add(s.key, s.at)
	}
}

// sightings reads some that are in the order of time, of each of which there is so much at least.
func (w *written) sightings(least int) []sighting {
	seen := make([]sighting, w.count(least))
	for i := range seen {
		copy(seen[i].key[:], w.bytes(len(seen[i].key)))
		seen[i].at = w.instant()
		if i > 0 && seen[i].at.compare(seen[i-1].at) < 0 {
			w.fail()
		}
		if w.err != nil {
			return nil
		}
	}
	return seen
}

func (w *written) answers(of *answers) {
	for _, s := range w.sightings(leastAnswer) {
		told, ok := readAnswer(w.text())
		if !ok {
			w.fail()
			return
		}
		of.tell(s.key, told, s.at)
	}
}
