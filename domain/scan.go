package domain

import (
	"bytes"
	"encoding/json"
	"time"
)

// maxScanned is how deep what a scanner passes over may be nested. encoding/json allows
// ten thousand levels of the whole, and no part may be taken that it would refuse there.
const maxScanned = 100

// scanner reads JSON in the one form in which this program writes it: without spaces, each
// field in its place. That is what nearly all of a log is, and a fifth of the work of
// encoding/json. At anything else it gives up, and encoding/json says what it means: what a
// scanner reads to the end is what encoding/json reads, and it refuses nothing.
type scanner struct {
	rest []byte
	odd  bool // it gave up: what it gave is worth nothing
}

func (s *scanner) giveUp() { s.rest, s.odd = nil, true }

// done reports whether everything was read.
func (s *scanner) done() bool { return !s.odd && len(s.rest) == 0 }

// has passes over text where it comes next.
func (s *scanner) has(text string) bool {
	if len(s.rest) < len(text) || string(s.rest[:len(text)]) != text {
		return false
	}
	s.rest = s.rest[len(text):]
	return true
}

// must is has of what nothing goes on without.
func (s *scanner) must(text string) {
	if !s.has(text) {
		s.giveUp()
	}
}

// token passes over a string, and gives it with its quotes. plain: between them is what it
// means.
func (s *scanner) token() (token []byte, plain bool) {
	if len(s.rest) == 0 || s.rest[0] != '"' {
		s.giveUp()
		return nil, false
	}
	plain = true
	for i := 1; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '"':
			token, s.rest = s.rest[:i+1], s.rest[i+1:]
			return token, plain
		case c == '\\':
			plain = false
			i++
		case c < ' ' || c >= 0x80: // may be no UTF-8
			plain = false
		}
	}
	s.giveUp()
	return nil, false
}

// plain reads a string that is what stands between its quotes.
func (s *scanner) plain() []byte {
	token, plain := s.token()
	if !plain {
		s.giveUp()
		return nil
	}
	return token[1 : len(token)-1]
}

func (s *scanner) text() string {
	token, plain := s.token()
	if plain {
		return string(token[1 : len(token)-1])
	}
	var text string
	if !s.odd && json.Unmarshal(token, &text) != nil {
		s.giveUp()
	}
	return text
}

// optional reads a string that is there where the text before it is.
func (s *scanner) optional(before string) string {
	if !s.has(before) {
		return ""
	}
	return s.text()
}

func (s *scanner) hash() (h Hash) {
	if h.UnmarshalText(s.plain()) != nil {
		s.giveUp()
	}
	return h
}

func (s *scanner) time() (t time.Time) {
	token, _ := s.token()
	if s.odd || t.UnmarshalJSON(token) != nil {
		s.giveUp()
	}
	return t
}

func (s *scanner) optionalTime(before string) *time.Time {
	if !s.has(before) {
		return nil
	}
	t := s.time()
	return &t
}

// number reads a whole number that every type of integer holds that is read here.
func (s *scanner) number() int {
	n, digits := 0, 0
	for digits < len(s.rest) && '0' <= s.rest[digits] && s.rest[digits] <= '9' {
		n = 10*n + int(s.rest[digits]-'0')
		digits++
		if digits > 18 {
			break
		}
	}
	if digits == 0 || digits > 18 || digits > 1 && s.rest[0] == '0' {
		s.giveUp()
		return 0
	}
	s.rest = s.rest[digits:]
	return n
}

// value passes over a value without space around it, and gives its bytes. It finds where
// the value ends, and does not look whether it is one.
func (s *scanner) value() []byte {
	from := s.rest
	depth := 0
	for len(s.rest) > 0 && depth <= maxScanned {
		switch c := s.rest[0]; {
		case c == '"':
			s.token()
		case c == '{' || c == '[':
			depth++
			s.rest = s.rest[1:]
		case c == '}' || c == ']':
			depth--
			s.rest = s.rest[1:]
		case depth == 0:
			s.scalar()
		default:
			s.rest = s.rest[1:]
		}
		if depth <= 0 && !s.odd {
			return from[:len(from)-len(s.rest)]
		}
	}
	s.giveUp()
	return nil
}

// scalar passes over a number, true, false or null.
func (s *scanner) scalar() {
	n := 0
	for n < len(s.rest) && s.rest[n] > ' ' && s.rest[n] != ',' && s.rest[n] != '}' && s.rest[n] != ']' {
		n++
	}
	if n == 0 {
		s.giveUp()
		return
	}
	s.rest = s.rest[n:]
}

// commit reads a whole commit.
func (s *scanner) commit() *Commit {
	c := new(Commit)
	s.must(`{"id":`)
	c.ID = s.text()
	s.must(`,"namespace":`)
	c.Namespace = s.text()
	s.must(`,"boundary":`)
	c.Kind = s.kind()
	s.must(`,"version":`)
	c.Version = uint64(s.number())
	s.must(`,"prev":`)
	c.Prev = s.hash()
	s.must(`,"time":`)
	c.Time = s.time()
	s.must(`,"actor":{"kind":`)
	c.Actor.Kind = ActorKind(s.text())
	c.Actor.ID = s.optional(`,"id":`)
	c.Actor.Agent = s.optional(`,"agent":`)
	s.must(`},"command":`)
	c.Command = s.command()
	if s.has(`,"basis":`) {
		c.Basis = s.basis()
	}
	s.must(`,"events":`)
	for e := range s.events() {
		p, err := DecodePayload(e.Type, e.Version, e.Data)
		if err != nil {
			s.giveUp()
			break
		}
		c.Events = append(c.Events, Event{e.ID, p})
	}
	s.must("}")
	return c
}

func (s *scanner) kind() Kind {
	switch kind := s.plain(); string(kind) {
	case string(KindClaims):
		return KindClaims
	case string(KindRegistry):
		return KindRegistry
	}
	s.giveUp()
	return ""
}

func (s *scanner) command() (c CommandRef) {
	s.must(`{"name":`)
	c.Name = s.text()
	c.Caller = s.optional(`,"caller":`)
	c.Key = s.optional(`,"idempotency_key":`)
	if s.has(`,"request":`) {
		c.Request = s.hash()
	}
	if s.has(`,"answer":`) {
		answer := s.value()
		if !json.Valid(answer) {
			s.giveUp()
		}
		c.Answer = bytes.Clone(answer) // which may be kept for long, without the rest
	}
	s.must("}")
	return c
}

func (s *scanner) basis() *Basis {
	b := new(Basis)
	s.must(`{"registry_version":`)
	b.RegistryVersion = uint64(s.number())
	s.must(`,"limits":{"max_pending":`)
	b.Limits.MaxPending = s.number()
	s.must(`,"max_agents":`)
	b.Limits.MaxAgents = s.number()
	s.must(`,"max_services":`)
	b.Limits.MaxServices = s.number()
	s.must(`,"pending_expiry_hours":`)
	b.Limits.PendingExpiryHours = s.number()
	s.must("}}")
	return b
}

// scanEvents passes over a commit up to its events. They have to be its last field: those
// of one that says them twice are the last.
func scanEvents(stored []byte) (events []RecordedEvent, ok bool) {
	s := scanner{rest: stored}
	for before := "{"; ; before = "," {
		s.must(before)
		if s.has(`"events":`) {
			break
		}
		s.token()
		s.must(":")
		s.value()
		if s.odd {
			return nil, false
		}
	}
	for e := range s.events() {
		events = append(events, e)
	}
	s.must("}")
	return events, s.done()
}

// events reads a list of at least one event. Whether the data of each is JSON is not
// looked at.
func (s *scanner) events() func(yield func(RecordedEvent) bool) {
	return func(yield func(RecordedEvent) bool) {
		s.must("[")
		for {
			e := s.event()
			if s.odd || !yield(e) {
				return
			}
			if !s.has(",") {
				break
			}
		}
		s.must("]")
	}
}

func (s *scanner) event() (e RecordedEvent) {
	s.must(`{"id":`)
	e.ID = s.text()
	s.must(`,"type":`)
	e.Type = EventType(s.text())
	s.must(`,"version":`)
	e.Version = s.number()
	s.must(`,"data":`)
	e.Data = s.value()
	s.must("}")
	return e
}
