package domain

import "time"

const (
	OwnerAddedType     EventType = "owner.added"
	OwnerRemovedType   EventType = "owner.removed"
	OwnerSignedInType  EventType = "owner.signed_in"
	PasskeyAddedType   EventType = "passkey.added"
	PasskeyRemovedType EventType = "passkey.removed"
)

// OwnerAdded gives a namespace another owner. What is personal about him is not in the
// log.
type OwnerAdded struct {
	OwnerID string `json:"owner_id"`
}

// OwnerRemoved ends what somebody may do for a namespace, and with it his sessions, his
// passkeys and his login links. FirstOwnerID is who is the owner of longest standing now.
type OwnerRemoved struct {
	OwnerID      string `json:"owner_id"`
	FirstOwnerID string `json:"first_owner_id"`
}

// PasskeyAdded records a public key credential (Web Authentication, level 3) with which
// an owner can sign in, and the challenge that it answered. Nothing in it is secret.
type PasskeyAdded struct {
	PasskeyID          string    `json:"passkey_id"`
	OwnerID            string    `json:"owner_id"`
	Name               string    `json:"name"`
	CredentialID       []byte    `json:"credential_id"`
	PublicKey          []byte    `json:"public_key"` // COSE_Key
	SignCount          uint32    `json:"sign_count"` // 0 as well where the authenticator does not count
	Transports         []string  `json:"transports,omitempty"`
	BackupEligible     bool      `json:"backup_eligible"`
	BackedUp           bool      `json:"backed_up"`
	AAGUID             string    `json:"aaguid,omitempty"` // the make of authenticator, where it tells
	ChallengeHash      Hash      `json:"challenge_hash"`
	ChallengeExpiresAt time.Time `json:"challenge_expires_at"`
}

// PasskeyRemoved makes a passkey useless.
type PasskeyRemoved struct {
	PasskeyID string `json:"passkey_id"`
	OwnerID   string `json:"owner_id"`
}

// OwnerSignedIn records which session an owner began with a passkey, and the challenge
// that it answered. There is none where the passkey was added in the same commit: that
// it was there is what adding it showed.
type OwnerSignedIn struct {
	OwnerID            string     `json:"owner_id"`
	PasskeyID          string     `json:"passkey_id"`
	SessionID          string     `json:"session_id"`
	ExpiresAt          time.Time  `json:"expires_at"` // of the session
	SignCount          uint32     `json:"sign_count"`
	BackedUp           bool       `json:"backed_up"`
	ChallengeHash      Hash       `json:"challenge_hash,omitzero"`
	ChallengeExpiresAt *time.Time `json:"challenge_expires_at,omitempty"`
}

func (OwnerAdded) EventType() EventType     { return OwnerAddedType }
func (OwnerRemoved) EventType() EventType   { return OwnerRemovedType }
func (OwnerSignedIn) EventType() EventType  { return OwnerSignedInType }
func (PasskeyAdded) EventType() EventType   { return PasskeyAddedType }
func (PasskeyRemoved) EventType() EventType { return PasskeyRemovedType }

func (OwnerAdded) SchemaVersion() int     { return 1 }
func (OwnerRemoved) SchemaVersion() int   { return 1 }
func (OwnerSignedIn) SchemaVersion() int  { return 1 }
func (PasskeyAdded) SchemaVersion() int   { return 1 }
func (PasskeyRemoved) SchemaVersion() int { return 1 }

func init() {
	decoder[OwnerAdded](1)
	decoder[OwnerRemoved](1)
	decoder[OwnerSignedIn](1)
	decoder[PasskeyAdded](1)
	decoder[PasskeyRemoved](1)
}
