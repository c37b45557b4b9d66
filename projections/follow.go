package projections

import (
	"context"
	"sync"
	"time"

	"github.com/claimledger/claimledger/eventstore"
)

// How far apart transactions begin at least: gatherEach for each commit of the one before.
// A commit that comes after a pause is applied at once; those that come in quick succession
// share what a transaction costs, which is more than applying a dozen of them. A reader who
// wants to see his own write waits gatherMost longer at most, which takes 1,000 commits a
// second. A few commits are gathered for gatherLeast; where it is known who waits, for
// gatherAlone while nobody does, and not at all while somebody does.
const (
	gatherEach  = time.Millisecond
	gatherLeast = 10 * time.Millisecond
	gatherAlone = 25 * time.Millisecond
	gatherMost  = 50 * time.Millisecond
)

func (p *Projector) gather(commits int) time.Duration {
	least := gatherLeast
	if p.audience != nil {
		least = gatherAlone
		if p.audience.Waits(p.model.Name) {
			least = gatherEach
		}
	}
	return min(max(time.Duration(commits)*gatherEach, least), gatherMost)
}

// rest waits until the next transaction may begin.
func (p *Projector) rest(ctx context.Context, began time.Time, commits int) error {
	for {
		timer := time.NewTimer(time.Until(began.Add(p.gather(commits))))
		select {
		case <-timer.C:
			return nil
		case <-p.called:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// item is what the log says: a commit, or that there is nothing more at a time.
type item struct {
	rec      eventstore.Record
	caughtUp time.Time // not zero: there is no commit
}

// follow is active for as long as it goes well. One goroutine reads and decodes while
// this one applies, so a batch is what came in during the one before: as small as one
// commit when there is little to do, and large when there is much.
func (p *Projector) follow(ctx context.Context) error {
	if err := p.activate(ctx); err != nil {
		return err
	}
	queue := make(chan item, maxBatch)
	var reader sync.WaitGroup
	var readErr error // once queue is closed
	readCtx, cancel := context.WithCancel(ctx)
	defer reader.Wait()
	defer cancel()

	after := p.tenure.position
	reader.Go(func() {
		defer close(queue)
		put := func(i item) error {
			select {
			case queue <- i:
				return nil
			case <-readCtx.Done():
				return readCtx.Err()
			}
		}
		readErr = p.log.Follow(readCtx, after,
			func(rec eventstore.Record) error { return put(item{rec: rec}) },
			func(uint64) { put(item{caughtUp: time.Now()}) })
	})
	for {
		b, open, err := p.next(ctx, queue)
		if err != nil {
			return err
		}
		began := time.Now()
		if err := p.apply(ctx, b); err != nil {
			return err
		}
		if !open {
			return p.unreadable(readErr)
		}
		if err := p.rest(ctx, began, len(b.records)); err != nil {
			return err
		}
	}
}

// next waits for something to do, and takes what is there. open is false once nothing
// more comes.
func (p *Projector) next(ctx context.Context, queue <-chan item) (b batch, open bool, err error) {
	silence := time.NewTimer(p.patience)
	defer silence.Stop()
	var i item
	select {
	case i, open = <-queue:
	case <-ctx.Done():
		return b, false, ctx.Err()
	case <-silence.C:
		return b, false, errSilent
	}
	for open {
		if i.caughtUp.IsZero() {
			b.add(i.rec)
		} else {
			b.fresh = i.caughtUp
		}
		if b.full() {
			break
		}
		select {
		case i, open = <-queue:
			continue
		default:
		}
		break
	}
	return b, open, nil
}
