package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// command is one request of a client, and what became of it.
type command struct {
	no        int
	node      *node // nil: it was given before the run
	life      int
	namespace string
	claim     domain.ClaimCommand // one of the two is set
	registry  domain.RegistryCommand
	meta      commands.Meta
	cancel    context.CancelFunc

	// What was known when it was asked.
	asked         uint64 // version of the boundary in the log
	knownRegistry uint64 // version of the registry at the node

	done    bool
	crashed bool // its client has not heard how it ended
	judged  bool
	answer  any
	result  commands.Result
	err     error
}

func (c *command) boundary() domain.Boundary {
	if c.claim != nil {
		return domain.ClaimsOf(c.namespace)
	}
	return domain.RegistryOf(c.namespace)
}

func (c *command) String() string {
	cmd := any(c.claim)
	if c.claim == nil {
		cmd = c.registry
	}
	text, _ := json.Marshal(cmd)
	key := ""
	if c.meta.Ref.Key != "" {
		key = fmt.Sprintf(" with the key %s of %s", c.meta.Ref.Key, c.meta.Ref.Caller)
	}
	return fmt.Sprintf("command %d in %s: %T %s%s", c.no, c.namespace, cmd, text, key)
}

func (c *command) outcome() string {
	switch {
	case c.crashed:
		return "its node crashed"
	case c.err != nil:
		return c.err.Error()
	}
	text, _ := json.Marshal(c.answer)
	return fmt.Sprintf("%s at %d, appended: %t", text, c.result.Position, c.result.Appended)
}

// unknown reports whether its client cannot know whether it was recorded.
func (c *command) unknown() bool { return c.crashed || errors.Is(c.err, eventstore.ErrOutcomeUnknown) }

// newCommand numbers a command, and marks what it leads to with its number.
func (w *world) newCommand(namespace string, actor domain.Actor, ref domain.CommandRef) *command {
	c := &command{no: len(w.commands), namespace: namespace}
	actor.Agent = agent(c.no)
	c.meta = commands.Meta{Actor: actor, Ref: ref}
	w.commands = append(w.commands, c)
	return c
}

func agent(no int) string { return fmt.Sprintf("command %d", no) }

// execute gives a command at once, before the run.
func (w *world) execute(x *commands.Executor, namespace string, cmd domain.RegistryCommand) {
	c := w.newCommand(namespace, domain.Actor{Kind: domain.ActorOperator}, domain.CommandRef{Name: fmt.Sprintf("%T", cmd)})
	c.registry = cmd
	answer, result, err := x.Registry(context.Background(), namespace, cmd, c.meta)
	if err != nil {
		w.fail("setting up: %v", err)
	}
	c.answer, c.result, c.done = answer, result, true
}

// give hands a command to a node.
func (w *world) give(n *node, c *command) {
	c.node, c.life = n, n.life
	c.asked, c.knownRegistry = w.model.head(c.boundary()).Version, n.registryVersion(c.namespace)
	ctx, cancel := context.WithCancel(as(n.ctx, c.no))
	c.cancel = cancel
	w.note("node %d is given %s", n.id, c)
	x := n.exec
	go func() {
		if c.claim != nil {
			c.answer, c.result, c.err = asAny(x.Claims(ctx, c.namespace, c.claim, c.meta))
		} else {
			c.answer, c.result, c.err = asAny(x.Registry(ctx, c.namespace, c.registry, c.meta))
		}
		c.done = true
	}()
}

func asAny[T any](answer T, r commands.Result, err error) (any, commands.Result, error) {
	return answer, r, err
}

func (w *world) inFlight(n *node) (open []*command) {
	for _, c := range w.commands {
		if c.node == n && !c.done && !c.crashed {
			open = append(open, c)
		}
	}
	return open
}

// someCommand draws one that a client of a namespace may send.
func (w *world) someCommand() *command {
	ns := pick(w.rng, namespaces[:w.fewNames]...)
	if w.rng.IntN(8) == 0 {
		if c := w.again(); c != nil {
			return c
		}
	}
	if w.rng.IntN(6) == 0 {
		cmd := w.someRegistryCommand(ns)
		c := w.newCommand(ns, domain.Actor{Kind: domain.ActorOwner, ID: "owner-of-" + ns}, w.ref(fmt.Sprintf("%T", cmd), "owner-of-"+ns, cmd))
		c.registry = cmd
		return c
	}
	cmd := w.someClaimCommand(ns)
	actor, caller := domain.Actor{Kind: domain.ActorOwner, ID: "owner-of-" + ns}, "owner-of-"+ns
	if s, ok := cmd.(domain.Submit); ok {
		caller = "key-of-" + s.ServiceID
		actor = domain.Actor{Kind: domain.ActorServiceKey, ID: caller}
	}
	c := w.newCommand(ns, actor, w.ref(fmt.Sprintf("%T", cmd), caller, cmd))
	c.claim = cmd
	return c
}

// ref is a command's identity. Few keys make many coincidences.
func (w *world) ref(name, caller string, request any) domain.CommandRef {
	ref := domain.CommandRef{Name: name}
	if w.rng.Float64() < w.keyed {
		text, _ := json.Marshal(request)
		ref.Caller, ref.Key, ref.Request = caller, fmt.Sprintf("k%d", w.rng.IntN(30)), domain.HashOf(text)
	}
	return ref
}

// again repeats a command that had a key, as a client does that has heard nothing: the
// request is the same, its signature is new.
func (w *world) again() *command {
	var keyed []*command
	for _, c := range w.commands {
		if c.meta.Ref.Key != "" && (c.done || c.crashed) {
			keyed = append(keyed, c)
		}
	}
	if len(keyed) == 0 {
		return nil
	}
	before := keyed[max(0, len(keyed)-1-w.rng.IntN(min(8, len(keyed))))]
	c := w.newCommand(before.namespace, before.meta.Actor, before.meta.Ref)
	c.claim, c.registry = before.claim, before.registry
	if s, ok := c.claim.(domain.Submit); ok {
		s.ClaimID, s.SignatureNonce = w.newClaim(before.namespace), fmt.Sprintf("again-%d", c.no)
		c.claim = s
	}
	return c
}

func (w *world) newClaim(namespace string) string {
	w.ids++
	id := fmt.Sprintf("claim_%d", w.ids)
	w.claims[namespace] = append(w.claims[namespace], id)
	return id
}

func (w *world) someClaimCommand(ns string) domain.ClaimCommand {
	if known := w.claims[ns]; len(known) > 0 {
		id := known[max(0, len(known)-1-w.rng.IntN(6))]
		switch n := w.rng.IntN(100); {
		case n < 30:
			return domain.Approve{ClaimID: id, ExpiresAt: w.someEnd()}
		case n < 36:
			return domain.Reject{ClaimID: id, Reason: "no"}
		case n < 46:
			return domain.Revoke{ClaimID: id}
		case n < 50:
			return domain.Expire{ClaimID: id}
		}
	}
	s := pick(w.rng, w.services...)
	return domain.Submit{
		ClaimID: w.newClaim(ns), ServiceID: s.id, Service: s.id, ServiceNamespace: s.namespace,
		PublicKey: fmt.Sprintf("ed25519:agent-%d", w.rng.IntN(5)), AgentIP: "203.0.113.45",
		Nonce: fmt.Sprintf("nonce-%d", w.rng.IntN(60)), Signer: ns, SignatureNonce: fmt.Sprintf("signature-%d", w.rng.IntN(60)),
	}
}

func (w *world) someEnd() *time.Time {
	if w.rng.IntN(2) == 0 {
		return nil
	}
	return new(w.now.Add(pick(w.rng, time.Second, time.Minute, time.Hour, 30*time.Hour)))
}

func (w *world) createService(ns string) domain.CreateService {
	w.ids++
	id := fmt.Sprintf("service-%d", w.ids)
	w.services = append(w.services, service{id, ns})
	return domain.CreateService{ServiceID: id, Slug: id, Name: id}
}

func (w *world) someRegistryCommand(ns string) domain.RegistryCommand {
	own := "none"
	for _, s := range w.services {
		if s.namespace == ns && (own == "none" || w.rng.IntN(2) == 0) {
			own = s.id
		}
	}
	switch n := w.rng.IntN(100); {
	case n < 30:
		p := domain.ChangePolicy{MaxPending: new(1 + w.rng.IntN(5)), MaxAgents: new(1 + w.rng.IntN(4)), MaxServices: new(1 + w.rng.IntN(3))}
		if w.rng.IntN(3) == 0 {
			p.ServiceIDs = &[]string{pick(w.rng, w.services...).id}
		}
		if w.rng.IntN(3) == 0 {
			p.PendingExpiryHours = new(w.rng.IntN(3))
		}
		return p
	case n < 45:
		return w.createService(ns)
	case n < 55:
		return domain.DeleteService{ServiceID: own}
	case n < 80:
		w.ids++
		raw := fmt.Sprintf("sk_live_%032d", w.ids)
		w.secrets = append(w.secrets, raw)
		return domain.CreateServiceKey{KeyID: fmt.Sprintf("key-%d", w.ids), ServiceID: own, Prefix: raw[:12], Hash: domain.HashOf([]byte(raw))}
	case n < 90:
		return domain.DeactivateNamespace{}
	default:
		return domain.ActivateNamespace{}
	}
}
