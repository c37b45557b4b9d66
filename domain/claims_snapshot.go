package domain

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"slices"
	"time"
)

// ClaimsFold is the version of what folding commits into Claims gives, and of how that is
// written down. A snapshot of another version is worth nothing, so it changes with every
// change of what the state holds or of what an event does to it; a test notices that it
// should.
const ClaimsFold = 2

// ClaimsSnapshot is what a Claims knows for certain at a moment. It stays as it is while
// the state goes on, and shares with it what never changes.
type ClaimsSnapshot struct {
	namespace string
	version   uint64
	time      time.Time

	claims    []*claim
	standings []*standing

	nonces, signatureNonces, answers []sighting
	told                             []*CommandRef
}

// Snapshot takes what is settled, leaving out the commits that may come to nothing. That
// costs 8 bytes a claim to copy, and no more: whoever locks the state need not hold the
// lock while it is written down.
func (s *Claims) Snapshot() *ClaimsSnapshot {
	claims, answers, settled := len(s.all), len(s.answers.order), s.time
	if len(s.ahead) > 0 {
		settled = s.ahead[0].before
	}
	for _, a := range s.ahead {
		if a.answer != nil {
			answers--
		}
		for _, ch := range a.changes {
			if ch.was == nil {
				claims--
			}
		}
	}
	made := len(s.all) - claims // each with a nonce and a signature's
	snap := &ClaimsSnapshot{
		namespace: s.namespace, version: s.Settled(), time: settled,
		claims: s.all[:claims], standings: slices.Clone(s.standings[:claims]),
		nonces: s.nonces.order[:len(s.nonces.order)-made], signatureNonces: s.signatureNonces.order[:len(s.signatureNonces.order)-made],
		answers: s.answers.order[:answers], told: s.answers.told[:answers],
	}
	for _, a := range slices.Backward(s.ahead) {
		for _, ch := range slices.Backward(a.changes) {
			if ch.claim.number < claims {
				snap.standings[ch.claim.number] = ch.was
			}
		}
	}
	return snap
}

// Version is that of the last commit in it.
func (s *ClaimsSnapshot) Version() uint64 { return s.version }

// Claims is how many there are in it.
func (s *ClaimsSnapshot) Claims() int { return len(s.claims) }

// writtenClaims is a snapshot as it is written down: one way for what the state knows,
// however it came to it. Fields of claims and sightings stand in columns, which makes it
// several times as fast to write and to read. What follows from the rest (the latest
// claims, counts, waits) is worked out again.
type writtenClaims struct {
	Namespace string
	Version   uint64
	Time      time.Time

	// Of the claims, in the order in which they were submitted.
	IDs, Services, Keys, Slugs, Statuses []string
	Until, ApprovedAt                    moments // zero: none
	Versions                             []uint64

	// Oldest first.
	Nonces, SignatureNonces writtenWindow
	AnsweredAt              moments
	Answers                 []CommandRef
}

type writtenWindow struct {
	Keys []string
	At   moments
}

// moments are times, which reach further than nanoseconds in 64 bits do.
type moments struct {
	Seconds []int64
	Nanos   []int32
}

func (m *moments) add(t time.Time) {
	m.Seconds, m.Nanos = append(m.Seconds, t.Unix()), append(m.Nanos, int32(t.Nanosecond()))
}

func (m *moments) at(i int) time.Time { return time.Unix(m.Seconds[i], int64(m.Nanos[i])).UTC() }

func (m *moments) len() int { return min(len(m.Seconds), len(m.Nanos)) }

// Encode writes the snapshot down, for RestoreClaims of the same ClaimsFold. Two that know
// the same give the same bytes.
func (s *ClaimsSnapshot) Encode() ([]byte, error) {
	var out bytes.Buffer
	err := gob.NewEncoder(&out).Encode(s.written())
	return out.Bytes(), err
}

func (s *ClaimsSnapshot) written() writtenClaims {
	w := writtenClaims{
		Namespace: s.namespace, Version: s.version, Time: s.time,
		Nonces: writeWindow(s.nonces), SignatureNonces: writeWindow(s.signatureNonces),
	}
	for i, c := range s.claims {
		now := s.standings[i]
		w.IDs, w.Slugs, w.Statuses = append(w.IDs, c.id), append(w.Slugs, c.slug), append(w.Statuses, string(now.status))
		w.Services, w.Keys, w.Versions = append(w.Services, c.pair.service), append(w.Keys, c.pair.key), append(w.Versions, now.version)
		w.ApprovedAt.add(now.approvedAt)
		if now.until != nil {
			w.Until.add(*now.until)
		} else {
			w.Until.add(time.Time{})
		}
	}
	for i, a := range s.answers {
		w.AnsweredAt.add(a.at)
		w.Answers = append(w.Answers, *s.told[i])
	}
	return w
}

func writeWindow(order []sighting) (w writtenWindow) {
	for _, s := range order {
		w.Keys = append(w.Keys, s.key)
		w.At.add(s.at)
	}
	return w
}

// RestoreClaims reads what Encode wrote. The error is of bytes that it cannot have
// written; whether they are of the log at hand is for the caller to know.
func RestoreClaims(namespace string, raw []byte) (*Claims, error) {
	var w writtenClaims
	if err := gob.NewDecoder(bytes.NewReader(raw)).Decode(&w); err != nil {
		return nil, fmt.Errorf("read a snapshot: %w", err)
	}
	if err := w.check(namespace); err != nil {
		return nil, fmt.Errorf("read a snapshot: %w", err)
	}
	s := NewClaims(namespace)
	s.version, s.time = w.Version, w.Time
	if err := w.restore(s); err != nil {
		return nil, fmt.Errorf("read a snapshot: %w", err)
	}
	w.Nonces.restore(&s.nonces)
	w.SignatureNonces.restore(&s.signatureNonces)
	for i, ref := range w.Answers {
		s.answers.tell(&ref, w.AnsweredAt.at(i))
	}
	return s, nil
}

func (w *writtenClaims) restore(s *Claims) error {
	known := map[string]string{} // one copy of what comes again and again
	same := func(text string) string {
		if _, ok := known[text]; !ok {
			known[text] = text
		}
		return known[text]
	}
	for i, id := range w.IDs {
		c := &claim{id: id, pair: pair{same(w.Services[i]), w.Keys[i]}, slug: same(w.Slugs[i]), number: i}
		before := s.latest[c.pair]
		if s.claims[id] != nil || before != nil && before.active() {
			return fmt.Errorf("claim %s is there twice", id)
		}
		if before == nil {
			s.services[c.pair.key] = append(s.services[c.pair.key], c.pair.service)
		}
		now := &standing{status: Status(same(w.Statuses[i])), approvedAt: w.ApprovedAt.at(i), version: w.Versions[i]}
		if until := w.Until.at(i); !until.IsZero() {
			now.until = &until
		}
		s.add(c, now)
	}
	return nil
}

// check refuses columns of different lengths.
func (w *writtenClaims) check(namespace string) error {
	n := len(w.IDs)
	for _, length := range []int{len(w.Services), len(w.Keys), len(w.Slugs), len(w.Statuses), len(w.Versions), w.Until.len(), w.ApprovedAt.len()} {
		if length != n {
			return fmt.Errorf("it has %d claims, and of one field %d", n, length)
		}
	}
	if len(w.Answers) != w.AnsweredAt.len() || len(w.Nonces.Keys) != w.Nonces.At.len() || len(w.SignatureNonces.Keys) != w.SignatureNonces.At.len() {
		return fmt.Errorf("what it remembers is not whole")
	}
	if w.Namespace != namespace {
		return fmt.Errorf("it is of %q, not of %q", w.Namespace, namespace)
	}
	return nil
}

func (w *writtenWindow) restore(to *window) {
	for i, key := range w.Keys {
		to.add(key, w.At.at(i))
	}
}
