package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // the login page
	"encoding/base64"
	"net/http"
	"time"

	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/domain"
)

type loginAnswer struct {
	SessionToken string    `json:"session_token"`
	Namespace    string    `json:"namespace"`
	ExpiresAt    time.Time `json:"expires_at"`
}

// login trades a one-time token for a session. The token names its namespace, so that
// it is used up where it was recorded.
func (s *Server) login(c *call) (action, error) {
	f, err := readFields(c, false)
	if err != nil {
		return nil, err
	}
	token := f.required("token", 1, maxCredential)
	if err := f.Err(); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		if err := s.ownPage(c.r); err != nil {
			return answer{}, err
		}
		namespace, ok := domain.LoginTokenNamespace(token)
		if !ok {
			return answer{}, errBadLoginLink
		}
		if err := s.namespaceExists(ctx, namespace); domain.ErrorCode(err) == domain.CodeNotFound {
			return answer{}, errBadLoginLink
		} else if err != nil {
			return answer{}, err
		}
		session := s.newSession()
		cmd := domain.UseLoginToken{TokenHash: domain.HashOf([]byte(token)), SessionID: session.ID, ExpiresAt: session.ExpiresAt}
		a, result, err := s.commands.Registry(ctx, namespace, cmd, commands.Meta{
			Actor: domain.Actor{Kind: domain.ActorOwner}, Ref: domain.CommandRef{Name: "owner.log_in"},
		})
		if err != nil {
			return answer{}, err
		}
		begun, err := s.begun(namespace, a.OwnerID, session)
		begun.position = result.Position
		return begun, err
	}, nil
}

var errBadLoginLink = domain.Errorf(domain.CodeUnauthorized, "This login link is not valid: it was used, it is older than 15 minutes, or it was never issued.")

func (s *Server) logout(c *call) (action, error) {
	return func(ctx context.Context) (answer, error) {
		cmd := domain.EndSession{OwnerID: c.owner.actor.ID, SessionID: c.owner.sessionID, ExpiresAt: c.owner.expires}
		_, result, err := s.commands.Registry(ctx, c.owner.namespace, cmd, commands.Meta{
			Actor: c.owner.actor, Ref: domain.CommandRef{Name: "owner.log_out"},
		})
		if err != nil {
			return answer{}, err
		}
		return answer{position: result.Position, cookie: s.sessions.cookie("", time.Unix(0, 0)), body: successBody{true}}, nil
	}, nil
}

type meBody struct {
	Namespace   string              `json:"namespace"`
	ActorKind   domain.ActorKind    `json:"kind"`
	ActorID     string              `json:"id"`
	Permissions []domain.Permission `json:"permissions"`
	ExpiresAt   *time.Time          `json:"expires_at,omitempty"`
}

func (s *Server) me(c *call) (action, error) {
	return func(context.Context) (answer, error) {
		body := meBody{Namespace: c.owner.namespace, ActorKind: c.owner.actor.Kind, ActorID: c.owner.actor.ID, Permissions: c.owner.permissions}
		if c.owner.sessionID != "" {
			body.ExpiresAt = &c.owner.expires
		}
		return answer{body: body, position: s.commands.Position()}, nil
	}, nil
}

//go:embed login.html
var loginHTML []byte

// ownersPage is the page as this ledger serves it: it offers what there is.
func ownersPage(passkeys, signUp bool) []byte {
	page := loginHTML
	for attribute, is := range map[string]bool{"data-passkeys": passkeys, "data-sign-up": signUp} {
		if is {
			page = bytes.Replace(page, []byte(attribute+`="no"`), []byte(attribute+`="yes"`), 1)
		}
	}
	return page
}

// loginPage is where a login link leads, and where owners sign in and look after their
// passkeys. Opening it uses nothing up, so that a mail scanner or a preview cannot; and
// the token stands behind the #, which no browser sends to a server, so that it is in
// nobody's log.
func (s *Server) loginPage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Security-Policy", loginCSP)
	_, _ = w.Write(s.page) // the client is gone: nobody to tell
}

// loginCSP lets the page run its own script and style and call this server, and
// nothing else.
var loginCSP = "default-src 'none'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; script-src " +
	inlineHash("script") + "; style-src " + inlineHash("style")

// inlineHash is the source expression of the page's one inline element of a kind
// (Content Security Policy Level 3, 2.3.1).
func inlineHash(element string) string {
	_, rest, _ := bytes.Cut(loginHTML, []byte("<"+element+">"))
	inline, _, _ := bytes.Cut(rest, []byte("</"+element+">"))
	sum := sha256.Sum256(inline)
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
