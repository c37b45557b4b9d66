package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// maxResealPasses bounds how often what is in force is looked through: more are needed
// only while other processes go on sealing with another key.
const maxResealPasses = 10

// sealedLedger is the ledger, for a command that asks with what its secrets are sealed.
type sealedLedger struct {
	w      *world
	stream *eventstore.Stream
	x      *commands.Executor
}

func (l *sealedLedger) inForce() map[string]int { return l.x.Directory().SealedWith(time.Now()) }

// ledger opens the log, for as long as do takes.
func (s secretKeySettings) ledger(w *world, do func(*sealedLedger) error) error {
	return operatorSettings{placeSettings: s.placeSettings}.with(w, false,
		func(_ context.Context, stream *eventstore.Stream, x *commands.Executor) error {
			return do(&sealedLedger{w, stream, x})
		})
}

// again reads what was recorded in the meantime.
func (l *sealedLedger) again(s secretKeySettings) error {
	ctx, cancel := context.WithTimeout(l.w.ctx, openTimeout)
	defer cancel()
	x, err := executor(ctx, l.stream, s.logger(l.w.stderr))
	if err != nil {
		return forPerson(err)
	}
	l.x = x
	return nil
}

// opens makes sure that a ring opens what is in force: nothing is begun that cannot be ended.
func (l *sealedLedger) opens(r *keyRing, ring *domain.SealRing) error {
	if lacking := lackingKeys(l.inForce(), ring); len(lacking) > 0 {
		return fmt.Errorf("%s lacks %s, with which webhook secrets in force are encrypted: put the key back on a line of its own", r.path, strings.Join(lacking, ", "))
	}
	return nil
}

// reseal seals what is in force with the ring's first key, where it is sealed with another.
// Each webhook is a commit of its own: if we crash between two, running it again goes on
// with those that are left.
func (s secretKeySettings) reseal(l *sealedLedger, r *keyRing) (webhooks int, err error) {
	ring, err := r.ring()
	if err != nil {
		return 0, err
	}
	for range maxResealPasses {
		if err := l.opens(r, ring); err != nil {
			return webhooks, err
		}
		left := l.x.Directory().SealedOtherwise(ring.First().ID(), time.Now())
		if len(left) == 0 {
			return webhooks, nil
		}
		n, err := l.pass(ring, left)
		if webhooks += n; err != nil {
			return webhooks, err
		}
		if err := l.again(s); err != nil {
			return webhooks, err
		}
	}
	return webhooks, errors.New("some process goes on encrypting with another key: copy the file to all machines, and run claimledger secret-key reseal")
}

func (l *sealedLedger) pass(ring *domain.SealRing, left map[string][]domain.Webhook) (done int, err error) {
	var of uint64
	for _, webhooks := range left {
		of += uint64(len(webhooks))
	}
	shown := newProgress(l.w.stderr, "webhooks whose secrets are encrypted again")
	defer shown.end()
	for _, namespace := range slices.Sorted(maps.Keys(left)) {
		for _, webhook := range left[namespace] {
			changed, err := l.resealOne(ring, namespace, webhook)
			if err != nil {
				return done, fmt.Errorf("webhook %s of %s: %w", webhook.ID, namespace, err)
			}
			if changed {
				done++
			}
			shown.at(uint64(done), of)
		}
	}
	return done, nil
}

// resealOne seals a webhook's secrets again. One that has been deleted needs nothing.
func (l *sealedLedger) resealOne(ring *domain.SealRing, namespace string, webhook domain.Webhook) (changed bool, err error) {
	cmd := domain.ResealWebhook{WebhookID: webhook.ID, ServiceID: webhook.ServiceID}
	for _, sealed := range webhook.SealedOtherwise(ring.First().ID(), time.Now()) {
		secret, err := ring.Open(sealed, webhook.ID)
		if err != nil {
			return false, err
		}
		var nonce [domain.SealNonceSize]byte
		rand.Read(nonce[:])
		cmd.Resealed = append(cmd.Resealed, domain.Resealed{From: sealed, To: ring.First().Seal(nonce, secret, webhook.ID)})
	}
	ctx, cancel := context.WithTimeout(l.w.ctx, openTimeout)
	defer cancel()
	_, result, err := l.x.Registry(ctx, namespace, cmd, commands.Meta{Actor: operator, Ref: domain.CommandRef{Name: "webhook.reseal"}})
	if domain.ErrorCode(err) == domain.CodeNotFound {
		return false, nil
	}
	return result.Appended, forPerson(err)
}

type secretKeyResealCommand struct{ secretKeySettings }

// Help is shown below the flags.
func (secretKeyResealCommand) Help() string {
	return `It can be stopped at any time and run again: it goes on where it was.`
}

// Run seals again what is in force.
func (c *secretKeyResealCommand) Run(w *world) error {
	return c.change(func(r *keyRing) error {
		return c.ledger(w, func(l *sealedLedger) error {
			n, err := c.reseal(l, r)
			if err != nil {
				return err
			}
			return c.print(w, map[string]any{"key_id": r.ids()[0], "webhooks": n},
				"Everything in force is encrypted with %s; the secrets of %d webhooks were encrypted again", r.ids()[0], n)
		})
	})
}

type secretKeyRotateCommand struct{ secretKeySettings }

// Help is shown below the flags.
func (secretKeyRotateCommand) Help() string {
	return `It works beside a running ledger, which uses the new key at once, and without one. The key before stays in the file, to read with; secret-key
retire takes it out. If it is interrupted, secret-key reseal goes on. With --nats-url, where other machines have copies of the file, it is
secret-key add, activate and reseal instead.`
}

// Run does what add, activate and reseal do, where all processes read the one file: it is
// written once, so that whoever seals with the new key has it.
func (c *secretKeyRotateCommand) Run(w *world) error {
	if !c.embedded() {
		return usageError{errors.New("with --nats-url other machines may have copies of the file, and they must have a new key before anything is encrypted with it: " +
			"claimledger secret-key add --help says how")}
	}
	return c.change(func(r *keyRing) error {
		return c.ledger(w, func(l *sealedLedger) error {
			ring, err := r.ring()
			if err == nil {
				err = l.opens(r, ring)
			}
			if err != nil {
				return err
			}
			before := r.ids()[0]
			for id, n := range l.inForce() {
				if id != before {
					return fmt.Errorf("%d webhook secrets are encrypted with the key %s from before the last rotation: run claimledger secret-key reseal first", n, id)
				}
			}
			id, err := r.addNew()
			if err != nil {
				return err
			}
			r.first(len(r.keys) - 1)
			if err := r.write(); err != nil {
				return err
			}
			n, err := c.reseal(l, r)
			if err != nil {
				return fmt.Errorf("secrets are encrypted with the new key %s from now on, but not all from before are; run claimledger secret-key reseal: %w", id, err)
			}
			return c.print(w, map[string]any{"key_id": id, "key_before": before, "webhooks": n},
				"Secrets are encrypted with the new key %s; those of %d webhooks were encrypted again. In 20 s the key before can go: claimledger secret-key retire %s", id, n, before)
		})
	})
}
