package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/claimledger/claimledger/api"
	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

type ownerAddCommand struct {
	Name  string `arg:"" name:"namespace" help:"The namespace."`
	Email string `required:"" help:"The owner's e-mail address. It is kept beside the log, where it can be erased." placeholder:"ADDRESS"`
	operatorSettings
}

func (c *ownerAddCommand) Run(w *world) error {
	if err := checkEmail(c.Email); err != nil {
		return err
	}
	token, recorded := newLoginToken(c.Name)
	cmd := domain.AddOwner{OwnerID: api.NewOwnerID(newID()), Token: recorded}
	return c.registry(w, c.Name, cmd, "owner.add", c.keepAndPrint(w, c.Name, c.Email, token))
}

func checkEmail(address string) error {
	if !api.ValidEmail(address) {
		return usageError{fmt.Errorf("--email: %q is not an e-mail address", address)}
	}
	return nil
}

// keepAndPrint keeps a new owner's address and prints his link. If we crash before it,
// he has no address here: he can still be sent a link by the operator who knows him.
func (o operatorSettings) keepAndPrint(w *world, namespace, email, token string) func(context.Context, *eventstore.Stream, domain.RegistryAnswer, commands.Result) error {
	return func(ctx context.Context, stream *eventstore.Stream, a domain.RegistryAnswer, _ commands.Result) error {
		if err := stream.Profiles().Put(ctx, a.OwnerID, eventstore.Profile{Email: email}); err != nil {
			return fmt.Errorf("%s is an owner of %s now, but the address could not be kept: %w", a.OwnerID, namespace, err)
		}
		return o.printLink(w.stdout, namespace, a.OwnerID, token)
	}
}

type ownerRemoveCommand struct {
	Name    string `arg:"" name:"namespace" help:"The namespace."`
	OwnerID string `arg:"" name:"owner-id" help:"The owner's id; owner list shows it."`
	operatorSettings
}

// Run removes the owner, and then what is known of him beside the log. If we crash in
// between, running it again erases the rest.
func (c *ownerRemoveCommand) Run(w *world) error {
	return c.with(w, false, func(ctx context.Context, stream *eventstore.Stream, x *commands.Executor) error {
		_, _, err := x.Registry(ctx, c.Name, domain.RemoveOwner{OwnerID: c.OwnerID},
			commands.Meta{Actor: operator, Ref: domain.CommandRef{Name: "owner.remove"}})
		namespace, _ := x.Directory().NamespaceOf(c.OwnerID)
		if gone := domain.ErrorCode(err) == domain.CodeNotFound && namespace == c.Name; err == nil || gone {
			if err := stream.Profiles().Delete(ctx, c.OwnerID); err != nil {
				return fmt.Errorf("%s is no owner of %s any more, but the address could not be erased; run this again: %w", c.OwnerID, c.Name, err)
			}
		}
		if err != nil {
			return forPerson(err)
		}
		if c.JSON {
			return json.NewEncoder(w.stdout).Encode(map[string]any{"namespace": c.Name, "owner_id": c.OwnerID, "removed": true})
		}
		_, err = fmt.Fprintf(w.stdout, "%s is no owner of %s any more\n", c.OwnerID, c.Name)
		return err
	})
}

type ownerListCommand struct {
	Name string `arg:"" name:"namespace" help:"The namespace."`
	operatorSettings
}

type listedOwner struct {
	OwnerID  string    `json:"owner_id"`
	Email    string    `json:"email,omitempty"`
	Passkeys int       `json:"passkeys"`
	AddedAt  time.Time `json:"added_at"`
}

func (c *ownerListCommand) Run(w *world) error {
	return c.with(w, false, func(ctx context.Context, stream *eventstore.Stream, x *commands.Executor) error {
		owners := []listedOwner{}
		if !x.Directory().View(c.Name, func(r *domain.Registry) {
			for _, o := range r.Owners() {
				owners = append(owners, listedOwner{OwnerID: o.ID, Passkeys: len(r.Passkeys(o.ID)), AddedAt: o.AddedAt})
			}
		}) {
			return fmt.Errorf("there is no namespace %s", c.Name)
		}
		for i := range owners {
			profile, _, err := stream.Profiles().Get(ctx, owners[i].OwnerID)
			if err != nil {
				return err
			}
			owners[i].Email = profile.Email
		}
		if c.JSON {
			return json.NewEncoder(w.stdout).Encode(map[string]any{"namespace": c.Name, "owners": owners})
		}
		table := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
		_, err := fmt.Fprintln(table, "owner\te-mail\tpasskeys\tadded")
		for _, o := range owners {
			_, rowErr := fmt.Fprintf(table, "%s\t%s\t%d\t%s\n", o.OwnerID, o.Email, o.Passkeys, o.AddedAt.Format(time.RFC3339))
			err = errors.Join(err, rowErr)
		}
		return errors.Join(err, table.Flush())
	})
}
