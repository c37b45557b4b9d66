package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/claimledger/claimledger/api"
	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// loginLinkLifetime is how long a login link can be used.
const loginLinkLifetime = 15 * time.Minute

func newID() string { return ulid.Make().String() }

type ownerCommands struct {
	Create    ownerCreateCommand `cmd:"" help:"Register a namespace with its owner; prints a one-time link to sign in with. Example: claimledger owner create acme --email you@example.com"`
	Add       ownerAddCommand    `cmd:"" help:"Give a namespace another owner; prints a one-time link to sign in with. Example: claimledger owner add acme --email other@example.com"`
	Remove    ownerRemoveCommand `cmd:"" help:"End what an owner may do, with his sessions, passkeys and links. Example: claimledger owner remove acme owner_01kjpz2b9f6g7h8j0k1m2n3p4q"`
	List      ownerListCommand   `cmd:"" help:"List a namespace's owners. Example: claimledger owner list acme"`
	LoginLink loginLinkCommand   `cmd:"" help:"Print another one-time link to sign in with. Example: claimledger owner login-link acme"`
}

// operatorSettings are the flags of commands that write to the log.
type operatorSettings struct {
	placeSettings
	Listen    string `default:"127.0.0.1:8787" help:"Where the ledger listens, for links." placeholder:"HOST:PORT"`
	PublicURL string `help:"What clients see, for links. Default: http://<listen>." placeholder:"URL"`
	JSON      bool   `help:"Print JSON."`
}

// publicURL is the base of every URL that clients see.
func publicURL(configured, listen string) string {
	if configured != "" {
		return strings.TrimRight(configured, "/")
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "http://" + listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost" // every address is no address to call
	}
	return "http://" + net.JoinHostPort(host, port)
}

// base is the public URL of the ledger that these settings are about: what they say, or
// what the ledger that runs on the data directory says of itself.
func (o operatorSettings) base() string {
	if o.PublicURL == "" && o.embedded() {
		if url := toldURL(o.DataDir); url != "" {
			return url
		}
	}
	return publicURL(o.PublicURL, o.Listen)
}

// toldURL is what the ledger that runs on a data directory says of itself; empty where
// none does.
func toldURL(dataDir string) string {
	text, err := os.ReadFile(filepath.Join(dataDir, urlFile))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

var operator = domain.Actor{Kind: domain.ActorOperator}

// with opens the log, for a command that decides on what is there now. first says that it
// may be the first thing that a ledger is told, and make the log.
func (o operatorSettings) with(w *world, first bool, do func(context.Context, *eventstore.Stream, *commands.Executor) error) (err error) {
	logger := o.logger(w.stderr)
	if !first {
		if err := o.hasLedger(); err != nil {
			return err
		}
	}
	stream, closeLog, err := o.openLog(w.ctx, false, quiet(logger))
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := closeLog(); err == nil {
			err = closeErr
		}
	}()
	ctx, cancel := context.WithTimeout(w.ctx, openTimeout)
	defer cancel()
	if err := o.watch(stream, slog.New(slog.DiscardHandler)).Begin(ctx); err != nil {
		return forPerson(err)
	}
	x, err := executor(ctx, stream, logger)
	if err != nil {
		return forPerson(err)
	}
	return do(ctx, stream, x)
}

// registry executes one operator's command and gives the stream to do more with.
func (o operatorSettings) registry(w *world, namespace string, cmd domain.RegistryCommand, name string,
	then func(context.Context, *eventstore.Stream, domain.RegistryAnswer, commands.Result) error) error {
	_, first := cmd.(domain.RegisterNamespace)
	return o.with(w, first, func(ctx context.Context, stream *eventstore.Stream, x *commands.Executor) error {
		answer, result, err := x.Registry(ctx, namespace, cmd, commands.Meta{Actor: operator, Ref: domain.CommandRef{Name: name}})
		if err != nil {
			return forPerson(err)
		}
		return then(ctx, stream, answer, result)
	})
}

type loginLink struct {
	Namespace  string `json:"namespace"`
	OwnerID    string `json:"owner_id"`
	LoginToken string `json:"login_token"`
	LoginURL   string `json:"login_url"`
}

func newLoginToken(namespace string) (token string, recorded domain.LoginToken) {
	token = domain.FormatLoginToken(namespace, rand.Text())
	return token, domain.LoginToken{
		Hash:      domain.HashOf([]byte(token)),
		ExpiresAt: time.Now().UTC().Add(loginLinkLifetime).Truncate(time.Millisecond),
	}
}

func (o operatorSettings) printLink(out io.Writer, namespace, ownerID, token string) error {
	link := loginLink{namespace, ownerID, token, o.base() + "/v1/auth/login#" + token}
	if o.JSON {
		return json.NewEncoder(out).Encode(link)
	}
	_, err := fmt.Fprintf(out, "namespace  %s\nowner      %s\nsign in    %s\n\nThe link works once, for %d minutes. Whoever has it can decide for the namespace.\n",
		link.Namespace, link.OwnerID, link.LoginURL, int(loginLinkLifetime.Minutes()))
	return err
}

type ownerCreateCommand struct {
	Name  string `arg:"" name:"namespace" help:"3 to 64 lower-case letters, digits and hyphens."`
	Email string `required:"" help:"The owner's e-mail address. It is kept beside the log, where it can be erased." placeholder:"ADDRESS"`
	newSettings
	operatorSettings
}

func (c *ownerCreateCommand) Run(w *world) error {
	if err := checkEmail(c.Email); err != nil {
		return err
	}
	limits, err := c.limits()
	if err != nil {
		return err
	}
	token, recorded := newLoginToken(c.Name)
	cmd := domain.RegisterNamespace{OwnerID: api.NewOwnerID(newID()), Token: recorded, Limits: limits}
	return c.registry(w, c.Name, cmd, "namespace.register", c.keepAndPrint(w, c.Name, c.Email, token))
}

type loginLinkCommand struct {
	Name  string `arg:"" name:"namespace" help:"The namespace to sign in to."`
	Owner string `help:"For whom. Default: the owner of longest standing." placeholder:"OWNER-ID"`
	operatorSettings
}

func (c *loginLinkCommand) Run(w *world) error {
	token, recorded := newLoginToken(c.Name)
	return c.registry(w, c.Name, domain.IssueLoginToken{OwnerID: c.Owner, Token: recorded}, "login_token.issue",
		func(_ context.Context, _ *eventstore.Stream, a domain.RegistryAnswer, _ commands.Result) error {
			return c.printLink(w.stdout, c.Name, a.OwnerID, token)
		})
}

type namespaceCommand struct {
	Deactivate deactivateCommand `cmd:"" help:"Refuse submits to a namespace and authorize nobody in it. Example: claimledger namespace deactivate acme --reason 'key leaked'"`
	Activate   activateCommand   `cmd:"" help:"Let a namespace go on. Example: claimledger namespace activate acme"`
}

type deactivateCommand struct{ switchSettings }

type activateCommand struct{ switchSettings }

type switchSettings struct {
	Name   string `arg:"" name:"namespace" help:"The namespace."`
	Reason string `help:"Why, for the record." placeholder:"TEXT"`
	operatorSettings
}

func (c *deactivateCommand) Run(w *world) error {
	return c.run(w, domain.DeactivateNamespace{Reason: c.Reason}, "namespace.deactivate", false)
}

func (c *activateCommand) Run(w *world) error {
	return c.run(w, domain.ActivateNamespace{Reason: c.Reason}, "namespace.activate", true)
}

func (c *switchSettings) run(w *world, cmd domain.RegistryCommand, name string, active bool) error {
	var v domain.Violations
	v.Text("--reason", c.Reason, 0, domain.MaxReason)
	if err := v.Err(); err != nil {
		return usageError{forPerson(err)}
	}
	return c.registry(w, c.Name, cmd, name, func(_ context.Context, _ *eventstore.Stream, _ domain.RegistryAnswer, r commands.Result) error {
		if c.JSON {
			return json.NewEncoder(w.stdout).Encode(map[string]any{"namespace": c.Name, "active": active, "changed": r.Appended})
		}
		word := map[bool]string{true: "active", false: "deactivated"}[active]
		if !r.Appended {
			word += " already"
		}
		_, err := fmt.Fprintf(w.stdout, "%s is %s\n", c.Name, word)
		return err
	})
}
