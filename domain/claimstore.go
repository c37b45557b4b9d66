package domain

import (
	"encoding/binary"
	"slices"
	"time"
)

// claimStore holds claims, each by its number, which is how many were submitted before it.
// What it holds of them stands in columns: that takes less memory than a value for each, and
// the garbage collector has nothing to look for in it. A text stands there once.
type claimStore struct {
	texts     arena      // ids and keys
	facts     []fact     // of each claim, that never change
	standings []standing // of each claim, that do

	// Agents, each by its number: how many keys were there before its own.
	keys     []place
	lastPair []uint32 // the pair of the agent that came last, +1

	// Pairs of an agent and a service, each by its number: how many were there before it.
	pairs  []pair
	latest []uint32 // the claim that came last

	services, slugs names

	byID, byKey, byPair index

	due    []wait
	places []uint32 // of each claim, where it is in due, +1; 0: it does not end by itself
}

// fact is what never changes of a claim.
type fact struct {
	id   place
	pair uint32
	slug uint32
}

// pair is what at most one active claim exists for.
type pair struct {
	agent, service uint32
	before         uint32 // the pair of the same agent that came before it, +1; 0: none
}

// standing is what changes of a claim.
type standing struct {
	version    uint64  // of the commit that changed it last
	until      instant // when the state ends by itself; pending and approved only
	approvedAt instant
	status     statusCode
}

// What a claim, an agent and a pair take in the columns, in bytes.
const (
	claimSize = 16 + 40 + 4
	agentSize = 8 + 4
	pairSize  = 12 + 4
)

// statusCode is a Status in a byte. It stands in snapshots.
type statusCode uint8

const (
	codePending statusCode = iota + 1
	codeApproved
	codeRejected
	codeRevoked
	codeExpired
)

// status is the code's name; Statuses has them in the same order.
func (c statusCode) status() Status { return Statuses[c-1] }

func (s *standing) active() bool { return s.status == codePending || s.status == codeApproved }

func (s *standing) overdue(now time.Time) bool {
	return s.active() && !s.until.none() && !now.Before(s.until.time())
}

// statusAt is the state as every decision must see it: past its time, an active
// claim is expired whether or not that has been recorded.
func (s *standing) statusAt(now time.Time) Status {
	if s.overdue(now) {
		return StatusExpired
	}
	return s.status.status()
}

// end is the time at which the state ends by itself, where it does.
func (s *standing) end() *time.Time {
	if s.until.none() {
		return nil
	}
	until := s.until.time()
	return &until
}

// len is how many claims there are.
func (s *claimStore) len() int { return len(s.facts) }

// find gives the claim with an id.
func (s *claimStore) find(id string) (claim uint32, ok bool) {
	return s.byID.get(hashText(id), func(n uint32) bool { return string(s.texts.at(s.facts[n].id)) == id })
}

// agent gives the agent with a key.
func (s *claimStore) agent(key string) (agent uint32, ok bool) {
	return s.agentOfHash(hashText(key), key)
}

func (s *claimStore) agentOfHash(hash uint32, key string) (agent uint32, ok bool) {
	return s.byKey.get(hash, func(n uint32) bool { return string(s.texts.at(s.keys[n])) == key })
}

func (s *claimStore) pair(agent, service uint32) (n uint32, ok bool) {
	return s.byPair.get(hashPair(agent, service), func(n uint32) bool {
		return s.pairs[n].agent == agent && s.pairs[n].service == service
	})
}

func hashPair(agent, service uint32) uint32 {
	var raw [8]byte
	binary.LittleEndian.PutUint32(raw[:4], agent)
	binary.LittleEndian.PutUint32(raw[4:], service)
	return hashBytes(raw[:])
}

// latestOf gives the last claim of a key on a service.
func (s *claimStore) latestOf(service, key string) (claim uint32, ok bool) {
	of, known := s.services.number[service]
	if !known {
		return 0, false
	}
	agent, known := s.agent(key)
	if !known {
		return 0, false
	}
	pair, known := s.pair(agent, of)
	if !known {
		return 0, false
	}
	return s.latest[pair], true
}

func (s *claimStore) id(claim uint32) string        { return string(s.texts.at(s.facts[claim].id)) }
func (s *claimStore) slug(claim uint32) string      { return s.slugs.list[s.facts[claim].slug] }
func (s *claimStore) agentOf(claim uint32) uint32   { return s.pairs[s.facts[claim].pair].agent }
func (s *claimStore) serviceOf(claim uint32) uint32 { return s.pairs[s.facts[claim].pair].service }
func (s *claimStore) key(claim uint32) string       { return string(s.texts.at(s.keys[s.agentOf(claim)])) }
func (s *claimStore) service(claim uint32) string   { return s.services.list[s.serviceOf(claim)] }

// servicesOf lists the services that an agent has claims on, in the order of the first ones,
// each with the last claim on it.
func (s *claimStore) servicesOf(agent uint32) (services, latest []uint32) {
	for n := s.lastPair[agent]; n != 0; n = s.pairs[n-1].before {
		services, latest = append(services, s.pairs[n-1].service), append(latest, s.latest[n-1])
	}
	slices.Reverse(services)
	slices.Reverse(latest)
	return services, latest
}

// add takes in a claim, whose id is new. before is the last one of its pair, +1; 0: it is the first.
func (s *claimStore) add(id, service, slug, key string) (claim, before uint32) {
	at := s.texts.add([]byte(id)) // before its key: who cuts off the claim cuts off both
	return s.put(at, s.agentWith(key), s.services.of(service), s.slugs.of(slug))
}

// agentWith gives the agent with a key, which may be a new one.
func (s *claimStore) agentWith(key string) (agent uint32) {
	hash := hashText(key)
	agent, known := s.agentOfHash(hash, key)
	if !known {
		agent = uint32(len(s.keys))
		s.keys, s.lastPair = append(s.keys, s.texts.add([]byte(key))), append(s.lastPair, 0)
		s.byKey.add(hash, agent)
	}
	return agent
}

// put takes in a claim whose texts are there.
func (s *claimStore) put(id place, agent, service, slug uint32) (claim, before uint32) {
	claim = uint32(len(s.facts))
	n, known := s.pair(agent, service)
	if known {
		before = s.latest[n] + 1
		s.latest[n] = claim
	} else {
		n = uint32(len(s.pairs))
		s.pairs, s.latest = append(s.pairs, pair{agent, service, s.lastPair[agent]}), append(s.latest, claim)
		s.lastPair[agent] = n + 1
		s.byPair.add(hashPair(agent, service), n)
	}
	s.facts = append(s.facts, fact{id, n, slug})
	s.standings, s.places = append(s.standings, standing{}), append(s.places, 0)
	s.byID.add(hashBytes(s.texts.at(id)), claim)
	return claim, before
}

// extent is how much there is in a store.
type extent struct{ claims, agents, pairs, services, slugs int }

func (s *claimStore) extent() extent {
	return extent{len(s.facts), len(s.keys), len(s.pairs), len(s.services.list), len(s.slugs.list)}
}

// forget makes another claim the last of the pair of one that is to be cut off.
func (s *claimStore) forget(claim, before uint32) {
	if before != 0 {
		s.latest[s.facts[claim].pair] = before - 1
	}
}

// cut takes off what came after there was so much. None of it is waited for, and of what
// stays, no pair has its last claim in it.
func (s *claimStore) cut(to extent) {
	if to.claims == len(s.facts) {
		return
	}
	for n := len(s.facts) - 1; n >= to.claims; n-- {
		id := s.texts.at(s.facts[n].id)
		slot, _ := s.byID.find(hashBytes(id), func(m uint32) bool { return m == uint32(n) })
		s.byID.remove(slot)
	}
	for n := len(s.pairs) - 1; n >= to.pairs; n-- {
		slot, _ := s.byPair.find(hashPair(s.pairs[n].agent, s.pairs[n].service), func(m uint32) bool { return m == uint32(n) })
		s.byPair.remove(slot)
		s.lastPair[s.pairs[n].agent] = s.pairs[n].before
	}
	for n := len(s.keys) - 1; n >= to.agents; n-- {
		slot, _ := s.byKey.find(hashBytes(s.texts.at(s.keys[n])), func(m uint32) bool { return m == uint32(n) })
		s.byKey.remove(slot)
	}
	s.texts.cut(s.facts[to.claims].id)
	s.facts, s.standings, s.places = s.facts[:to.claims], s.standings[:to.claims], s.places[:to.claims]
	s.pairs, s.latest = s.pairs[:to.pairs], s.latest[:to.pairs]
	s.keys, s.lastPair = s.keys[:to.agents], s.lastPair[:to.agents]
	s.services.cut(to.services)
	s.slugs.cut(to.slugs)
}

// room makes an empty store's columns large enough for so much.
func (s *claimStore) room(claims, agents, pairs int) {
	s.facts, s.standings, s.places = make([]fact, 0, claims), make([]standing, 0, claims), make([]uint32, 0, claims)
	s.keys, s.lastPair = make([]place, 0, agents), make([]uint32, 0, agents)
	s.pairs, s.latest = make([]pair, 0, pairs), make([]uint32, 0, pairs)
	s.byID.room(claims)
	s.byKey.room(agents)
	s.byPair.room(pairs)
}

// size is how many bytes it takes.
func (s *claimStore) size() int64 {
	return int64(cap(s.facts))*claimSize + int64(cap(s.keys))*agentSize + int64(cap(s.pairs))*pairSize +
		s.texts.bytes + s.services.bytes + s.slugs.bytes + s.byID.size() + s.byKey.size() + s.byPair.size() +
		int64(cap(s.due))*waitSize
}

// names numbers texts of which there are few.
type names struct {
	list   []string
	number map[string]uint32
	bytes  int64
}

// nameSize is about what one takes beside its text, in bytes.
const nameSize = 80

// of gives a text its number.
func (n *names) of(text string) uint32 {
	if number, ok := n.number[text]; ok {
		return number
	}
	if n.number == nil {
		n.number = map[string]uint32{}
	}
	number := uint32(len(n.list))
	n.list, n.number[text] = append(n.list, text), number
	n.bytes += int64(len(text)) + nameSize
	return number
}

// cut takes off those from a number on.
func (n *names) cut(number int) {
	for _, text := range n.list[number:] {
		delete(n.number, text)
		n.bytes -= int64(len(text)) + nameSize
	}
	n.list = n.list[:number]
}

// tally counts something of what has numbers.
type tally struct {
	counts []uint32
	some   int // how many have any
}

func (t *tally) add(number uint32, n int) {
	for len(t.counts) <= int(number) {
		t.counts = append(t.counts, 0)
	}
	before := t.counts[number]
	t.counts[number] += uint32(n)
	switch {
	case before == 0:
		t.some++
	case t.counts[number] == 0:
		t.some--
	}
}

func (t *tally) of(number uint32) int {
	if int(number) >= len(t.counts) {
		return 0
	}
	return int(t.counts[number])
}

// without is how many have any left when so many are taken away.
func (t *tally) without(gone map[uint32]int) int {
	n := t.some
	for number, taken := range gone {
		if t.of(number) == taken {
			n--
		}
	}
	return n
}

func (t *tally) size() int64 { return int64(cap(t.counts)) * 4 }
