package api

import (
	"context"
	"net/http"
	"time"

	"github.com/go-webauthn/webauthn/protocol"

	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/domain"
)

var errNoPasskeys = domain.Errorf(domain.CodeNotFound,
	"This ledger has no passkeys: they need a public URL with https, or localhost, and with the name of a domain rather than an IP address.")

type passkeyBody struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Transports []string   `json:"transports"`
	BackedUp   bool       `json:"backed_up"`
	CreatedAt  time.Time  `json:"created_at"`
	LastUsedAt *time.Time `json:"last_used_at"`
}

func renderPasskey(k domain.Passkey) passkeyBody {
	return passkeyBody{k.ID, k.Name, append([]string{}, k.Transports...), k.BackedUp, k.CreatedAt, k.LastUsedAt}
}

// holder is the caller with his passkeys.
func (s *Server) holder(o *owner) holder {
	h := holder{ownerID: o.actor.ID, namespace: o.namespace}
	s.commands.Directory().View(o.namespace, func(r *domain.Registry) { h.passkeys = r.Passkeys(o.actor.ID) })
	return h
}

// listPasskeys answers from the states that commands rest on: an owner has few.
func (s *Server) listPasskeys(c *call) (action, error) {
	wait, err := s.readLog(c, c.owner.namespace)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		if err := wait(ctx); err != nil {
			return answer{}, err
		}
		position := s.commands.Position()
		bodies := []passkeyBody{}
		for _, k := range s.holder(c.owner).passkeys {
			bodies = append(bodies, renderPasskey(k))
		}
		return answer{body: map[string]any{"passkeys": bodies}, position: position}, nil
	}, nil
}

// creationOptions begin the making of a passkey.
func (s *Server) creationOptions(h holder, p purpose) (answer, error) {
	options, err := s.relyingParty.creation(h)
	if err != nil {
		return answer{}, err
	}
	token, expires, err := s.sessions.issueChallenge(challenge{
		Purpose: p, Text: options.Challenge.String(), Namespace: h.namespace, OwnerID: h.ownerID,
	})
	return answer{body: optionsBody{token, options, expires}, position: s.commands.Position()}, err
}

func (s *Server) passkeyOptions(c *call) (action, error) {
	return func(context.Context) (answer, error) {
		if s.relyingParty == nil {
			return answer{}, errNoPasskeys
		}
		return s.creationOptions(s.holder(c.owner), toAddPasskey)
	}, nil
}

// newPasskey is what a request says of a passkey that was just made.
type newPasskey struct {
	token, name string
	made        *protocol.ParsedCredentialCreationData
}

// defaultPasskeyName is for clients that give none.
const defaultPasskeyName = "Passkey"

func readPasskey(f *fields) newPasskey {
	p := newPasskey{token: f.required("token", 1, maxCredential), name: f.optional("name", domain.MaxName)}
	if p.name == "" {
		p.name = defaultPasskeyName
	}
	f.credential(func(raw []byte) (err error) {
		p.made, err = protocol.ParseCredentialCreationResponseBytes(raw)
		return err
	})
	return p
}

// credential reads what an authenticator answered.
func (f *fields) credential(parse func(raw []byte) error) {
	if !f.has("credential") {
		f.Add("credential", "is required")
	} else if parse(f.raw["credential"]) != nil {
		f.Add("credential", "must be a PublicKeyCredential, as its toJSON() gives it")
	}
}

var errBadOptions = &domain.Error{
	Code: domain.CodeInvalidRequest, Message: "The options are not valid: ask for new ones.",
	Details: []domain.FieldError{{Field: "token", Message: "must come with options that were given for this less than 5 minutes ago"}},
}

// accept checks a new passkey and gives the command that records it.
func (s *Server) accept(p newPasskey, of purpose) (domain.AddPasskey, *challenge, error) {
	if s.relyingParty == nil {
		return domain.AddPasskey{}, nil, errNoPasskeys
	}
	ch, ok := s.sessions.checkChallenge(p.token, of)
	if !ok {
		return domain.AddPasskey{}, nil, errBadOptions
	}
	credential, err := s.relyingParty.created(holder{ownerID: ch.OwnerID, namespace: ch.Namespace}, ch, p.made)
	if err != nil {
		return domain.AddPasskey{}, nil, err
	}
	cmd := domain.AddPasskey{OwnerID: ch.OwnerID, PasskeyID: newUUID(), Name: p.name, Credential: credential, Challenge: ch.recorded()}
	return cmd, ch, cmd.Check()
}

func (s *Server) addPasskey(c *call) (action, error) {
	f, err := readFields(c, false)
	if err != nil {
		return nil, err
	}
	p := readPasskey(f)
	if err := f.Err(); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		cmd, ch, err := s.accept(p, toAddPasskey)
		if err != nil {
			return answer{}, err
		}
		if ch.Namespace != c.owner.namespace || ch.OwnerID != c.owner.actor.ID {
			return answer{}, domain.Errorf(domain.CodeForbidden, "These options were given to another owner.")
		}
		result, err := s.byOwner(ctx, c.owner, "passkey.add", cmd)
		if err != nil {
			return answer{position: result.Position}, err
		}
		// As it was made, whatever became of it since.
		made := domain.Passkey{
			ID: cmd.PasskeyID, Name: cmd.Name, Transports: cmd.Credential.Transports,
			BackedUp: cmd.Credential.BackedUp, CreatedAt: result.Time,
		}
		return answer{status: http.StatusCreated, body: renderPasskey(made), position: result.Position}, nil
	}, nil
}

// byOwner executes a command on the registry of an owner who is signed in.
func (s *Server) byOwner(ctx context.Context, o *owner, name string, cmd domain.RegistryCommand) (commands.Result, error) {
	_, result, err := s.commands.Registry(ctx, o.namespace, cmd, commands.Meta{Actor: o.actor, Ref: domain.CommandRef{Name: name}})
	return result, err
}

func (s *Server) removePasskey(c *call) (action, error) {
	return func(ctx context.Context) (answer, error) {
		result, err := s.byOwner(ctx, c.owner, "passkey.remove", domain.RemovePasskey{OwnerID: c.owner.actor.ID, PasskeyID: c.path("passkey")})
		return answer{body: successBody{true}, position: result.Position}, err
	}, nil
}
