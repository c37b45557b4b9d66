package domain

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Kind names one of the two consistency boundaries of a namespace.
type Kind string

const (
	// KindRegistry is the namespace itself: owners, policy, services, keys, webhooks.
	KindRegistry Kind = "registry"
	// KindClaims is the namespace's claims.
	KindClaims Kind = "claims"
)

// Boundary is the unit within which commits are ordered without gaps and decided
// one after another.
type Boundary struct {
	Namespace string
	Kind      Kind
}

func (b Boundary) String() string { return b.Namespace + "/" + string(b.Kind) }

// RegistryOf is the registry boundary of a namespace.
func RegistryOf(namespace string) Boundary { return Boundary{namespace, KindRegistry} }

// ClaimsOf is the claims boundary of a namespace.
func ClaimsOf(namespace string) Boundary { return Boundary{namespace, KindClaims} }

// Hash is the SHA-256 of the stored bytes of a commit. The zero Hash stands for
// "no commit before".
type Hash [sha256.Size]byte

// HashOf is the hash of stored bytes.
func HashOf(stored []byte) Hash { return sha256.Sum256(stored) }

// IsZero reports whether h stands for "no commit".
func (h Hash) IsZero() bool { return h == Hash{} }

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText writes lower-case hex, and nothing for the zero Hash.
func (h Hash) MarshalText() ([]byte, error) {
	if h.IsZero() {
		return nil, nil
	}
	return []byte(h.String()), nil
}

// UnmarshalText reads what MarshalText writes.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*h = Hash{}
		return nil
	}
	if len(text) != 2*sha256.Size {
		return fmt.Errorf("a hash is %d hex digits, not %d", 2*sha256.Size, len(text))
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// ActorKind says what sort of caller caused a commit.
type ActorKind string

const (
	ActorOperator      ActorKind = "operator"       // the command line of whoever runs the ledger
	ActorOwner         ActorKind = "owner"          // a session of an owner; ID is the owner's id
	ActorManagementKey ActorKind = "management_key" // ID is the key's id
	ActorServiceKey    ActorKind = "service_key"    // ID is the key's id, Agent the key that signed
	ActorClock         ActorKind = "clock"          // time passed
	ActorRelay         ActorKind = "relay"          // a webhook's endpoint asked not to be called again
)

// Actor is who caused a commit. It never holds a secret.
type Actor struct {
	Kind  ActorKind `json:"kind"`
	ID    string    `json:"id,omitempty"`
	Agent string    `json:"agent,omitempty"`
}

// CommandRef identifies the command that led to a commit, so that a retry of it can
// be recognised. Key, Request and Answer are there when the caller sent an
// Idempotency-Key; Answer is what it was told, without secrets.
type CommandRef struct {
	Name    string          `json:"name"`
	Caller  string          `json:"caller,omitempty"`
	Key     string          `json:"idempotency_key,omitempty"`
	Request Hash            `json:"request,omitzero"`
	Answer  json.RawMessage `json:"answer,omitempty"`
}

// Basis is what a decision about claims took from the registry. It is recorded
// with the commit so that a replay of the claims boundary alone can check it.
type Basis struct {
	RegistryVersion uint64 `json:"registry_version"` // of the namespace's own registry
	Limits          Limits `json:"limits"`
}

// Commit is one decision: events that happen together or not at all. It is
// stored as one message, and its stored bytes are never rewritten.
type Commit struct {
	ID        string     `json:"id"` // ULID
	Namespace string     `json:"namespace"`
	Kind      Kind       `json:"boundary"`
	Version   uint64     `json:"version"` // contiguous within the boundary, from 1
	Prev      Hash       `json:"prev"`    // of the commit before it in the boundary
	Time      time.Time  `json:"time"`    // never before its predecessor's
	Actor     Actor      `json:"actor"`
	Command   CommandRef `json:"command"`
	Basis     *Basis     `json:"basis,omitempty"`
	Events    []Event    `json:"events"`
}

// Boundary is where the commit belongs.
func (c *Commit) Boundary() Boundary { return Boundary{c.Namespace, c.Kind} }

// NewCommit puts a decision's payloads into a commit and numbers its events. Version
// and Prev are the store's to fill in.
func NewCommit(id string, b Boundary, at time.Time, actor Actor, cmd CommandRef, basis *Basis, payloads []Payload) *Commit {
	c := &Commit{ID: id, Namespace: b.Namespace, Kind: b.Kind, Time: storedTime(at), Actor: actor, Command: cmd, Basis: basis}
	for i, p := range payloads {
		c.Events = append(c.Events, NewEvent(id, i, p))
	}
	return c
}

// storedTime is a time as it will be read again: in UTC, for the stored form has no
// seconds in a zone's offset, and without a reading of the monotonic clock, by which
// two commits could be in order and their stored times not.
func storedTime(t time.Time) time.Time { return t.Round(0).UTC() }

// Encode gives the bytes to store.
func (c *Commit) Encode() ([]byte, error) { return json.Marshal(c) }

// DecodeCommit reads stored bytes, bringing events of old schema versions up to
// the current one. An event type or version that this program does not know is
// an error: nobody may skip what he can't read.
func DecodeCommit(stored []byte) (*Commit, error) {
	s := scanner{rest: stored}
	c := s.commit()
	if !s.done() {
		c = new(Commit)
		if err := json.Unmarshal(stored, c); err != nil {
			return nil, fmt.Errorf("decode commit: %w", err)
		}
	}
	switch {
	case c.Version == 0:
		return nil, fmt.Errorf("decode commit %q: it has no version", c.ID)
	case c.Kind != KindRegistry && c.Kind != KindClaims:
		return nil, fmt.Errorf("decode commit %q: unknown boundary %q", c.ID, c.Kind)
	case len(c.Events) == 0:
		return nil, fmt.Errorf("decode commit %q: it has no events", c.ID)
	}
	return c, nil
}

// RecordedEvents are the events of a commit as they were recorded, from stored bytes that
// DecodeCommit reads. Their data may be a part of those bytes.
func RecordedEvents(stored []byte) ([]RecordedEvent, error) {
	if events, ok := scanEvents(stored); ok {
		return events, nil
	}
	var c struct {
		Events []RecordedEvent `json:"events"`
	}
	if err := json.Unmarshal(stored, &c); err != nil {
		return nil, fmt.Errorf("decode the events of a commit: %w", err)
	}
	return c.Events, nil
}

// EventID is the id of the n-th event (from 0) of a commit.
func EventID(commitID string, n int) string {
	return fmt.Sprintf("evt_%s_%d", strings.ToLower(commitID), n+1)
}
