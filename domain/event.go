package domain

import (
	"encoding/json"
	"errors"
	"fmt"
)

// EventType names what happened. The names are stored and public.
type EventType string

// Payload is the data of one event. A payload type is never changed once events
// of it are stored: a new shape is a new schema version with an upcaster.
type Payload interface {
	EventType() EventType
	// SchemaVersion is the version that this program writes for the type.
	SchemaVersion() int
}

// Event is a payload with its identity, as stored.
type Event struct {
	ID      string
	Payload Payload
}

// NewEvent makes the n-th event (from 0) of a commit.
func NewEvent(commitID string, n int, p Payload) Event {
	return Event{ID: EventID(commitID, n), Payload: p}
}

// Type is the event's type.
func (e Event) Type() EventType { return e.Payload.EventType() }

// RecordedEvent is an event as it was recorded: its data is not brought up to the current
// schema version.
type RecordedEvent struct {
	ID      string          `json:"id"`
	Type    EventType       `json:"type"`
	Version int             `json:"version"`
	Data    json.RawMessage `json:"data"`
}

// MarshalJSON writes the stored form.
func (e Event) MarshalJSON() ([]byte, error) {
	data, err := json.Marshal(e.Payload)
	if err != nil {
		return nil, err
	}
	return json.Marshal(RecordedEvent{e.ID, e.Payload.EventType(), e.Payload.SchemaVersion(), data})
}

// UnmarshalJSON reads the stored form of any schema version ever written.
func (e *Event) UnmarshalJSON(raw []byte) error {
	var s RecordedEvent
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	p, err := DecodePayload(s.Type, s.Version, s.Data)
	if err != nil {
		return fmt.Errorf("event %s: %w", s.ID, err)
	}
	e.ID, e.Payload = s.ID, p
	return nil
}

// UnknownEventError is of an event that a newer program recorded. Nothing is wrong with
// it; this program has to be replaced before it can go on.
type UnknownEventError struct {
	Type    EventType
	Version int
}

func (e *UnknownEventError) Error() string {
	return fmt.Sprintf("unknown type %q version %d; a newer program recorded it", e.Type, e.Version)
}

// DecodePayload reads the data of an event of any schema version ever written.
func DecodePayload(t EventType, version int, data json.RawMessage) (Payload, error) {
	decode, ok := decoders[t][version]
	if !ok {
		return nil, &UnknownEventError{t, version}
	}
	p, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("%s v%d: %w", t, version, err)
	}
	return p, nil
}

// decoders holds, for every event type, how each schema version ever stored is
// read into the current payload. An entry is only ever added: when version 2 of
// a type comes, its version 1 entry becomes the upcaster.
var decoders = map[EventType]map[int]func(json.RawMessage) (Payload, error){}

func decoder[P Payload](version int) { scannedDecoder[P](version, nil) }

// scannedDecoder is decoder of a payload that scan reads where it stands as this program
// writes it. It may be nil.
func scannedDecoder[P Payload](version int, scan func(*scanner) P) {
	var zero P
	versions := decoders[zero.EventType()]
	if versions == nil {
		versions = map[int]func(json.RawMessage) (Payload, error){}
		decoders[zero.EventType()] = versions
	}
	versions[version] = func(data json.RawMessage) (Payload, error) {
		if scan != nil {
			s := scanner{rest: data}
			if p := scan(&s); s.done() {
				return p, nil
			}
		}
		var p P
		if string(data) == "null" { // to encoding/json an empty payload
			return nil, errors.New("it has no data")
		}
		err := json.Unmarshal(data, &p)
		return p, err
	}
}

// EventTypes lists every type that this program can read, with its schema versions.
func EventTypes() map[EventType][]int {
	out := map[EventType][]int{}
	for t, versions := range decoders {
		for v := range versions {
			out[t] = append(out[t], v)
		}
	}
	return out
}
