package api

import (
	"context"
	"net/http"
	"net/mail"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"

	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/domain"
)

// signInOptions ask for a passkey of anybody's: who it is comes with the answer.
func (s *Server) signInOptions(*call) (action, error) {
	return func(context.Context) (answer, error) {
		if s.relyingParty == nil {
			return answer{}, errNoPasskeys
		}
		options, err := s.relyingParty.request()
		if err != nil {
			return answer{}, err
		}
		token, expires, err := s.sessions.issueChallenge(challenge{Purpose: toSignIn, Text: options.Challenge.String()})
		return answer{body: optionsBody{token, options, expires}, position: s.commands.Position()}, err
	}, nil
}

// badPasskey is the same for a passkey that nobody has and for one that did not sign,
// so that it tells nothing about who is here.
func badPasskey(cause error) error {
	return &domain.Error{
		Code: domain.CodeUnauthorized, Err: cause,
		Message: "The passkey was not accepted: it is not known here, or what it signed was not asked for on this site's own page in the last 5 minutes.",
	}
}

// signIn trades what a passkey signed for a session.
func (s *Server) signIn(c *call) (action, error) {
	f, err := readFields(c, false)
	if err != nil {
		return nil, err
	}
	token := f.required("token", 1, maxCredential)
	var signed *protocol.ParsedCredentialAssertionData
	f.credential(func(raw []byte) (err error) {
		signed, err = protocol.ParseCredentialRequestResponseBytes(raw)
		return err
	})
	if err := f.Err(); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		if s.relyingParty == nil {
			return answer{}, errNoPasskeys
		}
		if err := s.ownPage(c.r); err != nil {
			return answer{}, err
		}
		ch, ok := s.sessions.checkChallenge(token, toSignIn)
		if !ok {
			return answer{}, badPasskey(nil)
		}
		h, k, err := s.findPasskey(ctx, string(signed.Response.UserHandle), signed.RawID)
		if err != nil {
			return answer{}, err
		}
		if err := s.relyingParty.asserted(h, ch, signed); err != nil {
			return answer{}, badPasskey(err)
		}
		data, session := signed.Response.AuthenticatorData, s.newSession()
		return s.begin(ctx, h.namespace, h.ownerID, "owner.sign_in", http.StatusOK, session, domain.SignIn{
			OwnerID: h.ownerID, PasskeyID: k.ID, SignCount: data.Counter, BackedUp: data.Flags.HasBackupState(),
			Challenge: ch.recorded(), Session: session,
		})
	}, nil
}

// findPasskey finds an owner and his passkey. The owner is looked for and not the
// passkey: ids of owners are made here and cannot be taken by somebody else.
func (s *Server) findPasskey(ctx context.Context, ownerID string, credentialID []byte) (h holder, k domain.Passkey, err error) {
	known, err := s.lookTwice(ctx, func() (found bool) {
		namespace, ok := s.commands.Directory().NamespaceOf(ownerID)
		if !ok {
			return false
		}
		h = s.holder(&owner{namespace: namespace, actor: domain.Actor{ID: ownerID}})
		k, found = h.passkey(credentialID)
		return found
	})
	if err == nil && !known {
		err = badPasskey(nil)
	}
	return h, k, err
}

// ownPage refuses a page of another site, which must not sign a browser in as somebody
// else.
func (s *Server) ownPage(r *http.Request) error {
	if s.crossOrigin.Check(r) != nil {
		return domain.Errorf(domain.CodeForbidden, "Sign in on this site's own page.")
	}
	return nil
}

func (s *Server) newSession() domain.Session {
	return domain.Session{ID: newUUID(), ExpiresAt: s.config.Now().UTC().Add(SessionLifetime).Truncate(time.Second)}
}

// begin executes a command that begins a session of an owner who has shown a passkey,
// and answers with the session.
func (s *Server) begin(ctx context.Context, namespace, ownerID, name string, status int, session domain.Session, cmd domain.RegistryCommand) (answer, error) {
	_, result, err := s.commands.Registry(ctx, namespace, cmd, commands.Meta{
		Actor: domain.Actor{Kind: domain.ActorOwner, ID: ownerID}, Ref: domain.CommandRef{Name: name},
	})
	if err != nil {
		return answer{position: result.Position}, err
	}
	a, err := s.begun(namespace, ownerID, session)
	a.status, a.position = status, result.Position
	return a, err
}

// begun answers with a session that the ledger knows of.
func (s *Server) begun(namespace, ownerID string, session domain.Session) (answer, error) {
	token, err := s.sessions.issue(namespace, ownerID, session.ID, session.ExpiresAt)
	if err != nil {
		return answer{}, err
	}
	return answer{cookie: s.sessions.cookie(token, session.ExpiresAt), body: loginAnswer{token, namespace, session.ExpiresAt}}, nil
}

var errNoSignUp = domain.Errorf(domain.CodeNotFound, "Nobody can sign up here by himself; ask the operator of this ledger.")

// ValidEmail reports whether a text is an e-mail address and nothing else.
func ValidEmail(text string) bool {
	address, err := mail.ParseAddress(text)
	return err == nil && address.Address == text && len(text) <= domain.MaxEmail
}

// signUpOptions begin a namespace of somebody who comes by himself.
func (s *Server) signUpOptions(c *call) (action, error) {
	if !s.config.SignUp {
		return nil, errNoSignUp
	}
	f, err := readFields(c, false)
	if err != nil {
		return nil, err
	}
	namespace := f.required("namespace", domain.MinNamespace, domain.MaxNamespace)
	f.Merge(domain.CheckNewNamespace(namespace))
	if err := f.Err(); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		if s.relyingParty == nil {
			return answer{}, errNoPasskeys
		}
		// Names are for whoever comes first, so that whether one is taken is no secret.
		if s.commands.Directory().View(namespace, func(*domain.Registry) {}) {
			return answer{}, domain.Errorf(domain.CodeConflict, "The namespace %s is registered already.", namespace)
		}
		return s.creationOptions(holder{ownerID: NewOwnerID(s.config.NewID()), namespace: namespace}, toSignUp)
	}, nil
}

// NewOwnerID makes an owner's id of a ULID.
func NewOwnerID(id string) string { return "owner_" + strings.ToLower(id) }

// signUp begins the namespace, with its owner and his passkey, and signs him in.
func (s *Server) signUp(c *call) (action, error) {
	if !s.config.SignUp {
		return nil, errNoSignUp
	}
	f, err := readFields(c, false)
	if err != nil {
		return nil, err
	}
	p, email := readPasskey(f), f.optional("email", domain.MaxEmail)
	if email != "" && !ValidEmail(email) {
		f.Add("email", "must be an e-mail address")
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		if err := s.ownPage(c.r); err != nil {
			return answer{}, err
		}
		cmd, ch, err := s.accept(p, toSignUp)
		if err != nil {
			return answer{}, err
		}
		session := s.newSession()
		a, err := s.begin(ctx, ch.Namespace, ch.OwnerID, "owner.sign_up", http.StatusCreated, session, domain.SignUp{AddPasskey: cmd, Session: session, Limits: s.config.NewLimits})
		if err == nil && email != "" {
			// If we crash before this, the owner has no address here. He has his passkey.
			if err := s.config.KeepEmail(ctx, ch.OwnerID, email); err != nil {
				s.config.Logger.Warn("an owner has signed up, and the address could not be kept", "owner", ch.OwnerID, "error", err)
			}
		}
		return a, err
	}, nil
}
