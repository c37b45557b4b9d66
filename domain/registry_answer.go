package domain

import (
	"encoding/json"
	"time"
)

// RegistryAnswer is what the caller of a registry command is told: what the command was
// about, and what that is once the command is recorded. A repeat of the command is told
// the same, whatever happened since, so it is stored with the commit: it holds no secret,
// and nothing that was made from one.
type RegistryAnswer struct {
	ID      string `json:"id"`
	OwnerID string `json:"owner_id,omitempty"`

	Service       *ServiceAnswer       `json:"service,omitempty"`
	ServiceKey    *ServiceKeyAnswer    `json:"service_key,omitempty"`
	ManagementKey *ManagementKeyAnswer `json:"management_key,omitempty"`
	Webhook       *WebhookAnswer       `json:"webhook,omitempty"`
	PreviousUntil *time.Time           `json:"previous_until,omitempty"` // the end of the secret that was rotated out
	Policy        *Policy              `json:"policy,omitempty"`
}

// What of the objects of a registry their owner is shown. Their ids are the answer's.
type (
	// ServiceAnswer is a service.
	ServiceAnswer struct {
		Slug        string    `json:"slug"`
		Name        string    `json:"name"`
		Description string    `json:"description,omitempty"`
		CreatedAt   time.Time `json:"created_at"`
		UpdatedAt   time.Time `json:"updated_at"`
		ActiveKeys  int       `json:"active_keys"`
	}
	// ServiceKeyAnswer is a service key.
	ServiceKeyAnswer struct {
		Name      string    `json:"name,omitempty"`
		Prefix    string    `json:"prefix"`
		Active    bool      `json:"active"`
		CreatedAt time.Time `json:"created_at"`
	}
	// ManagementKeyAnswer is a management key.
	ManagementKeyAnswer struct {
		Name        string       `json:"name"`
		LastFour    string       `json:"last_four"`
		Permissions []Permission `json:"permissions"`
		Active      bool         `json:"active"`
		CreatedAt   time.Time    `json:"created_at"`
	}
	// WebhookAnswer is a webhook.
	WebhookAnswer struct {
		URL         string      `json:"url"`
		Events      []EventType `json:"events"`
		Description string      `json:"description,omitempty"`
		Active      bool        `json:"active"`
		CreatedAt   time.Time   `json:"created_at"`
	}
)

// recalled is the answer that a command had before. Answers that were stored when they
// held ids alone are completed from the state as it is now.
func (r *Registry) recalled(cmd RegistryCommand, answer json.RawMessage, now time.Time) (RegistryDecision, error) {
	var d RegistryDecision
	if err := json.Unmarshal(answer, &d.Answer); err != nil {
		return RegistryDecision{}, err
	}
	if d.Answer.shows() {
		return d, nil
	}
	return r.answered(cmd, d, now)
}

func (a *RegistryAnswer) shows() bool {
	return a.Service != nil || a.ServiceKey != nil || a.ManagementKey != nil || a.Webhook != nil || a.PreviousUntil != nil || a.Policy != nil
}

// answered adds to a decision what its command's caller is shown: the object as the
// decision's own events leave it.
func (r *Registry) answered(cmd RegistryCommand, d RegistryDecision, now time.Time) (RegistryDecision, error) {
	switch cmd.(type) {
	case ChangePolicy, CreateService, UpdateService, CreateServiceKey, CreateManagementKey, CreateWebhook, UpdateWebhook, RotateWebhookSecret:
	default:
		return d, nil // its answer is that it was done
	}
	after := r.only(d.Answer.ID)
	for _, p := range d.Payloads {
		if err := after.evolve(p, storedTime(now)); err != nil {
			return RegistryDecision{}, err
		}
	}
	if !d.Answer.show(cmd, after, r.ActiveKeys(d.Answer.ID)) {
		return RegistryDecision{}, Errorf(CodeNotFound, "It was deleted meanwhile.")
	}
	return d, nil
}

// only is a registry with one object of this one, and its policy.
func (r *Registry) only(id string) *Registry {
	one := NewRegistry(r.namespace)
	one.registered, one.policy = r.registered, r.policy
	keep(one.services, r.services, id)
	keep(one.keys, r.keys, id)
	keep(one.managers, r.managers, id)
	keep(one.webhooks, r.webhooks, id)
	return one
}

func keep[T any](to, from map[string]T, id string) {
	if v, ok := from[id]; ok {
		to[id] = v
	}
}

// show fills in what the command was about; false where that is not there.
func (a *RegistryAnswer) show(cmd RegistryCommand, after *Registry, activeKeys int) bool {
	var there bool
	switch cmd.(type) {
	case ChangePolicy:
		p := after.policy
		a.Policy, there = &p, true
	case CreateService, UpdateService:
		var s Service
		s, there = after.services[a.ID]
		a.Service = &ServiceAnswer{s.Slug, s.Name, s.Description, s.CreatedAt, s.UpdatedAt, activeKeys}
	case CreateServiceKey:
		var k ServiceKey
		k, there = after.keys[a.ID]
		a.ServiceKey = &ServiceKeyAnswer{k.Name, k.Prefix, k.Active, k.CreatedAt}
	case CreateManagementKey:
		var k ManagementKey
		k, there = after.managers[a.ID]
		a.ManagementKey = &ManagementKeyAnswer{k.Name, k.LastFour, k.Permissions, k.Active, k.CreatedAt}
	case CreateWebhook, UpdateWebhook:
		var w Webhook
		w, there = after.webhooks[a.ID]
		a.Webhook = &WebhookAnswer{w.URL, w.Events, w.Description, w.Active, w.CreatedAt}
	case RotateWebhookSecret:
		if former := after.webhooks[a.ID].Former; len(former) > 0 {
			a.PreviousUntil, there = &former[len(former)-1].Until, true
		}
	}
	return there
}
