package webhookrelay

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// absentFor is how long a relay has to be away from the database before what it holds
	// is taken for what a dead process held. Whoever only lost its connection is back by
	// then.
	absentFor = 3 * time.Second
	// presenceInterval is how often the relays look for each other.
	presenceInterval = time.Second
	// returnMost bounds the wait of a relay that lost its connection.
	returnMost = time.Second
)

// presentMark begins the token of a lease on a webhook that a relay took while the others
// saw it. The leases without it end in time alone.
const presentMark = "@"

// presenceClass is of the advisory locks by which relays are counted.
const presenceClass int32 = 1668050540

// presence tells the relays of one another, by an advisory lock that each holds for as long
// as it is connected. A process that is killed gives its own up by that, and the
// webhooks that it had need not wait until the leases run out. A relay that is alive all the same, and
// cut off from the database, may then send something that another one sends too. Nobody
// misses anything by that. Only where what is sent twice was the last retry, and the other
// one's fails, may the next of its claim come before the first one's succeeds.
type presence struct {
	owner   string
	present atomic.Bool
	first   signal // it is seen for the first time
}

func newPresence(owner string) *presence { return &presence{owner: owner, first: newSignal()} }

// arrive makes the relay seen. It is until the connection ends.
func (p *presence) arrive(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, arriveSQL, p.owner, presenceClass)
	p.present.Store(err == nil)
	if err == nil {
		p.first.raise()
	}
	return err
}

// await waits until the relay is seen, or would have been where the database is there: what
// it takes before is not marked, and waits long where the process is killed.
func (p *presence) await(ctx context.Context) {
	timer := time.NewTimer(presenceInterval)
	defer timer.Stop()
	select {
	case <-p.first:
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (p *presence) leave() { p.present.Store(false) }

// mark is what the token begins with of what the relay takes now.
func (p *presence) mark() string {
	if p.present.Load() {
		return presentMark
	}
	return ""
}

// absences are the relays that hold leases and were not there, each with when that was
// seen first.
type absences map[string]time.Time

// note takes in who is absent now, and says who has been so for long enough.
func (a absences) note(absent []string, now time.Time) (gone []string) {
	before := maps.Clone(a)
	clear(a)
	for _, owner := range absent {
		since, known := before[owner]
		if !known {
			since = now
		}
		if a[owner] = since; now.Sub(since) >= absentFor {
			gone = append(gone, owner)
		}
	}
	return gone
}

// freeAbsent frees the webhooks of relays that are gone. Where it is this one that the others
// cannot see, because its connection broke off without its noticing, what it takes is not
// marked until it has another.
func (u *upkeep) freeAbsent(ctx context.Context) error {
	rows, err := u.pool.Query(ctx, absentSQL, presentMark, u.presence.owner)
	if err != nil {
		clear(u.absent) // nobody could be seen
		return err
	}
	absent, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		clear(u.absent)
		return err
	}
	gone := u.absent.note(absent, time.Now())
	if i := slices.Index(gone, u.presence.owner); i >= 0 {
		u.presence.leave()
		gone = slices.Delete(gone, i, i+1)
	}
	if len(gone) == 0 {
		return nil
	}
	freed, err := u.pool.Exec(ctx, freeAbsentSQL, gone)
	if err == nil && freed.RowsAffected() > 0 {
		u.logger.Warn("a relay is gone, and what it had in flight is sent again", "webhooks", freed.RowsAffected())
		u.requeued()
	}
	return err
}
