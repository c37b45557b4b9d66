package client

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// ServiceKey is a key of a service. Key is the key itself, in the answer that makes it and
// nowhere else.
type ServiceKey struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Key        string     `json:"key,omitempty"`
	KeyPrefix  string     `json:"key_prefix"`
	Active     bool       `json:"active"`
	CreatedAt  time.Time  `json:"created_at"`
	LastUsedAt *time.Time `json:"last_used_at"` // it may lag by a minute
}

// ServiceKeysPage is a page of a service's keys.
type ServiceKeysPage struct {
	Keys       []ServiceKey `json:"keys"`
	Pagination Pagination   `json:"pagination"`
}

// ListServiceKeys reads a page of a service's keys, without those that are revoked.
func (c *Client) ListServiceKeys(ctx context.Context, serviceID string, p Page, options ...Option) (ServiceKeysPage, error) {
	return fetch[ServiceKeysPage](ctx, c, list("listServiceKeys", p, "v1", "services", serviceID, "keys"), options)
}

// AllServiceKeys reads a service's keys. It ends after the first error.
func (c *Client) AllServiceKeys(ctx context.Context, serviceID string, options ...Option) iter.Seq2[ServiceKey, error] {
	return byOffset(Page{}, func(p Page) ([]ServiceKey, bool, error) {
		page, err := c.ListServiceKeys(ctx, serviceID, p, options...)
		return page.Keys, page.Pagination.HasMore, err
	})
}

// CreateServiceKey makes a key for a service. The name may be empty. With ErrSecretLost
// there is a key that nobody knows.
func (c *Client) CreateServiceKey(ctx context.Context, serviceID, name string, options ...Option) (ServiceKey, error) {
	body := struct {
		Name string `json:"name,omitempty"`
	}{name}
	key, err := fetch[ServiceKey](ctx, c, owned("createServiceKey", http.MethodPost, body, "v1", "services", serviceID, "keys"), options)
	return key, shown(err, key.Key, "createServiceKey")
}

// DeactivateServiceKey has a key refused from now on, and keeps it in the list.
func (c *Client) DeactivateServiceKey(ctx context.Context, serviceID, keyID string, options ...Option) error {
	_, err := c.do(ctx, owned("deactivateServiceKey", http.MethodPost, nil, "v1", "services", serviceID, "keys", keyID, "deactivate"), options)
	return err
}

// RevokeServiceKey has a key refused from now on, and takes it off the list.
func (c *Client) RevokeServiceKey(ctx context.Context, serviceID, keyID string, options ...Option) error {
	_, err := c.do(ctx, owned("revokeServiceKey", http.MethodDelete, nil, "v1", "services", serviceID, "keys", keyID), options)
	return err
}

// ManagementKey is a key with which a program acts for an owner. RawKey is the key itself,
// in the answer that makes it and nowhere else.
type ManagementKey struct {
	ID          string              `json:"id"`
	Name        string              `json:"name"`
	RawKey      string              `json:"rawKey,omitempty"`
	LastFour    string              `json:"lastFour"`
	Permissions []domain.Permission `json:"permissions"`
	Active      bool                `json:"active"`
	CreatedAt   time.Time           `json:"createdAt"`
	LastUsedAt  *time.Time          `json:"lastUsedAt"` // it may lag by a minute
}

// NewManagementKey is what a management key begins with.
type NewManagementKey struct {
	Name        string              `json:"name"`
	Permissions []domain.Permission `json:"permissions"`
}

// ListManagementKeys reads the management keys of the caller's namespace.
func (c *Client) ListManagementKeys(ctx context.Context, options ...Option) ([]ManagementKey, error) {
	return fetch[[]ManagementKey](ctx, c, owned("listManagementKeys", http.MethodGet, nil, "v1", "api-keys"), options)
}

// CreateManagementKey makes a management key. With ErrSecretLost there is one that nobody
// knows.
func (c *Client) CreateManagementKey(ctx context.Context, k NewManagementKey, options ...Option) (ManagementKey, error) {
	key, err := fetch[ManagementKey](ctx, c, owned("createManagementKey", http.MethodPost, k, "v1", "api-keys"), options)
	return key, shown(err, key.RawKey, "createManagementKey")
}

// DeactivateManagementKey has a key refused from now on, and keeps it in the list.
func (c *Client) DeactivateManagementKey(ctx context.Context, keyID string, options ...Option) error {
	_, err := c.do(ctx, owned("deactivateManagementKey", http.MethodPost, nil, "v1", "api-keys", keyID, "deactivate"), options)
	return err
}

// DeleteManagementKey has a key refused from now on, and takes it off the list.
func (c *Client) DeleteManagementKey(ctx context.Context, keyID string, options ...Option) error {
	_, err := c.do(ctx, owned("deleteManagementKey", http.MethodDelete, nil, "v1", "api-keys", keyID), options)
	return err
}

// shown is for answers with a secret: the one to a repeated command has none.
func shown(err error, secret, operation string) error {
	if err == nil && secret == "" {
		return fmt.Errorf("%s: %w", operation, ErrSecretLost)
	}
	return err
}
