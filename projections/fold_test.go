package projections

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// fold is the read models in memory, written the simplest way there is and on purpose
// without anything of what it checks.
type fold struct {
	claims     map[string]*Claim
	newest     []string // claims, oldest first
	approvals  []FeedClaim
	namespaces map[string]*Namespace
	revisions  map[string]uint64 // of services' approved sets
	services   []*Service
	keys       []*ServiceKey
	managers   []*managerOf
	webhooks   []*Webhook
	history    map[string][]HistoryEvent // by claim
	spaces     map[string][]HistoryEvent // by namespace
	events     int
}

type managerOf struct {
	namespace string
	ManagementKey
}

func newFold() *fold {
	return &fold{claims: map[string]*Claim{}, namespaces: map[string]*Namespace{}, revisions: map[string]uint64{}, history: map[string][]HistoryEvent{}, spaces: map[string][]HistoryEvent{}}
}

func foldLog(t testing.TB, log eventstore.Log, upTo uint64) *fold {
	t.Helper()
	f := newFold()
	err := log.ReadAll(context.Background(), "", 0, func(rec eventstore.Record) error {
		if rec.Position > upTo {
			return nil
		}
		before := f.sets()
		for i, e := range rec.Commit.Events {
			f.event(rec, i, e)
		}
		for service, after := range f.sets() {
			if before[service] != after {
				f.revisions[service] = rec.Position
			}
			delete(before, service)
		}
		for service := range before { // it has none left
			f.revisions[service] = rec.Position
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// feed is a service's approved set, in order.
func (f *fold) feed(service string) []FeedClaim {
	set := []FeedClaim{}
	for _, a := range f.approvals {
		c := f.claims[a.ClaimID]
		if a.ServiceID == service && c.Status == domain.StatusApproved && f.namespaces[c.Namespace].Active {
			set = append(set, a)
		}
	}
	return set
}

func (f *fold) sets() map[string]string {
	ids := map[string][]string{}
	for _, a := range f.approvals {
		c := f.claims[a.ClaimID]
		if c.Status == domain.StatusApproved && f.namespaces[c.Namespace].Active {
			ids[a.ServiceID] = append(ids[a.ServiceID], a.ClaimID)
		}
	}
	sets := map[string]string{}
	for service, claims := range ids {
		sets[service] = strings.Join(claims, " ")
	}
	return sets
}

func micro(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func microOf(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := micro(*t)
	return &u
}

func (f *fold) event(rec eventstore.Record, i int, e domain.Event) {
	f.events++
	at, name := micro(rec.Commit.Time), rec.Commit.Namespace
	clean := func(s string) string { return strings.ReplaceAll(s, "\x00", "\uFFFD") }
	recorded := HistoryEvent{
		Position: rec.Position, Index: i, EventID: e.ID, Type: e.Type(), SchemaVersion: 1, Namespace: name,
		Kind: rec.Commit.Kind, ClaimID: domain.ClaimOf(e.Payload), Actor: rec.Commit.Actor, Time: at, CommitID: rec.Commit.ID,
		CommitVersion: rec.Commit.Version, Prev: rec.Commit.Prev, Hash: rec.Hash, Data: shown(e.Payload),
	}
	f.spaces[name] = append(f.spaces[name], recorded)
	if id := recorded.ClaimID; id != "" {
		f.history[id] = append(f.history[id], recorded)
	}
	switch p := e.Payload.(type) {
	case domain.ClaimSubmitted:
		f.claims[p.ClaimID] = &Claim{ClaimID: p.ClaimID, Namespace: name, ServiceID: p.ServiceID, Service: p.Service, PublicKey: p.PublicKey,
			AgentIP: p.AgentIP, Status: domain.StatusPending, Subject: clean(p.Subject), AgentID: clean(p.AgentID),
			AgentName: clean(p.AgentName), CreatedAt: at, ExpiresAt: microOf(p.ExpiresAt)}
		f.newest = append(f.newest, p.ClaimID)
	case domain.ClaimApproved:
		c := f.claims[p.ClaimID]
		c.Status, c.ApprovedAt, c.ExpiresAt, c.AutoApproved, c.Reason = domain.StatusApproved, &at, microOf(p.ExpiresAt), p.AutoApproved, clean(p.Reason)
		f.approvals = append(f.approvals, FeedClaim{ClaimID: c.ClaimID, Namespace: c.Namespace, PublicKey: c.PublicKey, ServiceID: c.ServiceID,
			Service: c.Service, Subject: c.Subject, AgentID: c.AgentID, AgentName: c.AgentName, ApprovedAt: at, ExpiresAt: c.ExpiresAt, Position: rec.Position})
		f.namespaces[name].ActiveClaims++
	case domain.ClaimRejected:
		c := f.claims[p.ClaimID]
		c.Status, c.RejectedAt, c.ExpiresAt, c.Reason = domain.StatusRejected, &at, nil, clean(p.Reason)
	case domain.ClaimRevoked:
		c := f.claims[p.ClaimID]
		c.Status, c.RevokedAt, c.ExpiresAt, c.Reason = domain.StatusRevoked, &at, nil, clean(p.Reason)
		f.namespaces[name].ActiveClaims--
	case domain.ClaimExpired:
		c := f.claims[p.ClaimID]
		if c.Status == domain.StatusApproved {
			f.namespaces[name].ActiveClaims--
		}
		c.Status, c.ExpiredAt, c.ExpiresAt, c.Reason = domain.StatusExpired, &at, nil, clean(p.Reason)
	default:
		f.registryEvent(name, at, e.Payload)
	}
}

func (f *fold) registryEvent(name string, at time.Time, p domain.Payload) {
	clean := func(s string) string { return strings.ReplaceAll(s, "\x00", "\uFFFD") }
	switch p := p.(type) {
	case domain.NamespaceRegistered:
		f.namespaces[name] = &Namespace{Name: name, DID: "did:sigilum:" + name, Owner: p.OwnerID, CreatedAt: at, Active: true, Policy: domain.DefaultPolicy()}
	case domain.OwnerRemoved:
		f.namespaces[name].Owner = p.FirstOwnerID
	case domain.NamespaceDeactivated:
		f.namespaces[name].Active = false
	case domain.NamespaceActivated:
		f.namespaces[name].Active = true
	case domain.PolicyChanged:
		f.namespaces[name].Policy = p.Policy
	case domain.ServiceCreated:
		f.services = append(f.services, &Service{p.ServiceID, name, p.Slug, p.Name, p.Description, at, at, 0})
	case domain.ServiceUpdated:
		for _, s := range f.services {
			if s.ID == p.ServiceID {
				s.Name, s.Description, s.UpdatedAt = p.Name, clean(p.Description), at
			}
		}
	case domain.ServiceDeleted:
		f.services = slices.DeleteFunc(f.services, func(s *Service) bool { return s.ID == p.ServiceID })
		f.keys = slices.DeleteFunc(f.keys, func(k *ServiceKey) bool { return k.ServiceID == p.ServiceID })
		f.webhooks = slices.DeleteFunc(f.webhooks, func(w *Webhook) bool { return w.ServiceID == p.ServiceID })
	case domain.ServiceKeyCreated:
		f.keys = append(f.keys, &ServiceKey{p.KeyID, p.ServiceID, clean(p.Name), p.KeyPrefix, true, at})
	case domain.ServiceKeyDeactivated:
		for _, k := range f.keys {
			k.Active = k.Active && k.ID != p.KeyID
		}
	case domain.ServiceKeyRevoked:
		f.keys = slices.DeleteFunc(f.keys, func(k *ServiceKey) bool { return k.ID == p.KeyID })
	case domain.ManagementKeyCreated:
		f.managers = append(f.managers, &managerOf{name, ManagementKey{p.KeyID, p.Name, p.LastFour, p.Permissions, true, at}})
	case domain.ManagementKeyDeactivated:
		for _, k := range f.managers {
			k.Active = k.Active && k.ID != p.KeyID
		}
	case domain.ManagementKeyDeleted:
		f.managers = slices.DeleteFunc(f.managers, func(k *managerOf) bool { return k.ID == p.KeyID })
	case domain.WebhookCreated:
		f.webhooks = append(f.webhooks, &Webhook{p.WebhookID, p.ServiceID, p.URL, p.Events, clean(p.Description), p.AuthHeader, true, at})
	case domain.WebhookReconfigured:
		for _, w := range f.webhooks {
			if w.ID == p.WebhookID {
				w.URL, w.Events, w.Description, w.AuthHeader = p.URL, p.Events, clean(p.Description), p.AuthHeader
			}
		}
	case domain.WebhookUpdated:
		for _, w := range f.webhooks {
			if w.ID == p.WebhookID {
				w.Active = p.Active
			}
		}
	case domain.WebhookDeleted:
		f.webhooks = slices.DeleteFunc(f.webhooks, func(w *Webhook) bool { return w.ID == p.WebhookID })
	}
}

// shown is an event's data as the history shows it.
func shown(p domain.Payload) json.RawMessage {
	data, _ := json.Marshal(p)
	if domain.ClaimOf(p) != "" {
		return data
	}
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(data, &fields)
	n := len(fields)
	for _, name := range []string{"token_hash", "key_hash", "secret", "auth_value", "former_secrets"} {
		delete(fields, name)
	}
	if len(fields) < n {
		data, _ = json.Marshal(fields)
	}
	return data
}

// show writes values so that two that are equal look equal.
func show(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(err)
	}
	return string(text)
}
