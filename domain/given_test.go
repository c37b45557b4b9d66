package domain

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// start is when every test begins.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// state is what both boundaries have in common.
type state interface {
	Apply(*Commit) error
	Version() uint64
	Time() time.Time
}

// history records decisions the way the log does. Each commit is applied twice: as
// it was decided to live, and after a trip through its stored bytes to replayed,
// which no decision ever sees. The two are compared after every commit, so a Decide
// that changed something, or a commit that reads otherwise than it was meant, fails
// the test that it happens in.
type history[S state] struct {
	t              rapid.TB
	boundary       Boundary
	live, replayed S
	now            time.Time
	prev           Hash
	stored         [][]byte

	apply func(*Commit) error // to live; nil: Apply
	equal func() bool         // nil: whether live and replayed are the same to the last field
}

func (h *history[S]) record(ref CommandRef, basis *Basis, payloads []Payload) error {
	h.t.Helper()
	c := NewCommit(fmt.Sprintf("01J%023d", h.live.Version()+1), h.boundary, h.now, Actor{Kind: ActorClock}, ref, basis, payloads)
	c.Version, c.Prev = h.live.Version()+1, h.prev
	stored, err := c.Encode()
	if err != nil {
		h.t.Fatalf("encode: %v", err)
	}
	apply := h.live.Apply
	if h.apply != nil {
		apply = h.apply
	}
	if err := apply(c); err != nil {
		return err
	}
	read, err := DecodeCommit(stored)
	if err != nil {
		h.t.Fatalf("decode: %v\n%s", err, stored)
	}
	if err := h.replayed.Apply(read); err != nil {
		h.t.Fatalf("replay: %v\n%s", err, stored)
	}
	h.prev, h.stored = HashOf(stored), append(h.stored, stored)
	h.same()
	return nil
}

// same fails when what was decided on is not what the log says.
func (h *history[S]) same() {
	h.t.Helper()
	equal := func() bool { return reflect.DeepEqual(h.live, h.replayed) }
	if h.equal != nil {
		equal = h.equal
	}
	if !equal() {
		h.t.Fatalf("the state is not what its history gives:\n%+v\n%+v", h.live, h.replayed)
	}
}

func (h *history[S]) mustRecord(ref CommandRef, basis *Basis, payloads []Payload) {
	h.t.Helper()
	if err := h.record(ref, basis, payloads); err != nil {
		h.t.Fatalf("what was decided cannot be applied: %v", err)
	}
}

// after moves the clock.
func (h *history[S]) after(d time.Duration) { h.now = h.now.Add(d) }

// claimsHistory is a claims boundary with its commits.
type claimsHistory struct {
	history[*Claims]
	terms   Terms
	ref     CommandRef // of the next commands
	deleted map[string]bool
}

func newClaimsHistory(t rapid.TB) *claimsHistory {
	h := &claimsHistory{
		history: history[*Claims]{t: t, boundary: ClaimsOf("acme"), live: NewClaims("acme"), replayed: NewClaims("acme"), now: start},
		terms:   Terms{RegistryVersion: 7, Active: true, Policy: DefaultPolicy()},
		deleted: map[string]bool{},
	}
	h.terms.ServiceExists = func(id string) bool { return !h.deleted[id] }
	return h
}

// given records events that were decided elsewhere, in one commit.
func (h *claimsHistory) given(payloads ...Payload) {
	h.t.Helper()
	h.mustRecord(CommandRef{}, &Basis{Limits: Limits{MaxPending: MaxPolicyValue, MaxAgents: MaxPolicyValue, MaxServices: MaxPolicyValue}}, payloads)
}

// when decides a command, twice, and records what it leads to.
func (h *claimsHistory) when(cmd ClaimCommand) (ClaimDecision, error) {
	h.t.Helper()
	d, err := h.live.Decide(cmd, h.ref, h.terms, h.now)
	again, errAgain := h.live.Decide(cmd, h.ref, h.terms, h.now)
	if !reflect.DeepEqual(d, again) || !reflect.DeepEqual(err, errAgain) {
		h.t.Fatalf("%T was decided in two ways:\n%+v %v\n%+v %v", cmd, d, err, again, errAgain)
	}
	h.same()
	if err != nil && !reflect.DeepEqual(d, ClaimDecision{}) {
		h.t.Fatalf("%T was refused and gave %+v", cmd, d)
	}
	if len(d.Payloads) > 0 {
		doubted := NewCommit("01J", h.boundary, h.now, Actor{Kind: ActorClock}, h.ref, h.terms.Basis(), d.Payloads)
		if err := h.live.Recheck(doubted, h.terms.Policy); err != nil {
			h.t.Fatalf("what was decided is taken for what was not: %v", err)
		}
		h.mustRecord(answered(h.ref, d.Answer), h.terms.Basis(), d.Payloads)
	}
	return d, err
}

// then expects exactly these events of a command.
func (h *claimsHistory) then(cmd ClaimCommand, want ...Payload) ClaimAnswer {
	h.t.Helper()
	d, err := h.when(cmd)
	if err != nil {
		h.t.Fatalf("%T was refused: %v", cmd, err)
	}
	expectPayloads(h.t, d.Payloads, want)
	return d.Answer
}

// accepted expects a command to be recorded, whatever the events.
func (h *claimsHistory) accepted(cmd ClaimCommand) ClaimAnswer {
	h.t.Helper()
	d, err := h.when(cmd)
	if err != nil || len(d.Payloads) == 0 {
		h.t.Fatalf("%+v: %+v, %v", cmd, d, err)
	}
	return d.Answer
}

// refused expects a code, and returns the message.
func (h *claimsHistory) refused(cmd ClaimCommand, code Code) string {
	h.t.Helper()
	_, err := h.when(cmd)
	return expectCode(h.t, err, code)
}

// registryHistory is a registry boundary with its commits.
type registryHistory struct {
	history[*Registry]
	limits OwnerLimits
	ref    CommandRef
}

func newRegistryHistory(t rapid.TB) *registryHistory {
	return &registryHistory{
		history: history[*Registry]{t: t, boundary: RegistryOf("acme"), live: NewRegistry("acme"), replayed: NewRegistry("acme"), now: start},
		limits:  DefaultOwnerLimits(),
	}
}

// registered is a namespace with one owner, whose first token is not used.
func registered(t testing.TB) *registryHistory {
	t.Helper()
	h := newRegistryHistory(t)
	h.accepted(RegisterNamespace{OwnerID: "owner-1", Token: LoginToken{hashOf("token-1"), start.Add(15 * time.Minute)}})
	return h
}

func (h *registryHistory) when(cmd RegistryCommand) (RegistryDecision, error) {
	h.t.Helper()
	d, err := h.live.Decide(cmd, h.ref, h.limits, h.now)
	again, errAgain := h.live.Decide(cmd, h.ref, h.limits, h.now)
	if !reflect.DeepEqual(d, again) || !reflect.DeepEqual(err, errAgain) {
		h.t.Fatalf("%T was decided in two ways:\n%+v %v\n%+v %v", cmd, d, err, again, errAgain)
	}
	h.same()
	if err != nil && !reflect.DeepEqual(d, RegistryDecision{}) {
		h.t.Fatalf("%T was refused and gave %+v", cmd, d)
	}
	if len(d.Payloads) > 0 {
		h.mustRecord(answered(h.ref, d.Answer), nil, d.Payloads)
	}
	return d, err
}

func (h *registryHistory) then(cmd RegistryCommand, want ...Payload) RegistryAnswer {
	h.t.Helper()
	d, err := h.when(cmd)
	if err != nil {
		h.t.Fatalf("%T was refused: %v", cmd, err)
	}
	expectPayloads(h.t, d.Payloads, want)
	return d.Answer
}

func (h *registryHistory) accepted(cmd RegistryCommand) RegistryAnswer {
	h.t.Helper()
	d, err := h.when(cmd)
	if err != nil || len(d.Payloads) == 0 {
		h.t.Fatalf("%+v: %+v, %v", cmd, d, err)
	}
	return d.Answer
}

func (h *registryHistory) refused(cmd RegistryCommand, code Code) string {
	h.t.Helper()
	_, err := h.when(cmd)
	return expectCode(h.t, err, code)
}

func answered(ref CommandRef, answer any) CommandRef {
	if ref.Key != "" {
		ref.Answer, _ = json.Marshal(answer)
	}
	return ref
}

func expectPayloads(t rapid.TB, got, want []Payload) {
	t.Helper()
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got events\n%s\nwant\n%s", printed(got), printed(want))
	}
}

func printed(payloads []Payload) string {
	text := ""
	for _, p := range payloads {
		data, _ := json.Marshal(p)
		text += fmt.Sprintf("\t%s %s\n", p.EventType(), data)
	}
	return text
}

func expectCode(t rapid.TB, err error, code Code) string {
	t.Helper()
	if ErrorCode(err) != code {
		t.Fatalf("got %v, want %s", err, code)
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

func hashOf(text string) Hash { return HashOf([]byte(text)) }

func in(d time.Duration) *time.Time {
	at := start.Add(d)
	return &at
}
