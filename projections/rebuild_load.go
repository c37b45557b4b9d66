package projections

import (
	"cmp"
	"context"
	"errors"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/eventstore"
)

const (
	// loadBatch and loadBatchBytes bound what is loaded in one transaction, and so the
	// memory of a rebuild: a chunk that is being read, one that waits and one that is
	// applied. The more commits, the more of a claim's life is in one of them, and the less
	// is written that a later commit changes.
	loadBatch      = 20_000
	loadFirst      = 1_000 // commits in the first chunk, and twice as many in each after it: nobody waits long to begin
	loadBatchBytes = 16 << 20

	// closeBy is how many commits may be left when the generation that serves is made to
	// wait for the one that is built.
	closeBy = 500
)

// load brings builds to about where the generations that serve are: with whole chunks of
// the log, which is read and decoded once for all of them, and with the indexes that only
// readers need afterwards; then it calls finish for each. What stops a build is left in it.
//
// Rows are copied where apply inserts them. Those of claims change later; they could be
// kept in memory until they are final, but a log without end has claims without end that
// are approved and never revoked. A row that a later chunk changes is updated in place
// instead, through the one index that apply has: what a chunk holds bounds the memory, and
// there is one way of folding and not another for rebuilding.
func (r *Rebuild) load(ctx context.Context, builds []*build, finish func(context.Context, *build) error) {
	from, to := ^uint64(0), uint64(0)
	for _, b := range builds {
		b.upTo, _, b.err = b.target(ctx)
		if b.err == nil && b.tenure.position < b.upTo {
			from, to = min(from, b.tenure.position), max(to, b.upTo)
		}
	}
	var loading sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, b := range builds {
		loading.Go(func() {
			if b.err == nil {
				b.err = r.loadOne(ctx, b)
			}
			if b.err == nil {
				b.err = finish(ctx, b)
			}
			for range b.chunks { // others go on
			}
		})
	}
	err := r.readChunks(ctx, from, to, func(records []eventstore.Record) error {
		for _, b := range builds {
			select {
			case b.chunks <- records:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	if err != nil {
		cancel()
	}
	for _, b := range builds {
		close(b.chunks)
	}
	loading.Wait()
	for _, b := range builds {
		if err != nil && (b.err == nil || errors.Is(b.err, context.Canceled)) {
			b.err = err
		}
	}
}

// readChunks reads the log from one position to another.
func (r *Rebuild) readChunks(ctx context.Context, from, to uint64, f func([]eventstore.Record) error) error {
	if from >= to {
		return nil
	}
	most := cmp.Or(r.chunk, loadFirst)
	var chunk batch
	err := r.Log.ReadAll(ctx, "", from, func(rec eventstore.Record) error {
		chunk.add(rec)
		if len(chunk.records) >= most || chunk.bytes >= loadBatchBytes {
			if err := f(chunk.records); err != nil {
				return err
			}
			chunk = batch{}
			most = cmp.Or(r.chunk, min(2*most, loadBatch))
		}
		if rec.Position >= to {
			return errFull
		}
		return nil
	})
	if err != nil && !errors.Is(err, errFull) {
		return err
	}
	return f(chunk.records)
}

// loadOne applies chunks until there are no more, and makes the indexes.
func (r *Rebuild) loadOne(ctx context.Context, b *build) error {
	for records := range b.chunks {
		for len(records) > 0 && records[len(records)-1].Position > b.upTo {
			records = records[:len(records)-1]
		}
		if err := b.applyAll(ctx, batch{records: records}); err != nil {
			return err
		}
		r.tell(b, RebuildStep{Step: StepLoading, UpTo: b.upTo})
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.tenure.state != stateLoading {
		return nil
	}
	r.tell(b, RebuildStep{Step: StepIndexing})
	return b.index(ctx)
}

// index makes what readers need besides the rows, and the statistics by which PostgreSQL
// plans their queries.
func (b *build) index(ctx context.Context) error {
	err := pgx.BeginFunc(ctx, b.tenure.conn, func(tx pgx.Tx) error {
		if err := makeIndexes(ctx, tx, b.model, b.tenure.generation); err != nil {
			return err
		}
		tables, err := tablesOf(ctx, tx, b.tenure.schema)
		if err != nil {
			return err
		}
		for _, table := range tables {
			if _, err := tx.Exec(ctx, "ANALYZE "+pgx.Identifier{b.tenure.schema, table}.Sanitize()); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, generationsStateSQL, b.model.Name, b.tenure.number, stateIndexed)
		return err
	})
	if err == nil {
		b.tenure.state = stateIndexed
	}
	return err
}
