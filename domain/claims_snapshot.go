package domain

import (
	"bytes"
	"cmp"
	"encoding/gob"
	"fmt"
	"slices"
	"time"
)

// ClaimsFold is the version of what folding commits into Claims gives. A snapshot of
// another version is worth nothing, so it changes with every change of what the state
// holds or of what an event does to it; a test notices that it should.
const ClaimsFold = 1

// claimsSnapshot is a Claims as it is written down: one way for what it knows, however it
// came to it. What follows from the rest (counts, waits) is worked out again.
type claimsSnapshot struct {
	Namespace string
	Version   uint64
	Time      time.Time
	Claims    []claimSnapshot // by id
	Services  []keyServices   // by key

	Nonces          []sightingSnapshot
	SignatureNonces []sightingSnapshot
	Answers         []sightingSnapshot
	Refs            []CommandRef // of the answers that can be recalled, by their key
}

type claimSnapshot struct {
	ID, Service, Key, Slug string
	Status                 Status
	Until                  *time.Time
	ApprovedAt             time.Time
	Version                uint64
	Latest                 bool // of its service and key
}

type keyServices struct {
	Key      string
	Services []string
}

type sightingSnapshot struct {
	Key string
	At  time.Time
}

// Snapshot writes the state down, for RestoreClaims of the same ClaimsFold. Two that know
// the same give the same bytes. A state in which commits may come to nothing is refused.
func (s *Claims) Snapshot() ([]byte, error) {
	if n := len(s.ahead); n > 0 {
		return nil, fmt.Errorf("%d commits of %s may come to nothing", n, s.namespace)
	}
	var out bytes.Buffer
	err := gob.NewEncoder(&out).Encode(s.snapshot())
	return out.Bytes(), err
}

func (s *Claims) snapshot() claimsSnapshot {
	snap := claimsSnapshot{
		Namespace: s.namespace, Version: s.version, Time: s.time,
		Claims: make([]claimSnapshot, 0, len(s.claims)), Services: make([]keyServices, 0, len(s.services)),
		Nonces: s.nonces.sightings(), SignatureNonces: s.signatureNonces.sightings(), Answers: s.answers.sightings(),
	}
	for _, c := range s.claims {
		snap.Claims = append(snap.Claims, claimSnapshot{
			c.id, c.pair.service, c.pair.key, c.slug, c.status, c.until, c.approvedAt, c.version, s.latest[c.pair] == c,
		})
	}
	slices.SortFunc(snap.Claims, func(a, b claimSnapshot) int { return cmp.Compare(a.ID, b.ID) })
	for key, services := range s.services {
		snap.Services = append(snap.Services, keyServices{key, services})
	}
	slices.SortFunc(snap.Services, func(a, b keyServices) int { return cmp.Compare(a.Key, b.Key) })
	for _, ref := range s.answers.refs {
		snap.Refs = append(snap.Refs, ref)
	}
	slices.SortFunc(snap.Refs, func(a, b CommandRef) int {
		return cmp.Compare(joinKey(a.Caller, a.Key), joinKey(b.Caller, b.Key))
	})
	return snap
}

// RestoreClaims reads what Snapshot wrote. The error is of bytes that it cannot have
// written; whether they are of the log at hand is for the caller to know.
func RestoreClaims(namespace string, raw []byte) (*Claims, error) {
	var snap claimsSnapshot
	if err := gob.NewDecoder(bytes.NewReader(raw)).Decode(&snap); err != nil {
		return nil, fmt.Errorf("read a snapshot: %w", err)
	}
	if snap.Namespace != namespace {
		return nil, fmt.Errorf("read a snapshot: it is of %q, not of %q", snap.Namespace, namespace)
	}
	s := NewClaims(namespace)
	s.version, s.time = snap.Version, snap.Time
	for _, c := range snap.Claims {
		if err := s.restore(c); err != nil {
			return nil, fmt.Errorf("read a snapshot: %w", err)
		}
	}
	for _, k := range snap.Services {
		s.services[k.Key] = k.Services
	}
	s.nonces.restore(snap.Nonces)
	s.signatureNonces.restore(snap.SignatureNonces)
	s.answers.restore(snap.Answers)
	for _, ref := range snap.Refs {
		s.answers.refs[joinKey(ref.Caller, ref.Key)] = ref
	}
	return s, nil
}

func (s *Claims) restore(snap claimSnapshot) error {
	c := &claim{
		id: snap.ID, pair: pair{snap.Service, snap.Key}, slug: snap.Slug,
		status: snap.Status, until: snap.Until, approvedAt: snap.ApprovedAt, version: snap.Version,
	}
	if s.claims[c.id] != nil || snap.Latest && s.latest[c.pair] != nil {
		return fmt.Errorf("claim %s is there twice", c.id)
	}
	s.claims[c.id] = c
	if snap.Latest {
		s.latest[c.pair] = c
	}
	s.count(c, 1)
	s.await(c)
	return nil
}

// sightings are what a window remembers, oldest first.
func (w *window) sightings() []sightingSnapshot {
	all := make([]sightingSnapshot, 0, len(w.order))
	for _, s := range w.order {
		all = append(all, sightingSnapshot{s.key, s.at})
	}
	return all
}

func (w *window) restore(all []sightingSnapshot) {
	for _, s := range all {
		w.add(s.Key, s.At)
	}
}
