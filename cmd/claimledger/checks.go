package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections"
	"github.com/claimledger/claimledger/webhookrelay"
)

// commandsFresh tells whether decisions and verify rest on what is in the log.
func (n *node) commandsFresh(x *commands.Executor) func(context.Context) error {
	return func(context.Context) error {
		if age := x.Age(); age > n.StaleAfter {
			return domain.Errorf(domain.CodeServiceUnavailable, "The log was last read to its end %d seconds ago.", int(age.Seconds()))
		}
		return x.Trouble()
	}
}

// modelsFresh tells whether reads are answered from models that some projector keeps up
// to date.
func (n *node) modelsFresh(reader *projections.Reader) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, m := range projections.Models() {
			at, err := reader.At(ctx, m.Name)
			switch {
			case err != nil:
				return err
			case at.Age == projections.NeverFresh:
				return domain.Errorf(domain.CodeServiceUnavailable, "The read model %s is being built.", m.Name)
			case at.Age > n.MaxLag:
				return behind(m.Name, at.Age)
			}
		}
		return nil
	}
}

func behind(model string, age time.Duration) error {
	return domain.Errorf(domain.CodeServiceUnavailable, "The read model %s is %d seconds behind the ledger.", model, int(age.Seconds()))
}

// projectorsWork tells whether this process's projectors can do what they are there for.
func (n *node) projectorsWork(projectors *projections.Projectors) func(context.Context) error {
	return func(context.Context) error {
		for _, s := range projectors.Status() {
			lag := time.Duration(s.LagSeconds * float64(time.Second))
			switch {
			case s.Stopped != "":
				return domain.Errorf(domain.CodeServiceUnavailable, "The read model %s has stopped at position %d: %s", s.Model, s.Position, s.Stopped)
			case s.Waiting != "":
				return domain.Errorf(domain.CodeServiceUnavailable, "The read model %s waits at position %d: %s", s.Model, s.Position, s.Waiting)
			case s.Active && lag > n.MaxLag:
				return behind(s.Model, lag)
			}
		}
		return nil
	}
}

// modelsHere is how far the read models are, as this process's projectors know.
func modelsHere(projectors *projections.Projectors) func(context.Context) []modelStatus {
	return func(context.Context) []modelStatus {
		var all []modelStatus
		for _, s := range projectors.Status() {
			all = append(all, modelStatus{
				Model: s.Model, Generation: s.Generation, Version: s.Version, Position: strconv.FormatUint(s.Position, 10),
				LagCommits: s.LagCommits, LagSeconds: &s.LagSeconds, Active: &s.Active,
			})
		}
		return all
	}
}

// modelsElsewhere is how far they are, as a process finds out that has no projectors. One
// that cannot be looked at is left out: the checks say why.
func modelsElsewhere(reader *projections.Reader, log eventstore.Log) func(context.Context) []modelStatus {
	return func(ctx context.Context) []modelStatus {
		last, err := log.Last(ctx)
		if err != nil {
			return nil
		}
		var all []modelStatus
		for _, m := range projections.Models() {
			at, err := reader.At(ctx, m.Name)
			if err != nil {
				continue
			}
			s := modelStatus{Model: m.Name, Version: m.Version, Position: strconv.FormatUint(at.Position, 10)}
			if last > at.Position {
				s.LagCommits = last - at.Position
			}
			if at.Age != projections.NeverFresh {
				seconds := at.Age.Seconds()
				s.LagSeconds = &seconds
			}
			all = append(all, s)
		}
		return all
	}
}

// signerWorks tells whether the log's heads are signed, where that is this process's turn.
func signerWorks(signer *projections.Signer) func(context.Context) error {
	return func(context.Context) error {
		s := signer.Status()
		broken := func(err error, format string, args ...any) error {
			return &domain.Error{Code: domain.CodeServiceUnavailable, Message: fmt.Sprintf(format, args...), Err: err}
		}
		switch {
		case s.Contradiction != nil:
			return broken(s.Contradiction, "The log contradicts its head that was signed at position %d; the log of this process says how. "+
				"Save the files of NATS and PostgreSQL as they are; then stop the ledger and run claimledger log accept-loss, which says whether it is the log and changes nothing unless it is told to.", s.Position)
		case s.Waiting != nil:
			return broken(s.Waiting, "The log's head is not signed for now, after position %d; the log of this process says why.", s.Position)
		}
		return nil
	}
}

// relayWorks tells whether this process's relay can do what it is there for.
func (n *node) relayWorks(relay *webhookrelay.Relay) func(context.Context) error {
	return func(context.Context) error {
		s := relay.Status()
		broken := func(format string, args ...any) error {
			return &domain.Error{Code: domain.CodeServiceUnavailable, Message: fmt.Sprintf(format, args...), Err: s.AssignerErr}
		}
		switch {
		case s.Assigner == webhookrelay.AssignerStopped:
			return broken("Deliveries are no longer assigned after position %d; the log of this process says why.", s.Position)
		case s.Assigner == webhookrelay.AssignerWaiting:
			return broken("Deliveries are not assigned for now, after position %d; the log of this process says why.", s.Position)
		case s.DelivererErr != nil:
			return broken("Deliveries cannot be read or written for now; the log of this process says why.")
		case s.Behind > n.StaleAfter:
			return broken("Deliveries are assigned up to position %d of %d.", s.Position, s.Last)
		}
		return nil
	}
}
