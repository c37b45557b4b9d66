package projections

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/domain"
)

// Namespace is a namespace in its present state.
type Namespace struct {
	Name         string
	DID          string
	Owner        string
	CreatedAt    time.Time
	Active       bool
	Policy       domain.Policy
	ActiveClaims int // approved claims
}

var namespaceSQL = statement("namespaces/get.sql")

// Namespace finds a namespace by its name, which is lower case.
func (r *Reader) Namespace(ctx context.Context, name string) (Namespace, At, error) {
	n := Namespace{Name: name, DID: domain.DID(name), Policy: domain.DefaultPolicy()}
	at, err := r.read(ctx, NamespacesModel, func(s snapshot) error {
		var policy []byte
		err := s.row(ctx, namespaceSQL, name).Scan(&n.Owner, &n.CreatedAt, &n.Active, &policy, &n.ActiveClaims)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return domain.Errorf(domain.CodeNotFound, "There is no such namespace.")
		case err != nil || policy == nil:
			return err
		}
		return json.Unmarshal(policy, &n.Policy)
	})
	n.CreatedAt = n.CreatedAt.UTC()
	return n, at, err
}

// Service is something agents ask access to.
type Service struct {
	ID             string
	Namespace      string
	Slug           string
	Name           string
	Description    string
	CreatedAt      time.Time
	UpdatedAt      time.Time
	ActiveKeyCount int
}

// ServicesPage is a part of a list.
type ServicesPage struct {
	Services []Service
	Total    int
}

// ServiceKey is a service's key without its hash.
type ServiceKey struct {
	ID        string
	ServiceID string
	Name      string
	Prefix    string
	Active    bool
	CreatedAt time.Time
}

// ServiceKeysPage is a part of a list.
type ServiceKeysPage struct {
	Keys  []ServiceKey
	Total int
}

// ManagementKey is an owner's key without its hash.
type ManagementKey struct {
	ID          string
	Name        string
	LastFour    string
	Permissions []domain.Permission
	Active      bool
	CreatedAt   time.Time
}

// Webhook is an endpoint without its secrets.
type Webhook struct {
	ID          string
	ServiceID   string
	URL         string
	Events      []domain.EventType
	Description string
	AuthHeader  string // the name of the header; its value is a secret
	Active      bool
	CreatedAt   time.Time
}

var (
	serviceSQL        = statement("services/get.sql")
	servicesListSQL   = statement("services/list.sql")
	servicesCountSQL  = statement("services/count.sql")
	serviceExistsSQL  = statement("services/exists.sql")
	serviceKeysSQL    = statement("services/keys.sql")
	serviceKeyCount   = statement("services/key_count.sql")
	managementKeysSQL = statement("services/management_keys.sql")
	webhooksSQL       = statement("services/webhooks.sql")
)

// Services lists a namespace's services, oldest first.
func (r *Reader) Services(ctx context.Context, namespace string, limit, offset int) (ServicesPage, At, error) {
	var p ServicesPage
	if err := page(limit, offset); err != nil {
		return p, At{}, err
	}
	at, err := r.read(ctx, ServicesModel, func(s snapshot) (err error) {
		if err := s.row(ctx, servicesCountSQL, namespace).Scan(&p.Total); err != nil {
			return err
		}
		rows, err := s.query(ctx, servicesListSQL, namespace, limit, offset)
		if err != nil {
			return err
		}
		p.Services, err = pgx.CollectRows(rows, scanService)
		return err
	})
	return p, at, err
}

// Service finds a service of a namespace by its id.
func (r *Reader) Service(ctx context.Context, namespace, id string) (Service, At, error) {
	var service Service
	at, err := r.read(ctx, ServicesModel, func(s snapshot) (err error) {
		rows, err := s.query(ctx, serviceSQL, namespace, id)
		if err != nil {
			return err
		}
		service, err = pgx.CollectExactlyOneRow(rows, scanService)
		if errors.Is(err, pgx.ErrNoRows) {
			return noService(id)
		}
		return err
	})
	return service, at, err
}

func scanService(row pgx.CollectableRow) (Service, error) {
	var s Service
	err := row.Scan(&s.ID, &s.Namespace, &s.Slug, &s.Name, &s.Description, &s.CreatedAt, &s.UpdatedAt, &s.ActiveKeyCount)
	s.CreatedAt, s.UpdatedAt = s.CreatedAt.UTC(), s.UpdatedAt.UTC()
	return s, err
}

func noService(id string) error {
	return domain.Errorf(domain.CodeNotFound, "There is no such service.")
}

// serviceExists refuses to list what belongs to a service that the namespace does not
// have: an empty list would say that it does.
func serviceExists(ctx context.Context, s snapshot, namespace, id string) error {
	var exists bool
	if err := s.row(ctx, serviceExistsSQL, namespace, id).Scan(&exists); err != nil {
		return err
	}
	if !exists {
		return noService(id)
	}
	return nil
}

// ServiceKeys lists a service's keys, oldest first.
func (r *Reader) ServiceKeys(ctx context.Context, namespace, serviceID string, limit, offset int) (ServiceKeysPage, At, error) {
	var p ServiceKeysPage
	if err := page(limit, offset); err != nil {
		return p, At{}, err
	}
	at, err := r.read(ctx, ServicesModel, func(s snapshot) (err error) {
		if err := serviceExists(ctx, s, namespace, serviceID); err != nil {
			return err
		}
		if err := s.row(ctx, serviceKeyCount, serviceID).Scan(&p.Total); err != nil {
			return err
		}
		rows, err := s.query(ctx, serviceKeysSQL, serviceID, limit, offset)
		if err != nil {
			return err
		}
		p.Keys, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (ServiceKey, error) {
			var k ServiceKey
			err := row.Scan(&k.ID, &k.ServiceID, &k.Name, &k.Prefix, &k.Active, &k.CreatedAt)
			k.CreatedAt = k.CreatedAt.UTC()
			return k, err
		})
		return err
	})
	return p, at, err
}

// ManagementKeys lists a namespace's management keys, oldest first.
func (r *Reader) ManagementKeys(ctx context.Context, namespace string) ([]ManagementKey, At, error) {
	var keys []ManagementKey
	at, err := r.read(ctx, ServicesModel, func(s snapshot) error {
		rows, err := s.query(ctx, managementKeysSQL, namespace)
		if err != nil {
			return err
		}
		keys, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (ManagementKey, error) {
			var k ManagementKey
			err := row.Scan(&k.ID, &k.Name, &k.LastFour, &k.Permissions, &k.Active, &k.CreatedAt)
			k.CreatedAt = k.CreatedAt.UTC()
			return k, err
		})
		return err
	})
	return keys, at, err
}

// Webhooks lists a service's webhooks, oldest first.
func (r *Reader) Webhooks(ctx context.Context, namespace, serviceID string) ([]Webhook, At, error) {
	var webhooks []Webhook
	at, err := r.read(ctx, ServicesModel, func(s snapshot) error {
		if err := serviceExists(ctx, s, namespace, serviceID); err != nil {
			return err
		}
		rows, err := s.query(ctx, webhooksSQL, serviceID)
		if err != nil {
			return err
		}
		webhooks, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (Webhook, error) {
			var w Webhook
			err := row.Scan(&w.ID, &w.ServiceID, &w.URL, &w.Events, &w.Description, &w.AuthHeader, &w.Active, &w.CreatedAt)
			w.CreatedAt = w.CreatedAt.UTC()
			return w, err
		})
		if err != nil {
			return fmt.Errorf("webhooks: %w", err)
		}
		return nil
	})
	return webhooks, at, err
}
