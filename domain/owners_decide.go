package domain

import (
	"bytes"
	"fmt"
	"time"
)

// Bounds of owners and their passkeys.
const (
	MaxOwners   = 20 // of a namespace
	MaxPasskeys = 20 // of an owner
	// MaxCredentialID is Web Authentication's own bound (level 3, 4, Credential ID), in
	// bytes.
	MaxCredentialID = 1023
	// maxPublicKey is more than any key of the algorithms in use has, in bytes.
	maxPublicKey = 4096
	// Transports are names of a few letters; there are about seven.
	maxTransports, maxTransport = 10, 32
	aaguidSize                  = 36
)

// Challenge is what an authenticator signed, by its hash. It can be answered once, and
// only until it expires.
type Challenge struct {
	Hash      Hash
	ExpiresAt time.Time
}

// Credential is what an authenticator showed of a passkey that it made.
type Credential struct {
	ID, PublicKey            []byte
	SignCount                uint32
	Transports               []string
	BackupEligible, BackedUp bool
	AAGUID                   string
}

// Session is a session that is about to begin.
type Session struct {
	ID        string
	ExpiresAt time.Time
}

// Commands about owners and their passkeys. That the passkey signed the challenge, here
// and now and for nobody else, is for the caller to have checked.
type (
	// AddOwner gives a namespace another owner, with his first login token.
	AddOwner struct {
		OwnerID string
		Token   LoginToken
	}
	// RemoveOwner ends what an owner may do.
	RemoveOwner struct{ OwnerID string }
	// AddPasskey gives an owner a passkey.
	AddPasskey struct {
		OwnerID, PasskeyID, Name string
		Credential               Credential
		Challenge                Challenge
	}
	// RemovePasskey makes an owner's passkey useless.
	RemovePasskey struct{ OwnerID, PasskeyID string }
	// SignIn begins a session of a passkey's owner.
	SignIn struct {
		OwnerID, PasskeyID string
		SignCount          uint32
		BackedUp           bool
		Challenge          Challenge
		Session            Session
	}
	// SignUp begins a namespace with an owner who has a passkey, and signs him in.
	SignUp struct {
		AddPasskey
		Session Session
		Limits  *Limits // of its policy, to begin with; nil: the default ones
	}
)

func (AddOwner) registryCommand()      {}
func (RemoveOwner) registryCommand()   {}
func (AddPasskey) registryCommand()    {}
func (RemovePasskey) registryCommand() {}
func (SignIn) registryCommand()        {}
func (SignUp) registryCommand()        {}

func (r *Registry) decideOwner(cmd RegistryCommand, now time.Time) (RegistryDecision, error) {
	switch cmd := cmd.(type) {
	case AddOwner:
		return r.addOwner(cmd)
	case RemoveOwner:
		return r.removeOwner(cmd)
	case AddPasskey:
		return r.addPasskey(cmd, now)
	case RemovePasskey:
		if k, ok := r.passkeys[cmd.PasskeyID]; !ok || k.OwnerID != cmd.OwnerID {
			return RegistryDecision{}, notFound("passkey")
		}
		return record(cmd.PasskeyID, PasskeyRemoved{cmd.PasskeyID, cmd.OwnerID})
	case SignIn:
		return r.signIn(cmd, now)
	}
	return RegistryDecision{}, unknownCommand(cmd)
}

func (r *Registry) addOwner(cmd AddOwner) (RegistryDecision, error) {
	switch {
	case r.HasOwner(cmd.OwnerID):
		return RegistryDecision{}, Errorf(CodeConflict, "%s is an owner of %s already.", cmd.OwnerID, r.namespace)
	case len(r.owners) >= MaxOwners:
		return RegistryDecision{}, limitConflict("owners for a namespace", MaxOwners)
	}
	d, err := record(r.namespace, OwnerAdded{cmd.OwnerID}, LoginTokenIssued{cmd.OwnerID, cmd.Token.Hash, storedTime(cmd.Token.ExpiresAt)})
	d.Answer.OwnerID = cmd.OwnerID
	return d, err
}

func (r *Registry) removeOwner(cmd RemoveOwner) (RegistryDecision, error) {
	switch {
	case !r.HasOwner(cmd.OwnerID):
		return RegistryDecision{}, notFound("owner")
	case len(r.owners) == 1:
		return RegistryDecision{}, Errorf(CodeConflict, "%s is the last owner of %s; add another one first.", cmd.OwnerID, r.namespace)
	}
	d, err := record(r.namespace, OwnerRemoved{cmd.OwnerID, r.without(cmd.OwnerID)[0].ID})
	d.Answer.OwnerID = cmd.OwnerID
	return d, err
}

// Check reports every field that is wrong.
func (cmd AddPasskey) Check() error {
	var v Violations
	v.Text("name", cmd.Name, 1, MaxName)
	c := cmd.Credential
	sized := func(what string, b []byte, most int) {
		if len(b) == 0 || len(b) > most {
			v.Add("credential", fmt.Sprintf("must have %s of 1 to %d bytes", what, most))
		}
	}
	sized("an id", c.ID, MaxCredentialID)
	sized("a public key", c.PublicKey, maxPublicKey)
	if len(c.Transports) > maxTransports {
		v.Add("credential", fmt.Sprintf("must have at most %d transports", maxTransports))
	}
	var inner Violations
	for _, t := range c.Transports {
		inner.Text("transports", t, 1, maxTransport)
	}
	inner.Text("aaguid", c.AAGUID, 0, aaguidSize)
	if inner.Err() != nil {
		v.Add("credential", "names its authenticator in a form that is unknown")
	}
	return v.Err()
}

func (cmd AddPasskey) event() PasskeyAdded {
	c := cmd.Credential
	if len(c.Transports) == 0 {
		c.Transports = nil // as it will be read again
	}
	return PasskeyAdded{
		PasskeyID: cmd.PasskeyID, OwnerID: cmd.OwnerID, Name: cmd.Name, CredentialID: c.ID, PublicKey: c.PublicKey, SignCount: c.SignCount,
		Transports: c.Transports, BackupEligible: c.BackupEligible, BackedUp: c.BackedUp, AAGUID: c.AAGUID,
		ChallengeHash: cmd.Challenge.Hash, ChallengeExpiresAt: storedTime(cmd.Challenge.ExpiresAt),
	}
}

func (r *Registry) addPasskey(cmd AddPasskey, now time.Time) (RegistryDecision, error) {
	if err := cmd.Check(); err != nil {
		return RegistryDecision{}, err
	}
	if !r.HasOwner(cmd.OwnerID) {
		return RegistryDecision{}, notFound("owner")
	}
	if err := r.unanswered(cmd.Challenge, now, CodeConflict); err != nil {
		return RegistryDecision{}, err
	}
	for _, k := range r.passkeys {
		if bytes.Equal(k.CredentialID, cmd.Credential.ID) {
			return RegistryDecision{}, Errorf(CodeConflict, "This passkey is there already.")
		}
	}
	if len(r.Passkeys(cmd.OwnerID)) >= MaxPasskeys {
		return RegistryDecision{}, limitConflict("passkeys for an owner", MaxPasskeys)
	}
	return record(cmd.PasskeyID, cmd.event())
}

// unanswered refuses a challenge that was answered before, or too late.
func (r *Registry) unanswered(c Challenge, now time.Time, code Code) error {
	if _, answered := r.challenges[c.Hash]; answered {
		return Errorf(code, "This challenge was answered before; ask for another one.")
	}
	if !now.Before(c.ExpiresAt) {
		return Errorf(code, "This challenge was answered too late; ask for another one.")
	}
	return nil
}

func (r *Registry) signIn(cmd SignIn, now time.Time) (RegistryDecision, error) {
	k, ok := r.passkeys[cmd.PasskeyID]
	if !ok || k.OwnerID != cmd.OwnerID {
		return RegistryDecision{}, Errorf(CodeUnauthorized, "This passkey is not valid here; it may have been removed.")
	}
	if err := r.unanswered(cmd.Challenge, now, CodeUnauthorized); err != nil {
		return RegistryDecision{}, err
	}
	// An authenticator that counts counts every signature. One that is not ahead of what
	// it told before is one of two with the same key.
	if (k.SignCount > 0 || cmd.SignCount > 0) && cmd.SignCount <= k.SignCount {
		return RegistryDecision{}, Errorf(CodeUnauthorized, "This passkey has signed before what it claims to sign first: there may be a copy of it. Sign in another way and remove it.")
	}
	expires := storedTime(cmd.Challenge.ExpiresAt)
	d, err := record(cmd.Session.ID, OwnerSignedIn{
		OwnerID: cmd.OwnerID, PasskeyID: cmd.PasskeyID, SessionID: cmd.Session.ID, ExpiresAt: storedTime(cmd.Session.ExpiresAt),
		SignCount: cmd.SignCount, BackedUp: cmd.BackedUp, ChallengeHash: cmd.Challenge.Hash, ChallengeExpiresAt: &expires,
	})
	d.Answer.OwnerID = cmd.OwnerID
	return d, err
}

func (r *Registry) signUp(cmd SignUp, now time.Time) (RegistryDecision, error) {
	if err := cmd.Check(); err != nil {
		return RegistryDecision{}, err
	}
	if err := r.free(); err != nil {
		return RegistryDecision{}, err
	}
	if err := r.unanswered(cmd.Challenge, now, CodeConflict); err != nil {
		return RegistryDecision{}, err
	}
	limits, err := beginWith(cmd.Limits)
	if err != nil {
		return RegistryDecision{}, err
	}
	d, err := record(r.namespace, append([]Payload{
		NamespaceRegistered{r.namespace, cmd.OwnerID},
		cmd.event(),
		OwnerSignedIn{
			OwnerID: cmd.OwnerID, PasskeyID: cmd.PasskeyID, SessionID: cmd.Session.ID, ExpiresAt: storedTime(cmd.Session.ExpiresAt),
			SignCount: cmd.Credential.SignCount, BackedUp: cmd.Credential.BackedUp,
		},
	}, limits...)...)
	d.Answer.OwnerID = cmd.OwnerID
	return d, err
}
