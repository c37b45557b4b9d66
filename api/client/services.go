package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// Service is something that agents ask access to.
type Service struct {
	ID             string    `json:"id"`
	Slug           string    `json:"slug"`
	Name           string    `json:"name"`
	Description    string    `json:"description"`
	CreatedAt      time.Time `json:"created_at"`
	UpdatedAt      time.Time `json:"updated_at"`
	ActiveKeyCount int       `json:"active_key_count"`
}

// NewService is what a service begins with.
type NewService struct {
	Slug        string `json:"slug"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

// ServiceChange changes what is not nil.
type ServiceChange struct {
	Name        *string `json:"name,omitempty"`
	Description *string `json:"description,omitempty"`
}

// ServicesPage is a page of a namespace's services.
type ServicesPage struct {
	Services   []Service  `json:"services"`
	Pagination Pagination `json:"pagination"`
}

// ListServices reads a page of the caller's services, oldest first.
func (c *Client) ListServices(ctx context.Context, p Page, options ...Option) (ServicesPage, error) {
	return fetch[ServicesPage](ctx, c, list("listServices", p, "v1", "services"), options)
}

// AllServices reads the caller's services. It ends after the first error.
func (c *Client) AllServices(ctx context.Context, options ...Option) iter.Seq2[Service, error] {
	return byOffset(Page{}, func(p Page) ([]Service, bool, error) {
		page, err := c.ListServices(ctx, p, options...)
		return page.Services, page.Pagination.HasMore, err
	})
}

// CreateService registers a service.
func (c *Client) CreateService(ctx context.Context, s NewService, options ...Option) (Service, error) {
	return fetch[Service](ctx, c, owned("createService", http.MethodPost, s, "v1", "services"), options)
}

// GetService reads a service.
func (c *Client) GetService(ctx context.Context, serviceID string, options ...Option) (Service, error) {
	return fetch[Service](ctx, c, owned("getService", http.MethodGet, nil, "v1", "services", serviceID), options)
}

// UpdateService changes a service's name or description.
func (c *Client) UpdateService(ctx context.Context, serviceID string, change ServiceChange, options ...Option) (Service, error) {
	return fetch[Service](ctx, c, owned("updateService", http.MethodPatch, change, "v1", "services", serviceID), options)
}

// DeleteService deletes a service with its keys and webhooks.
func (c *Client) DeleteService(ctx context.Context, serviceID string, options ...Option) error {
	_, err := c.do(ctx, owned("deleteService", http.MethodDelete, nil, "v1", "services", serviceID), options)
	return err
}

// owned is a call of an owner's.
func owned(operation, method string, body any, path ...string) call {
	return call{operation: operation, method: method, path: path, shows: ownership, body: body}
}

// list is a call for a page of what an owner has.
func list(operation string, p Page, path ...string) call {
	call := owned(operation, http.MethodGet, nil, path...)
	call.query = url.Values{}
	p.add(call.query)
	return call
}
