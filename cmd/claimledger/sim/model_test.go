package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

func newMetrics() *commands.Metrics { return commands.NewMetrics(prometheus.NewRegistry()) }

// model is what the log says, folded by nobody but it.
type model struct {
	w          *world
	records    []eventstore.Record
	boundaries map[domain.Boundary][]eventstore.Record
	claims     map[string]*domain.Claims
	registries map[string]*domain.Registry
	created    map[string]bool                // services, deleted ones too
	commits    map[string]bool                // ids
	commands   map[string][]eventstore.Record // by agent: command 17
	sightings  map[string]time.Time           // of nonces and keys
}

func newModel(w *world) *model {
	return &model{
		w: w, boundaries: map[domain.Boundary][]eventstore.Record{},
		claims: map[string]*domain.Claims{}, registries: map[string]*domain.Registry{}, created: map[string]bool{},
		commits: map[string]bool{}, commands: map[string][]eventstore.Record{}, sightings: map[string]time.Time{},
	}
}

func (m *model) head(b domain.Boundary) eventstore.Head {
	if all := m.boundaries[b]; len(all) > 0 {
		return all[len(all)-1].Head()
	}
	return eventstore.Head{}
}

func (m *model) claimsOf(ns string) *domain.Claims {
	if m.claims[ns] == nil {
		m.claims[ns] = domain.NewClaims(ns)
	}
	return m.claims[ns]
}

func (m *model) registryOf(ns string) *domain.Registry {
	if m.registries[ns] == nil {
		m.registries[ns] = domain.NewRegistry(ns)
	}
	return m.registries[ns]
}

// claimsAt folds a namespace's claims up to a version.
func (m *model) claimsAt(ns string, version uint64) *domain.Claims {
	if s := m.claimsOf(ns); s.Version() == version {
		return s
	}
	s := domain.NewClaims(ns)
	for _, r := range m.boundaries[domain.ClaimsOf(ns)][:version] {
		if err := s.Apply(r.Commit); err != nil {
			m.w.fail("what was folded cannot be folded again: %v", err)
		}
	}
	return s
}

func (m *model) registryAt(ns string, version uint64) *domain.Registry {
	if r := m.registryOf(ns); r.Version() == version {
		return r
	}
	s := domain.NewRegistry(ns)
	for _, r := range m.boundaries[domain.RegistryOf(ns)][:version] {
		if err := s.Apply(r.Commit); err != nil {
			m.w.fail("what was folded cannot be folded again: %v", err)
		}
	}
	return s
}

func (m *model) exists(service string) bool {
	for _, r := range m.registries {
		if _, ok := r.Service(service); ok {
			return true
		}
	}
	return false
}

// tear forgets what the log lost, and what was promised with it.
func (m *model) tear(after uint64) {
	kept := m.records[:after]
	*m = *newModel(m.w)
	for _, r := range kept {
		if err := errors.Join(m.once(r.Commit), m.fold(r)); err != nil {
			m.w.fail("%w", err)
		}
	}
	for _, c := range m.w.commands {
		if c.done && c.result.Position > after {
			c.judged = true
		}
	}
}

// take reads what is new in the log. Every commit must follow from the ones before it.
func (m *model) take() {
	all := m.w.ledger.memory
	if n := len(m.records); n > 0 { // what was recorded stays
		if r, err := all.At(context.Background(), uint64(n)); err != nil || r.Hash != m.records[n-1].Hash {
			m.w.fail("the commit at %d is gone: %v", n, err)
			return
		}
	}
	err := all.ReadAll(context.Background(), "", uint64(len(m.records)), func(r eventstore.Record) error {
		if err := m.judge(r); err != nil {
			return err
		}
		return m.fold(r)
	})
	if err != nil {
		m.w.fail("%w", err)
	}
}

// fold takes a commit into the states. They refuse gaps, transitions outside the diagram,
// second active claims and exceeded limits by themselves.
func (m *model) fold(r eventstore.Record) error {
	c := r.Commit
	if err := m.chained(r); err != nil {
		return err
	}
	var err error
	if c.Kind == domain.KindClaims {
		err = m.claimsOf(c.Namespace).Apply(c)
	} else {
		err = m.registryOf(c.Namespace).Apply(c)
	}
	for _, e := range c.Events {
		if p, ok := e.Payload.(domain.ServiceCreated); ok {
			m.created[p.ServiceID] = true
		}
	}
	m.records = append(m.records, r)
	m.boundaries[c.Boundary()] = append(m.boundaries[c.Boundary()], r)
	m.commands[c.Actor.Agent] = append(m.commands[c.Actor.Agent], r)
	m.commits[c.ID] = true
	return err
}

func (m *model) chained(r eventstore.Record) error {
	c, before := r.Commit, m.head(r.Commit.Boundary())
	switch {
	case r.Position != uint64(len(m.records))+1:
		return fmt.Errorf("position %d follows %d", r.Position, len(m.records))
	case c.Version != before.Version+1 || c.Prev != before.Hash:
		return fmt.Errorf("%s: version %d at %d does not follow version %d", c.Boundary(), c.Version, r.Position, before.Version)
	case m.commits[c.ID]:
		return fmt.Errorf("commit %s is in the log twice", c.ID)
	}
	return nil
}

// judge holds a new commit to what must be so: it is what the command leads to on the
// very state that the log gives, nobody is told anything twice, and no secret is in it.
func (m *model) judge(r eventstore.Record) error {
	c := r.Commit
	for _, raw := range m.w.secrets {
		if bytes.Contains(r.Stored, []byte(raw)) {
			return fmt.Errorf("the commit at %d shows the key %s", r.Position, raw)
		}
	}
	last := m.claimsOf(c.Namespace).Time()
	if c.Kind == domain.KindRegistry {
		last = m.registryOf(c.Namespace).Time()
	}
	if c.Time.Before(last) || c.Time.After(later(last, m.w.latest)) {
		return fmt.Errorf("the commit at %d is of %v, after one of %v and no later than %v", r.Position, c.Time, last, m.w.latest)
	}
	if err := m.once(c); err != nil {
		return fmt.Errorf("the commit at %d: %w", r.Position, err)
	}
	want, answer, err := m.decide(c)
	if err != nil {
		return fmt.Errorf("the commit at %d (%s) would not be decided so: %w", r.Position, c.Actor.Agent, err)
	}
	var got []domain.Payload
	for _, e := range c.Events {
		got = append(got, e.Payload)
	}
	if encoded(got) != encoded(want) {
		return fmt.Errorf("the commit at %d (%s) holds %s; its state leads to %s", r.Position, c.Actor.Agent, encoded(got), encoded(want))
	}
	if c.Command.Key != "" && string(c.Command.Answer) != encoded(answer) {
		return fmt.Errorf("the commit at %d (%s) answers %s; its state leads to %s", r.Position, c.Actor.Agent, c.Command.Answer, encoded(answer))
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func encoded(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// once makes sure that nonces and keys come once within their time.
func (m *model) once(c *domain.Commit) error {
	for _, e := range c.Events {
		p, ok := e.Payload.(domain.ClaimSubmitted)
		if !ok {
			continue
		}
		if m.seen(c, "nonce "+p.ServiceID+" "+p.Nonce, domain.ReplayWindow) {
			return fmt.Errorf("nonce %s of %s was replayed", p.Nonce, p.ServiceID)
		}
		if m.seen(c, "signature "+p.Signer+" "+p.SignatureNonce, domain.SignatureWindow) {
			return fmt.Errorf("signature nonce %s was replayed", p.SignatureNonce)
		}
	}
	if ref := c.Command; ref.Key != "" && m.seen(c, "key "+ref.Caller+" "+ref.Key, domain.ReplayWindow) {
		return fmt.Errorf("the key %s of %s was used again", ref.Key, ref.Caller)
	}
	return nil
}

func (m *model) seen(c *domain.Commit, what string, window time.Duration) bool {
	what = c.Boundary().String() + " " + what
	at, ok := m.sightings[what]
	m.sightings[what] = c.Time
	return ok && c.Time.Sub(at) < window
}

// decide decides the command that led to a commit on the state before it.
func (m *model) decide(c *domain.Commit) ([]domain.Payload, any, error) {
	cmd := m.w.commandOf(c)
	if cmd == nil {
		if c.Actor != (domain.Actor{Kind: domain.ActorClock}) {
			return nil, nil, fmt.Errorf("nobody asked for it")
		}
		cmd = &command{namespace: c.Namespace, claim: domain.ExpireOverdue{}}
		cmd.meta.Ref.Name = commands.ExpireOverdue
	}
	switch {
	case cmd.boundary() != c.Boundary():
		return nil, nil, fmt.Errorf("it was asked of %s", cmd.boundary())
	case identity(cmd.meta.Ref) != identity(c.Command):
		return nil, nil, fmt.Errorf("it was asked as %v, not %v", identity(cmd.meta.Ref), identity(c.Command))
	case m.w.torn && c.Kind == domain.KindClaims && m.w.stale(cmd.node):
		// Its claims are the log's, for the append says so; that its registry is what the
		// log lost shows when it looks, up to a second later.
		var own []domain.Payload
		for _, e := range c.Events {
			own = append(own, e.Payload)
		}
		return own, c.Command.Answer, nil
	case c.Kind == domain.KindRegistry:
		d, err := m.registryOf(c.Namespace).Decide(cmd.registry, cmd.meta.Ref, m.w.limits, c.Time)
		return d.Payloads, d.Answer, err
	}
	if c.Basis == nil || c.Basis.RegistryVersion > m.registryOf(c.Namespace).Version() || c.Basis.RegistryVersion < cmd.knownRegistry {
		return nil, nil, fmt.Errorf("it rests on registry %+v, between %d and %d", c.Basis, cmd.knownRegistry, m.registryOf(c.Namespace).Version())
	}
	terms := m.registryAt(c.Namespace, c.Basis.RegistryVersion).Terms()
	if *terms.Basis() != *c.Basis {
		return nil, nil, fmt.Errorf("its limits are %+v, the registry's %+v", c.Basis.Limits, terms.Basis().Limits)
	}
	terms.ServiceExists = func(id string) bool { return m.created[id] }
	d, err := m.claimsOf(c.Namespace).Decide(cmd.claim, cmd.meta.Ref, terms, c.Time)
	return d.Payloads, d.Answer, err
}

func identity(r domain.CommandRef) string {
	r.Answer = nil
	return encoded(r)
}

func (w *world) commandOf(c *domain.Commit) *command {
	var no int
	if _, err := fmt.Sscanf(c.Actor.Agent, "command %d", &no); err != nil || no >= len(w.commands) {
		return nil
	}
	return w.commands[no]
}

// check verifies the invariants after a step.
func (w *world) check() {
	for _, n := range w.nodes {
		w.latest = later(w.latest, w.clock(n))
	}
	w.model.take()
	for _, c := range w.commands {
		if w.failed == nil && c.done && !c.judged {
			c.judged = true
			w.note("  command %d: %s", c.no, c.outcome())
			w.judge(c)
		}
	}
	for _, c := range w.commands {
		w.judgeRecorded(c)
	}
	for _, n := range w.nodes {
		if n.serves() && w.failed == nil {
			w.judgeNode(n)
		}
	}
}

// judgeNode compares a node's registries with the log's.
func (w *world) judgeNode(n *node) {
	if n.state == deaf && !w.torn {
		w.fail("node %d follows a sound log no more: %v", n.id, n.ended)
	}
	if w.torn {
		return // finish does
	}
	for ns, want := range w.model.registries {
		n.exec.Directory().View(ns, func(r *domain.Registry) {
			if r.Version() > want.Version() || r.Version() == want.Version() && !reflect.DeepEqual(r.Snapshot(), want.Snapshot()) {
				w.fail("node %d has another registry of %s than the log", n.id, ns)
			}
		})
	}
}

// judgeRecorded holds the log to what was said of a command: what was acknowledged is in
// it once, where it was said to be, and what was refused is not.
func (w *world) judgeRecorded(c *command) {
	found := w.model.commands[agent(c.no)]
	switch {
	case len(found) > 1:
		w.fail("command %d is in the log at %d and at %d", c.no, found[0].Position, found[1].Position)
	case !c.done || c.unknown() || w.torn:
	case len(found) == 0 && c.err == nil && c.result.Appended:
		w.fail("command %d was acknowledged at %d and is not in the log", c.no, c.result.Position)
	case len(found) == 1 && (c.err != nil || !c.result.Appended || c.result.Position != found[0].Position || !c.result.Time.Equal(found[0].Commit.Time)):
		w.fail("command %d is in the log at %d, and was answered %s", c.no, found[0].Position, c.outcome())
	}
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
