package client

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/claimledger/claimledger/domain"
)

// Session is what an owner signs in for.
type Session struct {
	Token     string    `json:"session_token"`
	Namespace string    `json:"namespace"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Caller is whom the ledger takes a session or a management key for.
type Caller struct {
	Namespace   string              `json:"namespace"`
	Kind        domain.ActorKind    `json:"kind"`
	ID          string              `json:"id"`
	Permissions []domain.Permission `json:"permissions"`
	ExpiresAt   *time.Time          `json:"expires_at,omitempty"` // of a session
}

// auth is a call that is sent once: it takes no Idempotency-Key, and what it uses up
// cannot be used again.
func auth(operation, method string, shows needs, body any, path ...string) call {
	return call{
		operation: operation, method: method, path: append([]string{"v1", "auth"}, path...), shows: shows, body: body,
		once: method != http.MethodGet,
	}
}

// Login trades the token of a login link for a session; WithSession goes on with it.
func (c *Client) Login(ctx context.Context, token string, options ...Option) (Session, error) {
	body := struct {
		Token string `json:"token"`
	}{token}
	return fetch[Session](ctx, c, auth("login", http.MethodPost, nothing, body, "login"), options)
}

// Logout ends the client's session.
func (c *Client) Logout(ctx context.Context, options ...Option) error {
	_, err := c.do(ctx, auth("logout", http.MethodPost, inSession, nil, "logout"), options)
	return err
}

// GetCaller asks who one is.
func (c *Client) GetCaller(ctx context.Context, options ...Option) (Caller, error) {
	return fetch[Caller](ctx, c, auth("getCaller", http.MethodGet, ownership, nil, "me"), options)
}

// Challenge is what a browser makes a credential of. Token goes back with that.
type Challenge struct {
	Token     string          `json:"token"`
	Options   json.RawMessage `json:"options"` // for the browser, as they are
	ExpiresAt time.Time       `json:"expires_at"`
}

// Credential is what a browser made of a Challenge, by its toJSON.
type Credential struct {
	Token      string          `json:"token"`
	Credential json.RawMessage `json:"credential"`
}

// Passkey is a passkey of an owner's.
type Passkey struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Transports []string   `json:"transports"`
	BackedUp   bool       `json:"backed_up"`
	CreatedAt  time.Time  `json:"created_at"`
	LastUsedAt *time.Time `json:"last_used_at"`
}

// PasskeyLoginOptions asks for a challenge to sign in with.
func (c *Client) PasskeyLoginOptions(ctx context.Context, options ...Option) (Challenge, error) {
	return fetch[Challenge](ctx, c, auth("passkeyLoginOptions", http.MethodPost, nothing, nil, "login", "passkey", "options"), options)
}

// PasskeyLogin signs in with a passkey.
func (c *Client) PasskeyLogin(ctx context.Context, made Credential, options ...Option) (Session, error) {
	return fetch[Session](ctx, c, auth("passkeyLogin", http.MethodPost, nothing, made, "login", "passkey"), options)
}

// ListPasskeys reads the owner's passkeys, oldest first.
func (c *Client) ListPasskeys(ctx context.Context, options ...Option) ([]Passkey, error) {
	list, err := fetch[struct {
		Passkeys []Passkey `json:"passkeys"`
	}](ctx, c, auth("listPasskeys", http.MethodGet, inSession, nil, "passkeys"), options)
	return list.Passkeys, err
}

// PasskeyOptions asks for a challenge to add a passkey with.
func (c *Client) PasskeyOptions(ctx context.Context, options ...Option) (Challenge, error) {
	return fetch[Challenge](ctx, c, auth("passkeyOptions", http.MethodPost, inSession, nil, "passkeys", "options"), options)
}

// AddPasskey adds a passkey. The name may be empty.
func (c *Client) AddPasskey(ctx context.Context, made Credential, name string, options ...Option) (Passkey, error) {
	body := struct {
		Credential
		Name string `json:"name,omitempty"`
	}{made, name}
	return fetch[Passkey](ctx, c, auth("addPasskey", http.MethodPost, inSession, body, "passkeys"), options)
}

// RemovePasskey removes a passkey. Sessions that began with it go on.
func (c *Client) RemovePasskey(ctx context.Context, passkeyID string, options ...Option) error {
	_, err := c.do(ctx, auth("removePasskey", http.MethodDelete, inSession, nil, "passkeys", passkeyID), options)
	return err
}

// SignUpOptions asks for a challenge to begin a namespace with.
func (c *Client) SignUpOptions(ctx context.Context, namespace string, options ...Option) (Challenge, error) {
	body := struct {
		Namespace string `json:"namespace"`
	}{namespace}
	return fetch[Challenge](ctx, c, auth("signUpOptions", http.MethodPost, nothing, body, "signup", "options"), options)
}

// SignUp begins a namespace and signs its owner in. The passkey's name and the owner's
// address may be empty.
func (c *Client) SignUp(ctx context.Context, made Credential, name, email string, options ...Option) (Session, error) {
	body := struct {
		Credential
		Name  string `json:"name,omitempty"`
		Email string `json:"email,omitempty"`
	}{made, name, email}
	return fetch[Session](ctx, c, auth("signUp", http.MethodPost, nothing, body, "signup"), options)
}

// Alive says that a process of the ledger is there.
type Alive struct {
	Status  string `json:"status"`
	Version string `json:"version"`
}

// Readiness says whether a process can do its main job.
type Readiness struct {
	Status string                    `json:"status"` // ready, degraded or unready
	Roles  []string                  `json:"roles"`
	Checks map[string]ReadinessCheck `json:"checks"`
	// ReadModels is how far each is; empty where the process has nothing to do with them.
	ReadModels []ModelLag `json:"read_models,omitempty"`
}

// ModelLag is how far a read model is.
type ModelLag struct {
	Model      string   `json:"model"`
	Generation int      `json:"generation,omitempty"` // which of its builds serves; 0: not known
	Version    int      `json:"version"`              // of the model, as the process knows it
	Position   uint64   `json:"position,string"`      // of the last commit in it
	LagCommits uint64   `json:"lag_commits"`          // commits in the log that are not in it
	LagSeconds *float64 `json:"lag_seconds"`          // since it held everything in the log; nil: it never did
	Active     *bool    `json:"active,omitempty"`     // whether the process updates it; nil: it has no projector
}

// ReadinessCheck is one thing that a process needs.
type ReadinessCheck struct {
	Status string `json:"status"` // ok, or what is wrong
	Vital  bool   `json:"vital"`
}

const readyOperation = "ready"

// Health asks whether the process is alive, once.
func (c *Client) Health(ctx context.Context, options ...Option) (Alive, error) {
	return fetch[Alive](ctx, c, call{operation: "health", method: http.MethodGet, path: []string{"health"}, once: true}, options)
}

// Ready asks once whether the process can do its main job. Where it cannot, the error
// comes with what is known.
func (c *Client) Ready(ctx context.Context, options ...Option) (Readiness, error) {
	return fetch[Readiness](ctx, c, call{operation: readyOperation, method: http.MethodGet, path: []string{"health", "ready"}, once: true}, options)
}
