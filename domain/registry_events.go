package domain

import "time"

const (
	NamespaceRegisteredType  EventType = "namespace.registered"
	NamespaceDeactivatedType EventType = "namespace.deactivated"
	NamespaceActivatedType   EventType = "namespace.activated"
	LoginTokenIssuedType     EventType = "login_token.issued"
	OwnerLoggedInType        EventType = "owner.logged_in"
	SessionEndedType         EventType = "session.ended"
	PolicyChangedType        EventType = "policy.changed"

	ServiceCreatedType EventType = "service.created"
	ServiceUpdatedType EventType = "service.updated"
	ServiceDeletedType EventType = "service.deleted"

	ServiceKeyCreatedType     EventType = "service_key.created"
	ServiceKeyDeactivatedType EventType = "service_key.deactivated"
	ServiceKeyRevokedType     EventType = "service_key.revoked"

	ManagementKeyCreatedType     EventType = "management_key.created"
	ManagementKeyDeactivatedType EventType = "management_key.deactivated"
	ManagementKeyDeletedType     EventType = "management_key.deleted"
)

// NamespaceRegistered begins a namespace, with its first owner. What is personal
// about the owner (name, e-mail address) is not in the log.
type NamespaceRegistered struct {
	Namespace string `json:"namespace"`
	OwnerID   string `json:"owner_id"`
}

// NamespaceDeactivated stops a namespace: submits are refused and nothing is
// authorized in it.
type NamespaceDeactivated struct {
	Reason string `json:"reason,omitempty"`
}

// NamespaceActivated lets a namespace go on.
type NamespaceActivated struct {
	Reason string `json:"reason,omitempty"`
}

// LoginTokenIssued records a one-time login link by the hash of its token.
type LoginTokenIssued struct {
	OwnerID   string    `json:"owner_id"`
	TokenHash Hash      `json:"token_hash"`
	ExpiresAt time.Time `json:"expires_at"`
}

// OwnerLoggedIn records that a one-time token was used and which session it began.
type OwnerLoggedIn struct {
	OwnerID   string    `json:"owner_id"`
	TokenHash Hash      `json:"token_hash"`
	SessionID string    `json:"session_id"`
	ExpiresAt time.Time `json:"expires_at"` // of the session
}

// SessionEnded ends a session before its time.
type SessionEnded struct {
	OwnerID   string    `json:"owner_id"`
	SessionID string    `json:"session_id"`
	ExpiresAt time.Time `json:"expires_at"` // when it would have ended by itself
}

// PolicyChanged records the whole policy after a change.
type PolicyChanged struct {
	Policy Policy `json:"policy"`
}

// ServiceCreated registers something that agents ask access to.
type ServiceCreated struct {
	ServiceID   string `json:"service_id"`
	Slug        string `json:"slug"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

// ServiceUpdated records the name and description after a change.
type ServiceUpdated struct {
	ServiceID   string `json:"service_id"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

// ServiceDeleted ends a service, its keys and its webhooks. Its slug is free again.
type ServiceDeleted struct {
	ServiceID string `json:"service_id"`
}

// ServiceKeyCreated records a service key by its hash.
type ServiceKeyCreated struct {
	KeyID     string `json:"key_id"`
	ServiceID string `json:"service_id"`
	Name      string `json:"name,omitempty"`
	KeyHash   Hash   `json:"key_hash"`
	KeyPrefix string `json:"key_prefix"` // what lists show to tell keys apart
}

// ServiceKeyDeactivated makes a key useless, and keeps it in lists.
type ServiceKeyDeactivated struct {
	KeyID     string `json:"key_id"`
	ServiceID string `json:"service_id"`
}

// ServiceKeyRevoked makes a key useless, and takes it off the lists.
type ServiceKeyRevoked struct {
	KeyID     string `json:"key_id"`
	ServiceID string `json:"service_id"`
}

// ManagementKeyCreated records a management key by its hash.
type ManagementKeyCreated struct {
	KeyID       string       `json:"key_id"`
	Name        string       `json:"name"`
	Permissions []Permission `json:"permissions"`
	KeyHash     Hash         `json:"key_hash"`
	LastFour    string       `json:"last_four"`
}

// ManagementKeyDeactivated makes a key useless, and keeps it in lists.
type ManagementKeyDeactivated struct {
	KeyID string `json:"key_id"`
}

// ManagementKeyDeleted makes a key useless, and takes it off the lists.
type ManagementKeyDeleted struct {
	KeyID string `json:"key_id"`
}

func (NamespaceRegistered) EventType() EventType      { return NamespaceRegisteredType }
func (NamespaceDeactivated) EventType() EventType     { return NamespaceDeactivatedType }
func (NamespaceActivated) EventType() EventType       { return NamespaceActivatedType }
func (LoginTokenIssued) EventType() EventType         { return LoginTokenIssuedType }
func (OwnerLoggedIn) EventType() EventType            { return OwnerLoggedInType }
func (SessionEnded) EventType() EventType             { return SessionEndedType }
func (PolicyChanged) EventType() EventType            { return PolicyChangedType }
func (ServiceCreated) EventType() EventType           { return ServiceCreatedType }
func (ServiceUpdated) EventType() EventType           { return ServiceUpdatedType }
func (ServiceDeleted) EventType() EventType           { return ServiceDeletedType }
func (ServiceKeyCreated) EventType() EventType        { return ServiceKeyCreatedType }
func (ServiceKeyDeactivated) EventType() EventType    { return ServiceKeyDeactivatedType }
func (ServiceKeyRevoked) EventType() EventType        { return ServiceKeyRevokedType }
func (ManagementKeyCreated) EventType() EventType     { return ManagementKeyCreatedType }
func (ManagementKeyDeactivated) EventType() EventType { return ManagementKeyDeactivatedType }
func (ManagementKeyDeleted) EventType() EventType     { return ManagementKeyDeletedType }

func (NamespaceRegistered) SchemaVersion() int      { return 1 }
func (NamespaceDeactivated) SchemaVersion() int     { return 1 }
func (NamespaceActivated) SchemaVersion() int       { return 1 }
func (LoginTokenIssued) SchemaVersion() int         { return 1 }
func (OwnerLoggedIn) SchemaVersion() int            { return 1 }
func (SessionEnded) SchemaVersion() int             { return 1 }
func (PolicyChanged) SchemaVersion() int            { return 1 }
func (ServiceCreated) SchemaVersion() int           { return 1 }
func (ServiceUpdated) SchemaVersion() int           { return 1 }
func (ServiceDeleted) SchemaVersion() int           { return 1 }
func (ServiceKeyCreated) SchemaVersion() int        { return 1 }
func (ServiceKeyDeactivated) SchemaVersion() int    { return 1 }
func (ServiceKeyRevoked) SchemaVersion() int        { return 1 }
func (ManagementKeyCreated) SchemaVersion() int     { return 1 }
func (ManagementKeyDeactivated) SchemaVersion() int { return 1 }
func (ManagementKeyDeleted) SchemaVersion() int     { return 1 }

func init() {
	decoder[NamespaceRegistered](1)
	decoder[NamespaceDeactivated](1)
	decoder[NamespaceActivated](1)
	decoder[LoginTokenIssued](1)
	decoder[OwnerLoggedIn](1)
	decoder[SessionEnded](1)
	decoder[PolicyChanged](1)
	decoder[ServiceCreated](1)
	decoder[ServiceUpdated](1)
	decoder[ServiceDeleted](1)
	decoder[ServiceKeyCreated](1)
	decoder[ServiceKeyDeactivated](1)
	decoder[ServiceKeyRevoked](1)
	decoder[ManagementKeyCreated](1)
	decoder[ManagementKeyDeactivated](1)
	decoder[ManagementKeyDeleted](1)
}
