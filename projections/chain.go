package projections

import (
	"context"
	"errors"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

var (
	chainGetSQL = statement("chain/get.sql")
	chainSetSQL = statement("chain/set.sql")
)

// applyChain takes the running hash on. It is a model of its own, and not a column of
// every checkpoint, so that there is one of it; that a program which has it for the
// first time computes it from the log; and that a rebuild does, and is compared.
func applyChain(ctx context.Context, t *target, records []eventstore.Record) error {
	var c domain.Chain
	var hash []byte
	there := false
	t.ask(chainGetSQL, nil, []any{&c.Count, &hash}, func() error {
		c.Hash, there = domain.Hash(hash), true
		return nil
	})
	if err := t.flush(ctx); err != nil {
		return err
	}
	if !there {
		return errors.New("the running hash is not there")
	}
	for _, rec := range records {
		c = c.Then(rec.Position, rec.Hash)
	}
	t.queue(chainSetSQL, c.Count, c.Hash[:])
	return nil
}

// Chain is the running hash over all commits up to the position of the answer, as it
// stands with the checkpoint.
func (r *Reader) Chain(ctx context.Context) (domain.Chain, At, error) {
	var c domain.Chain
	at, err := r.read(ctx, ChainModel, func(s snapshot) error {
		var hash []byte
		if err := s.row(ctx, chainGetSQL).Scan(&c.Count, &hash); err != nil {
			return err
		}
		c.Hash = domain.Hash(hash)
		return nil
	})
	c.Position = at.Position
	return c, at, err
}
