package audit

import (
	"errors"
	"fmt"

	"github.com/claimledger/claimledger/domain"
)

// space is a namespace as its commits make it.
type space struct {
	tips map[domain.Kind]domain.Tip
	// What began before what is given is not folded: these stay as they began.
	registry *domain.Registry
	claims   *domain.Claims
	late     map[domain.Kind]bool
	rules    []rule          // by version
	known    map[string]bool // owners and management keys that ever were
	complete bool            // nothing is missing before what is given
}

// rule is what decisions on claims take from the registry, from a version of it on.
type rule struct {
	version uint64
	active  bool
	policy  domain.Policy
}

func newSpace(namespace string, complete bool) *space {
	return &space{
		tips: map[domain.Kind]domain.Tip{}, late: map[domain.Kind]bool{}, known: map[string]bool{},
		registry: domain.NewRegistry(namespace), claims: domain.NewClaims(namespace), complete: complete,
	}
}

func (s *space) folds(kind domain.Kind) bool { return !s.late[kind] }

// take checks that a commit follows what stands before it in its boundary, and could
// have been decided there.
func (s *space) take(c *domain.Commit, stored domain.Hash) error {
	tip, begun := s.tips[c.Kind]
	if !begun && !s.complete && c.Version > 1 {
		s.late[c.Kind], s.tips[c.Kind] = true, domain.TipOf(c, stored)
		return nil
	}
	tip, err := tip.Then(c, stored)
	if err == nil && s.folds(c.Kind) {
		err = s.fold(c)
	}
	s.tips[c.Kind] = tip
	return err
}

func (s *space) fold(c *domain.Commit) error {
	if c.Kind == domain.KindRegistry {
		return s.foldRegistry(c)
	}
	if _, begun := s.tips[domain.KindRegistry]; begun && s.folds(domain.KindRegistry) {
		if err := s.checkBasis(c); err != nil {
			return err
		}
	} else if s.complete {
		return errors.New("it is on claims of a namespace that was not registered before")
	}
	return s.claims.Apply(c)
}

func (s *space) foldRegistry(c *domain.Commit) error {
	if err := s.registry.Apply(c); err != nil {
		return err
	}
	now := rule{s.registry.Version(), s.registry.Active(), s.registry.Policy()}
	for _, e := range c.Events {
		switch p := e.Payload.(type) {
		case domain.NamespaceRegistered:
			if p.Namespace != c.Namespace {
				return fmt.Errorf("it registers %s in the place of %s", p.Namespace, c.Namespace)
			}
			s.known[p.OwnerID] = true
			s.rules = append(s.rules, now)
		case domain.OwnerAdded:
			s.known[p.OwnerID] = true
		case domain.ManagementKeyCreated:
			s.known[p.KeyID] = true
		case domain.PolicyChanged, domain.NamespaceActivated, domain.NamespaceDeactivated:
			s.rules = append(s.rules, now)
		}
	}
	return nil
}

// checkBasis compares what a decision says that it took from the registry with what was
// there, and the decision with that.
func (s *space) checkBasis(c *domain.Commit) error {
	if c.Basis == nil {
		return errors.New("it does not say which limits it was decided on")
	}
	of := c.Basis.RegistryVersion
	if of == 0 || of > s.registry.Version() {
		return fmt.Errorf("it was decided on version %d of the registry, which had %d by then", of, s.registry.Version())
	}
	r := s.ruleAt(of)
	if c.Basis.Limits != r.policy.Limits {
		return fmt.Errorf("it was decided on the limits %+v, and version %d of the registry has %+v", c.Basis.Limits, of, r.policy.Limits)
	}
	for _, e := range c.Events {
		if e.Type() == domain.ClaimSubmittedType && !r.active {
			return errors.New("it takes a claim for a namespace that was deactivated")
		}
	}
	return s.claims.Recheck(c, r.policy)
}

// ruleAt is what held at a version of the registry. The first is there from version 1 on.
func (s *space) ruleAt(version uint64) rule {
	// Decisions rest on what is new, nearly always.
	for i := len(s.rules) - 1; i > 0; i-- {
		if s.rules[i].version <= version {
			return s.rules[i]
		}
	}
	return s.rules[0]
}

// everywhere is what namespaces refer to in each other.
type everywhere struct {
	services map[string]string // that ever were → whose
	keys     map[string]string // of services, that ever were → which service's
}

// check makes sure that whoever acted was there before he did, and so was the service
// that a claim is on, as far as the log is given that would say so.
func (w everywhere) check(s *space, c *domain.Commit, scope Scope) error {
	if by := c.Actor; (by.Kind == domain.ActorOwner || by.Kind == domain.ActorManagementKey) && by.ID != "" && !s.known[by.ID] {
		return fmt.Errorf("the %s %s that acted was never made before", by.Kind, by.ID)
	}
	for _, e := range c.Events {
		switch p := e.Payload.(type) {
		case domain.ServiceCreated:
			if of, made := w.services[p.ServiceID]; made {
				return fmt.Errorf("service %s was made before, in %s", p.ServiceID, of)
			}
			w.services[p.ServiceID] = c.Namespace
		case domain.ServiceKeyCreated:
			w.keys[p.KeyID] = p.ServiceID
		case domain.ClaimSubmitted:
			if scope.Namespace != "" && scope.Namespace != p.ServiceNamespace {
				continue // its registry is not given
			}
			if of, made := w.services[p.ServiceID]; !made || of != p.ServiceNamespace {
				return fmt.Errorf("claim %s is on service %s of %s, which was never made before", p.ClaimID, p.ServiceID, p.ServiceNamespace)
			}
			if c.Actor.Kind == domain.ActorServiceKey && w.keys[c.Actor.ID] != p.ServiceID {
				return fmt.Errorf("claim %s was submitted with the key %s, which service %s never had before", p.ClaimID, c.Actor.ID, p.ServiceID)
			}
		}
	}
	return nil
}
